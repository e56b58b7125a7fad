"""The container walk in JavaScript says of each file what edge_app's says: the same fields, or the same refusal."""

import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from image_corpus import material
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image import containers
from limiar.edge_app.image.containers import tiff
from phone_modules import JsError, Modules

bad, foreign, trailing = (material(f"test_{name}") for name in ("bad_images", "foreign", "trailing"))
LEFT_OUT = {"has_text", "pixels", "frames"}  # of a PNG, what only Pillow needs; of DICOM alone
CHANGED = 60  # damaged copies of each kind of file
FILES = {
    **{name: (one.name, one.data) for name, one in bad.BAD.items()},
    **{name: (name, data) for name, data in bad.GOOD.items()},
    **{f"foreign {name}": (name, data) for name, (data, *_) in foreign.FOREIGN.items()},
    **{f"behind it, {name}": ("photo.jpg", data) for name, (data, _) in trailing.UNDERSTOOD.items()},
    **{f"hidden, {name}": ("photo.jpg", trailing.JPEG + data) for name, data in trailing.HIDDEN.items()},
}


@pytest.fixture(autouse=True)
def _inflated_by_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the phone, a TIFF's decoder checks what it inflates: once is enough."""
    monkeypatch.setattr(tiff, "_check_deflated", lambda *_: None)


def said(name: str, data: bytes) -> Any:
    """The fields of a file's container by their names in JavaScript, or its refusal."""
    if containers.is_dicom(data):
        error = containers.refusal(containers.DICOM)
        return error.code, error.message
    try:
        found = msgspec.to_builtins(containers.inspect_named(data, name))
    except ImageError as error:
        return error.code, error.message
    return camel({key: value for key, value in found.items() if key not in LEFT_OUT})


def camel(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, dict):
        return value
    return {re.sub("_(.)", lambda match: match[1].upper(), key): camel(inner) for key, inner in value.items()}


def differences(modules: Modules, files: Iterable[tuple[str, bytes]]) -> list[str]:
    files = list(files)
    found = modules.each("/image/containers/index.js", "inspectNamed", [(data, name) for name, data in files])
    pairs = zip(files, [(one.code, one.message) if isinstance(one, JsError) else one for one in found], strict=True)
    return [f"{name}: {said(name, data)} here, {one} there" for (name, data), one in pairs if said(name, data) != one]


def test_a_container_is_walked_as_on_the_desktop(modules: Modules) -> None:
    assert len(FILES) > 600
    assert differences(modules, FILES.values()) == []


@pytest.mark.parametrize("name", bad.GOOD)
def test_a_damaged_container_is_refused_as_on_the_desktop(modules: Modules, name: str) -> None:
    chance = random.Random(name)
    files = []
    for _ in range(CHANGED):
        data = bytearray(bad.GOOD[name])
        for _ in range(chance.randint(1, 4)):
            data[min(int(chance.expovariate(0.02)), len(data) - 1)] = chance.choice((0, 1, 255, chance.randrange(256)))
        files.append((name, bytes(data[: chance.choice((len(data), chance.randrange(len(data) + 1)))])))
    assert differences(modules, files) == []


def test_a_name_is_taken_for_a_picture_s_as_on_the_desktop(modules: Modules) -> None:
    names = ["x.PNG", ".png", "..png", "a.b/c", "a/.hidden.jpg", "x.", "x.tar.gz", "", "photo.JFIF", "x.png.exe", "dir.png/x"]
    found = modules.each("/image/containers/index.js", "extensionOf", [(name,) for name in names])
    assert dict(zip(names, found, strict=True)) == {name: containers._extension(name) for name in names}


def test_a_file_without_a_name_is_a_picture_by_its_first_bytes(modules: Modules) -> None:
    heads = [data[:200] for _, data in FILES.values()]
    found = modules.each("/image/containers/index.js", "holdsPicture", [(head,) for head in heads])
    assert found == [containers.holds_picture(head) for head in heads]
    assert {True, False} == set(found)


def test_the_cases_that_went_wrong_are_told_apart_as_on_the_desktop(modules: Modules, cases: Path) -> None:
    files = [path for path in sorted(cases.rglob("*")) if path.is_file() and path.suffix not in (".mp4", ".md")]
    assert len(files) > 30
    assert differences(modules, ((path.name, path.read_bytes()) for path in files)) == []
