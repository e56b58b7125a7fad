"""The straight line from a model to the contents of a bundle: read, convert, run on every runtime, judge."""

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from statsmodels.stats.multitest import multipletests

from limiar.convert.export.make import INTEGER, Ground, Made, Note, make_files
from limiar.convert.export.recipes import Recipe, recipe
from limiar.convert.gate import release
from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import Gate
from limiar.convert.gate.judge import Judge
from limiar.convert.gate.noninferiority import smallest_margin
from limiar.convert.report.elsewhere import Elsewhere, with_verified
from limiar.convert.report.reference import bundle_reference
from limiar.convert.report.release_report import REFUSED, Exploratory, ReleaseReport
from limiar.convert.run import dataset
from limiar.convert.run.all_runtimes import run_files, with_maps
from limiar.convert.run.assessable import assessing, choose_limits
from limiar.convert.run.evaluate import Answers, Bench, Environment, Outcomes, RuntimeFailure, find_environments
from limiar.convert.run.golden_images import GoldenFile, draw_golden_images, golden_json, take_golden_images
from limiar.convert.run.model_inputs import Images
from limiar.convert.run.predictions import KERAS, AnswerTable
from limiar.convert.run.tiled_files import Released, TiledModel, tiled_files
from limiar.convert.source.chance import check_chance, check_unit
from limiar.convert.source.class_map import keras_maps
from limiar.convert.source.ends import UNIT
from limiar.convert.source.keras_model import keras_logits
from limiar.convert.source.origin import KerasFile, RunFolder
from limiar.convert.source.source_model import SourceModel, read_source
from limiar.convert.source.steady import check_steady
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import Envelope, Metric, TileSpec, verdict
from limiar.edge_app.drift.reference import BundleReference
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.image.statistics import outside, statistics
from limiar.train.record.metrics import proportion, rounded

MAP_IMAGES = 32  # of validation, whose class activation maps are compared with Keras's


class ConvertRequest(msgspec.Struct, frozen=True):
    """What the caller wants."""

    origin: RunFolder | KerasFile
    golden: Path | None  # None: golden images are drawn
    gate: Gate
    name: str
    version: str
    licence: str
    intended_use: str
    seed: int  # of the calibration sample, of the golden images, and of the splits of a KerasFile if none are given
    thumbnails: bool = True  # images of the test split in report.html
    verified: tuple[Elsewhere, ...] = ()  # what other machines found
    allowed_by: str = "gate.toml"  # what lets undecided files in, if anything does
    cam: bool = False  # a class activation map as second output
    ended: dict[str, str] = {}  # model file -> how making it ended the process: it is left out
    assessable: float | None = None  # share of validation images that limits of "not assessable" may refuse; None: no limits
    tiles: tuple[int, int] | None = None  # size and stride, px of the picture; None: devices answer it as one image
    sought: str | None = None  # the label that tiles are searched for; None: the positive one of two
    allow_chance: bool = False  # even a model that is no better than chance on validation


class Converted(msgspec.Struct, frozen=True):
    """All that a bundle is made of."""

    source: SourceModel
    report: ReleaseReport
    models: dict[str, bytes]  # of the files that passed
    answers: AnswerTable  # of val and test
    thumbnails: Pixels | None  # uint8 [N, H, W, C], a row for each image of `answers`; None: no page may show one
    golden: list[GoldenFile]
    golden_logits: dict[str, np.ndarray]  # file -> float64 [images, K]
    reference: BundleReference  # of val
    tiles: TileSpec | msgspec.UnsetType  # as the manifest has it
    blocks: dict[str, TiledModel]  # model file -> the same for blocks of tiles


