"""The child of `limiar verify`: it runs golden images through model files and runtimes, which may crash or hang it."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from limiar.edge_app.bundle.manifest import BundleFile, TiledFile
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, RuntimeUnavailable
from limiar.edge_app.inference.blocks import drawn_block, largest_difference, mosaic, open_blocks
from limiar.edge_app.inference.check import Check, Checked, ToCheck, model_of, name_of, unchecked
from limiar.edge_app.inference.golden import GoldenTensors, check_golden, golden_tensors
from limiar.edge_app.inference.model import Failed
from limiar.edge_app.inference.model_check import check_model
from limiar.edge_app.runtimes import Runtime, open_runtime
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
    try:
        one = _opened(bundle, model_of(bundle.manifest, file).name, runtime)
        if file.tiled:
            return _check_tiled(bundle, file, file.tiled, one, tensors, started)
        started()
        return _check_model(bundle, file, one, tensors)
    except (BundleError, RuntimeUnavailable) as error:
        return unchecked(bundle.manifest, file, runtime, False, str(error))


def _opened(bundle: Bundle, model: str, runtime: str) -> Runtime:
    opened = open_runtime(runtime, bundle.model(model)[1])
    check_model(opened, len(bundle.manifest.labels), bundle.manifest.input)
    return opened


def _check_model(bundle: Bundle, file: BundleFile, opened: Runtime, tensors: GoldenTensors) -> Check:
    model = model_of(bundle.manifest, file)
    result = check_golden(tensors, bundle.manifest.labels, model, opened)
    return Check(
        model.name,
        result.runtime,
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


def _check_tiled(
    bundle: Bundle, file: BundleFile, spec: TiledFile, one: Runtime, tensors: GoldenTensors, started: Callable[[], None]
) -> Check:
    """A block of golden images side by side, and its tiles one by one."""
    given = bundle.manifest.input
    blocks = open_blocks(one.name, bundle.read(file.path), spec, (given.height, given.width, given.channels))
    golden = [tensor for tensor in tensors.tensors if tensor is not None]
    laid = mosaic(golden, blocks.shape) if golden else drawn_block(blocks.shape, np.random.default_rng(0))
    blocks.block(laid)
    started()
    apart = largest_difference(blocks, one, laid)
    passed = apart <= spec.tolerance
    met = f"its logits differ by {apart:.3g} from those of single tiles: tiles are answered one by one here"
    return Check(
        name_of(file),
        one.name,
        one.version,
        passed,
        blocks.rows * blocks.columns,
        apart,
        spec.tolerance,
        (),
        (),
        "" if passed else met,
        file.sha256,
        model_of(bundle.manifest, file).decision,
    )
