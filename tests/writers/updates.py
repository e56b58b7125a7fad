"""Bundles for tests of updates: the tiny one with another counter, signed, or with a model that is wrong in some way."""

import hashlib
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.manifest import GOLDEN, BundleFile
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.bundle.signature import public_half, public_pem
from limiar.edge_app.bundle.write import write_bundle

WRONG = Path(__file__).parents[1] / "edge_app" / "data" / "wrong"


def release(
    path: Path,
    tiny: Bundle,
    counter: int,
    key: Ed25519PrivateKey | None = None,
    default: str = "tflite_int8",
    small: bool = False,
    **models: bytes,
) -> Path:
    """The tiny bundle as release `counter`, version 0.COUNTER.0.

    models: other bytes for model files; default: its default file;
    small: with one golden image alone, for tests that write it very often.
    """
    contents = {file.path: tiny.read(file.path) for file in tiny.manifest.files}
    contents |= {tiny.manifest.models[name].path: data for name, data in models.items()}
    if small:
        contents = few(contents)
    listed = {file.path: file for file in tiny.manifest.files}
    files = tuple(_listed(listed[name], data) for name, data in contents.items())
    manifest = msgspec.structs.replace(
        tiny.manifest, version=f"0.{counter}.0", release_counter=counter, default_file=default, files=files
    )
    write_bundle(path, manifest, contents, key)
    return path


def few(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The first golden image and the int8 file alone."""
    golden = msgspec.json.decode(contents[GOLDEN])
    golden["images"] = golden["images"][:1]
    golden["logits"] = {name: rows[:1] for name, rows in golden["logits"].items()}
    kept = (golden["images"][0]["path"], "tflite_int8.tflite")
    return {name: contents[name] for name in kept} | {GOLDEN: msgspec.json.encode(golden)}


def wrong_answers(tiny: Bundle) -> dict[str, bytes]:
    """A model that is whole and answers, but not as recorded: the fp32 file in the place of the int8 one."""
    return {"tflite_int8": tiny.read("tflite_fp32.tflite")}


def public_file(path: Path, key: Ed25519PrivateKey) -> Path:
    """The public half of a key, as `limiar keygen` writes it."""
    path.write_bytes(public_pem(public_half(key)))
    return path


def _listed(file: BundleFile, data: bytes) -> BundleFile:
    return msgspec.structs.replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
