"""The phone's resize gives the desktop's tensor, to the bit, whatever the size of the picture and of the model's input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.resize import model_input, tensor_sha256
from phone_modules import Modules

SIDES = st.integers(1, 300)
TARGETS = st.sampled_from([1, 2, 3, 7, 24, 32, 40, 56, 96, 128, 224])
HALVES = 256  # in a side of so many pixels, weights of eight bits end in one half: a last bit decides how they are rounded
CHANNELS = st.sampled_from([1, 3])


def noise(height: int, width: int, channels: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A ramp with noise on it, and some of the extremes."""
    rng = np.random.default_rng(seed)
    y, x, c = np.mgrid[:height, :width, :channels]
    pixels = (y * 3 + x * 2 + c * 50 + rng.integers(0, 64, (height, width, channels))) % 256
    pixels[rng.random((height, width)) < 0.02] = 255 * (seed % 2)
    return pixels.astype(np.uint8)


def asked(pixels: np.ndarray[Any, np.dtype[np.uint8]], spec: InputSpec) -> tuple[dict[str, Any], dict[str, int]]:
    height, width, channels = pixels.shape
    picture = {"height": height, "width": width, "channels": channels, "pixels": pixels.tobytes()}
    return picture, {"height": spec.height, "width": spec.width, "channels": spec.channels}


def wanted(pixels: np.ndarray[Any, np.dtype[np.uint8]], spec: InputSpec) -> bytes:
    return model_input(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, spec).tobytes()


@settings(max_examples=300)
@given(SIDES, SIDES, CHANNELS, TARGETS, TARGETS, CHANNELS, st.integers(0, 999))
def test_a_picture_of_any_size_gives_the_tensor_of_the_desktop(
    modules: Modules, rows: int, columns: int, samples: int, height: int, width: int, channels: int, seed: int
) -> None:
    pixels, spec = noise(rows, columns, samples, seed), InputSpec(height=height, width=width, channels=channels)
    assert modules.call("/image/index.js", "modelInput", *asked(pixels, spec)) == wanted(pixels, spec)


def test_weights_that_end_in_one_half_are_rounded_as_on_the_desktop(modules: Modules) -> None:
    spec = InputSpec(height=HALVES, width=2 * HALVES, channels=1)
    pictures = [noise(side, side + 1, 1, side) for side in range(1, 2 * HALVES, 3)]
    found = modules.each("/image/index.js", "modelInput", [asked(pixels, spec) for pixels in pictures])
    assert [len(pixels) for pixels, one in zip(pictures, found, strict=True) if one != wanted(pixels, spec)] == []


@pytest.mark.parametrize(
    ("rows", "columns", "samples"),
    [(1944, 2592, 3), (3000, 2400, 1), (1, 65_535, 1), (65_535, 3, 3), (10_301, 7, 1), (39, 20_000, 3), (2560, 2560, 1)],
)
def test_a_picture_of_megapixels_gives_the_tensor_of_the_desktop(
    modules: Modules, rows: int, columns: int, samples: int
) -> None:
    pixels = noise(rows, columns, samples, 3)
    for spec in (InputSpec(height=40, width=40, channels=3), InputSpec(height=224, width=160, channels=1)):
        assert modules.call("/image/index.js", "modelInput", *asked(pixels, spec)) == wanted(pixels, spec)


def test_a_tensor_has_the_same_name_on_both(modules: Modules) -> None:
    pixels, spec = noise(70, 55, 3, 1), InputSpec(height=40, width=40, channels=3)
    tensor = model_input(pixels, spec)
    assert modules.call("/image/index.js", "tensorSha256", tensor.tobytes()) == tensor_sha256(tensor)
