"""A WebP whose data were overwritten is refused: they end later than its pixels do."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.image.read import decode
from refusals import refusal


def picture(alpha: bool, plain: bool = False) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (150, 170, 4), dtype=np.uint8)
    pixels: Any = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    if plain:
        pixels[40:] = 180
    return Image.fromarray(pixels if alpha else np.ascontiguousarray(pixels[:, :, :3]))


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


KINDS = {
    f"{'lossless' if lossless else 'lossy'}{' with alpha' * alpha}{', mostly plain' * plain}": saved(
        picture(alpha, plain), lossless=lossless, quality=80
    )
    for lossless in (False, True)
    for alpha in (False, True)
    for plain in (False, True)
}
DETAILED = [kind for kind in KINDS if "plain" not in kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_webp_is_answered_with_pillows_pixels(kind: str) -> None:
    image = Image.open(io.BytesIO(KINDS[kind])).convert("RGBA")
    red_green_blue, alpha = np.asarray(image)[:, :, :3].astype(int), np.asarray(image)[:, :, 3:].astype(int)
    assert np.array_equal(decode(KINDS[kind]).pixels(), (red_green_blue * alpha + 127) // 255)


@pytest.mark.parametrize("side", [1, 2, 16, 17, 40])
@pytest.mark.parametrize("lossless", [False, True])
def test_the_smallest_and_plainest_are_answered(side: int, lossless: bool) -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (200, 30, 9)):
        assert refusal(saved(Image.new("RGB", (side, side), colour), lossless=lossless)) == "answered"


@pytest.mark.parametrize("kind", DETAILED)
def test_a_webp_of_which_a_last_sector_or_more_is_zeroed_is_refused(kind: str) -> None:
    data = KINDS[kind]
    for at in range(80, len(data) - 512, 71):  # of fewer bytes the decoder may happen to use the last
        assert refusal(data[:at] + bytes(len(data) - at)) in ("E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN"), at


@pytest.mark.parametrize("kind", ["lossy", "lossless", "lossless with alpha"])
def test_a_sector_that_a_webp_lost_is_refused(kind: str) -> None:
    data = KINDS[kind]
    for at in range(128, len(data) - 600, 61):
        assert refusal(data[:at] + bytes(512) + data[at + 512 :]) in ("E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN"), at


def test_a_note_behind_the_pixels_does_not_hide_their_end() -> None:
    noted = saved(picture(alpha=False), exif=b"Exif\0\0" + bytes(100))
    assert refusal(noted) == "answered"
    end = noted.rindex(b"EXIF")
    assert refusal(noted[: end - 300] + bytes(300) + noted[end:]) == "E-IMAGE-TRUNCATED"
