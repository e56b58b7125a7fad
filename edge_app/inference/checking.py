"""The child of `limiar verify`: it runs golden images through model files and runtimes, which may crash or hang it."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import BundleFile
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, RuntimeUnavailable
from limiar.edge_app.inference.check import Check, Checked, ToCheck, unchecked
from limiar.edge_app.inference.golden import GoldenTensors, check_golden, golden_tensors
from limiar.edge_app.inference.model import Failed
from limiar.edge_app.inference.model_check import check_model
from limiar.edge_app.runtimes import open_runtime
from limiar.edge_app.system.channel import WorkerEnd


def serve(parent: WorkerEnd) -> None:
    """Sends two messages for each pair: None once the model file has run, then its Check."""
    asked = msgspec.msgpack.decode(parent.receive(), type=ToCheck)
    bundle = Bundle(Path(os.fsdecode(asked.path)), asked.manifest, asked.sha256)
    files = {file.path: file for file in bundle.manifest.files}

    def send(reply: Checked | Failed | None) -> None:
        parent.send(msgspec.msgpack.encode(reply))

    try:
        tensors = golden_tensors(bundle)
        for path, runtime in asked.pairs:
            send(Checked(_check(bundle, files[path], runtime, tensors, started=lambda: send(None))))
    except BundleError as error:
        send(Failed(error.code, error.message))


def _check(bundle: Bundle, file: BundleFile, runtime: str, tensors: GoldenTensors, started: Callable[[], None]) -> Check:
    assert file.model
    model, manifest = file.model, bundle.manifest
    try:
        opened = open_runtime(runtime, bundle.model(model.name)[1])
        check_model(opened, len(manifest.labels), manifest.input)
        started()
        result = check_golden(tensors, manifest.labels, model, opened)
    except (BundleError, RuntimeUnavailable) as error:
        return unchecked(file, runtime, False, str(error))
    return Check(
        model.name,
        runtime,
        result.version,
        result.passed,
        result.images,
        result.largest_difference,
        result.tolerance,
        result.tensors_differing,
        result.decisions_differing,
        result.met,
        file.sha256,
        model.decision,
    )
