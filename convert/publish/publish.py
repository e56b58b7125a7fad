"""Writes what convert made: BUNDLE, or BUNDLE.refused; each is complete or not there at all."""

import hashlib
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate_file import differences
from limiar.convert.gate.refit import check_decisions
from limiar.convert.pipeline import Converted
from limiar.convert.publish.place import measured_folder, refused_folder
from limiar.convert.report.junit import JUNIT, junit_xml
from limiar.convert.report.reference import reference_json
from limiar.convert.report.release_page import report_html
from limiar.convert.report.release_report import model_card, report_json
from limiar.convert.run.golden_images import golden_json
from limiar.convert.run.predictions import PREDICTIONS, predictions_csv
from limiar.edge_app.bundle.manifest import (
    GOLDEN,
    MANIFEST,
    BundleFile,
    Manifest,
    MapGrid,
    ModelFile,
    Provenance,
    manifest_json,
)
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.drift.reference import REFERENCE
from limiar.edge_app.system.files import partial_folder, replace_folder, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# What turns a Keras model into the files. The Python version is not listed: it changes none of them.
TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy", "pillow", "opencv-python-headless")


def publish_bundle(
    out: Path, converted: Converted, release_counter: int, seed: int, card: str, key: "Ed25519PrivateKey | None" = None
) -> None:
    """Writes BUNDLE, signed if there is a key. card: Markdown for the model card. Raises BundleError and ConvertError."""
    contents = bundle_contents(converted, card)
    write_bundle(out, _manifest(converted, contents, release_counter, seed), contents, key)
    for older in (refused_folder(out), measured_folder(out)):  # they would contradict the bundle
        shutil.rmtree(older, ignore_errors=True)


def publish_refusal(out: Path, converted: Converted) -> Path:
    """Writes the reports into BUNDLE.refused, and nothing at BUNDLE. Returns the folder."""
    folder = refused_folder(out)
    reports = {"report.json": report_json(converted.report), "report.html": _page(converted)}
    write_folder(folder, reports | for_the_build(converted))
    return folder


def for_the_build(converted: Converted) -> dict[str, bytes]:
    """What goes beside a bundle, not into it: a device does not need it."""
    return {PREDICTIONS: predictions_csv(converted.answers), JUNIT: junit_xml(converted.report)}


def _page(converted: Converted) -> bytes:
    return report_html(converted.report, converted.answers, converted.thumbnails)


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes a folder in one step, in place of one that exists."""
    with partial_folder(folder) as partial:
        for name, data in contents.items():
            write_whole(partial / name, data)
        replace_folder(partial, folder)


def bundle_files(converted: Converted, release_counter: int, seed: int, card: str) -> dict[str, bytes]:
    """Every file that publish_bundle writes without a key: path -> bytes."""
    contents = bundle_contents(converted, card)
    return contents | {MANIFEST: manifest_json(_manifest(converted, contents, release_counter, seed))}


def bundle_contents(converted: Converted, card: str) -> dict[str, bytes]:
    """Every file of the bundle but its manifest: path -> bytes."""
    contents = {_model_path(file): converted.models[file.name] for file in converted.report.files if file.passed}
    contents |= {_tiled_path(name): model.data for name, model in converted.blocks.items()}
    contents |= {file.path: file.data for file in converted.golden}
    contents[GOLDEN] = golden_json(converted.golden, converted.golden_logits)
    contents[REFERENCE] = reference_json(converted.reference)
    contents["report.json"] = report_json(converted.report)
    contents["report.html"] = _page(converted)
    contents["MODEL_CARD.md"] = model_card(converted.report, card)
    return dict(sorted(contents.items()))


def _manifest(converted: Converted, contents: Mapping[str, bytes], release_counter: int, seed: int) -> Manifest:
    report, source = converted.report, converted.source
    assert report.default_file is not None  # a report that passed has one
    models = {_model_path(file): _model_file(file, source.grid) for file in report.files if file.passed}
    tiled = {_tiled_path(name): model.spec for name, model in converted.blocks.items()}
    files = tuple(
        BundleFile(
            path=path,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            model=models.get(path),
            tiled=tiled.get(path, msgspec.UNSET),
        )
        for path, data in contents.items()
    )
    manifest = Manifest(
        name=report.name,
        version=report.version,
        release_counter=release_counter,
        licence=report.licence,
        intended_use=report.intended_use,
        labels=source.labels,
        positive=source.positive,
        input=source.input,
        default_file=report.default_file,
        files=files,
        provenance=Provenance(
            run=report.run | ({"gate": changed} if (changed := differences(report.gate)) else {}),
            data=source.data,
            tools=_tools(source.tools),
            seeds={**source.seeds, "convert": seed},
        ),
        envelope=report.envelope,
        assessable=report.assessing.limits if report.assessing else msgspec.UNSET,
        not_proven=report.not_proven or msgspec.UNSET,
        tiles=converted.tiles,
    )
    check_decisions(manifest, report.files, report.gate.decision, converted.answers)
    return manifest


def _tools(trained_with: Mapping[str, str]) -> dict[str, str]:
    converted_with = {f"convert {name}": version(name) for name in ("limiar", *TOOLS)}
    return {f"train {name}": found for name, found in sorted(trained_with.items())} | converted_with


def _model_file(file: FileReport, grid: MapGrid | None) -> ModelFile:
    assert file.test is not None  # a file that passed was run,
    assert file.tolerance is not None  # on its own runtime too,
    assert file.decision is not None  # and has a decision
    assert file.expected_runtime is not None
    return ModelFile(
        name=file.name,
        format=file.format,
        precision=file.precision,
        decision=file.decision,
        expected_runtime=file.expected_runtime,
        tolerance=file.tolerance,
        metrics=file.test.metrics,
        verified=file.verified,
        operating_points=file.operating_points,
        class_map=grid,
    )


def _model_path(file: FileReport) -> str:
    return f"{file.name}.{file.format}"


def _tiled_path(name: str) -> str:
    """Of the file that answers blocks of tiles with a model file's weights."""
    return f"tiled/{name}.tflite"
