"""A TIFF whose strips or tiles are cut or overwritten is refused, not filled with black, and nothing is written to stderr."""

import io
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.tiff import inspect
from limiar.edge_app.image.read import decode
from refusals import refusal
from tiff_writer import DEFLATE, LZW, PACKBITS, RAW, Layout, lzw, of_depth, tiff

COMPRESSIONS = {"raw": RAW, "lzw": LZW, "deflate": DEFLATE, "packbits": PACKBITS}


def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(2).integers(0, 256, (53, 45), dtype=np.uint8)


def entry(data: bytes, tag: int) -> tuple[int, int]:
    """Where a tag's values lie (all are LONG), and how many there are."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        found, _, values, offset = struct.unpack_from(f"{order}HHII", data, place)
        if found == tag:
            return (place + 8 if values == 1 else offset), values
    raise KeyError(tag)


def numbers(data: bytes, tag: int) -> tuple[int, ...]:
    at, count = entry(data, tag)
    return struct.unpack_from(f"{'<' if data.startswith(b'II') else '>'}{count}I", data, at)


def with_number(data: bytes, tag: int, index: int, value: int) -> bytes:
    at, _ = entry(data, tag)
    changed = bytearray(data)
    struct.pack_into(f"{'<' if data.startswith(b'II') else '>'}I", changed, at + 4 * index, value)
    return bytes(changed)


DAMAGE = ("E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN")


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_strip_or_tile_that_is_cut_is_refused_whichever_it_is(
    bits: int, order: str, tile: tuple[int, int] | None, compression: str
) -> None:
    whole = tiff(of_depth(picture(), bits), Layout(bits, order, 1, COMPRESSIONS[compression], tile))
    assert refusal(whole) == "answered"
    counts = numbers(whole, 325 if tile else 279)
    for index, count in enumerate(counts):
        for kept in (0, 1, count // 3, count // 2, count - 3):
            assert refusal(with_number(whole, 325 if tile else 279, index, kept)) in DAMAGE, (index, kept)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits"])
def test_a_compressed_strip_or_tile_that_is_zeroed_from_anywhere_is_refused(
    bits: int, tile: tuple[int, int] | None, compression: str
) -> None:
    whole = tiff(of_depth(picture(), bits), Layout(bits, "<", 1, COMPRESSIONS[compression], tile))
    offsets, counts = (numbers(whole, tag) for tag in ((324, 325) if tile else (273, 279)))
    for offset, count in zip(offsets, counts, strict=True):
        # PackBits' literal bytes are pixels, and 0 is one.
        for kept in (0,) if compression == "packbits" else (0, 2, count // 3, count // 2, count - 8):
            changed = bytearray(whole)
            changed[offset + kept : offset + count] = bytes(count - kept)
            assert refusal(bytes(changed)) in DAMAGE, (offset, kept)


@pytest.mark.parametrize("tile", [None, (32, 16)])
def test_a_strip_or_tile_that_a_sparse_file_leaves_out_is_refused(tile: tuple[int, int] | None) -> None:
    data = with_number(tiff(picture()[:, :, None], Layout(8, tile=tile)), 324 if tile else 273, 1, 0)
    with pytest.raises(ImageError, match="strip or tile 2 of the TIFF has no place"):
        decode(data)


def test_a_bit_that_is_wrong_in_a_deflated_strip_is_refused() -> None:
    whole = tiff(of_depth(picture(), 8), Layout(8, "<", 1, DEFLATE))
    offset, count = numbers(whole, 273)[1], numbers(whole, 279)[1]
    for place in range(offset, offset + count, 7):
        changed = bytearray(whole)
        changed[place] ^= 4
        assert refusal(bytes(changed)) in DAMAGE


def test_a_fax_that_is_cut_or_zeroed_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture()).convert("1").save(tmp_path / "fax.tif", compression="group4")
    whole = (tmp_path / "fax.tif").read_bytes()
    with Image.open(tmp_path / "fax.tif") as opened:
        (offset,), (count,) = opened.tag_v2[273], opened.tag_v2[279]  # type: ignore[attr-defined]
    changed = bytearray(whole)
    changed[offset + count // 2 : offset + count] = bytes(count - count // 2)
    assert refusal(bytes(changed)) == "E-IMAGE-TRUNCATED"


def pillows(image: Image.Image, compression: str) -> tuple[bytes, int, int]:
    """A TIFF as Pillow writes it, and from and to which byte its only strip stands."""
    file = io.BytesIO()
    image.save(file, "TIFF", compression=compression, tiffinfo={278: image.height})
    with Image.open(file) as opened:
        (offset,), (count,) = opened.tag_v2[273], opened.tag_v2[279]  # type: ignore[attr-defined]
    return file.getvalue(), offset, offset + count


def without_sector(data: bytes, at: int, fill: bytes = b"\0") -> bytes:
    return data[:at] + fill * 512 + data[at + 512 :]


def test_a_sector_that_a_fax_lost_is_refused() -> None:
    whole, start, end = pillows(Image.fromarray(np.tile(picture(), (4, 4))).convert("1"), "group4")
    assert refusal(whole) == "answered"
    for at in range(start, end - 600, 50):
        assert refusal(without_sector(whole, at)) == "E-IMAGE-TRUNCATED"


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "YCbCr"])
@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_a_sector_that_packed_runs_lost_is_refused(mode: str, fill: bytes) -> None:
    photograph = Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole, start, end = pillows(photograph.quantize() if mode == "P" else photograph.convert(mode), "packbits")
    assert refusal(whole) == "answered"
    for at in range(start, end - 600, 97):
        assert refusal(without_sector(whole, at, fill)) in DAMAGE


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "YCbCr"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma"])
def test_a_strip_that_is_zeroed_up_to_its_end_is_refused_in_any_colours(mode: str, compression: str) -> None:
    photograph = Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole, start, end = pillows(photograph.quantize() if mode == "P" else photograph.convert(mode), compression)
    assert refusal(whole) == "answered"
    for at in range(start, end - 150, 97):  # the last run of packed ones may be pixels that are black
        assert refusal(whole[:at] + bytes(end - at) + whole[end:]) in DAMAGE, at


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("rows", [16, 40])
def test_ycbcr_in_any_subsampling_is_checked_and_answered(subsampling: tuple[int, int], rows: int) -> None:
    across, down = subsampling
    blocks = [math.ceil(37 / across) * math.ceil(min(rows, 53 - top) / down) for top in range(0, 53, rows)]
    strips = [bytes([120] * (count * (across * down + 2))) for count in blocks]
    whole = ycbcr_tiff(strips, 37, 53, rows, subsampling)
    assert refusal(whole) == "answered"
    assert refusal(ycbcr_tiff([*strips[:-1], strips[-1][:-3]], 37, 53, rows, subsampling)) in DAMAGE


def ycbcr_tiff(strips: list[bytes], width: int, height: int, rows: int, subsampling: tuple[int, int]) -> bytes:
    """Little-endian, strips in LZW."""
    packed = [lzw(strip) for strip in strips]
    places = [8 + sum(map(len, packed[:number])) for number in range(len(packed))]
    at = 8 + sum(map(len, packed))
    longs = struct.pack(f"<{2 * len(packed)}I", *places, *map(len, packed))
    tags = {256: width, 257: height, 259: LZW, 262: 6, 277: 3, 278: rows}
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[258] = struct.pack("<HHII", 258, 3, 3, at + len(longs))
    entries[530] = struct.pack("<HHIHH", 530, 3, 2, *subsampling)
    for tag, place in ((273, at), (279, at + 4 * len(packed))):
        value = place if len(packed) > 1 else struct.unpack_from("<I", longs, place - at)[0]
        entries[tag] = struct.pack("<HHII", tag, 4, len(packed), value)
    directory = struct.pack("<H", len(entries)) + b"".join(entry for _, entry in sorted(entries.items())) + bytes(4)
    body = b"".join(packed) + longs + struct.pack("<3H", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


@pytest.mark.parametrize("compression", ["raw", "packbits"])
def test_differences_that_only_some_decoders_add_up_are_refused(compression: str) -> None:
    with pytest.raises(ImageError, match="predictor 2") as refused:
        decode(tiff(of_depth(picture(), 8), Layout(8, "<", 1, COMPRESSIONS[compression], predictor=2)))
    assert refused.value.code == "E-IMAGE-FORMAT"


def test_a_palette_of_reversed_bits_is_named() -> None:
    with pytest.raises(ImageError, match="palette whose bits are stored in reverse"):
        decode(tiff(of_depth(picture(), 4), Layout(4, "<", 3, fill=2)))


def test_samples_of_different_depths_are_named() -> None:
    data = bytearray(tiff(of_depth(np.stack([picture()] * 3, axis=2), 8), Layout(8, "<", 2)))
    at, _ = entry(bytes(data), 258)
    struct.pack_into("<3I", data, at, 8, 8, 6)
    with pytest.raises(ImageError, match="samples have 8, 8, 6 bits") as refused:
        decode(bytes(data))
    assert refused.value.code == "E-IMAGE-DEPTH"


@pytest.mark.parametrize("compression", [2, 3, 6, 50001, 34676, 12345])
def test_a_compression_that_is_not_read_is_named(compression: int) -> None:
    with pytest.raises(ImageError, match="a TIFF in ") as refused:
        decode(with_number(tiff(of_depth(picture(), 8), Layout(8)), 259, 0, compression))
    assert refused.value.code == "E-IMAGE-FORMAT"


@pytest.mark.parametrize(
    ("tag", "value", "codes"),
    [
        (322, 46_000, DAMAGE),  # a tile's sides; 46,000 x 64 are not too many yet
        (323, 46_000, DAMAGE),
        (322, 2**32 - 1, ("E-IMAGE-PIXELS",)),
        (322, 0, ("E-IMAGE-BROKEN",)),
        (323, 0, ("E-IMAGE-BROKEN",)),
        (256, 2**32 - 1, ("E-IMAGE-PIXELS",)),
        (257, 2**31, ("E-IMAGE-PIXELS",)),
        (277, 65_535, ("E-IMAGE-COLOUR",)),
        (277, 0, ("E-IMAGE-COLOUR",)),
    ],
)
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_sizes_that_tags_claim_are_counted_before_anything_is_made(
    tag: int, value: int, codes: tuple[str, ...], bits: int, compression: str
) -> None:
    whole = tiff(of_depth(picture(), bits), Layout(bits, "<", 1, COMPRESSIONS[compression], (64, 48)))
    assert refusal(with_number(whole, tag, 0, value)) in codes


@pytest.mark.parametrize("tag", [322, 323])
def test_a_tile_s_side_without_a_value_is_refused(tag: int) -> None:
    data = bytearray(tiff(of_depth(picture(), 8), Layout(8, "<", 1, RAW, (64, 48))))
    at, _ = entry(bytes(data), tag)
    struct.pack_into("<I", data, at - 4, 0)
    assert refusal(bytes(data)) == "E-IMAGE-BROKEN"


class Counted(bytes):
    """Bytes that count how often they are asked for a part."""

    asked = 0

    def __getitem__(self, place: Any) -> Any:
        self.asked += 1
        return super().__getitem__(place)


def test_a_tag_that_repeats_is_read_once() -> None:
    """Of half a megabyte, its 262,140 values were read 2,000 times: that took three minutes."""
    entries = struct.pack("<HHII", 258, 3, 262_140, 8) * 2_000
    data = Counted((b"II*\0" + struct.pack("<IH", 8, 2_000) + entries + bytes(4)).ljust(8 + 2 * 262_140, b"\0"))
    with pytest.raises(ImageError, match="without tag 256"):
        inspect(data)
    assert 262_140 < data.asked < 300_000


def test_a_tile_of_46000_pixels_a_side_takes_no_memory(tmp_path: Path) -> None:
    """In a process of its own, which may have 1 GB of addresses: libtiff would ask for 2.1."""
    made = tiff(of_depth(picture(), 8), Layout(8, "<", 1, LZW, (64, 48)))
    (tmp_path / "x.tif").write_bytes(with_number(with_number(made, 322, 0, 46_000), 323, 0, 46_000))
    script = (
        "import sys; from limiar.edge_app.image.read import decode, read_file\n"
        "from limiar.edge_app.bench.start import memory_mb\n"
        "from limiar.edge_app.errors import ImageError\n"
        "before = memory_mb('VmHWM')\n"
        "try: decode(read_file(sys.argv[1]))\n"
        "except ImageError as error: print(error.code)\n"
        "print(memory_mb('VmHWM') - before)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script, tmp_path / "x.tif"], capture_output=True, text=True, timeout=60)
    code, grown_mb = done.stdout.split()
    assert code == "E-IMAGE-PIXELS"
    assert float(grown_mb) < 50


def test_a_deflated_strip_that_never_ends_is_not_inflated_for_ever() -> None:
    whole = tiff(of_depth(picture(), 8), Layout(8, "<", 1, DEFLATE, rows=53))
    bomb = zlib.compress(bytes(200_000_000), 9)
    (at, _), (count_at, _) = entry(whole, 273), entry(whole, 279)
    changed = bytearray(whole + bytes(len(whole) % 2) + bomb)
    struct.pack_into("<I", changed, at, len(whole) + len(whole) % 2)
    struct.pack_into("<I", changed, count_at, len(bomb))
    assert refusal(bytes(changed)) in DAMAGE


def test_no_command_lets_libtiff_write_to_stderr(tiny_path: Path, tmp_path: Path, limiar: Any) -> None:
    folder = tmp_path / "images"
    for number, compression in enumerate((LZW, PACKBITS)):
        for bits in (8, 12, 16):
            whole = tiff(of_depth(picture(), bits), Layout(bits, "<", 1, compression))
            for label, kept in (("neg", 0.3), ("pos", 0.6)):
                offset, count = numbers(whole, 273)[1], numbers(whole, 279)[1]
                changed = bytearray(whole)
                changed[offset + int(kept * count) : offset + count] = bytes(count - int(kept * count))
                place = folder / label / f"{number}-{bits}.tif"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(changed)
    done = limiar("scan", tiny_path, folder, "--db", tmp_path / "results.db")
    assert done.returncode == 4
    assert len(done.stdout.splitlines()) == 12
    assert not _of_libtiff(done.stderr), done.stderr
    script = (
        "import sys; from pathlib import Path; from limiar.edge_app.bundle.manifest import InputSpec\n"
        "from limiar.train.dataset.image_folder import load\nfrom limiar.train.dataset.splits import Shares\n"
        "from limiar.edge_app.errors import DataError\n"
        "try: load(Path(sys.argv[1]), None, InputSpec(40, 40, 3), Shares(seed=0), lambda *_: None)\n"
        "except DataError as error: print(error.code)\n"
        "print('still there', file=sys.stderr)\n"
    )
    read = subprocess.run([sys.executable, "-P", "-c", script, folder], capture_output=True, timeout=60)
    assert read.stdout == b"E-DATA-IMAGE\n"
    assert read.stderr == b"still there\n"


def _of_libtiff(stderr: bytes) -> list[bytes]:
    return [line for line in stderr.splitlines() if any(word in line for word in (b"Decode", b"tempfile.tif", b"TIFF"))]


def test_a_tiff_is_decoded_where_stderr_is_closed() -> None:
    whole = tiff(of_depth(picture(), 16), Layout(16, "<", 1, LZW))
    script = (
        "import os, sys; os.close(2); from limiar.edge_app.image.read import decode\n"
        "print(decode(sys.stdin.buffer.read()).shape)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], input=whole, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == b"(53, 45)\n"
