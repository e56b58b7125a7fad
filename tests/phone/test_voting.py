"""K of N on the phone's page: the decisions of edge_app/camera/voting.py, and its freshness."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.camera.freshness import Freshness
from limiar.edge_app.camera.messages import View
from limiar.edge_app.camera.voting import Voting
from limiar.edge_app.errors import SourceError
from phone_modules import JsError, Modules

LABELS = ("a", "b", "c")
VOTES = """
async ({agree, of, steps}) => {
  const {Voting} = await import("/web/camera/voting.js");
  const voting = new Voting(agree, of);
  return steps.map(({answer, sequence, at, gap}) => {
    if (gap) voting.gap();
    return voting.add(answer, sequence, at);
  });
}
"""
OLD = """
async ({frames, width}) => {
  const {Freshness} = await import("/web/camera/freshness.js");
  const freshness = new Freshness("browser-camera:rear");
  return frames.map(({pixels, at}) => {
    try {
      const old = freshness.isOld(Uint32Array.from(pixels), width, at);
      return [old, freshness.proves(at)];
    } catch (error) {
      return error.code;
    }
  });
}
"""


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    shares = [draw(st.integers(1, 20)) for _ in LABELS]
    probabilities = {label: share / sum(shares) for label, share in zip(LABELS, shares, strict=True)}
    label = max(LABELS, key=probabilities.__getitem__)
    decision = draw(st.sampled_from([label, "refer"]))
    return Answer(decision, label, probabilities[label], probabilities, Timing(0, 0, 0), "", "")


STEPS = st.lists(st.tuples(answers(), st.floats(0.01, 7), st.integers(0, 9).map(lambda k: k == 0)), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5), st.integers(0, 4), STEPS)
def test_frames_decide_as_on_a_device(modules: Modules, agree: int, more: int, steps: list[tuple[Answer, float, bool]]) -> None:
    voting, expected, asked, at = Voting(agree, agree + more), [], [], 0.0
    for sequence, (answer, after, gap) in enumerate(steps, 1):
        at += after
        if gap:
            voting.gap()
        expected.append(msgspec.to_builtins(voting.add(answer, sequence, at)))
        asked.append({"answer": msgspec.to_builtins(answer), "sequence": sequence, "at": at, "gap": gap})
    found = modules.page.evaluate(VOTES, {"agree": agree, "of": agree + more, "steps": asked})
    for one, other in zip(found, expected, strict=True):
        if other is None:
            assert one is None
            continue
        assert {**one, "confidence": 0, "spread": 0} == {**other, "confidence": 0, "spread": 0}
        assert math.isclose(one["confidence"], other["confidence"])
        assert math.isclose(one["spread"], other["spread"], abs_tol=1e-12)


def test_more_frames_than_there_are_cannot_agree(modules: Modules) -> None:
    made = 'import("/web/camera/voting.js").then(({Voting}) => new Voting(4, 3)).catch(error => error.message)'
    assert modules.page.evaluate(made) == "4 of 3 frames cannot agree"


def seen(modules: Modules, frames: list[tuple[Any, float]]) -> list[Any]:
    """What both make of the same frames, uint8 [H, W, 3], at these seconds: asserted to be the same."""
    freshness, expected = Freshness(View("browser-camera:rear")), []
    for frame, at in frames:
        try:
            expected.append([freshness.is_old(frame, None, at), freshness.proves(at)])
        except SourceError as error:
            expected.append(error.code)
    rgba = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]).view(np.uint32).ravel().tolist() for frame, _ in frames]
    asked = [{"pixels": pixels, "at": at} for pixels, (_, at) in zip(rgba, frames, strict=True)]
    found: list[Any] = modules.page.evaluate(OLD, {"frames": asked, "width": frames[0][0].shape[1]})
    assert found == expected
    return found


def noise(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (70, 40, 3), np.uint8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 2)), min_size=1, max_size=30))
def test_a_frame_that_was_shown_before_is_old_as_on_a_device(modules: Modules, order: list[tuple[int, float]]) -> None:
    frames, at = [], 0.0
    for which, after in order:
        at += after
        frames.append((noise(which) if which else np.zeros((70, 40, 3), np.uint8), at))
    seen(modules, frames)


def test_a_camera_that_hangs_is_frozen_and_one_that_is_covered_is_not(modules: Modules) -> None:
    assert seen(modules, [(noise(1), 0.5 * k) for k in range(12)])[-1] == "E-SOURCE-FROZEN"
    assert seen(modules, [(np.full((70, 40, 3), 9, np.uint8), 0.5 * k) for k in range(20)])[-1] == [False, True]


def test_frames_that_differ_in_a_few_rows_are_new(modules: Modules) -> None:
    """Only every 32nd row is looked at first."""
    one, other = noise(1), noise(1)
    other[5, 3] += 1
    found = seen(modules, [(one, 0.0), (noise(2), 0.1), (one, 0.2), (noise(3), 0.3), (other, 0.4)])
    assert [old for old, _ in found] == [False, False, True, False, False]


def test_a_page_that_is_not_secure_is_told_that_it_gets_no_camera(modules: Modules) -> None:
    modules.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined, configurable: true})")
    try:
        with pytest.raises(JsError) as refused:
            modules.call("/camera/capture.js", "openCamera", "rear", None)
    finally:
        modules.page.evaluate("delete navigator.mediaDevices")
    assert refused.value.code == "E-PHONE-SECURE"
