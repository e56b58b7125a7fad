"""One model file on one runtime: what `limiar verify` asks its child, and what the child found. Without numpy."""

from typing import Annotated

from msgspec import Meta, Struct

from limiar.edge_app.bundle.manifest import BundleFile, Decision, Manifest, Sha256
from limiar.edge_app.runtimes import installed_runtimes

# One line of text, safe on a page, in Markdown and on a terminal: `convert --verified` reads it from other machines.
Plain = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f<>|`\\]{1,200}\Z")]


class Check(Struct, frozen=True, forbid_unknown_fields=True):
    """One model file on one runtime."""

    file: str
    runtime: Plain
    version: Plain | None  # None: the runtime is not installed
    passed: bool | None  # None: not checked
    images: int
    largest_difference: float | None  # of a logit
    tolerance: float | None
    tensors_differing: tuple[str, ...]
    decisions_differing: tuple[str, ...]
    message: str  # why it did not pass
    sha256: Sha256  # of the model file
    decision: Decision  # the rule by which decisions were compared


Pair = tuple[BundleFile, str]  # a model file and a runtime


class ToCheck(Struct, frozen=True, array_like=True):
    """What the child checks."""

    path: bytes  # of the bundle
    manifest: Manifest
    sha256: str  # of the manifest
    pairs: tuple[tuple[str, str], ...]  # path of a model file, and a runtime


class Checked(Struct, frozen=True, array_like=True, tag=True):
    """The child's answer for a pair, once its model file has run."""

    check: Check


def unchecked(file: BundleFile, runtime: str, passed: bool | None, message: str) -> Check:
    assert file.model
    version = next((found.version for found in installed_runtimes(file.model.format) if found.name == runtime), None)
    return Check(file.model.name, runtime, version, passed, 0, None, None, (), (), message, file.sha256, file.model.decision)
