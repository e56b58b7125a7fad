"""Writes TIFFs of any depth, byte order, layout and compression: scanners and microscopes do, Pillow does not."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Samples = NDArray[np.uint16]  # [H, W, samples]
RAW, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773


class Layout(Struct, frozen=True):
    """How the samples are stored."""

    bits: int = 16
    order: str = "<"
    photometric: int = 1  # 0: white is zero
    compression: int = RAW
    tile: tuple[int, int] | None = None  # height, width
    rows: int = 17  # of a strip
    planar: int = 1
    fill: int = 1  # 2: the first bit of a byte is its lowest
    predictor: int = 1
    words: bool = False  # 16 bits for each sample of fewer
    more: dict[int, int] = {}  # further tags


def tiff(samples: Samples, layout: Layout | None = None) -> bytes:
    """The bytes of a TIFF with these samples, which must fit into layout.bits."""
    layout = layout or Layout()
    height, width, count = samples.shape
    planes = [samples[:, :, k : k + 1] for k in range(count)] if layout.planar == 2 else [samples]
    parts = [_packed(part, layout) for plane in planes for part in _parts(plane, layout)]
    tags: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (layout.bits,) * count,
        259: (layout.compression,),
        262: (layout.photometric,),
        266: (layout.fill,),
        277: (count,),
        284: (layout.planar,),
        317: (layout.predictor,),
    }
    tags |= {322: layout.tile[1:], 323: layout.tile[:1]} if layout.tile else {278: (layout.rows,)}
    tags |= {tag: (value,) for tag, value in layout.more.items()}
    offsets, counts = (324, 325) if layout.tile else (273, 279)
    body, places = b"", []
    for part in parts:
        places.append(8 + len(body))
        body += part + bytes(len(part) % 2)
    tags |= {offsets: tuple(places), counts: tuple(map(len, parts))}
    return _file(tags, body, layout.order)


def _file(tags: dict[int, tuple[int, ...]], body: bytes, order: str) -> bytes:
    at = 8 + len(body)
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        if len(numbers) == 1:
            entries += packed
        else:
            entries += struct.pack(f"{order}I", at + 2 + 12 * len(tags) + 4 + len(values))
            values += packed
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + values
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at) + body + directory


def _parts(plane: Samples, layout: Layout) -> list[Samples]:
    height, width, _ = plane.shape
    if layout.tile is None:
        return [plane[top : top + layout.rows] for top in range(0, height, layout.rows)]
    high, wide = layout.tile
    filled = np.pad(plane, ((0, -height % high), (0, -width % wide), (0, 0)), mode="edge")
    return [filled[y : y + high, x : x + wide] for y in range(0, height, high) for x in range(0, width, wide)]


def _packed(part: Samples, layout: Layout) -> bytes:
    if layout.predictor == 2:
        left = np.concatenate([np.zeros_like(part[:, :1]), part[:, :-1]], axis=1)
        part = part - left
    rows = part.reshape(len(part), -1)
    if layout.bits == 16 or layout.words:
        raw = rows.astype(f"{layout.order}u2").tobytes()
    elif layout.bits == 8:
        raw = rows.astype(np.uint8).tobytes()
    else:
        bits = (rows[:, :, None] >> np.arange(layout.bits - 1, -1, -1) & 1).astype(np.uint8)
        raw = np.packbits(bits.reshape(len(rows), -1), axis=1).tobytes()
    pack: dict[int, Callable[[bytes], bytes]] = {RAW: bytes, DEFLATE: zlib.compress, PACKBITS: _packbits, LZW: lzw}
    packed = pack[layout.compression](raw)
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in packed) if layout.fill == 2 else packed


def _packbits(raw: bytes) -> bytes:
    """TIFF 6.0, section 9; literal runs only."""
    pieces = (raw[at : at + 128] for at in range(0, len(raw), 128))
    return b"".join(bytes((len(piece) - 1,)) + piece for piece in pieces)


def lzw(raw: bytes) -> bytes:
    """TIFF 6.0, section 13; the table is cleared so often that codes stay 9 bits long."""
    codes: list[int] = []
    for at, byte in enumerate(raw):
        if at % 200 == 0:
            codes.append(256)
        codes.append(byte)
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def of_depth(levels: NDArray[np.uint8], bits: int, rng: Any = None) -> Samples:
    """uint8 [H, W] or [H, W, C] -> samples of so many bits that lie in the same 256th of the range, [H, W, C]."""
    wide = levels.astype(np.uint32) if levels.ndim == 3 else levels.astype(np.uint32)[:, :, None]
    low = (rng or np.random.default_rng(1)).integers(0, 1 << 8, wide.shape, dtype=np.uint32)
    return ((wide << 8 | low) >> (16 - bits)).astype(np.uint16)
