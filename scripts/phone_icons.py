#!/usr/bin/env python3
"""Draws the icons of the phone page: limiar's mark (edge_app/page/static/icon.svg) as the PNG files that a home screen wants.

.venv/bin/python scripts/phone_icons.py
"""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from limiar.edge_app.arrays import Pixels

WEB = Path(__file__).parents[1] / "edge_app" / "phone" / "web"
SIZES = {"icon-192.png": (192, False), "icon-512.png": (512, False), "icon-maskable-512.png": (512, True)}  # px, maskable

_UNITS = 32  # of icon.svg's viewBox
_TEAL, _WHITE, _YELLOW = (0x69, 0x6E, 0x0B), (255, 255, 255), (0x66, 0xD1, 0xFF)  # BGR
_STEPS, _STROKE, _DOT, _CORNER = ((7, 21.5), (14.5, 21.5), (14.5, 10.5), (25, 10.5)), 3.2, ((25, 21.5), 2.4), 8
_FINER = 8  # drawn so much larger, then made smaller, which smooths its edges
_MASKED = 0.85  # a system may cut off all but a circle of 80 % of a maskable icon's width, which the mark then just fits


def main() -> None:
    """Writes the files."""
    for name, (side, masked) in SIZES.items():
        (WEB / name).write_bytes(icon(side, maskable=masked))


def icon(side_px: int, *, maskable: bool) -> bytes:
    """A PNG file. maskable: with a ground to its edges, and the mark where no system cuts it off."""
    wide = side_px * _FINER
    scale = wide / _UNITS
    colours, opaque = np.full((wide, wide, 3), _TEAL, np.uint8), np.full((wide, wide), 255, np.uint8)
    if not maskable:
        opaque = _rounded(wide, round(_CORNER * scale))
    _mark(colours, scale * (_MASKED if maskable else 1), wide * (1 - _MASKED) / 2 if maskable else 0)
    drawn = cv2.resize(np.dstack([colours, opaque]), (side_px, side_px), interpolation=cv2.INTER_AREA)
    done, file = cv2.imencode(".png", drawn, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return file.tobytes()


def _rounded(wide: int, radius: int) -> Pixels:
    """255 inside a square with round corners."""
    shape = np.zeros((wide, wide), np.uint8)
    cv2.rectangle(shape, (radius, 0), (wide - radius - 1, wide - 1), (255,), -1)
    cv2.rectangle(shape, (0, radius), (wide - 1, wide - radius - 1), (255,), -1)
    for x in (radius, wide - radius - 1):
        for y in (radius, wide - radius - 1):
            cv2.circle(shape, (x, y), radius, (255,), -1)
    return shape


def _mark(colours: Pixels, scale: float, first: float) -> None:
    """The step and the dot, with (0, 0) of icon.svg at (first, first)."""
    steps = [(round(first + x * scale), round(first + y * scale)) for x, y in _STEPS]
    for start, end in pairwise(steps):
        cv2.line(colours, start, end, _WHITE, round(_STROKE * scale))
    for x, y in steps:
        cv2.circle(colours, (x, y), round(_STROKE * scale / 2), _WHITE, -1)
    (across, down), radius = _DOT
    cv2.circle(colours, (round(first + across * scale), round(first + down * scale)), round(radius * scale), _YELLOW, -1)


if __name__ == "__main__":
    main()
