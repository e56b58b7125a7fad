"""A second reading of DICOM files, for tests: decoders of other projects, and the rule dicom-v1 once more, in fractions.

Where they lie: pydicom's test files are in its wheel, and pydicom-data's in a package of its own. Both are found by path:
pydicom's functions for them wait for the network.
"""

import importlib.util
import math
import shutil
import subprocess
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

# By transfer syntax, with the options that leave colours as they are stored. All others are not compressed: dcmconv.
_TOOLS = {
    uid.RLELossless: ("dcmdrle",),
    uid.JPEGBaseline8Bit: ("dcmdjpeg", "+cn"),
    uid.JPEGLossless: ("dcmdjpeg", "+cn"),
    uid.JPEGLosslessSV1: ("dcmdjpeg", "+cn"),
    uid.JPEGLSLossless: ("dcmdjpls",),
    uid.JPEGLSNearLossless: ("dcmdjpls",),
    uid.JPEG2000Lossless: ("gdcmconv", "-w"),
    uid.JPEG2000: ("gdcmconv", "-w"),
}
TOOLS = ("dcmconv", *sorted({tool for tool, *_ in _TOOLS.values()}))


def missing_tools() -> list[str]:
    """Those of dcmtk and libgdcm-tools that are not installed."""
    return [tool for tool in TOOLS if not shutil.which(tool)]


def corpus() -> dict[str, Path]:
    """Every file of pydicom's and pydicom-data's test files, by its path in them; no Python, text or JSON. May be empty."""
    folders = []
    for module, part in (("pydicom", "data"), ("data_store", "data")):
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            return {}
        folders.append(Path(next(iter(spec.submodule_search_locations))) / part)
    other = {".py", ".pyc", ".json", ".txt", ".md"}
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path
        for name, folder in zip(("pydicom", "pydicom-data"), folders, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in other
    }


def stored_values(path: Path) -> NDArray[np.int64]:
    """Decoded by another project: [frames, H, W] or [frames, H, W, 3], as stored: no table, window or colour conversion."""
    with tempfile.TemporaryDirectory(prefix="limiar-dicom-") as folder:
        plain = Path(folder, "plain.dcm")
        with warnings.catch_warnings(action="ignore"):
            syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
            tool = _TOOLS.get(syntax, ("dcmconv", "+te"))
            done = subprocess.run([*tool, path, plain], capture_output=True, text=True, check=False)
            assert plain.exists(), done.stdout + done.stderr
            return stored_bits(pydicom.dcmread(plain))


def stored_bits(header: Dataset) -> NDArray[np.int64]:
    """The stored values of an uncompressed file in little endian: PS3.5, section 8. Shapes as of stored_values."""
    frames, samples = int(header.get("NumberOfFrames") or 1), header.SamplesPerPixel
    shape = (frames, header.Rows, header.Columns)
    data = np.frombuffer(header.PixelData, {8: "u1", 16: "<u2"}[header.BitsAllocated])
    if header.PhotometricInterpretation == "YBR_FULL_422":  # two pixels share their colours: Y Y Cb Cr
        y1, y2, cb, cr = data[: math.prod(shape) * 2].reshape(-1, 4).T
        values = np.stack([np.stack([y1, cb, cr], 1), np.stack([y2, cb, cr], 1)], 1).reshape(*shape, 3)
    elif samples == 1:
        values = data[: math.prod(shape)].reshape(shape)
    elif header.PlanarConfiguration:
        values = data[: math.prod(shape) * 3].reshape(frames, 3, *shape[1:]).transpose(0, 2, 3, 1)
    else:
        values = data[: math.prod(shape) * 3].reshape(*shape, 3)
    bits: int = header.BitsStored
    stored: NDArray[np.int64] = (values.astype(np.int64) >> (header.HighBit + 1 - bits)) & ((1 << bits) - 1)
    if header.PixelRepresentation:
        stored -= (stored >> (bits - 1)) << bits
    return stored


def grey_levels(
    header: Dataset, stored: NDArray[np.int64], window: tuple[int, int] | None, frame: int = 0
) -> NDArray[np.uint8]:
    """The rule dicom-v1 for MONOCHROME1 and MONOCHROME2, value by value. window: the bundle's; None: the file's first."""
    values, places = np.unique(stored, return_inverse=True)
    voi = _of_frame(header, "FrameVOILUTSequence", frame)
    inverted, padding = header.PhotometricInterpretation == "MONOCHROME1", _padding(header)
    levels = []
    for value in map(int, values):
        level = _level(header, voi, value, _modality(header, value, frame), window)
        levels.append(0 if value in padding else 255 - level if inverted else level)
    return np.array(levels, np.uint8)[places].reshape(stored.shape)


def modality_values(header: Dataset, stored: NDArray[np.int64]) -> NDArray[np.float64]:
    """In modality units, such as HU."""
    values, places = np.unique(stored, return_inverse=True)
    return np.array([float(_modality(header, int(value), 0)) for value in values])[places].reshape(stored.shape)