def convert_run(request: ConvertRequest, note: Note) -> Converted:
    """Converts and judges; writes nothing. `note` is told each step. Raises ConvertError, RunError and DataError."""
    environments, not_checked = find_environments()
    note("reading the model and its images")
    source = read_source(request.origin, request.seed, request.cam)
    tiles = _tiles(request, source)
    images, calibration = _read_images(request, source)
    envelope = source.envelope or dataset.training_envelope(source.folder, source.rows, source.input)
    note("running Keras")
    keras = keras_logits(source.model, images.tensors)
    check_steady(source.model, images.tensors)
    source = _better_than_chance(request, source, images, keras)
    judge = Judge(images, keras, source.labels, source.positive, request.gate)
    ground = _ground(judge, images, calibration, request, environments)
    made = make_files(source.mapped or source.model, source.input, ground, note)
    outcomes = run_files(images.tensors, made, environments, note)
    if source.mapped:
        note("comparing class activation maps")
        some = images.val.tensors[:MAP_IMAGES]
        outcomes = with_maps(outcomes, keras_maps(source.mapped, some), some, made, environments)
    judged = tuple(_judged(judge, recipe(name), file, outcomes[name]) for name, file in made.items())
    files = release.required(request.gate, judged)
    passed = [file.name for file in files if file.passed]
    golden_logits = {
        name: logits for name in passed if (logits := judge.golden_logits(recipe(name), outcomes[name])) is not None
    }
    limits = None
    if request.assessable is not None:
        limits = choose_limits(images.val.tensors, calibration[:-1], envelope, request.assessable)
    seen = {"val": _statistics(images.val.tensors), "test": _statistics(images.test.tensors)}
    report = _report(request, source, judge, images, len(calibration) - 1, envelope, seen, files, not_checked)
    report = msgspec.structs.replace(report, tiles=tiles)
    if limits:
        splits = {"val": images.val.tensors, "test": images.test.tensors}
        found = assessing(limits, splits, images.test.labels, source.labels)
        report = msgspec.structs.replace(report, assessing=found)
    if report.published:
        report = with_verified(report, golden_json(images.golden, golden_logits), request.verified)
    blocks: dict[str, TiledModel] = {}
    if report.published and tiles:
        released = [
            Released(file.name, one.data, file.tolerance.same_runtime)
            for file in files
            if file.passed and file.tolerance and file.format == "tflite" and isinstance(one := made[file.name], Made)
        ]
        tiled, blocks = tiled_files(released, tiles, source.input, images.val.tensors, environments, note)
        report = msgspec.structs.replace(report, tiled=tiled)
    answers = _answers(source.labels, images, keras, outcomes)
    return Converted(
        source=source,
        report=report,
        models={name: file.data for name, file in made.items() if name in passed and isinstance(file, Made)},
        answers=answers,
        thumbnails=np.concatenate([images.val.tensors, images.test.tensors]) if request.thumbnails else None,
        golden=images.golden,
        golden_logits=golden_logits,
        reference=bundle_reference(seen["val"], answers.part("val"), envelope, [file for file in files if file.passed]),
        tiles=tiles,
        blocks=blocks,
    )


def _tiles(request: ConvertRequest, source: SourceModel) -> TileSpec | msgspec.UnsetType:
    """How devices cut a picture into tiles. Raises ConvertError: it is not said which label they search for."""
    if request.tiles is None:
        return msgspec.UNSET
    size, stride = request.tiles
    sought = request.sought or source.positive
    if sought is None or sought not in source.labels:
        met = "tiles are searched for one of more than two labels"
        met = met if sought is None else f"--sought {printable(sought)} is not a label"
        known = ", ".join(printable(label) for label in source.labels[:8])
        raise ConvertError("E-TILES-SOUGHT", f"{met}: give --sought with one of {known}")
    return TileSpec(size=size, stride=stride, sought=sought)


def _read_images(request: ConvertRequest, source: SourceModel) -> tuple[Images, Pixels]:
    """The images to answer, and those that calibrate the integer files."""
    folder, rows, spec = source.folder, source.rows, source.input
    chosen = dataset.calibration_rows(rows, request.seed)
    val, test = (dataset.split_rows(rows, part, source.labels) for part in ("val", "test"))
    # At once, because each reading starts processes.
    read = dataset.read_tensors(folder, [*val, *test, *chosen], spec)
    of_val, of_test, calibration = np.split(read, [len(val), len(val) + len(test)])
    images = Images(
        val=dataset.split_of(val, of_val, source.labels),
        test=dataset.split_of(test, of_test, source.labels),
        golden=take_golden_images(request.golden, spec) if request.golden else draw_golden_images(spec, request.seed),
    )
    return images, dataset.calibration_tensors(calibration)


def _better_than_chance(request: ConvertRequest, source: SourceModel, images: Images, keras: np.ndarray) -> SourceModel:
    """The source with remarks on its labels and pixels. Raises ConvertError: it is no better than chance."""
    origin = request.origin
    a_run = isinstance(origin, RunFolder)
    parts = images.parts(keras)["val"]
    where = printable((origin.folder if isinstance(origin, RunFolder) else origin.path).name)
    if source.facts.get("head") == UNIT:
        check_unit(parts[:, 1], images.val.labels, where)
    found = check_chance(
        source.bare,
        None if isinstance(origin, RunFolder) else origin.scaling,
        parts,
        images.val.tensors,
        images.val.labels,
        source.labels,
        where,
        a_run,
        request.allow_chance,
    )
    return msgspec.structs.replace(source, facts=source.facts | found.facts, notes=(*source.notes, *found.notes))


