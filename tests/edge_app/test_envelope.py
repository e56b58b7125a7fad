"""The envelope of training images: statistics that can be counted by hand, and images outside it."""

import math

import cv2
import msgspec
import numpy as np
import pytest

from limiar.edge_app.bundle.manifest import STATISTICS, Envelope, InputSpec
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.image.statistics import measure, outside, statistics

SPEC = InputSpec(height=20, width=20, channels=3)


def textured(rng, level=100, contrast=15):
    """A grey model input, uint8 [1, 20, 20, 3]."""
    grey = np.clip(rng.normal(level, contrast, (20, 20)), 1, 254).astype(np.uint8)
    return model_input(grey, SPEC)


@pytest.fixture(scope="module")
def envelope():
    rng = np.random.default_rng(0)
    return measure(textured(rng, rng.uniform(70, 130), rng.uniform(10, 20)) for _ in range(500))


def test_statistics_of_a_checkerboard_are_those_of_a_calculation_by_hand():
    rows, columns = np.indices((20, 20))
    grey = np.where((rows + columns) % 2, 200, 100).astype(np.uint8)
    found = statistics(model_input(grey, SPEC))
    assert tuple(found) == STATISTICS
    # Each Laplacian is four neighbours of the other level less four of its own: +400 or -400.
    assert found == {"mean": 150, "deviation": 50, "low": 100, "high": 200, "sharpness": 400**2, "clipped": 0, "colour": 0}


def test_low_and_high_pass_over_a_hundredth_of_the_pixels():
    grey = np.full((20, 20), 90, np.uint8)
    grey.flat[:4], grey.flat[4:8] = 0, 255  # 1 % of 400 each
    found = statistics(grey.reshape(1, 20, 20, 1))
    assert (found["low"], found["high"], found["clipped"]) == (0, 255, 8 / 400)
    grey.flat[3], grey.flat[7] = 90, 90
    found = statistics(grey.reshape(1, 20, 20, 1))
    assert (found["low"], found["high"]) == (90, 90)


def test_colourfulness_is_hasler_and_suesstrunks():
    rgb = np.random.default_rng(1).integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    red, green, blue = np.moveaxis(rgb[0].astype(float), -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    want = math.hypot(rg.std(), yb.std()) + 0.3 * math.hypot(rg.mean(), yb.mean())
    assert statistics(rgb)["colour"] == pytest.approx(want, rel=1e-12)


def test_a_grey_image_has_the_same_statistics_in_one_channel_and_in_three():
    grey = np.random.default_rng(2).integers(0, 256, (20, 20), dtype=np.uint8)
    one = model_input(grey, InputSpec(height=20, width=20, channels=1))
    assert statistics(one) == statistics(model_input(grey, SPEC))


def test_the_range_s_ends_are_values_of_training_images():
    tensors = [np.full((1, 4, 4, 1), level, np.uint8) for level in range(250)]
    for count, (low, high) in {250: (0, 249), 40: (0, 39)}.items():
        found = measure(tensors[:count])
        assert (found.images, found.ranges["mean"].low, found.ranges["mean"].high) == (count, low, high)
    found = measure(tensor for tensor in tensors for _ in range(8))  # 2,000: the quantiles come in from the ends
    assert (found.ranges["mean"].least, found.ranges["mean"].low) == (0, 0)
    many = measure([*tensors[100:104] * 1000, tensors[0], tensors[249]])
    assert (many.ranges["mean"].low, many.ranges["mean"].high) == (100, 103)
    assert (many.ranges["mean"].least, many.ranges["mean"].most) == (0, 249)


def test_images_like_those_of_training_lie_inside_and_others_outside(envelope):
    rng = np.random.default_rng(3)
    like = [textured(rng, rng.uniform(75, 125), rng.uniform(11, 19)) for _ in range(200)]
    assert sum(bool(outside(envelope, statistics(tensor))) for tensor in like) <= 6
    black, noise = np.zeros((20, 20), np.uint8), rng.integers(0, 256, (20, 20), dtype=np.uint8)
    ramp = np.tile(np.linspace(60, 140, 20).astype(np.uint8), (20, 1))
    coloured = textured(rng).copy()
    coloured[..., 0] += 20
    assert "mean" in outside(envelope, statistics(model_input(black, SPEC)))
    assert "deviation" in outside(envelope, statistics(model_input(noise, SPEC)))
    assert "sharpness" in outside(envelope, statistics(model_input(ramp, SPEC)))
    assert outside(envelope, statistics(coloured)) == ("colour",)


@pytest.mark.parametrize("codec", ["MJPG", "mp4v"])
def test_what_a_video_s_codec_rounds_is_no_colour(envelope, tmp_path, codec):
    rng = np.random.default_rng(2)
    path = str(tmp_path / "grey.avi")
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), 10, (160, 160))
    for _ in range(10):
        video.write(cv2.resize(textured(rng)[0], (160, 160)))
    video.release()
    frames = cv2.VideoCapture(path)
    read, frame = frames.read()
    count = 0
    while read:
        tensor = model_input(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), SPEC)
        assert statistics(tensor)["colour"] < 2  # OpenCV 4.11 reads these MJPG frames as grey, 5.0 does not
        assert "colour" not in outside(envelope, statistics(tensor))
        read, frame = frames.read()
        count += 1
    assert count == 10


def test_grey_is_inside_where_training_had_a_codec_s_rounding(envelope):
    rng, off = np.random.default_rng(3), np.array([1, 0, -1], np.int16)
    rounded = [np.clip(textured(rng) + off, 0, 255).astype(np.uint8) for _ in range(50)]
    assert outside(measure(rounded), statistics(textured(np.random.default_rng(3)))) == ()


def test_an_envelope_is_the_same_after_json(envelope):
    assert msgspec.json.decode(msgspec.json.encode(envelope), type=Envelope) == envelope


def test_an_envelope_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs an image"):
        measure([])
