"""A bundle that is not exactly what its manifest says is refused, each way with its code.

Without a signature nobody can tell who wrote the manifest: a change of manifest.json that leaves it a valid manifest opens, as
another bundle with another name (its sha256), and every result carries that name.
"""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from limiar.edge_app.bundle.manifest import MANIFEST, BundleFile, Manifest, parse_manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import BundleError

INT8 = "tflite_int8.tflite"
TILED = {"of": "tflite_int8", "height": 80, "width": 80, "step": 8, "tolerance": 0.0}


def code_of(path: Path) -> str:
    """The code with which a bundle is refused, in one line; `opened` if it is not."""
    try:
        open_bundle(path)
    except BundleError as refused:
        error = refused
    else:
        return "opened"
    assert error.message.isprintable(), error.message
    assert len(error.message) < 600
    return error.code


def test_a_bundle_opens_and_gives_the_files_that_were_written(tiny_path: Path, tiny_bundle: Bundle) -> None:
    assert tiny_bundle.manifest.default_file == "tflite_int8"
    assert sorted(tiny_bundle.manifest.models) == ["onnx_fp32", "tflite_fp32", "tflite_int8"]
    model, data = tiny_bundle.model()
    assert (model.name, data) == ("tflite_int8", (tiny_path / INT8).read_bytes())
    assert tiny_bundle.read("golden/golden.json") == (tiny_path / "golden" / "golden.json").read_bytes()
    assert tiny_bundle.sha256 == hashlib.sha256((tiny_path / MANIFEST).read_bytes()).hexdigest()


def test_a_signature_file_may_lie_beside_the_manifest(tiny_copy: Path) -> None:
    (tiny_copy / "manifest.sig").write_bytes(bytes(64))
    assert code_of(tiny_copy) == "opened"


@pytest.mark.parametrize("name", ["tflite_int4", "", "../tflite_int8", "TFLITE_INT8"])
def test_a_model_file_that_is_not_there_is_refused_with_those_that_are(tiny_bundle: Bundle, name: str) -> None:
    if not name:
        assert tiny_bundle.model(name)[0].name == "tflite_int8"
        return
    with pytest.raises(BundleError, match=r"onnx_fp32, tflite_fp32, tflite_int8") as refused:
        tiny_bundle.model(name)
    assert refused.value.code == "E-BUNDLE-FILE"


def test_a_file_that_the_manifest_does_not_list_is_not_read(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError) as refused:
        tiny_bundle.read("../tiny/manifest.json")
    assert refused.value.code == "E-BUNDLE-MISSING"


# What may be wrong with the folder

Damage = Callable[[Path], object]


def replaced_by(make: Damage) -> Damage:
    def damage(bundle: Path) -> None:
        (bundle / INT8).unlink()
        make(bundle / INT8)

    return damage


def truncate(bundle: Path) -> None:
    os.truncate(bundle / INT8, 100)


def swap(bundle: Path) -> None:
    """Two listed files under each other's names, made equally long before by the manifest's words for them."""
    fp32 = (bundle / "tflite_fp32.tflite").read_bytes()
    (bundle / "tflite_fp32.tflite").write_bytes((bundle / INT8).read_bytes())
    (bundle / INT8).write_bytes(fp32)


def git(bundle: Path) -> None:
    (bundle / ".git").mkdir()
    (bundle / ".git" / "config").write_text("[core]\n")


