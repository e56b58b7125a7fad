"""TIFF 6.0: directories that point anywhere in the file."""

from typing import Literal

from edge_app.containers.container import PIXELS_MP_TWICE, SIDE_PX, Container, check_end, truncated
from edge_app.errors import ImageError

# TIFF 6.0, section 2: bytes of a value, by type
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_PIXELS = {273: 279, 324: 325}  # offsets of strips or tiles -> their byte counts
_IMAGES = 330  # directories of further images
_DIRECTORIES = (34665, 34853, 40965)  # of EXIF, GPS, interoperability
_VALUES = 4 * SIDE_PX  # of one tag: a strip for every row of every channel


def inspect(data: bytes) -> Container:
    """TIFF 6.0, section 2: entries in directories, their values and the pixels anywhere: all in the file, nothing more."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    directories = [int.from_bytes(data[4:8], order)]
    ends = [8]
    for number, at in enumerate(directories):
        if number > len(_DIRECTORIES):
            raise ImageError("E-IMAGE-BROKEN", "a TIFF whose directories lead to each other: write it again")
        values, (end, *others) = _directory(data, at, order)
        following = int.from_bytes(data[end - 4 : end], order)
        if number == 0 and (following or _IMAGES in values):
            raise ImageError("E-IMAGE-FRAMES", "a TIFF with more than one image: save one")
        ends += [end, *others]
        for offsets, counts in _PIXELS.items():
            ends += [offset + count for offset, count in zip(values.get(offsets, ()), values.get(counts, ()), strict=False)]
        directories += [values[tag][0] for tag in _DIRECTORIES if values.get(tag)]
    end = max(ends)
    end += len(data) == end + 1 and end % 2  # parts begin at even bytes: one more may fill up
    behind = check_end(data, end, "TIFF")
    return Container("TIFF", None, PIXELS_MP_TWICE, trailing=behind)


def _directory(data: bytes, at: int, order: Literal["little", "big"]) -> tuple[dict[int, list[int]], list[int]]:
    """The values of the tags that lead on, and where the directory ends and each tag's values. Raises ImageError."""
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], order) + 4
    if end > len(data):
        raise truncated("a TIFF directory")
    leading = {_IMAGES, *_PIXELS, *_PIXELS.values(), *_DIRECTORIES}
    found: dict[int, list[int]] = {}
    ends = [end]
    for entry in range(at + 2, end - 4, 12):
        tag, kind, count, first = (
            int.from_bytes(data[entry + start : entry + stop], order) for start, stop in ((0, 2), (2, 4), (4, 8), (8, 12))
        )
        size = _SIZES.get(kind, 1)
        if size * count <= 4:
            first = entry + 8
        ends.append(first + size * count)
        if tag in leading:
            if count > _VALUES or size > 4:
                raise ImageError("E-IMAGE-BROKEN", f"TIFF tag {tag} with {count} values: write it again")
            found[tag] = [int.from_bytes(data[i : i + size], order) for i in range(first, first + size * count, size)]
    return found, ends
