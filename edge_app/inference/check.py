"""One model file on one runtime: what `limiar verify` asks its child, and what the child found. Without numpy."""

from typing import Annotated

from msgspec import Meta, Struct

from limiar.edge_app.bundle.manifest import BundleFile, Decision, Manifest, ModelFile, Sha256
from limiar.edge_app.runtimes import installed_runtimes

# One line of text, safe on a page, in Markdown and on a terminal: `convert --verified` reads it from other machines.
Plain = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f<>|`\\]{1,200}\Z")]


class Check(Struct, frozen=True, forbid_unknown_fields=True):
    """One model file on one runtime, or the file that answers blocks of tiles with its weights, compared with single tiles."""

    file: str  # as name_of
    runtime: Plain
    version: Plain | None  # None: the runtime is not installed
    passed: bool | None  # None: not checked
    images: int  # golden images, or tiles of a block
    largest_difference: float | None  # of a logit
    tolerance: float | None
    tensors_differing: tuple[str, ...]
    decisions_differing: tuple[str, ...]
    message: str  # why it did not pass
    sha256: Sha256  # of the model file
    decision: Decision  # the rule by which decisions were compared


Pair = tuple[BundleFile, str]  # a file that is checked, and a runtime


class ToCheck(Struct, frozen=True, array_like=True):
    """What the child checks."""

    path: bytes  # of the bundle
    manifest: Manifest
    sha256: str  # of the manifest
    pairs: tuple[tuple[str, str], ...]  # path of a file, and a runtime


class Checked(Struct, frozen=True, array_like=True, tag=True):
    """The child's answer for a pair, once its model file has run."""

    check: Check


def unchecked(manifest: Manifest, file: BundleFile, runtime: str, passed: bool | None, message: str) -> Check:
    """A file whose answers are not known."""
    version = next((found.version for found in installed_runtimes() if found.name == runtime), None)
    decision = model_of(manifest, file).decision
    return Check(name_of(file), runtime, version, passed, 0, None, None, (), (), message, file.sha256, decision)


def model_of(manifest: Manifest, file: BundleFile) -> ModelFile:
    """The model file that a file is, or whose weights it has for blocks of tiles."""
    found = file.model or (manifest.models[file.tiled.of].model if file.tiled else None)
    assert found  # no other file is checked
    return found


def name_of(file: BundleFile) -> str:
    """What a person sees: "tflite_int8", or "tiled/tflite_int8" for the file that answers blocks of tiles."""
    return file.model.name if file.model else file.path.removesuffix(".tflite")
