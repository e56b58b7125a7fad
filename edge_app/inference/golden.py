"""Runs a bundle's golden images through a model file on a runtime, and compares the answers with those that convert recorded.

The bundle has the images as files, so decoder, resize and runtime are all proven: bit for bit, or within the file's tolerance.
convert and `limiar verify` use the same code.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from limiar.edge_app.arrays import Logits, Pixels
from limiar.edge_app.bundle.manifest import GOLDEN, REFER, ModelFile, Sha256, Text
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, ImageError, printable
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input, tensor_sha256
from limiar.edge_app.inference.classifier import decide
from limiar.edge_app.inference.model_check import run_model
from limiar.edge_app.runtimes import Runtime


class GoldenImage(Struct, frozen=True, forbid_unknown_fields=True):
    """One golden image and the model input that it must give."""

    path: Text  # in the bundle
    tensor_sha256: Sha256


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """golden/golden.json"""

    images: Annotated[tuple[GoldenImage, ...], Meta(min_length=1, max_length=10_000)]
    logits: dict[str, tuple[tuple[float, ...], ...]]  # model file name -> [image][label], from its expected_runtime


class GoldenTensors(Struct, frozen=True):
    """The golden images as this machine decodes and resizes them."""

    golden: Golden
    tensors: tuple[Pixels | None, ...]  # None: refused here
    differing: tuple[str, ...]  # paths of images whose tensor differs from the recorded one


class GoldenResult(Struct, frozen=True):
    """One model file on one runtime against its golden logits."""

    file: str
    runtime: str
    version: str
    images: int
    tensors_differing: tuple[str, ...]  # image paths
    decisions_differing: tuple[str, ...]  # paths of images for which another label was decided
    largest_difference: float  # of a logit, absolute; infinite if one is not finite
    tolerance: float

    @property
    def passed(self) -> bool:
        """Bit-exact tensors, logits within tolerance, equal decisions."""
        return not self.tensors_differing and not self.decisions_differing and self.largest_difference <= self.tolerance

    @property
    def met(self) -> str:
        """What differs, in words; empty if it passed."""
        met = []
        if self.tensors_differing:
            met.append(f"{len(self.tensors_differing)} model inputs differ, {self.tensors_differing[0]} first")
        if self.largest_difference > self.tolerance:
            met.append(f"logits differ by {self.largest_difference:.3g}, outside the tolerance of {self.tolerance:.3g}")
        if self.decisions_differing:
            met.append(f"{len(self.decisions_differing)} decisions differ, {self.decisions_differing[0]} first")
        return "; ".join(met)


def golden_tensors(bundle: Bundle) -> GoldenTensors:
    """Reads a bundle's golden images through this machine's image rules. Raises BundleError: no golden.json that can be used.

    It also says which package is missing that decodes a golden DICOM file.
    """
    try:
        golden = msgspec.json.decode(bundle.read(GOLDEN), type=Golden)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError("E-BUNDLE-GOLDEN", f"{GOLDEN}: {printable(str(error))[:200]}: convert the model again") from None
    tensors: list[Pixels | None] = []
    differing = []
    for image in golden.images:
        try:
            spec = bundle.manifest.input
            tensor = model_input(decode(bundle.read(image.path), image.path, spec), spec)
        except ImageError as error:
            if error.code == "E-INSTALL-MISSING":  # a decoder of DICOM: with it, the image may well be right
                raise BundleError(error.code, f"{image.path}: {error.message}") from None
            tensor = None
        tensors.append(tensor)
        if tensor is None or tensor_sha256(tensor) != image.tensor_sha256:
            differing.append(image.path)
    return GoldenTensors(golden, tuple(tensors), tuple(differing))


def check_golden(tensors: GoldenTensors, labels: Sequence[str], model: ModelFile, runtime: Runtime) -> GoldenResult:
    """Runs every golden image through a runtime. Raises BundleError if the bundle has no logits for the file."""
    expected = tensors.golden.logits.get(model.name, ())
    if [len(row) for row in expected] != [len(labels)] * len(tensors.tensors):
        raise BundleError("E-BUNDLE-GOLDEN", f"{GOLDEN} has no logits for every image of {model.name}: convert the model again")
    largest = 0.0
    decisions = []
    for image, tensor, row in zip(tensors.golden.images, tensors.tensors, expected, strict=True):
        if tensor is None:  # already counted as a differing tensor
            continue
        with np.errstate(over="ignore"):  # it becomes infinity, which differs from every answer
            wanted = np.asarray(row, np.float32)
        found = run_model(runtime, tensor)
        largest = max(largest, _difference(found, wanted))
        if largest == float("inf"):
            break
        before, after = (decide(logits, labels, model.decision).decision for logits in (wanted, found))
        if before != after and REFER not in (before, after):
            decisions.append(image.path)
    same = runtime.name == model.expected_runtime
    return GoldenResult(
        file=model.name,
        runtime=runtime.name,
        version=runtime.version,
        images=len(expected),
        tensors_differing=tensors.differing,
        decisions_differing=tuple(decisions),
        largest_difference=largest,
        tolerance=model.tolerance.same_runtime if same else model.tolerance.other_runtime,
    )


def _difference(found: Logits, wanted: Logits) -> float:
    difference = float(np.max(np.abs(found.astype(np.float64) - wanted)))
    return difference if np.isfinite(difference) else float("inf")
