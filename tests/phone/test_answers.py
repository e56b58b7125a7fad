"""What the phone's page finds in a picture and decides is what `edge_app` does: statistics, refusals, decisions, heat maps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import (
    STATISTICS,
    Assessable,
    Decision,
    Envelope,
    InputSpec,
    Limit,
    MapGrid,
    Range,
    Threshold,
)
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.image.assessable import assessed, check_limits
from limiar.edge_app.image.draw import enlarged
from limiar.edge_app.image.heat import coloured, overlaid
from limiar.edge_app.image.resize import check_assessable
from limiar.edge_app.image.statistics import noise, outside, statistics
from limiar.edge_app.inference.classifier import decide
from phone_modules import JsError, Modules

ROOTS = {"deviation", "sharpness", "colour"}  # the others are quotients of integers, and equal to the last bit
LABELS = ("ant", "bee", "cat")


def shape_of(tensor: Pixels) -> dict[str, int]:
    """Of a model input, uint8 [1, H, W, C]."""
    return dict(zip(("height", "width", "channels"), tensor.shape[1:], strict=True))


def refusal(check: Callable[..., object], *given: Any) -> tuple[str, str] | None:
    """Code and message of what Python refuses; None: nothing."""
    try:
        check(*given)
    except LimiarError as error:
        return error.code, error.message
    return None


def js_refusal(found: Any) -> tuple[str | None, str] | None:
    return (found.code, found.message) if isinstance(found, JsError) else None


@st.composite
def tensors(draw: st.DrawFn) -> Pixels:
    """Flat, narrow, noisy, extreme or grey model inputs, uint8 [1, H, W, C]."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    channels = draw(st.sampled_from([1, 3]))
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    pixels = rng.integers(low, high + 1, (1, height, width, channels)).astype(np.uint8)
    if channels == 3 and draw(st.booleans()):
        pixels[...] = pixels[..., :1]
    share = draw(st.sampled_from([0, 0, 0.5, 0.985, 0.99, 0.995, 1]))
    pixels[rng.random(pixels.shape) < share] = draw(st.sampled_from([0, 8, 9, 246, 247, 255]))
    return pixels


@settings(max_examples=25)
@given(st.lists(tensors(), min_size=12, max_size=12))
def test_statistics_noise_and_what_is_not_assessable_are_python_s(modules: Modules, some: list[Pixels]) -> None:
    given = [(tensor.tobytes(), shape_of(tensor)) for tensor in some]
    found = modules.each("/answer/statistics.js", "statistics", given)
    noisy = modules.each("/answer/statistics.js", "noise", given)
    refusals = modules.each("/answer/assessable.js", "checkAssessable", [(shape, data) for data, shape in given])
    for tensor, here, level, refused in zip(some, found, noisy, refusals, strict=True):
        there = statistics(tensor)
        assert list(here) == list(there)
        for name, value in there.items():
            assert here[name] == (pytest.approx(value, rel=1e-12) if name in ROOTS else value), name
        assert level == noise(tensor)
        assert js_refusal(refused) == refusal(check_assessable, tensor[0], tensor)


def test_a_large_input_s_sums_are_exact(modules: Modules) -> None:
    tensor = np.random.default_rng(4).choice(np.array([0, 254, 255], np.uint8), (1, 2048, 2048, 1))
    found = modules.call("/answer/statistics.js", "statistics", tensor.tobytes(), shape_of(tensor))
    assert found == pytest.approx(statistics(tensor), rel=1e-14)


@given(st.lists(st.floats(0, 100), min_size=len(STATISTICS), max_size=len(STATISTICS)), st.floats(0, 60), st.floats(0, 60))
@settings(max_examples=50)
def test_outside_is_what_python_finds_outside(modules: Modules, values: list[float], low: float, width: float) -> None:
    ranges = {name: Range(low, low + width, 0.0, 100.0) for name in STATISTICS}
    found = dict(zip(STATISTICS, values, strict=True))
    envelope = Envelope(9, (0.001, 0.999), ranges)
    given = {"ranges": {name: {"low": low, "high": low + width} for name in STATISTICS}}
    assert tuple(modules.call("/answer/statistics.js", "outsideOf", given, found)) == outside(envelope, found)