FOLDERS: dict[str, tuple[Damage, str]] = {
    "no manifest": (lambda b: (b / MANIFEST).unlink(), "E-BUNDLE-MISSING"),
    "a link for a manifest": (
        lambda b: ((b / MANIFEST).rename(b.parent / "m"), (b / MANIFEST).symlink_to(b.parent / "m")),
        "E-BUNDLE-LINK",
    ),
    "a folder for a manifest": (lambda b: ((b / MANIFEST).unlink(), (b / MANIFEST).mkdir()), "E-BUNDLE-NOT-FILE"),
    "a FIFO for a manifest": (lambda b: ((b / MANIFEST).unlink(), os.mkfifo(b / MANIFEST)), "E-BUNDLE-NOT-FILE"),
    "a file missing": (lambda b: (b / INT8).unlink(), "E-BUNDLE-MISSING"),
    "a golden image missing": (lambda b: (b / "golden" / "odd.png").unlink(), "E-BUNDLE-MISSING"),
    "a folder missing": (lambda b: shutil.rmtree(b / "golden"), "E-BUNDLE-MISSING"),
    "a file too many": (lambda b: (b / "notes.txt").write_text("x"), "E-BUNDLE-UNLISTED"),
    "an empty folder too many": (lambda b: (b / "empty").mkdir(), "E-BUNDLE-UNLISTED"),
    "a file too many in a listed folder": (lambda b: (b / "golden" / "x").write_text("x"), "E-BUNDLE-UNLISTED"),
    "a dot file": (lambda b: (b / ".DS_Store").write_text("x"), "E-BUNDLE-UNLISTED"),
    "a dot file in a folder": (lambda b: (b / "golden" / "._odd.png").write_text("x"), "E-BUNDLE-UNLISTED"),
    "a .git folder": (git, "E-BUNDLE-UNLISTED"),
    "a case twin": (lambda b: (b / INT8.upper()).write_text("x"), "E-BUNDLE-UNLISTED"),
    "a name with a newline": (lambda b: (b / "a\nb").write_text("x"), "E-BUNDLE-UNLISTED"),
    "a name that is not UTF-8": (lambda b: open(os.fsencode(b) + b"/\xff", "wb").close(), "E-BUNDLE-UNLISTED"),
    "a name of 255 bytes": (lambda b: (b / ("n" * 255)).write_text("x"), "E-BUNDLE-UNLISTED"),
    "a backslash in a name": (lambda b: (b / "golden\\x").write_text("x"), "E-BUNDLE-UNLISTED"),
    "a link for a file": (replaced_by(lambda path: path.symlink_to("tflite_fp32.tflite")), "E-BUNDLE-LINK"),
    "a link to the same bytes": (
        lambda b: ((b / INT8).rename(b.parent / "m"), (b / INT8).symlink_to(b.parent / "m")),
        "E-BUNDLE-LINK",
    ),
    "a link for a folder": (
        lambda b: ((b / "golden").rename(b.parent / "g"), (b / "golden").symlink_to(b.parent / "g")),
        "E-BUNDLE-LINK",
    ),
    "a dangling link too many": (lambda b: (b / "x").symlink_to("nowhere"), "E-BUNDLE-LINK"),
    "a FIFO for a file": (replaced_by(os.mkfifo), "E-BUNDLE-NOT-FILE"),
    "a folder for a file": (replaced_by(Path.mkdir), "E-BUNDLE-NOT-FILE"),
    "a file for a folder": (
        lambda b: (shutil.rmtree(b / "golden"), (b / "golden").write_text("x")),
        "E-BUNDLE-UNLISTED",
    ),
    "a setuid file": (lambda b: (b / INT8).chmod(0o4755), "E-BUNDLE-NOT-FILE"),
    "a setgid file": (lambda b: (b / INT8).chmod(0o2755), "E-BUNDLE-NOT-FILE"),
    "a file cut short": (truncate, "E-BUNDLE-SIZE"),
    "an empty file": (lambda b: os.truncate(b / INT8, 0), "E-BUNDLE-SIZE"),
    "a file too long": (lambda b: os.truncate(b / INT8, 200_000), "E-BUNDLE-SIZE"),
    "two files swapped": (swap, "E-BUNDLE-SIZE"),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_is_not_the_bundle_of_its_manifest_is_refused(tiny_copy: Path, what: str) -> None:
    damage, code = FOLDERS[what]
    damage(tiny_copy)
    assert code_of(tiny_copy) == code


def test_a_folder_that_cannot_be_read_is_refused(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refused(path: Path) -> Any:
        if path.name == "golden":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))  # root, as which tests may run, meets none
        return scandir(path)

    monkeypatch.setattr("limiar.edge_app.bundle.open.os.scandir", refused)
    assert code_of(tiny_copy) == "E-BUNDLE-READ"


