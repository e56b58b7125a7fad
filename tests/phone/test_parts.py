"""The parts of the page: each is read by name, and proven before anyone uses it."""

import gzip
import hashlib

import pytest

from phone_modules import JsError, Modules

MODEL, RUNTIME = b"model", b"runtime" * 1000
PACKED = gzip.compress(RUNTIME, mtime=0)
STORED = {"bundle/model.tflite": MODEL, "vendor/litert.wasm.gz": PACKED}
LISTED = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in STORED.items()}


def read(modules: Modules, name: str, **others: bytes | None) -> bytes:
    """What a readPart gives for a name; others: parts that differ from what page.json lists, by name, None: missing."""
    stored = {key: data for key, data in {**STORED, **others}.items() if data is not None}
    kept = modules.keep("/parts.js", "givenParts", stored)
    reader = modules.keep("/parts.js", "partReader", LISTED, kept)
    found: bytes = modules.ask(reader, "", name)
    return found


def test_a_part_is_read_as_it_is_and_what_is_packed_is_unpacked(modules: Modules) -> None:
    assert read(modules, "bundle/model.tflite") == MODEL
    assert read(modules, "vendor/litert.wasm") == RUNTIME
    assert read(modules, "vendor/litert.wasm.gz") == RUNTIME


@pytest.mark.parametrize(
    ("name", "others", "code"),
    [
        ("bundle/model.tflite", {"bundle/model.tflite": b"mOdel"}, "E-BUNDLE-HASH"),
        ("vendor/litert.wasm", {"vendor/litert.wasm.gz": PACKED[:-1] + b"x"}, "E-PHONE-CHECK"),
        ("vendor/litert.wasm", {"vendor/litert.wasm.gz": gzip.compress(RUNTIME, 1, mtime=0)}, "E-PHONE-CHECK"),
        ("bundle/model.tflite", {"bundle/model.tflite": None}, "E-PHONE-CHECK"),
        ("bundle/none", {"bundle/none": b"not listed"}, "E-PHONE-CHECK"),
        ("toString", {}, "E-PHONE-CHECK"),
    ],
)
def test_what_page_json_does_not_say_is_refused(
    modules: Modules, name: str, others: dict[str, bytes | None], code: str
) -> None:
    with pytest.raises(JsError) as refused:
        read(modules, name, **others)
    assert refused.value.code == code


def test_a_hash_is_sha256(modules: Modules) -> None:
    assert modules.call("/sha256.js", "sha256", MODEL) == hashlib.sha256(MODEL).hexdigest()