def _ground(
    judge: Judge, images: Images, calibration: Pixels, request: ConvertRequest, environments: list[Environment]
) -> Ground:
    """What files are made with. A second try of the integer file is judged on validation, on the runtime of its figures."""
    environment = next(found for found in environments if found.key == recipe(INTEGER).key)
    retry, floor = request.gate.retry, request.gate.limits.layer_snr_db
    if retry is None:
        return Ground(calibration, images.val.tensors, -math.inf, lambda data, step: False, request.ended)

    def loses(data: bytes, step: float | None) -> bool:
        with Bench(images.val.tensors) as bench:
            try:
                answers = bench.answers(environment, INTEGER, data)
            except RuntimeFailure:
                return True
        return judge.loses_on_validation(answers.logits, step, retry.loss)

    return Ground(calibration, images.val.tensors, -math.inf if floor is None else floor, loses, request.ended)


def _answers(labels: tuple[str, ...], images: Images, keras: np.ndarray, outcomes: Mapping[str, Outcomes]) -> AnswerTable:
    """What Keras and each file on its own runtime gave for val and test."""
    given = {KERAS: keras}
    for name, found in outcomes.items():
        if isinstance(own := found.get(recipe(name).key), Answers):
            given[name] = own.logits
    splits = (("val", images.val), ("test", images.test))
    parts = {name: images.parts(logits) for name, logits in given.items()}
    return AnswerTable(
        labels=labels,
        sha256=tuple(sha256 for _, split in splits for sha256 in split.sha256),
        split=tuple(name for name, split in splits for _ in split.sha256),
        truth=np.concatenate([split.labels for _, split in splits]),
        logits={name: np.concatenate([part["val"], part["test"]]) for name, part in parts.items()},
    )


def _judged(judge: Judge, recipe: Recipe, made: Made | ConvertError, outcomes: Outcomes) -> FileReport:
    if isinstance(made, ConvertError):
        return judge.left_out(recipe, str(made))
    return judge.verdict(recipe, made, outcomes)


def _report(
    request: ConvertRequest,
    source: SourceModel,
    judge: Judge,
    images: Images,
    calibration: int,
    envelope: Envelope,
    seen: dict[str, list[dict[str, float]]],
    files: tuple[FileReport, ...],
    not_checked: list[str],
) -> ReleaseReport:
    default_file = release.default_file(files)
    refused = default_file is None or any(file.required and not file.passed for file in files)
    not_proven = None if refused else release.not_proven(files, request.allowed_by)
    return ReleaseReport(
        verdict=REFUSED if refused else verdict(not_proven, source.facts),
        not_proven=not_proven,
        name=request.name,
        version=request.version,
        labels=source.labels,
        positive=source.positive,
        intended_use=request.intended_use,
        licence=request.licence,
        input=source.input,
        default_file=default_file,
        decision=judge.decision,
        smallest_margin={
            loss.name: smallest_margin(loss.n, request.gate.noninferiority.alpha) for loss in judge.keras["test"].losses
        },
        exploratory=_exploratory(files),
        run=source.facts,
        images={
            "calibration": calibration,
            "val": len(images.val.labels),
            "test": len(images.test.labels),
            "golden": len(images.golden),
        },
        keras=judge.keras,
        envelope=envelope,
        outside={split: _outside(envelope, found) for split, found in seen.items()},
        gate=request.gate,
        files=files,
        not_checked=tuple(not_checked),
    )


def _statistics(tensors: Pixels) -> list[dict[str, float]]:
    """Those of each image, uint8 [N, H, W, C]."""
    return [statistics(tensors[k : k + 1]) for k in range(len(tensors))]


def _outside(envelope: Envelope, found: list[dict[str, float]]) -> Metric:
    """The share of images with a statistic outside."""
    return rounded(proportion(sum(bool(outside(envelope, values)) for values in found), len(found)))


def _exploratory(files: tuple[FileReport, ...]) -> tuple[Exploratory, ...]:
    """One comparison for each file, so Holm's correction; sorted as the files are."""
    found = [(file.name, file.test.p_accuracy) for file in files if file.test and file.test.p_accuracy is not None]
    if not found:
        return ()
    corrected = multipletests([p for _, p in found], method="holm")[1]
    return tuple(Exploratory(name, p, round(float(holm), 6)) for (name, p), holm in zip(found, corrected, strict=True))