def test_a_device_in_a_bundle_is_refused(tiny_copy: Path) -> None:
    try:
        os.mknod(tiny_copy / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        assert os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") != "1", "LIMIAR_REQUIRE_ROOT_TESTS=1, and mknod needs root"
        pytest.skip("only root makes device files")
    assert code_of(tiny_copy) == "E-BUNDLE-UNLISTED"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x"), os.mkfifo])
def test_what_is_no_folder_is_no_bundle(tmp_path: Path, make: Damage) -> None:
    make(tmp_path / "bundle")
    assert code_of(tmp_path / "bundle") == "E-BUNDLE-MISSING"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("train.json", "is a RUN of limiar train: make a bundle from it with limiar convert RUN --out BUNDLE"),
        ("report.json", "has a report but no manifest.json"),
        ("cat/1.jpg", "is not a bundle: give the folder that limiar convert wrote"),
    ],
)
def test_a_folder_that_was_taken_for_a_bundle_is_called_what_it_is(tmp_path: Path, file: str, told: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(BundleError, match=told) as refused:
        open_bundle(tmp_path)
    assert refused.value.code == "E-BUNDLE-MISSING"


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "E-BUNDLE-MISSING"


def test_one_flipped_bit_in_any_listed_file_is_refused(tiny_copy: Path, tiny_bundle: Bundle) -> None:
    rng = random.Random(4)
    for file in tiny_bundle.manifest.files:
        path = tiny_copy / file.path
        good = path.read_bytes()
        for at in {0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(6))}:
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :])
            assert code_of(tiny_copy) == "E-BUNDLE-HASH", (file.path, at)
        path.write_bytes(good)
    assert code_of(tiny_copy) == "opened"


def test_a_flipped_bit_in_a_file_after_the_bundle_was_opened_is_refused_when_it_is_read(tiny_copy: Path) -> None:
    bundle = open_bundle(tiny_copy)
    data = bytearray((tiny_copy / INT8).read_bytes())
    data[1000] ^= 1
    (tiny_copy / INT8).write_bytes(data)
    with pytest.raises(BundleError) as refused:
        bundle.model()
    assert refused.value.code == "E-BUNDLE-HASH"


def test_one_flipped_bit_in_the_manifest_is_refused_or_gives_a_bundle_of_another_name(
    tiny_copy: Path, tiny_bundle: Bundle
) -> None:
    good = (tiny_copy / MANIFEST).read_bytes()
    opened = 0
    for at in range(0, len(good), 3):
        for bit in (0, 5):  # 5 changes a letter's case
            (tiny_copy / MANIFEST).write_bytes(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :])
            if code_of(tiny_copy) == "opened":
                opened += 1
                assert open_bundle(tiny_copy).sha256 != tiny_bundle.sha256
    assert opened > 0  # so it is said in this file's head and in docs/bundle.md


# What may be wrong with the manifest


def edited(path: Path, edit: Callable[[Any], object]) -> None:
    fields = json.loads((path / MANIFEST).read_bytes())
    edit(fields)
    (path / MANIFEST).write_text(json.dumps(fields))


def set_path(name: str) -> Callable[[Any], object]:
    return lambda m: m["files"][0].update(path=name)


def named(manifest: Any, path: str) -> Any:
    return next(file for file in manifest["files"] if file["path"] == path)


EDITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "another schema": (lambda m: m.update(schema=2), "E-BUNDLE-SCHEMA"),
    "schema true": (lambda m: m.update(schema=True), "E-BUNDLE-SCHEMA"),
    "schema 1.0 as text": (lambda m: m.update(schema="1"), "E-BUNDLE-SCHEMA"),
    "no schema": (lambda m: m.pop("schema"), "E-BUNDLE-SCHEMA"),
    "an unknown key": (lambda m: m.update(extra=1), "E-BUNDLE-MANIFEST"),
    "an unknown key of the input": (lambda m: m["input"].update(mean=0.5), "E-BUNDLE-MANIFEST"),
    "an unknown key of a file": (lambda m: m["files"][0].update(url="http://x"), "E-BUNDLE-MANIFEST"),
    "a missing key": (lambda m: m.pop("licence"), "E-BUNDLE-MANIFEST"),
    "no files": (lambda m: m.update(files=[]), "E-BUNDLE-MANIFEST"),
    "a size as text": (lambda m: m["files"][0].update(bytes="4"), "E-BUNDLE-MANIFEST"),
    "a negative size": (lambda m: m["files"][0].update(bytes=-1), "E-BUNDLE-MANIFEST"),
    "a short hash": (lambda m: m["files"][0].update(sha256="ab"), "E-BUNDLE-MANIFEST"),
    "a hash in capitals": (lambda m: m["files"][0].update(sha256="A" * 64), "E-BUNDLE-MANIFEST"),
    "a counter as a fraction": (lambda m: m.update(release_counter=1.5), "E-BUNDLE-MANIFEST"),
    "a negative counter": (lambda m: m.update(release_counter=-1), "E-BUNDLE-MANIFEST"),
    "an empty name": (lambda m: m.update(name=""), "E-BUNDLE-MANIFEST"),
    "a name that leaves the folder": (lambda m: m.update(name="../x"), "E-BUNDLE-MANIFEST"),
    "a name with a newline": (lambda m: m.update(name="x\n"), "E-BUNDLE-MANIFEST"),
    "two channels": (lambda m: m["input"].update(channels=2), "E-BUNDLE-MANIFEST"),
    "a height of 0": (lambda m: m["input"].update(height=0), "E-BUNDLE-MANIFEST"),
    "a height of 5000": (lambda m: m["input"].update(height=5000), "E-BUNDLE-MANIFEST"),
    "one label": (lambda m: m.update(labels=["neg"], positive=None), "E-BUNDLE-MANIFEST"),
    "a label twice": (lambda m: m.update(labels=["neg", "neg"], positive="neg"), "E-BUNDLE-MANIFEST"),
    "a label called refer": (lambda m: m.update(labels=["neg", "refer"], positive="neg"), "E-BUNDLE-MANIFEST"),
    "a label called refused": (lambda m: m.update(labels=["neg", "refused"], positive="neg"), "E-BUNDLE-MANIFEST"),
    "no positive label": (lambda m: m.update(positive=None), "E-BUNDLE-MANIFEST"),
    "another positive label": (lambda m: m.update(positive="maybe"), "E-BUNDLE-MANIFEST"),
    "a positive label of three": (lambda m: m.update(labels=["neg", "pos", "other"]), "E-BUNDLE-MANIFEST"),
    "a default file that is none": (lambda m: m.update(default_file="x"), "E-BUNDLE-MANIFEST"),
    "two model files of one name": (
        lambda m: named(m, "tflite_fp32.tflite")["model"].update(name="tflite_int8"),
        "E-BUNDLE-MANIFEST",
    ),
    "another format": (lambda m: named(m, INT8)["model"].update(format="pickle"), "E-BUNDLE-MANIFEST"),
    "refer below 2": (lambda m: named(m, INT8)["model"]["decision"].update(refer_below=2), "E-BUNDLE-MANIFEST"),
    "a negative tolerance": (lambda m: named(m, INT8)["model"]["tolerance"].update(same_runtime=-1), "E-BUNDLE-MANIFEST"),
    "a map whose cells have no size": (
        lambda m: named(m, INT8)["model"].update(class_map={"height": 5, "width": 5, "first": [0, 0], "step": [0, 8]}),
        "E-BUNDLE-MANIFEST",
    ),
    "a tiled file of no model file": (
        lambda m: named(m, "golden/odd.png").update(tiled={**TILED, "of": "tflite_int4"}),
        "E-BUNDLE-MANIFEST",
    ),
    "a tiled file that is a model file": (lambda m: named(m, INT8).update(tiled=TILED), "E-BUNDLE-MANIFEST"),
    "other decode rules": (lambda m: m["input"].update(decode="pillow-v2"), "E-BUNDLE-RULES"),
    "other resize rules": (lambda m: m["input"].update(resize="crop-v1"), "E-BUNDLE-RULES"),
    "a path above": (set_path("../x"), "E-BUNDLE-PATH"),
    "a path above from inside": (set_path("golden/../../x"), "E-BUNDLE-PATH"),
    "an absolute path": (set_path("/etc/passwd"), "E-BUNDLE-PATH"),
    "a path with a backslash": (set_path("golden\\x"), "E-BUNDLE-PATH"),
    "a path with a NUL": (set_path("x\0y"), "E-BUNDLE-PATH"),
    "a path with a newline": (set_path("x\ny"), "E-BUNDLE-PATH"),
    "a path with a dot": (set_path("./x"), "E-BUNDLE-PATH"),
    "a path with an empty part": (set_path("golden//x"), "E-BUNDLE-PATH"),
    "a path with a last slash": (set_path("golden/"), "E-BUNDLE-PATH"),
    "a drive letter": (set_path("C:x"), "E-BUNDLE-PATH"),
    "a path in other letters": (set_path("gold\u00e9n/x"), "E-BUNDLE-PATH"),
    "an over-long path": (set_path("x" * 241), "E-BUNDLE-PATH"),
    "the manifest itself": (set_path(MANIFEST), "E-BUNDLE-PATH"),
    "the signature": (set_path("manifest.sig"), "E-BUNDLE-PATH"),
    "a path twice": (set_path("tflite_int8.tflite"), "E-BUNDLE-PATH"),
    "a case twin": (set_path("TFLITE_INT8.tflite"), "E-BUNDLE-PATH"),
    "files over the total": (lambda m: m["files"][0].update(bytes=1 << 31), "E-BUNDLE-SIZE"),
    "a size that is not the file's": (lambda m: named(m, INT8).update(bytes=7), "E-BUNDLE-SIZE"),
    "a size that is one too much": (lambda m: named(m, INT8).update(bytes=named(m, INT8)["bytes"] + 1), "E-BUNDLE-SIZE"),
    "a hash that is not the file's": (lambda m: named(m, INT8).update(sha256="0" * 64), "E-BUNDLE-HASH"),
    "a file that is not there": (
        lambda m: m["files"].append({"path": "x", "bytes": 1, "sha256": "0" * 64}),
        "E-BUNDLE-MISSING",
    ),
    "a file not listed": (lambda m: m["files"].remove(named(m, "golden/odd.png")), "E-BUNDLE-UNLISTED"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_manifest_that_says_something_else_is_refused(tiny_copy: Path, what: str) -> None:
    edit, code = EDITS[what]
    edited(tiny_copy, edit)
    assert code_of(tiny_copy) == code


ACTS = ["\r", "\x1b[31m", "\x9b", "\u2028", "\u202e", "\u061c", "\ud800"]


@pytest.mark.parametrize("bad", ACTS, ids=ascii)
@pytest.mark.parametrize("where", ["labels", "intended_use", "provenance", "provenance key", "aim"])
def test_a_text_that_would_draw_on_a_terminal_is_refused_where_the_bundle_is_opened(
    tiny_copy: Path, where: str, bad: str
) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        text = f"a{bad}b"
        if where == "labels":
            manifest["labels"][0] = text
        elif where == "provenance":
            manifest["provenance"]["run"] = {"model": text}
        elif where == "provenance key":
            manifest["provenance"]["tools"] = {text: "1"}
        elif where == "aim":
            decision = {"refer_below": 0.9}
            point = {"name": "x", "aim": text, "decision": decision, "val": {}, "test": {}}
            next(file for file in manifest["files"] if file["model"])["model"]["operating_points"] = [point]
        else:
            manifest[where] = text

    edited(tiny_copy, edit)
    assert code_of(tiny_copy) == "E-BUNDLE-MANIFEST"


def test_letters_of_any_language_are_texts(tiny_copy: Path) -> None:
    edited(tiny_copy, lambda manifest: manifest.update(labels=["não\u00a0nódulo", "結節"], positive="結節"))
    assert open_bundle(tiny_copy).manifest.labels == ("não\u00a0nódulo", "結節")


def in_front(text: bytes) -> Callable[[bytes], bytes]:
    """Another member at the beginning of the manifest."""
    return lambda good: good.replace(b"{", b"{" + text + b",", 1)


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda good: b"",
    "no JSON": lambda good: b"name: tiny",
    "JSON cut short": lambda good: good[:-20],
    "JSON with a tail": lambda good: good + b"{}",
    "not UTF-8": lambda good: good.replace(b"tiny", b"t\xffny", 1),
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "NUL bytes": lambda good: good + b"\0",
    "a duplicate key": in_front(b'"name": "other"'),
    "a duplicate key inside": lambda good: good.replace(b'"height": 40', b'"height": 40, "height": 41', 1),
    "a duplicate key in other letters": in_front(b'"n\\u0061me": "other"'),
    "NaN": lambda good: good.replace(b'"refer_below": 0.95', b'"refer_below": NaN', 1),
    "Infinity": lambda good: good.replace(b'"refer_below": 0.95', b'"refer_below": Infinity', 1),
    "a number past all": lambda good: good.replace(b'"refer_below": 0.95', b'"refer_below": 1e999', 1),
    "a tolerance past all": lambda good: re.sub(rb'("other_runtime": )[0-9.e-]+', rb"\g<1>1e999", good),
    "an integer past all": lambda good: good.replace(b'"release_counter": 1', b'"release_counter": ' + b"9" * 5000, 1),
    "a comment": lambda good: good.replace(b"{", b"{ // comment\n", 1),
    "nested too deep": in_front(b'"x": ' + b"[" * 20 + b"]" * 20),
    "nested past any parser": in_front(b'"x": ' + b"[" * 100_000 + b"]" * 100_000),
    "too large": lambda good: good + b" " * (4 << 20),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_manifest_that_is_no_manifest_is_refused(tiny_copy: Path, what: str) -> None:
    good = (tiny_copy / MANIFEST).read_bytes()
    (tiny_copy / MANIFEST).write_bytes(TEXTS[what](good))
    assert (tiny_copy / MANIFEST).read_bytes() != good
    assert code_of(tiny_copy) == "E-BUNDLE-MANIFEST"


@pytest.mark.parametrize("text", [b"[]", b"1", b'"x"', b"null", b"{}"])
def test_json_that_is_no_object_with_a_schema_is_refused(tiny_copy: Path, text: bytes) -> None:
    (tiny_copy / MANIFEST).write_bytes(text)
    assert code_of(tiny_copy) == "E-BUNDLE-SCHEMA"


@pytest.mark.parametrize(
    "text", [b'"' * (1 << 22), b'"\\' * (1 << 21), b'{"a":' * (1 << 19)], ids=["quotes", "escapes", "keys"]
)
def test_no_text_makes_the_nesting_slow_to_count(text: bytes) -> None:
    """It is counted with a regular expression: one that looks again from every quote would take hours here."""
    with pytest.raises(BundleError):
        parse_manifest(text, where="x")


def test_many_keys_do_not_make_the_one_that_is_there_twice_slow_to_find() -> None:
    """Counting each key on its own would take hours here."""
    keys = b"".join(b'"%d":0,' % key for key in range(300_000))
    with pytest.raises(BundleError, match="key 'x' appears twice"):
        parse_manifest(b"{" + keys + b'"x":0,"x":0}', where="x")


# Writing


def small(tiny_bundle: Bundle, **changes: Any) -> tuple[Manifest, dict[str, bytes]]:
    """The tiny bundle's manifest with its default model file alone."""
    model, data = tiny_bundle.model()
    files = (BundleFile(INT8, len(data), hashlib.sha256(data).hexdigest(), model),)
    return msgspec.structs.replace(tiny_bundle.manifest, files=files, **changes), {INT8: data}


def test_a_bundle_that_is_there_is_replaced_by_the_new_one(tiny_copy: Path, tiny_bundle: Bundle) -> None:
    write_bundle(tiny_copy, *small(tiny_bundle, version="0.2.0"))
    assert open_bundle(tiny_copy).manifest.version == "0.2.0"
    assert [path.name for path in tiny_copy.parent.iterdir()] == [tiny_copy.name]


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path, tiny_bundle: Bundle) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"dear")
    with pytest.raises(BundleError) as refused:
        write_bundle(tmp_path / "photos", *small(tiny_bundle))
    assert refused.value.code == "E-BUNDLE-OUT"
    assert (tmp_path / "photos" / "mine.jpg").read_bytes() == b"dear"


