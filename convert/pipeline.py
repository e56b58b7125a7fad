"""The straight line from a RUN to what a bundle is made of: read, convert, run on every runtime, judge."""

import concurrent.futures
import functools
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from statsmodels.stats.multitest import multipletests

from convert import dataset
from convert.evaluate import Answers, Bench, Environment, RuntimeFailure, find_environments
from convert.gate import Gate
from convert.golden_images import GoldenFile, draw_golden_images, take_golden_images
from convert.inventory import inventory
from convert.judge import Images, Judge, Outcomes
from convert.keras_model import export_saved_model, keras_logits, load_model
from convert.noninferiority import smallest_margin
from convert.onnx import convert_onnx, onnx_model
from convert.predictions import KERAS, AnswerTable
from convert.recipes import RECIPES, Recipe
from convert.report import Exploratory, FileReport, Report
from convert.tflite import convert_tflite
from edge_app.errors import ConvertError
from edge_app.frame import Pixels
from edge_app.run_folder import Run, read_run, read_splits
from edge_app.runtimes import RUNTIMES

DEFAULT_FILE = "tflite_int8"
PROCESSES = 2  # files that are run at once; what they give does not depend on it

Note = Callable[[str], None]


class Request(msgspec.Struct, frozen=True):
    """What is asked of convert."""

    run: Path
    data: Path | None  # None: where the images lay when the run was trained
    golden: Path | None  # None: golden images are drawn
    gate: Gate
    name: str
    version: str
    licence: str
    intended_use: str
    seed: int  # of the calibration sample and of the golden images
    thumbnails: bool = True  # images of the test split in report.html


class Converted(msgspec.Struct, frozen=True):
    """All that a bundle is made of."""

    run: Run
    report: Report
    models: dict[str, bytes]  # of the files that passed
    answers: AnswerTable  # of val and test
    thumbnails: Pixels | None  # uint8 [N, H, W, C], a row for each image of `answers`; None: no page may show one
    golden: list[GoldenFile]
    golden_logits: dict[str, np.ndarray]  # file -> float64 [images, K]


def convert_run(request: Request, note: Note) -> Converted:
    """Converts and judges; writes nothing. `note` is told what is done next. Raises ConvertError and RunError."""
    run = read_run(request.run)
    environments, not_checked = find_environments()
    note("reading images")
    images, calibration = _read_images(request, run)
    note("running Keras")
    model = load_model(request.run, run)
    keras = keras_logits(model, images.tensors)
    judge = Judge(images, keras, run.labels, run.positive, request.gate)
    made = _make_files(model, run, calibration, note)
    outcomes = _run_files(images.tensors, made, environments, note)
    files = tuple(_judged(judge, recipe, made[recipe.name], outcomes[recipe.name]) for recipe in RECIPES)
    passed = {file.name: recipe for file, recipe in zip(files, RECIPES, strict=True) if file.passed}
    golden_logits = {name: judge.golden_logits(recipe, outcomes[name]) for name, recipe in passed.items()}
    return Converted(
        run=run,
        report=_report(request, run, judge, images, len(calibration) - 1, files, not_checked),
        models={name: data for name, data in made.items() if name in passed and isinstance(data, bytes)},
        answers=_answers(run, images, keras, outcomes),
        thumbnails=np.concatenate([images.val.tensors, images.test.tensors]) if request.thumbnails else None,
        golden=images.golden,
        golden_logits={name: logits for name, logits in golden_logits.items() if logits is not None},
    )


def _read_images(request: Request, run: Run) -> tuple[Images, Pixels]:
    """What is answered, and what the integer files are calibrated with."""
    rows = read_splits(request.run, run)
    folder = request.data or Path(run.data.folder)
    chosen = dataset.calibration_rows(rows, request.seed)
    images = Images(
        val=dataset.read_split(folder, rows, "val", run),
        test=dataset.read_split(folder, rows, "test", run),
        golden=take_golden_images(request.golden, run.input) if request.golden else draw_golden_images(run.input, request.seed),
    )
    return images, dataset.calibration_tensors(folder, chosen, run.input)


def _make_files(model: Any, run: Run, calibration: Pixels, note: Note) -> dict[str, bytes | ConvertError]:
    """Each recipe's file, or why it cannot be had."""
    made: dict[str, bytes | ConvertError] = {}
    graph = functools.cache(lambda: onnx_model(model, run.input))  # all ONNX files start from it
    with tempfile.TemporaryDirectory(prefix="limiar-") as folder:
        saved_model = Path(folder) / "saved_model"
        export_saved_model(model, run.input, saved_model)
        for recipe in RECIPES:
            note(f"making {recipe.name}")
            try:
                if recipe.format == "tflite":
                    made[recipe.name] = convert_tflite(saved_model, recipe.precision, calibration)
                else:
                    made[recipe.name] = convert_onnx(graph(), recipe.precision, calibration)
            except ConvertError as error:
                made[recipe.name] = error
    return made


