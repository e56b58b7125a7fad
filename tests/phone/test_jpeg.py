"""JPEG has the desktop's pixels on the phone, and what is cut, damaged or lost is refused by the same code."""

import itertools
import random
import struct
from pathlib import Path
from typing import Any

import cv2
import pytest

from both_decoders import File, differences, here, open_codecs, there
from image_corpus import material
from phone_modules import Kept, Modules

desktop = material("test_jpeg")  # its files
RARE: list[str] = desktop.RARE
WHOLE: dict[str, bytes] = {what: data for what, data in desktop.WHOLE.items() if what not in RARE}
EOI = b"\xff\xd9"


@pytest.fixture(scope="module")
def codecs(modules: Modules) -> Kept:
    return open_codecs(modules)


def test_a_whole_jpeg_of_every_kind_has_the_desktops_pixels(modules: Modules, codecs: Kept) -> None:
    files = [File(what, "a.jpg", data) for what, data in WHOLE.items()]
    assert differences(modules, codecs, files) == []
    assert {type(found) for found in there(modules, codecs, files)} == {tuple}


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_pixels_are_equal_at_every_edge_of_a_block(modules: Modules, codecs: Kept, sampling: str) -> None:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")]
    files = []
    for height, width in itertools.product((1, 2, 7, 8, 9, 15, 16, 17, 31, 33), repeat=2):
        encoded = cv2.imencode(".jpg", desktop.texture(40, 40)[:height, :width], options)[1]
        files.append(File(f"{height} x {width}", "a.jpg", encoded.tobytes()))
    assert differences(modules, codecs, files) == []


@pytest.mark.parametrize("what", WHOLE)
def test_a_jpeg_that_was_cut_and_closed_again_is_refused(modules: Modules, codecs: Kept, what: str) -> None:
    data = WHOLE[what]
    cuts = random.Random(1).sample(range(desktop.scan_start(data) + 1, len(data) - 3), 400)
    files = [File(f"{what}, cut at {at}", "a.jpg", data[:at] + EOI) for at in cuts]
    assert set(there(modules, codecs, files)) <= desktop.DAMAGED
    assert differences(modules, codecs, files[:100]) == []


@pytest.mark.parametrize("what", WHOLE)
def test_a_lost_sector_and_missing_scans_are_refused_by_the_same_code(modules: Modules, codecs: Kept, what: str) -> None:
    data = WHOLE[what]
    places = range(desktop.scan_start(data) + 64, len(data) - 514, 97)
    scans = [at for at in range(200, len(data)) if data.startswith(b"\xff\xda", at)]
    files = [File(f"{what}, zeros at {at}", "a.jpg", data[:at] + bytes(512) + data[at + 512 :]) for at in places]
    files += [File(f"{what}, without the scan at {at}", "a.jpg", data[:at] + EOI) for at in scans]
    assert differences(modules, codecs, files) == []


@pytest.mark.parametrize("what", WHOLE)
def test_a_flipped_bit_that_the_desktop_refuses_is_refused(modules: Modules, codecs: Kept, what: str) -> None:
    data, rng, files = WHOLE[what], random.Random(2), []
    for _ in range(100):
        at, bit = rng.randrange(2, len(data) - 2), 1 << rng.randrange(8)
        files.append(File(f"bit {bit} of {at}", "a.jpg", data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]))
    pairs = list(zip(files, map(here, files), there(modules, codecs, files), strict=True))
    # libjpeg reads ahead, on the desktop by 8 bytes and in wasm by 4: so another of its warnings may be the first.
    refused = [(one, other) for _, one, other in pairs if isinstance(one, str)]
    assert [pair for pair in refused if len(set(pair)) > 1 and not set(pair) <= desktop.DAMAGED] == []
    # It hears of more bytes that are left over; and coefficients that no encoder writes overflow in one way in a processor's
    # vectors and in another in plain C, as on the desktop with JSIMD_FORCENONE=1.
    others = [file.what for file, one, other in pairs if not isinstance(one, str) and one != other]
    assert len(others) <= len(files) // 8
    assert len(refused) > 4


def test_a_rare_sampling_is_refused_by_its_name(modules: Modules, codecs: Kept) -> None:
    assert RARE
    files = [File(what, "a.jpg", desktop.WHOLE[what]) for what in RARE]
    assert there(modules, codecs, files) == ["E-IMAGE-PHONE"] * len(RARE)


def test_what_does_not_touch_the_pixels_does_not_refuse_them(modules: Modules, codecs: Kept) -> None:
    data = WHOLE["baseline 4:2:0"]
    files = [File(what, "a.jpg", change(data)) for what, change in desktop.HARMLESS.items()]
    assert differences(modules, codecs, files) == []


def exif_of_type(kind: int, order: str, value: int) -> bytes:
    """EXIF with an orientation of any type of value."""
    plain = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 13: "I"}
    pairs = {5: ("II", value * 3, 3), 10: ("ii", -value, -1), 12: ("d", value), 16: ("Q", value)}
    if kind in plain:
        place, elsewhere = struct.pack(order + plain[kind], value).ljust(4, b"\0"), b""
    else:
        form, *numbers = pairs.get(kind, ("Q", 0))
        place, elsewhere = struct.pack(order + "I", 26), struct.pack(order + form, *numbers)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + head + struct.pack(order + "HHHI", 1, 0x0112, kind, 1) + place + bytes(4) + elsewhere


def test_the_orientation_is_found_where_pillow_finds_it(modules: Modules, codecs: Kept) -> None:
    files: list[Any] = []
    for kind, order, value in itertools.product(range(18), "<>", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)):
        exif = exif_of_type(kind, order, value)
        files.append(File(f"type {kind} {order} {value}", "a.jpg", desktop.with_exif(exif)))
    assert differences(modules, codecs, files) == []
    assert len({found[1] for found in there(modules, codecs, files)}) == 2  # upright, and on its side


def test_damaged_exif_turns_a_picture_as_on_the_desktop(modules: Modules, codecs: Kept) -> None:
    good, rng = desktop.turned(), random.Random(4)
    damaged = [good[:kept] for kept in range(6, len(good), 3)]
    for _ in range(150):
        at = rng.randrange(6, len(good))
        damaged.append(good[:at] + rng.randbytes(rng.randrange(1, 5)) + good[at + rng.randrange(5) :])
    damaged += [b"Exif\0\0" + good, good + b"\0" * 40]
    files = [File(content.hex(), "a.jpg", desktop.with_exif(content)) for content in damaged]
    assert differences(modules, codecs, files) == []


def test_a_codec_that_has_met_damage_decodes_the_next_picture(modules: Modules, codecs: Kept) -> None:
    data = WHOLE["progressive"]
    whole, cut = File("whole", "a.jpg", data), File("cut", "a.jpg", data[: len(data) // 2] + EOI)
    first, *found = there(modules, codecs, [whole, cut, cut, whole, cut, whole])
    assert found == ["E-IMAGE-TRUNCATED", "E-IMAGE-TRUNCATED", first, "E-IMAGE-TRUNCATED", first]


def test_the_pictures_of_the_desktops_tests_are_equal(modules: Modules, codecs: Kept) -> None:
    folder = Path(__file__).parents[1] / "edge_app" / "data" / "images"
    files = [
        File(path.name, path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".jpeg")
    ]
    assert len(files) > 5
    assert differences(modules, codecs, files) == []