def test_contents_that_are_not_the_manifest_s_are_not_written(tmp_path: Path, tiny_bundle: Bundle) -> None:
    manifest, contents = small(tiny_bundle)
    for wrong, code in (
        ({**contents, "more.txt": b"x"}, "E-BUNDLE-UNLISTED"),
        ({}, "E-BUNDLE-MISSING"),
        ({INT8: contents[INT8][:-1]}, "E-BUNDLE-SIZE"),
        ({INT8: bytes(len(contents[INT8]))}, "E-BUNDLE-HASH"),
    ):
        with pytest.raises(BundleError) as refused:
            write_bundle(tmp_path / "new", manifest, wrong)
        assert refused.value.code == code
        assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_no_device_would_open_is_not_written(tmp_path: Path, tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError) as refused:
        write_bundle(tmp_path / "new", *small(tiny_bundle, labels=("neg", "refer")))
    assert refused.value.code == "E-BUNDLE-MANIFEST"
    assert list(tmp_path.iterdir()) == []


def test_two_writes_of_the_same_bundle_give_the_same_bytes(tmp_path: Path, tiny_path: Path, tiny_bundle: Bundle) -> None:
    write_bundle(
        tmp_path / "again", tiny_bundle.manifest, {f.path: tiny_bundle.read(f.path) for f in tiny_bundle.manifest.files}
    )
    names = sorted(path.relative_to(tiny_path) for path in tiny_path.rglob("*") if path.is_file())
    assert [(tmp_path / "again" / name).read_bytes() for name in names] == [(tiny_path / name).read_bytes() for name in names]