def _run_files(
    tensors: Pixels, made: dict[str, bytes | ConvertError], environments: list[Environment], note: Note
) -> dict[str, dict[str, Answers | RuntimeFailure]]:
    """File -> runtime -> what it gave."""
    jobs = [
        (recipe.name, environment, data)
        for recipe in RECIPES
        for environment in environments
        if RUNTIMES[environment.runtime].format == recipe.format and isinstance(data := made[recipe.name], bytes)
    ]
    outcomes: dict[str, dict[str, Answers | RuntimeFailure]] = {recipe.name: {} for recipe in RECIPES}
    with Bench(tensors) as bench, concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:

        def run_job(job: tuple[str, Environment, bytes]) -> Answers | RuntimeFailure:
            name, environment, data = job
            note(f"running {name} on {environment.runtime}")
            try:
                return bench.answers(environment, name, data)
            except RuntimeFailure as failure:
                return failure

        for (name, environment, _), outcome in zip(jobs, pool.map(run_job, jobs), strict=True):
            outcomes[name][environment.runtime] = outcome
    return outcomes


def _answers(run: Run, images: Images, keras: np.ndarray, outcomes: Mapping[str, Outcomes]) -> AnswerTable:
    """What Keras and each file on its own runtime gave for val and test."""
    given = {KERAS: keras}
    for recipe in RECIPES:
        if isinstance(own := outcomes[recipe.name].get(recipe.runtime), Answers):
            given[recipe.name] = own.logits
    splits = (("val", images.val), ("test", images.test))
    parts = {name: images.parts(logits) for name, logits in given.items()}
    return AnswerTable(
        labels=run.labels,
        sha256=tuple(sha256 for _, split in splits for sha256 in split.sha256),
        split=tuple(name for name, split in splits for _ in split.sha256),
        truth=np.concatenate([split.labels for _, split in splits]),
        logits={name: np.concatenate([part["val"], part["test"]]) for name, part in parts.items()},
    )


def _judged(judge: Judge, recipe: Recipe, made: bytes | ConvertError, outcomes: Outcomes) -> FileReport:
    if isinstance(made, ConvertError):
        return judge.left_out(recipe, str(made))
    return judge.verdict(recipe, made, hashlib.sha256(made).hexdigest(), inventory(recipe.format, made), outcomes)


def _default_file(files: tuple[FileReport, ...]) -> str | None:
    """The integer file where it passed: the smallest and quickest; else the first that did."""
    passed = [file.name for file in files if file.passed]
    return DEFAULT_FILE if DEFAULT_FILE in passed else next(iter(passed), None)


def _report(
    request: Request,
    run: Run,
    judge: Judge,
    images: Images,
    calibration: int,
    files: tuple[FileReport, ...],
    not_checked: list[str],
) -> Report:
    default_file = _default_file(files)
    refused = default_file is None or any(file.required and not file.passed for file in files)
    return Report(
        verdict="REFUSED" if refused else "PASS",
        name=request.name,
        version=request.version,
        labels=run.labels,
        positive=run.positive,
        intended_use=request.intended_use,
        licence=request.licence,
        input=run.input,
        default_file=default_file,
        decision=judge.decision,
        smallest_margin={
            loss.name: smallest_margin(loss.n, request.gate.noninferiority.alpha) for loss in judge.keras["test"].losses
        },
        exploratory=_exploratory(files),
        run=run_facts(run),
        images={
            "calibration": calibration,
            "val": len(images.val.labels),
            "test": len(images.test.labels),
            "golden": len(images.golden),
        },
        keras=judge.keras,
        gate=request.gate,
        files=files,
        not_checked=tuple(not_checked),
    )


def _exploratory(files: tuple[FileReport, ...]) -> tuple[Exploratory, ...]:
    """One comparison for each file, so Holm's correction; sorted as the files are."""
    found = [(file.name, file.test.p_accuracy) for file in files if file.test and file.test.p_accuracy is not None]
    if not found:
        return ()
    corrected = multipletests([p for _, p in found], method="holm")[1]
    return tuple(Exploratory(name, p, round(float(holm), 6)) for (name, p), holm in zip(found, corrected, strict=True))


def run_facts(run: Run) -> dict[str, str]:
    """Which training run a bundle comes from."""
    return {
        "model": run.model,
        "recipe": run.recipe,
        "epoch": f"{run.best_epoch} of {run.epochs}",
        "temperature": f"{run.temperature:.4g}",
        "seed": str(run.seed),
        "images": str(run.data.images),
        "splits_sha256": run.data.sha256,
        "model_sha256": run.model_sha256,
        "commit": run.commit,
    }
