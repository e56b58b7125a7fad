"""DICOM -> levels of 0..255, rule id `dicom-v1`.

Grey: stored value -> modality value (rescale, or a table) -> the window that the bundle declares, or the file's own -> level;
MONOCHROME1 is inverted last, and padding becomes black. All of that is one table of as many levels as there are stored values.
Colour: RGB as stored, YBR_FULL and palettes converted in whole numbers.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import DicomSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom import BIG, JPEG, NATIVE, Dicom
from limiar.edge_app.image.containers.dicom_elements import Element, wrong
from limiar.edge_app.image.decoders import dicom_codecs
from limiar.edge_app.image.decoders.dicom_colours import from_palette, from_ycc
from limiar.edge_app.image.decoders.dicom_levels import Values, Window, in_8_bits, levels, levels_of

Codes = NDArray[np.unsignedinteger[Any]]  # [H, W] or [H, W, 3], the bits of each stored value; not yet signed
_BAND = 1 << 20  # pixels at a time: an index takes 8 bytes of each

_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_TRANSFORMATION, _INTERCEPT, _SLOPE = 0x00289145, 0x00281052, 0x00281053
_FRAME_VOI, _CENTRE, _WIDTH, _FUNCTION = 0x00289132, 0x00281050, 0x00281051, 0x00281056


def decode(dicom: Dicom, rule: DicomSpec, frame: int = 0) -> Pixels:
    """A frame, counted from 0: uint8 [H, W] or [H, W, 3]. Raises ImageError, and what a decoder raises for broken data."""
    if not 0 <= frame < dicom.frames:
        raise ImageError("E-IMAGE-FRAMES", f"a DICOM file of {dicom.frames} frames has no frame {frame + 1}: check the number")
    if dicom.photometric.startswith("MONOCHROME"):
        table = _table(dicom, rule, frame)  # first: a window that is missing saves decoding
        return _looked_up(table, codes(dicom, frame))
    pixels = codes(dicom, frame)
    if dicom.photometric == "PALETTE COLOR":
        return from_palette(dicom, pixels, _stored(dicom))
    if dicom.photometric.startswith("YBR_FULL") and dicom.syntax != JPEG:  # whose decoder gives RGB
        return from_ycc(pixels)
    return np.ascontiguousarray(pixels, np.uint8)


def codes(dicom: Dicom, frame: int = 0) -> Codes:
    """The lowest BitsStored bits of each cell, once it is shifted by HighBit. Raises as `decode`."""
    cells: Codes = _native(dicom, frame) if dicom.syntax in NATIVE else dicom_codecs.decode(dicom, frame)
    kind = cells.dtype.type
    cells = cells >> kind(dicom.high + 1 - dicom.stored)
    return cells & kind(min((1 << dicom.stored) - 1, np.iinfo(kind).max))


def _native(dicom: Dicom, frame: int) -> Codes:
    data = dicom.frame(frame)
    if dicom.allocated == 16:
        return np.frombuffer(data, ">u2" if dicom.syntax == BIG else "<u2").reshape(dicom.height, dicom.width).astype(np.uint16)
    flat = np.frombuffer(data, np.uint8)
    if dicom.samples == 1:
        return flat.reshape(dicom.height, dicom.width)
    if dicom.photometric == "YBR_FULL_422":  # PS3.3, C.7.6.3.1.2: Y Y Cb Cr for each two pixels of a row
        pairs = flat.reshape(dicom.height, dicom.width // 2, 4)
        both = np.repeat(pairs[:, :, np.newaxis, 2:], 2, axis=2)
        return np.concatenate([pairs[:, :, :2, np.newaxis], both], axis=3).reshape(dicom.height, dicom.width, 3)
    if dicom.planar:
        return flat.reshape(3, dicom.height, dicom.width).transpose(1, 2, 0)
    return flat.reshape(dicom.height, dicom.width, 3)


def _looked_up(table: Pixels, found: Codes) -> Pixels:
    pixels = np.empty(found.shape, np.uint8)
    rows = max(1, _BAND // found.shape[1])
    for top in range(0, len(found), rows):
        pixels[top : top + rows] = table[found[top : top + rows]]
    return pixels


def _stored(dicom: Dicom) -> range:
    """All values that can be stored, in order."""
    half = 1 << dicom.stored - 1
    return range(-half, half) if dicom.signed else range(2 * half)


def _table(dicom: Dicom, rule: DicomSpec, frame: int) -> Pixels:
    """uint8 [2 ** BitsStored]: the level of each code. Raises ImageError."""
    stored = _stored(dicom)
    found = _levels(dicom, rule, frame, stored)
    if dicom.photometric == "MONOCHROME1":
        found = 255 - found
    padding = _padding(dicom)
    if padding:
        found = found.copy()
        found[max(0, padding.start - stored.start) : max(0, padding.stop - stored.start)] = 0
    return np.roll(found, stored.start)  # a code is a negative value's lowest bits: those values come last


def _padding(dicom: Dicom) -> range:
    """The stored values that are no pixels (PS3.3, C.7.5.1.1.2)."""
    first = dicom.reader.whole(dicom.attribute(_PADDING), dicom.signed)
    last = dicom.reader.whole(dicom.attribute(_PADDING_LIMIT), dicom.signed) or first
    return range(min(first[0], last[0]), max(first[0], last[0]) + 1) if first and last else range(0)


def _levels(dicom: Dicom, rule: DicomSpec, frame: int, stored: range) -> Pixels:
    """The level of each stored value. Raises ImageError: without a window, or with one that is not in the rule."""
    modality = _lut(dicom, dicom.attribute(_MODALITY_LUT), np.arange(stored.start, stored.stop), "ModalityLUTSequence")
    slope, intercept = (Fraction(1), Fraction(0)) if modality is not None else _rescale(dicom, frame)
    window = _window(dicom, rule, frame)
    if window:
        if modality is not None:
            return levels_of(modality[0], window)
        return levels(stored, slope, intercept, window)
    voi = dicom.attribute(_VOI_LUT, _FRAME_VOI, frame)
    if voi and slope.denominator == intercept.denominator == 1 and abs(slope) < 1 << 16 and abs(intercept) < 1 << 32:
        values = modality[0] if modality is not None else np.arange(stored.start, stored.stop) * int(slope) + int(intercept)
        looked_up = _lut(dicom, voi, values, "VOILUTSequence")
        if looked_up:
            return in_8_bits(*looked_up)
    if not voi and modality is None and not dicom.signed and dicom.stored <= 8 and slope == 1 and not intercept:
        return in_8_bits(np.arange(stored.stop), dicom.stored)  # PS3.3, C.11.2.1: without a VOI, as it is
    raise ImageError("E-DICOM-WINDOW", "a DICOM file without a window of its own: give it one, or train with --dicom-window")


def _rescale(dicom: Dicom, frame: int) -> tuple[Fraction, Fraction]:
    names = ((_SLOPE, "RescaleSlope", 1), (_INTERCEPT, "RescaleIntercept", 0))
    read = dicom.reader.decimals
    slope, intercept = (
        (read(dicom.attribute(tag, _TRANSFORMATION, frame), name) or (Fraction(default),))[0] for tag, name, default in names
    )
    if not slope:
        raise wrong("RescaleSlope")
    return slope, intercept


def _window(dicom: Dicom, rule: DicomSpec, frame: int) -> Window | None:
    """The bundle's; else the file's first. Raises ImageError: that is not in the rule."""
    if rule.window:
        return Window(Fraction(rule.window.centre), Fraction(rule.window.width))
    centres = dicom.reader.decimals(dicom.attribute(_CENTRE, _FRAME_VOI, frame), "WindowCenter")
    widths = dicom.reader.decimals(dicom.attribute(_WIDTH, _FRAME_VOI, frame), "WindowWidth")
    if not centres and not widths:
        return None
    function = dicom.reader.text(dicom.attribute(_FUNCTION, _FRAME_VOI, frame)) or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ImageError("E-DICOM-WINDOW", "a DICOM file with a window that is not linear: train with --dicom-window")
    exact = function == "LINEAR_EXACT"
    if not centres or not widths or widths[0] <= 0 or (widths[0] < 1 and not exact):
        raise wrong("WindowCenter or WindowWidth")
    return Window(centres[0], widths[0], exact)


def _lut(dicom: Dicom, sequence: Element | None, values: Values, name: str) -> tuple[Values, int] | None:
    """Each value looked up in a sequence's first table, and the bits of what it holds (PS3.3, C.11.1.1); None without one."""
    item = dicom.reader.item(sequence)
    if not item:
        return None
    descriptor = dicom.reader.whole(item.get(_LUT_DESCRIPTOR))
    data = dicom.reader.whole(item.get(_LUT_DATA))
    if len(descriptor) != 3:
        raise wrong(name)
    entries, first, bits = descriptor
    entries = entries or 1 << 16
    if dicom.signed and first >= 1 << 15:
        first -= 1 << 16
    if len(data) != entries or not 8 <= bits <= 16 or max(data) >> bits:
        raise wrong(name)
    return np.array(data, np.int64)[np.clip(values - first, 0, entries - 1)], bits