_WRITE = """
import sys
from pathlib import Path
import msgspec
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.write import write_bundle
old = open_bundle(sys.argv[1])
contents = {file.path: old.read(file.path) for file in old.manifest.files}
print("writing", flush=True)
for number in range(10_000):
    write_bundle(Path(sys.argv[2]), msgspec.structs.replace(old.manifest, release_counter=number), contents)
    if number == 0:
        print("written", flush=True)
"""


def test_a_writer_killed_at_any_time_leaves_a_whole_bundle_or_none(tiny_path: Path, tmp_path: Path) -> None:
    """Between the renames of the old one away and the new one into place there may be none."""
    rng = random.Random(6)
    opened, takes_s = 0, 0.05  # a write; measured below
    for number in range(12):
        writer = subprocess.Popen([sys.executable, "-P", "-c", _WRITE, tiny_path, tmp_path / "out"], stdout=subprocess.PIPE)
        assert writer.stdout
        assert writer.stdout.readline() == b"writing\n"
        began = time.monotonic()
        if number % 2:  # on a busy machine the first one may take longer than all this
            assert writer.stdout.readline() == b"written\n"
            takes_s = time.monotonic() - began
        time.sleep(rng.uniform(0, 2 * takes_s))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        if (tmp_path / "out").exists():
            opened += code_of(tmp_path / "out") == "opened"
            assert code_of(tmp_path / "out") == "opened"
    assert opened
