"""Each kind of picture has the desktop's pixels on the phone, or is refused there by name; damage is refused alike."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_corpus import Made, corpus, material
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode
from phone_modules import JsError, Kept, Modules, Parts

ON_THE_DESKTOP_ALONE = {
    *(f"TIFF in {packing}" for packing in ("fax", "JPEG", "LZMA", "zstd", "YCbCr")),
    "TIFF with too small a palette",
    "JPEG sampled 4:1:0",
}
PHONE = "E-IMAGE-PHONE"
MADE = list(corpus())
FORMATS = sorted({made.kind.split()[0] for made in MADE})
BATCH = 64  # files in one call of the browser
DAMAGED = 24  # copies of each kind of file

bad, foreign, trailing = (material(f"test_{name}") for name in ("bad_images", "foreign", "trailing"))


@pytest.fixture(scope="module")
def codecs(modules: Modules) -> Kept:
    return modules.keep("/codecs/index.js", "openCodecs", Parts())


def here(data: bytes, name: str, grey_max: int | None = None) -> Any:
    """What the desktop says: a refusal's code, or shape, what follows the end, and pixels."""
    spec = InputSpec(height=40, width=40, channels=3, grey_max=grey_max) if grey_max else None
    try:
        picture = decode(data, name, spec)
    except ImageError as error:
        return error.code
    return picture.shape, picture.trailing, picture[: picture.shape[0]]


def there(modules: Modules, codecs: Kept, files: Iterable[tuple[bytes, str, int | None]]) -> Iterator[Any]:
    """What the phone says of each, in the same words."""
    given = [(*file, codecs) for file in files]
    for start in range(0, len(given), BATCH):
        for found in modules.each("/image/index.js", "decode", given[start : start + BATCH]):
            if isinstance(found, JsError):
                yield found.code or f"{found.kind}: {found.message}"
            else:
                high, wide = found["height"], found["width"]
                shape = (high, wide) if found["channels"] == 1 else (high, wide, 3)
                yield shape, found["trailing"], np.frombuffer(found["pixels"], np.uint8).reshape(shape)


def differs(one: Any, other: Any) -> str:
    """How two answers differ; "": they do not."""
    if isinstance(one, str) or isinstance(other, str):
        said = [answer if isinstance(answer, str) else "answered" for answer in (one, other)]
        return "" if said[0] == said[1] else f"{said[0]} here, {said[1]} there"
    if one[:2] != other[:2]:
        return f"{one[:2]} here, {other[:2]} there"
    count = int((one[2] != other[2]).sum())
    return f"{count} of {one[2].size} samples" if count else ""


def test_the_corpus_has_over_600_different_pictures_of_every_format() -> None:
    assert len({made.data for made in MADE}) > 1100
    assert len({(made.kind, made.what) for made in MADE}) == len(MADE)
    assert FORMATS == ["BMP", "JPEG", "PGM", "PNG", "TIFF", "WebP"]


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_are_the_desktop_s_or_the_kind_is_refused_by_name(modules: Modules, codecs: Kept, format: str) -> None:
    files = [made for made in MADE if made.kind.split()[0] == format]
    answers = there(modules, codecs, ((made.data, made.name, made.grey_max) for made in files))
    wrong = {}
    for made, found in zip(files, answers, strict=True):
        wanted = here(made.data, made.name, made.grey_max)
        assert not isinstance(wanted, str), f"the desktop refuses {made.kind}, {made.what}: {wanted}"
        difference = differs(PHONE if made.kind in ON_THE_DESKTOP_ALONE else wanted, found)
        if difference:
            wrong[f"{made.kind}, {made.what}"] = difference
    assert wrong == {}


def test_what_only_the_desktop_reads_is_in_the_corpus() -> None:
    assert {made.kind for made in MADE} >= ON_THE_DESKTOP_ALONE


def refused_files() -> dict[str, tuple[bytes, str]]:
    """Damaged, foreign, hidden, too large, several in one: the files of edge_app's own tests."""
    found = {name: (one.data, one.name) for name, one in bad.BAD.items() if not one.code.endswith(("-THIN", "-UNIFORM"))}
    found |= {f"foreign {name}": (data, name) for name, (data, *_) in foreign.FOREIGN.items()}
    return found | {f"behind, {name}": (trailing.JPEG + data, "photo.jpg") for name, data in trailing.HIDDEN.items()}


def test_what_the_desktop_refuses_is_refused_with_its_code(modules: Modules, codecs: Kept) -> None:
    files = refused_files()
    assert len(files) > 500
    found = there(modules, codecs, ((data, name, None) for data, name in files.values()))
    pairs = zip(files.items(), found, strict=True)
    wrong = {what: differs(here(data, name), one) for (what, (data, name)), one in pairs}
    assert {what: difference for what, difference in wrong.items() if difference} == {}


def damaged(made: Made, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """A file that was cut, with a changed bit, with a lost sector."""
    data = made.data
    for _ in range(DAMAGED // 3):
        at = chance.randrange(len(data))
        yield "cut", data[:at]
        yield "bit", data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        yield "sector", data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]


def compared(modules: Modules, codecs: Kept, format: str) -> tuple[int, dict[str, list[str]]]:
    """How many damaged files of a format were compared, and by what happened to them, the differences."""
    chance = random.Random(format)
    kept = [made for made in MADE if made.kind == {"PGM": "PGM and PPM"}.get(format, format) and len(made.data) > 300]
    files = [(made, what, data) for made in chance.sample(kept, 20) for what, data in damaged(made, chance)]
    found = there(modules, codecs, ((data, made.name, made.grey_max) for made, _, data in files))
    wrong: dict[str, list[str]] = {}
    for (made, what, data), one in zip(files, found, strict=True):
        difference = differs(here(data, made.name, made.grey_max), one)
        if difference:
            wrong.setdefault(what, []).append(f"{made.what}: {difference}")
    return len(files), wrong


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "JPEG"])
def test_damage_is_refused_alike_or_gives_the_same_picture(modules: Modules, codecs: Kept, format: str) -> None:
    count, wrong = compared(modules, codecs, format)
    assert count == 20 * DAMAGED
    assert wrong == {}


def test_a_damaged_jpeg_is_refused_alike_but_for_few_of_those_that_still_decode(modules: Modules, codecs: Kept) -> None:
    """libjpeg in wasm has 32 bits: it reads ahead fewer bytes behind a wrong code, so that it hears of others. And it computes
    without SIMD: coefficients that no encoder writes overflow to other pixels."""
    count, wrong = compared(modules, codecs, "JPEG")
    assert "cut" not in wrong
    differences = [difference for several in wrong.values() for difference in several]
    assert len(differences) < 0.04 * count  # 3 of 480; of six times as many 43
    understood = (" samples", "answered here, E-IMAGE-BROKEN there", "E-IMAGE-BROKEN here, answered there")
    assert [difference for difference in differences if not difference.endswith(understood)] == []


def test_the_cases_that_went_wrong_are_answered_as_on_the_desktop(modules: Modules, codecs: Kept, cases: Path) -> None:
    paths = [path for path in sorted(cases.rglob("*")) if path.is_file() and path.suffix not in (".mp4", ".md")]
    found = there(modules, codecs, ((path.read_bytes(), path.name, None) for path in paths))
    wrong = {path.name: differs(here(path.read_bytes(), path.name), one) for path, one in zip(paths, found, strict=True)}
    assert len(wrong) > 30
    assert {name: difference for name, difference in wrong.items() if difference} == {}
