"""Makes the frames of the virtual cameras of virtual.yaml: `make_frames.py FOLDER`.

Left half red, right half blue, and in the middle a band of noise that differs in every file, so that no frame repeats another.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDES = ((200, 30, 10), (10, 40, 220))  # R, G, B: no value at an end, where a wrong reading could be clipped right
SIZE = (480, 640)  # height, width
BAND = slice(200, 280)  # rows
FILES = 40  # more than the buffers of a driver that hangs: a camera that shows so few again and again counts as frozen


def limited(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """Y, Cb, Cr in limited range: ITU-R BT.601-7, sections 2.5.1 and 2.5.3."""
    red, green, blue = (value / 255 for value in rgb)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return 16 + 219 * luma, 128 + 224 * (blue - luma) / 1.772, 128 + 224 * (red - luma) / 1.402


def picture(rng: np.random.Generator) -> Image.Image:
    """libyuv copies a JPEG's values into the frame as they are: these are those that the app reads, not in full range."""
    height, width = SIZE
    values = np.empty((height, width, 3), np.uint8)
    for half, rgb in zip((slice(None, width // 2), slice(width // 2, None)), SIDES, strict=True):
        values[:, half] = np.round(limited(rgb))
    values[BAND, :, 0] = rng.integers(16, 236, (BAND.stop - BAND.start, width), np.uint8)
    return Image.fromarray(values, "YCbCr")


def main() -> None:
    folder, rng = Path(sys.argv[1]), np.random.default_rng(1)
    for name, files in (("red-and-blue", FILES), ("still", 1)):
        (folder / name).mkdir(parents=True)
        for number in range(files):
            picture(rng).save(folder / name / f"{number}.jpg", quality=95, subsampling=0)


if __name__ == "__main__":
    main()