@pytest.mark.parametrize("colour", [0.0, 1.15, 2.0, 2.1])
def test_colour_that_cannot_be_seen_is_inside_a_grey_envelope(modules: Modules, colour: float) -> None:
    envelope = Envelope(9, (0.001, 0.999), {"colour": Range(0.0, 0.0, 0.0, 0.0)})
    given = {"ranges": {"colour": {"low": 0.0, "high": 0.0}}}
    here = modules.call("/answer/statistics.js", "outsideOf", given, {"colour": colour})
    assert tuple(here) == outside(envelope, {"colour": colour})


@pytest.mark.parametrize("at_least", [True, False])
@pytest.mark.parametrize("name", [*STATISTICS, "noise"])
def test_a_limit_that_is_not_kept_is_refused_in_the_words_of_python(modules: Modules, name: Any, at_least: bool) -> None:
    tensor = np.random.default_rng(5).integers(0, 256, (1, 9, 7, 3)).astype(np.uint8)
    found = statistics(tensor)
    value = noise(tensor) if name == "noise" else found[name]
    for end in (value * 1.0001, value * 0.9999, value * 1.2, value * 0.7, value):
        limit = Limit(at_least=end) if at_least else Limit(at_most=end)
        limits = Assessable(0.01, {name: limit})
        there = refusal(check_limits, limits, assessed(limits, found, tensor))
        given = {"limits": {name: {"at_least" if at_least else "at_most": end}}}
        (here,) = modules.each("/answer/assessable.js", "checkLimits", [(given, found, tensor.tobytes(), shape_of(tensor))])
        assert js_refusal(here) == there


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9999, 9999).map(lambda n: n / 8), min_size=40))
@example([243225376011254.625, -1212023233233044.25])  # the last digit is a tie
@settings(max_examples=25)
def test_numbers_in_messages_are_written_as_python_writes_them(modules: Modules, values: list[float]) -> None:
    for digits in (3, 4, 6):
        here = modules.each("/answer/digits.js", "withDigits", [(value, digits) for value in values])
        assert here == [f"{value:.{digits}g}" for value in values]
    assert modules.each("/answer/digits.js", "asPython", [(value,) for value in values]) == [repr(value) for value in values]


@st.composite
def decisions(draw: st.DrawFn) -> tuple[list[float], Decision, int]:
    """Logits, a rule, and the number of labels."""
    count = draw(st.sampled_from([2, 3]))
    logits = [float(np.float32(draw(st.floats(-30, 30, width=32)))) for _ in range(count)]
    if draw(st.booleans()):
        logits = [logits[0]] * count
    threshold = Threshold("bee", draw(st.floats(0, 1))) if count == 2 and draw(st.booleans()) else None
    return logits, Decision(draw(st.sampled_from([0.0, 0.5, 0.8, 1.0])), threshold), count


@given(st.lists(decisions(), min_size=20, max_size=20))
@settings(max_examples=25)
def test_decisions_and_probabilities_are_python_s(modules: Modules, some: list[tuple[list[float], Decision, int]]) -> None:
    given = []
    for logits, rule, count in some:
        threshold = rule.threshold and {"label": rule.threshold.label, "at_least": rule.threshold.at_least}
        given.append(({"refer_below": rule.refer_below, "threshold": threshold}, list(LABELS[:count]), logits))
    for (logits, rule, count), here in zip(some, modules.each("/answer/rule.js", "decideBy", given), strict=True):
        there = decide(np.array(logits, np.float32), LABELS[:count], rule)
        # exp is within one unit in the last place, in numpy and in a browser
        assert here["probabilities"] == pytest.approx(list(there.probabilities.values()), rel=1e-15, abs=1e-300)
        assert here["confidence"] == pytest.approx(there.confidence, rel=1e-15)
        beside = [rule.refer_below, *([rule.threshold.at_least] if rule.threshold else [])]
        if all(abs(p - end) > 1e-14 for p in there.probabilities.values() for end in beside):
            assert (here["decision"], here["label"]) == (there.decision, there.label)


