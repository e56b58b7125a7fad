"""PGM and PPM -> 8 bits. Pillow takes seconds for a range other than 255, and does not keep 16 bits."""

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image import depth
from limiar.edge_app.image.containers.container import truncated
from limiar.edge_app.image.containers.pnm import Pnm

_BAND = 1 << 20  # samples, or bytes of text, at a time
_DIGITS_AND_SPACES = b"0123456789 \t\n\v\f\r"
_WORD_MOST = 6  # digits: 65535 with a leading zero


def decode(data: bytes, pnm: Pnm, grey_max: int | msgspec.UnsetType) -> Pixels:
    """uint8 [H, W] or [H, W, 3]. Raises ImageError."""
    shape = (pnm.height, pnm.width) if pnm.samples == 1 else (pnm.height, pnm.width, pnm.samples)
    total = pnm.width * pnm.height * pnm.samples
    if pnm.plain:
        samples = _words(data, pnm, total)
    else:
        samples = np.frombuffer(data, np.dtype(">u2" if pnm.most > 255 else "u1"), total, pnm.start)
        if pnm.most == 255:
            return samples.astype(np.uint8, copy=False).reshape(shape)
    counts = np.zeros(depth.FULL + 1, np.int64)
    for band in _bands(samples):
        counts += depth.count(samples[band])
    levels = depth.levels(counts, pnm.most if pnm.most < depth.FULL else None, grey_max)
    pixels = np.empty(total, np.uint8)
    for band in _bands(samples):
        pixels[band] = levels[samples[band]]
    return pixels.reshape(shape)


def _bands(samples: NDArray[np.uint16]) -> Iterator[slice]:
    return (slice(first, first + _BAND) for first in range(0, len(samples), _BAND))


def _words(data: bytes, pnm: Pnm, total: int) -> NDArray[np.uint16]:
    """The samples of a plain file. Raises ImageError: too few or too many, or text that is not a number."""
    samples = np.empty(total, np.uint16)
    found, at = 0, pnm.start
    while at < len(data):
        piece = data[at : at + _BAND]
        if len(piece) == _BAND:  # only up to the last whole word
            piece = piece[: _last_space(piece)]
        at += len(piece)
        if piece.translate(None, _DIGITS_AND_SPACES):
            raise ImageError("E-IMAGE-BROKEN", f"a plain {pnm.name} with text that is not a number: write it again")
        values = np.fromstring(piece.decode("ascii"), np.int64, sep=" ")
        if found + len(values) > total:
            met = f"more than the {total} samples of a plain {pnm.name} of {pnm.width}x{pnm.height}"
            raise ImageError("E-IMAGE-TRAILING", f"{met}: save it as a plain image")
        if len(values) and values.max() > pnm.most:
            raise ImageError(
                "E-IMAGE-BROKEN", f"a {pnm.name} with the value {values.max()}, over its largest of {pnm.most}: write it again"
            )
        samples[found : found + len(values)] = values
        found += len(values)
    if found < total:
        raise truncated(f"the {pnm.name}'s pixels")
    # 25 may be 255 cut short. 0 cannot be cut, and neither can a number that one more digit would carry over the largest value.
    if not data[-1:].isspace() and 0 < samples[-1] <= pnm.most // 10:
        raise truncated(f"the {pnm.name}'s last number, or no line end follows it")
    return samples


def _last_space(piece: bytes) -> int:
    """The length up to and with its last white space. Raises ImageError: a word is longer than any number."""
    for length in range(len(piece), len(piece) - _WORD_MOST - 1, -1):
        if piece[length - 1 : length].isspace():
            return length
    raise ImageError("E-IMAGE-BROKEN", "a plain PGM or PPM with too many digits in a number: write it again")
