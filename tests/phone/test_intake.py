"""Chosen files and folders on the phone's page: the pictures that `limiar scan` takes, in its order."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limiar.edge_app.image.folder import unwanted, walk
from phone_modules import JsError, Modules

PNG = b"\x89PNG\r\n\x1a\n"
TREE = {
    "b.png": PNG, "a/z.PNG": b"", "a/b.jpeg": b"", "a.png.txt": b"", "notes.txt": b"", "more.TXT": b"", "README": b"text",
    "IMG_0001": PNG, "slice.001": PNG, "no.002": b"no picture", "photo.heic": b"", ".hidden.png": b"", ".git/a.png": b"",
    ".git/b.png": b"", "@eaDir/thumb.png": b"", "found.000/lost.png": b"", "Thumbs.db": b"", "x.png.part": b"", "~a.png": b"",
    "a.png~": b"", "a b/é.tif": b"", "a b/ü.pgm": b"", "a-b/1.bmp": b"", "Z/1.webp": b"", "z/1.dcm": b"",
    "deep/er/and/er/1.ppm": b"",
}  # fmt: skip
CHOSEN = """
async element => {
  const {chosenPictures} = await import("/web/intake.js");
  const {jobs, passed, extensions} = await chosenPictures(element.files);
  return {paths: jobs.map(({path}) => path), passed, extensions: Object.fromEntries(extensions)};
}
"""
# A File, or a folder, as a drop gives it; a folder reads two entries at a time.
DROPPED = """
async dropped => {
  const {droppedPictures} = await import("/web/intake.js");
  const entry = (path, inner) => typeof inner === "string"
    ? {isFile: true, fullPath: path, name: path, file: found => found(new File([inner], path.split("/").pop()))}
    : {isFile: false, fullPath: path, createReader() {
        const left = Object.entries(inner).map(([name, one]) => entry(`${path}/${name}`, one));
        return {readEntries: found => found(left.splice(0, 2))};
      }};
  const item = ([name, inner]) => ({kind: "file", webkitGetAsEntry: () => entry(`/${name}`, inner)});
  const items = Object.entries(dropped).map(item);
  const {jobs, passed} = await droppedPictures([{kind: "string"}, ...items]);
  return {paths: jobs.map(({path}) => path), passed};
}
"""


def chosen(modules: Modules, *paths: Path, folder: bool = False) -> Any:
    field = f"<input type=file multiple {'webkitdirectory' if folder else ''}>"
    modules.page.evaluate("html => { document.body.innerHTML = html }", field)
    input = modules.page.locator("input")
    input.set_input_files([str(path) for path in paths])
    return input.evaluate(CHOSEN)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "chosen"
    for name, data in TREE.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


def test_of_a_folder_the_pictures_of_a_scan_are_taken_in_its_order(modules: Modules, tree: Path) -> None:
    found = chosen(modules, tree, folder=True)
    walked = list(walk(os.fsencode(tree)))
    assert found["paths"] == [os.fsdecode(one.path).removeprefix(f"{tree.parent}/") for one in walked if one.kind is None]
    count = Counter(one.kind for one in walked if one.kind)
    assert {kind: number for kind, number in found["passed"].items() if number} == count
    assert found["extensions"] == {".txt": 3, "": 1, ".002": 1}


def test_files_that_are_chosen_by_themselves_are_always_tried(modules: Modules, tree: Path) -> None:
    names = ["notes.txt", ".hidden.png", "b.png"]
    found = chosen(modules, *(tree / name for name in names))
    assert found["paths"] == names
    assert set(found["passed"].values()) == {0}


def test_dropped_folders_are_looked_through_and_dropped_files_are_tried(modules: Modules) -> None:
    dropped = {"notes.txt": "", "scans": {"b.png": "", "a.png": "", ".x.png": "", "in": {"c.jpg": ""}, "d.txt": ""}}
    found = modules.page.evaluate(DROPPED, dropped)
    assert found["paths"] == ["notes.txt", "scans/a.png", "scans/b.png", "scans/in/c.jpg"]
    assert (found["passed"]["hidden"], found["passed"]["other"]) == (1, 1)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(modules: Modules) -> None:
    with pytest.raises(JsError) as refused:
        modules.call("/intake.js", "readJob", {"file": {"size": 64_000_001}})
    assert (refused.value.code, refused.value.message) == (
        "E-IMAGE-BYTES",
        "64000001 bytes, the limit is 64000000: make it smaller",
    )


def test_a_file_that_was_deleted_meanwhile_is_refused(modules: Modules, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    chosen(modules, path)
    path.unlink()
    read = 'async field => (await import("/web/intake.js")).readJob({file: field.files[0]}).catch(error => error.code)'
    assert modules.page.locator("input").evaluate(read) == "E-IMAGE-READ"


NAMES = st.text(st.sampled_from("aZ.~ -_0éü日😀"), min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=20))
def test_the_order_is_that_of_the_bytes_of_each_name(modules: Modules, paths: list[list[str]]) -> None:
    names = sorted({tuple(os.fsencode(part) for part in path) for path in paths})
    expected = [os.fsdecode(b"/".join(path)) for path in names]
    assert modules.call("/intake.js", "inWalkOrder", sorted(expected)) == expected


SPECIAL = [
    "Thumbs.db",
    "$RECYCLE.BIN",
    "found.001",
    "FOUND.9999",
    "lost+found",
    "a.part",
    "b.crdownload",
    "~x",
    "x~",
    ".a",
    "Icon\r",
]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES | st.sampled_from(SPECIAL), min_size=1, max_size=40), st.booleans())
def test_names_are_unwanted_as_on_a_device(modules: Modules, names: list[str], is_folder: bool) -> None:
    names += SPECIAL
    found = modules.each("/intake.js", "unwantedName", [(name, is_folder) for name in names])
    assert found == [unwanted(name, is_folder) for name in names]


def test_the_lists_of_names_are_those_of_the_python(modules: Modules) -> None:
    from limiar.edge_app.image import folder

    listed = [*folder._SYSTEM, *(f"a{extension}" for extension in folder._UNFINISHED)]
    found = modules.each("/intake.js", "unwantedName", [(name, False) for name in listed])
    assert found == ["system"] * len(folder._SYSTEM) + ["unfinished"] * len(folder._UNFINISHED)