@pytest.mark.parametrize(
    ("outside", "decision"), [(None, "ant"), ([], "ant"), (["mean"], "refer")], ids=["no envelope", "inside", "outside"]
)
def test_an_image_outside_the_envelope_is_referred(modules: Modules, outside: list[str] | None, decision: str) -> None:
    rule = {"refer_below": 0.5, "threshold": None}
    assert modules.call("/answer/rule.js", "decideBy", rule, ["ant", "bee"], [4, 0], outside)["decision"] == decision


@pytest.mark.parametrize("logits", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]])
def test_logits_that_are_not_finite_are_refused_as_in_python(modules: Modules, logits: list[float]) -> None:
    rule = {"refer_below": 0.5, "threshold": None}
    (here,) = modules.each("/answer/rule.js", "decideBy", [(rule, ["ant", "bee"], logits)])
    with np.errstate(invalid="ignore"):
        assert js_refusal(here) == refusal(decide, np.array(logits, np.float32), ("ant", "bee"), Decision(0.5))


def test_the_colours_of_a_map_are_opencv_s(modules: Modules) -> None:
    colours = coloured(np.arange(256, dtype=np.uint8)[None])
    shown = {"width": 256, "height": 1, "pixels": bytes(768)}
    heat = np.linspace(0, 255, 256, dtype=np.float32)
    grid = {"height": 1, "width": 256, "first": [0.0, 0.0], "step": [1.0, 1.0]}
    found = modules.call("/answer/heat.js", "overlaid", shown, heat.tolist(), 0, 1, grid, {"height": 1, "width": 256})
    wanted = np.round(colours.reshape(-1) * 0.4)
    np.testing.assert_array_equal(np.frombuffer(found["pixels"], np.uint8), wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 40), (30, 17), (401, 400), (1000, 700), (3, 900), (1201, 1), (399, 200)])
def test_a_heat_map_is_python_s_to_two_levels(modules: Modules, size: tuple[int, int], channels: int) -> None:
    rng = np.random.default_rng(sum(size))
    height, width = size
    pixels = rng.integers(0, 256, (height, width, channels)).astype(np.uint8)
    there = np.asarray(enlarged(pixels[..., 0] if channels == 1 else pixels))
    shown = {"width": width, "height": height, "channels": channels, "pixels": pixels.tobytes()}
    here = modules.call("/answer/heat.js", "enlarged", shown)
    assert (here["height"], here["width"], 3) == there.shape
    apart = np.abs(np.frombuffer(here["pixels"], np.uint8).astype(int) - there.reshape(-1))
    assert apart.max() <= 1
    maps = rng.normal(0, 3, (5, 6, 2)).astype(np.float32)
    spec, grid = InputSpec(height=40, width=48, channels=3), MapGrid(5, 6, (3.5, 4.0), (8.0, 8.5))
    given = {"height": 5, "width": 6, "first": [3.5, 4.0], "step": [8.0, 8.5]}
    laid = modules.call(
        "/answer/heat.js", "overlaid", here, maps.reshape(-1).tolist(), 1, 2, given, {"height": 40, "width": 48}
    )
    wanted = overlaid(there, maps[..., 1], grid, spec)
    apart = np.abs(np.frombuffer(laid["pixels"], np.uint8).astype(int) - wanted.reshape(-1))
    assert apart.max() <= 2
    assert (laid["low"], laid["high"]) == (pytest.approx(maps[..., 1].min()), pytest.approx(maps[..., 1].max()))


def test_a_flat_map_is_blue(modules: Modules) -> None:
    pixels = np.full((40, 40, 3), 90, np.uint8)
    shown = {"width": 40, "height": 40, "pixels": pixels.tobytes()}
    given = {"height": 5, "width": 5, "first": [3.5, 3.5], "step": [8.0, 8.0]}
    here = modules.call("/answer/heat.js", "overlaid", shown, [1.0] * 25, 0, 1, given, {"height": 40, "width": 40})
    flat = np.ones((5, 5), np.float32)
    wanted = overlaid(pixels, flat, MapGrid(5, 5, (3.5, 3.5), (8.0, 8.0)), InputSpec(height=40, width=40, channels=3))
    np.testing.assert_array_equal(np.frombuffer(here["pixels"], np.uint8), wanted.reshape(-1))
