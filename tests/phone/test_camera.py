"""The camera of the phone's page: Chromium's own test camera plays a made film, and a canvas plays one that fails."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from phone_modules import PHONE, Modules, served
from y4m import write_y4m

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers

WIDTH, HEIGHT, FRAMES = 320, 240, 90
LEFT, RIGHT = (150, 90, 60), (60, 110, 160)  # RGB of the two halves of the film
MOST_OFF = 12  # levels: the camera's pixels go through YUV, and the noise
SETUP = """
async () => {
  globalThis.capture = await import("/web/camera/capture.js");
  globalThis.Watch = (await import("/web/camera/watch.js")).Watch;
  globalThis.video = Object.assign(document.createElement("video"), {muted: true, playsInline: true});
  document.body.replaceChildren(video);
}
"""
# The camera is a canvas, which draws a frame `everyMs`, until a frame was answered; the track ends there if `ends`.
CANVAS = """
({everyMs, ends, still}) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [64, 48];
  const context = canvas.getContext("2d");
  const stream = canvas.captureStream();
  const draw = k => {
    for (let at = 0; at < 48; at += 1) {
      context.fillStyle = `rgb(${(at * (still ? 7 : k + 3)) % 256} 90 90)`;
      context.fillRect(0, at, 64, 1);
    }
    if (!globalThis.answered) setTimeout(draw, everyMs, k + 1);
    else if (ends) stream.getTracks()[0].stop();
  };
  draw(0);
  navigator.mediaDevices.getUserMedia = async () => stream;
}
"""
# Looks of a Watch, whose answers are those of `answers` in turn; each takes as long as the video takes to show `wait` frames.
WATCH = """
async ({answers, rule, looks, wait}) => {
  const camera = await capture.openCamera("rear", video);
  const found = [];
  const shown = () => video.getVideoPlaybackQuality().totalVideoFrames;
  const next = async () => {
    if (video.requestVideoFrameCallback) return new Promise(then => video.requestVideoFrameCallback(then));
    for (const before = shown(); shown() === before;) await new Promise(then => setTimeout(then, 5));
  };
  const ask = async frame => {
    for (let waited = 0; waited < wait; waited += 1) await next();
    return {...frame.about, ...answers[found.length % answers.length]};
  };
  const told = async look => {
    found.push({...look, picture: look.picture?.type ?? null});
    globalThis.answered = true;
    if (found.length === looks) watch.stop();
  };
  const watch = new Watch(camera, ask, told, rule);
  try {
    await watch.run();
  } catch (error) {
    return {found, code: error.code, message: error.message};
  }
  return {found, code: null, ended: camera.track.readyState, shows: video.srcObject !== null};
}
"""
CAT = {"decision": "cat", "label": "cat", "probabilities": {"cat": 0.75, "dog": 0.25}}
DOG = {"decision": "dog", "label": "dog", "probabilities": {"cat": 0.25, "dog": 0.75}}
REFUSED = {"decision": "refused", "code": "E-IMAGE-BLANK", "message": "…"}
RULE = {"agree": 3, "of": 5, "everyS": 60}


def noisy_halves() -> Iterator[np.ndarray]:
    """Two halves of a colour with noise, so that no two frames are equal."""
    rng = np.random.default_rng(21)
    for _ in range(FRAMES):
        rgb = np.zeros((HEIGHT, WIDTH, 3), int)
        rgb[:, : WIDTH // 2], rgb[:, WIDTH // 2 :] = LEFT, RIGHT
        yield (rgb + rng.integers(-3, 4, (HEIGHT, WIDTH, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("camera") / "film.y4m"
    write_y4m(path, noisy_halves())
    return path


@pytest.fixture(scope="module")
def browser_flags(film: Path) -> tuple[str, ...]:
    return ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")


@pytest.fixture
def page(browsers: "Browsers") -> Iterator[Any]:
    """A page with a camera that it may use."""
    with served(("/web/", PHONE / "web")) as url, browsers.person(url, permissions=["camera"]) as person:
        Modules(person.page, url)
        person.page.evaluate(SETUP)
        yield person.page
        assert person.faults == []


def watched(page: Any, answers: list[dict[str, Any]], looks: int, rule: Any = RULE, wait: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(WATCH, {"answers": answers, "rule": rule, "looks": looks, "wait": wait})
    return found


def test_a_frame_is_the_square_in_the_middle_with_its_colours(page: Any) -> None:
    frame = page.evaluate(
        """async () => {
          const camera = await capture.openCamera("rear", video);
          const {rgba, width, height, about} = await camera.frame();
          const picture = await camera.thumbnail();
          camera.close();
          return {rgba: [...rgba], width, height, about, picture: picture.size};
        }"""
    )
    assert (frame["width"], frame["height"]) == (HEIGHT, HEIGHT)
    pixels = np.array(frame["rgba"]).reshape(HEIGHT, HEIGHT, 4)
    margin = (WIDTH - HEIGHT) // 2
    half = WIDTH // 2 - margin
    assert np.abs(pixels[:, : half - 4, :3].mean((0, 1)) - LEFT).max() < MOST_OFF
    assert np.abs(pixels[:, half + 4 :, :3].mean((0, 1)) - RIGHT).max() < MOST_OFF
    assert frame["about"]["source"] == "browser-camera:0"  # it does not say which way it looks
    assert frame["about"]["dropped"] >= 6  # those that prove that it shows new ones
    assert frame["about"]["taken"].endswith("Z")
    assert frame["picture"] > 0


def test_the_latest_frame_wins_and_the_others_are_counted(page: Any) -> None:
    found = watched(page, [CAT], looks=4, rule={**RULE, "agree": 9, "of": 9}, wait=4)["found"]
    sequences = [look["line"]["sequence"] for look in found]
    dropped = [look["line"]["dropped"] for look in found]
    assert [later - earlier - 1 for earlier, later in pairwise(sequences)] == dropped[1:]
    assert all(one >= 2 for one in dropped[1:])


def test_the_sequence_goes_on_when_the_camera_is_opened_again(page: Any) -> None:
    first, second = watched(page, [CAT], looks=2), watched(page, [CAT], looks=1)
    assert second["found"][0]["line"]["sequence"] > first["found"][-1]["line"]["sequence"]


def test_k_of_n_decide_and_a_decision_that_stays_is_kept_once(page: Any) -> None:
    found = watched(page, [CAT, CAT, CAT, CAT, DOG, DOG, DOG, CAT], looks=8)["found"]
    assert [(look["vote"] or {}).get("decision") for look in found] == [None, None, *["cat"] * 4, "dog", "dog"]
    assert [look["keep"] for look in found] == [False, False, True, False, False, False, True, False]
    assert [look["picture"] for look in found if look["keep"]] == ["image/jpeg"] * 2
    assert [look["line"].get("agreeing") for look in found] == [None, None, 3, 4, None, None, 3, None]
    assert found[5]["seen"] == ["cat", "cat", "cat", "dog", "dog"]


def test_a_decision_that_stays_is_kept_again_after_a_while(page: Any) -> None:
    found = watched(page, [CAT], looks=4, rule={"agree": 1, "of": 1, "everyS": 0})["found"]
    assert [look["keep"] for look in found] == [True] * 4


def test_a_kept_line_counts_the_frames_passed_over_since_the_one_before(page: Any) -> None:
    found = watched(page, [CAT, CAT, CAT, DOG, DOG, DOG], looks=6, wait=3)["found"]
    dropped = [look["line"]["dropped"] for look in found]
    assert [look["keep"] for look in found] == [False, False, True, False, False, True]
    assert dropped[2] >= dropped[0] + dropped[1] + 1
    assert dropped[5] >= dropped[3] + dropped[4] + 1


def test_a_refused_frame_is_shown_and_ends_the_scene(page: Any) -> None:
    found = watched(page, [CAT, CAT, REFUSED, CAT], looks=4)["found"]
    assert [look["vote"] for look in found] == [None] * 4
    assert (found[2]["seen"], found[2]["keep"]) == ([], False)


def test_a_stopped_camera_is_let_go(page: Any) -> None:
    found = watched(page, [CAT], looks=1)
    assert (found["code"], found["ended"], found["shows"]) == (None, "ended", False)


@pytest.mark.parametrize(
    ("plays", "code"),
    [
        ({"everyMs": 30, "still": True}, "E-SOURCE-FROZEN"),
        ({"everyMs": 30}, "E-SOURCE-STALLED"),
        ({"everyMs": 30, "ends": True}, "E-SOURCE-ENDED"),
    ],
)
def test_a_camera_that_gives_nothing_new_is_an_error(page: Any, plays: dict[str, Any], code: str) -> None:
    page.evaluate(CANVAS, plays)
    found = watched(page, [CAT], looks=1000)
    assert found["code"] == code
    assert bool(found["found"]) == (code != "E-SOURCE-FROZEN")  # one that froze before it was opened gives no answer at all


def test_frames_are_counted_where_the_browser_does_not_say_when_it_shows_one(page: Any) -> None:
    page.evaluate("delete HTMLVideoElement.prototype.requestVideoFrameCallback")
    found = watched(page, [CAT], looks=3, wait=4)["found"]
    assert all(look["line"]["dropped"] >= 2 for look in found[1:])


def test_a_camera_that_is_not_allowed_is_said_so(browsers: "Browsers") -> None:
    with served(("/web/", PHONE / "web")) as url, browsers.person(url) as person:
        Modules(person.page, url)
        person.page.evaluate(SETUP)
        opened = 'capture.openCamera("rear", video).then(() => null, error => error.code)'
        assert person.page.evaluate(opened) == "E-SOURCE-DENIED"
