"""BMP (Microsoft, "Bitmap Storage"): a header that says where the pixels are and, often wrongly, how long the file is."""

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import PIXELS_MP, Container, check_end, check_pixels, truncated

_FILE_HEADER = 14
_CORE = 12  # OS/2 1.x: sides of 16 bits, a palette of three bytes a colour
_HEADERS = (_CORE, 40, 52, 56, 64, 108, 124)  # OS/2 1.x, Windows 3, 2 and 3 with masks, OS/2 2.x, Windows 4, 5
_PLAIN, _RLE8, _RLE4, _MASKS = range(4)
_DEPTHS = {_PLAIN: (1, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _MASKS: (16, 24, 32)}
_HELD = {4: "a JPEG", 5: "a PNG"}


class Bmp(Container, frozen=True, kw_only=True):
    """The contents of a BMP's headers."""

    width: int
    height: int
    top_down: bool
    depth: int  # bits a pixel
    compression: int
    palette: int  # where it starts
    colours: int  # in it
    colour_bytes: int
    offset: int  # of the pixels
    row_bytes: int  # padded to a multiple of four; 0 in run-length coding
    end: int  # of the pixels

    @property
    def run_lengths(self) -> bool:
        return self.compression in (_RLE8, _RLE4)


def inspect(data: bytes) -> Bmp:
    """Reads sides, depth and palette, and checks that all pixels are there. Raises ImageError.

    The size field counts only if it is larger than that: many writers leave it 0, or do not count the header.
    """
    if len(data) < _FILE_HEADER + _CORE:
        raise truncated("the BMP header")
    header = _number(data, 14, 4)
    if header not in _HEADERS:
        raise ImageError("E-IMAGE-BROKEN", f"a BMP with a header of {header} bytes: write it again")
    if len(data) < _FILE_HEADER + header:
        raise truncated("the BMP header")
    if header == _CORE:
        width, height, depth = (_number(data, at, 2) for at in (18, 20, 24))
        compression = size = used = 0
    else:
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        depth, compression, size, used = (_number(data, at, 4 if at > 28 else 2) for at in (28, 30, 34, 46))
    top_down, height = height < 0, abs(height)
    if width < 1 or height < 1:
        raise ImageError("E-IMAGE-BROKEN", f"{width}x{height} pixels: write it again")
    check_pixels("BMP", width, height, PIXELS_MP)
    if compression in _HELD:
        raise ImageError("E-IMAGE-FORMAT", f"a BMP that contains {_HELD[compression]}: save that as a file of its own")
    if depth not in _DEPTHS.get(compression, ()):
        raise ImageError("E-IMAGE-BROKEN", f"a BMP with {depth} bits and compression {compression}: write it again")
    palette = _FILE_HEADER + header + (12 if compression == _MASKS and header == 40 else 0)
    colour_bytes = 3 if header == _CORE else 4
    colours = min(used or 1 << depth, 1 << depth) if depth <= 8 else 0
    offset = _number(data, 10, 4)
    if not offset or (offset == palette and colours):  # careless writers leave out the palette, or write 0
        offset = palette + colours * colour_bytes
    if offset < palette:
        raise ImageError("E-IMAGE-BROKEN", f"a BMP whose pixels start at byte {offset}, inside its header: write it again")
    colours = min(colours, (offset - palette) // colour_bytes)
    if depth <= 8 and colours < 1:
        raise ImageError("E-IMAGE-BROKEN", "a BMP without its palette: write it again")
    row_bytes = (width * depth + 31) // 32 * 4 if compression in (_PLAIN, _MASKS) else 0
    end = offset + (row_bytes * height if row_bytes else size or len(data) - offset)
    said = _number(data, 2, 4)
    if max(end, said) > len(data):
        raise truncated("the BMP")
    profile = sum(_number(data, at, 4) for at in (126, 130)) + _FILE_HEADER if header == 124 and _number(data, 130, 4) else 0
    behind = check_end(data, max(end, said, profile), "BMP")
    return Bmp(
        "BMP",
        None,
        PIXELS_MP,
        width=width,
        height=height,
        top_down=top_down,
        depth=depth,
        compression=compression,
        palette=palette,
        colours=colours,
        colour_bytes=colour_bytes,
        offset=offset,
        row_bytes=row_bytes,
        end=end,
        trailing=behind,
    )


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