def is_padding(header: Dataset, stored: NDArray[np.int64]) -> NDArray[np.bool_]:
    padding = _padding(header)
    return (stored >= padding.start) & (stored < padding.stop)


def rgb_levels(header: Dataset, stored: NDArray[np.int64]) -> NDArray[np.int64]:
    """RGB from stored colours, [H, W, 3], or from a palette, [H, W]."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return np.stack([_palette(header, colour, stored) for colour in ("Red", "Green", "Blue")], axis=-1)
    if not header.PhotometricInterpretation.startswith("YBR_FULL"):  # RGB; YBR_RCT is undone by the decoder
        return stored
    y, blue, red = stored[..., 0], stored[..., 1] - 128.0, stored[..., 2] - 128.0  # PS3.3, C.7.6.3.1.2, solved for RGB
    solved = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], axis=-1)
    return np.floor(solved.clip(0, 255) + 0.5).astype(np.int64)


def _palette(header: Dataset, colour: str, stored: NDArray[np.int64]) -> NDArray[np.int64]:
    """PS3.3, C.7.6.3.1.5 and .6."""
    entries, first, _ = header[f"{colour}PaletteColorLookupTableDescriptor"].value
    data = header[f"{colour}PaletteColorLookupTableData"].value
    count = entries or 1 << 16
    wide = "<u2" if header.original_encoding[1] else ">u2"
    table: NDArray[np.int64] = np.frombuffer(data, wide if len(data) == 2 * count else "u1").astype(np.int64)
    levels: NDArray[np.int64] = (table >> 8 if table.max() > 255 else table)[(stored - first).clip(0, count - 1)]
    return levels


def _of_frame(header: Dataset, macro: str, frame: int) -> Dataset:
    """Where a frame's attributes are: its functional group, the one that frames share, or the file's top (PS3.3, C.7.6.16)."""
    for groups, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        found = header[groups].value[number] if groups in header else Dataset()
        if macro in found:
            attributes: Dataset = found[macro].value[0]
            return attributes
    return header


def _padding(header: Dataset) -> range:
    """PixelPaddingValue, to PixelPaddingRangeLimit: PS3.3, C.7.5.1.1.2."""
    if "PixelPaddingValue" not in header:
        return range(0)
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if keyword in header:
            value = int(header[keyword].value)
            ends.append(value - (1 << 16) if header.PixelRepresentation and value >= 1 << 15 else value)
    return range(min(ends), max(ends) + 1)


def _level(header: Dataset, voi: Dataset, stored: int, value: Fraction, window: tuple[int, int] | None) -> int:
    if window is None and "WindowCenter" in voi:
        centre, width = (_first(voi[keyword].value) for keyword in ("WindowCenter", "WindowWidth"))
    elif window is None:
        return (
            _voi_table(voi, value)
            if "VOILUTSequence" in voi
            else _rounded(Fraction(stored * 255, (1 << header.BitsStored) - 1))
        )
    else:
        centre, width = map(Fraction, window)
    if window is None and voi.get("VOILUTFunction") == "LINEAR_EXACT":  # PS3.3, C.11.2.1.3.2
        return _rounded(max(Fraction(0), min(Fraction(1), (value - centre) / width + Fraction(1, 2))) * 255)
    # PS3.3, C.11.2.1.2.1, with 0 and 255 as the least and the greatest output
    if value <= centre - Fraction(1, 2) - (width - 1) / 2:
        return 0
    if value > centre - Fraction(1, 2) + (width - 1) / 2:
        return 255
    return _rounded(((value - (centre - Fraction(1, 2))) / (width - 1) + Fraction(1, 2)) * 255)


def _rounded(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _modality(header: Dataset, stored: int, frame: int) -> Fraction:
    if "ModalityLUTSequence" in header:
        return Fraction(_looked_up(header.ModalityLUTSequence[0], stored, bool(header.PixelRepresentation)))
    place = _of_frame(header, "PixelValueTransformationSequence", frame)
    return stored * Fraction(str(place.get("RescaleSlope", 1))) + Fraction(str(place.get("RescaleIntercept", 0)))


def _voi_table(voi: Dataset, value: Fraction) -> int:
    table = voi.VOILUTSequence[0]
    return _rounded(Fraction(_looked_up(table, int(value), value < 0) * 255, (1 << int(table.LUTDescriptor[2])) - 1))


def _looked_up(table: Dataset, value: int, signed: bool) -> int:
    """PS3.3, C.11.1.1: values below the first and above the last take these."""
    count, first, _ = map(int, table.LUTDescriptor)
    if signed and first >= 1 << 15:
        first -= 1 << 16
    entries: Any = table.LUTData
    if isinstance(entries, bytes):
        entries = np.frombuffer(entries, "<u2")
    return int(entries[max(0, min(value - first, (count or 1 << 16) - 1))])


def _first(value: Any) -> Fraction:
    one = value[0] if isinstance(value, pydicom.multival.MultiValue) else value
    return Fraction(str(one))
