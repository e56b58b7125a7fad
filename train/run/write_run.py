"""Writes a RUN: every file, then its name."""

import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import msgspec
import numpy as np

from limiar.edge_app.errors import TrainError
from limiar.edge_app.system.files import sync_directory, write_whole
from limiar.edge_app.text import for_terminal
from limiar.train.dataset.image_folder import DataSet
from limiar.train.fit.unfinished import STATE
from limiar.train.record import run_folder
from limiar.train.record.run_folder import Epoch, PredictionRow, Run
from limiar.train.report.run_page import render, unrendered


def write_run(
    out: Path,
    partial: Path,
    run: Run,
    model: keras.Model,
    data: DataSet,
    answers: np.ndarray,
    history: tuple[Epoch, ...],
    splits: bytes,
    note: Callable[[str], None],
) -> None:
    """Writes every file into a folder beside `out`, then renames it: a RUN is whole or not there."""
    made = partial / "run"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    saved = saved_model(model, made)
    write_whole(made / run_folder.MODEL, saved)
    digest = hashlib.sha256(saved).hexdigest()
    run = msgspec.structs.replace(run, model_sha256=digest)
    rows = (
        PredictionRow(row.sha256, row.split, row.label, tuple(map(float, line)))
        for row, line in zip(data.rows, answers, strict=True)
    )
    write_whole(made / run_folder.SPLITS, splits)
    write_whole(made / run_folder.PREDICTIONS, run_folder.predictions_csv(rows, run.labels))
    lines = [msgspec.structs.astuple(epoch) for epoch in history]
    write_whole(made / run_folder.HISTORY, run_folder.table_csv(Epoch.__struct_fields__, lines))
    write_whole(made / run_folder.REPORT, _report(run, data, answers, history, note))
    write_whole(made / run_folder.RECORD, run_folder.record_json(run))
    made.rename(out)
    sync_directory(out.parent)
    remove_partial(partial)


def _report(run: Run, data: DataSet, answers: np.ndarray, history: tuple[Epoch, ...], note: Callable[[str], None]) -> bytes:
    """The page, or one that says why it cannot be drawn: hours of training are not lost to a picture."""
    try:
        return render(run, data, answers, history)
    except Exception as error:  # whatever it is: the RUN is worth more than its page
        reason = for_terminal(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
        met = f"the report cannot be drawn ({reason})"
        note(str(TrainError("E-TRAIN-REPORT", f"{met}: the RUN is whole and can be converted; please report this")))
        return unrendered(met)


def remove_partial(partial: Path) -> None:
    """Removes the state first: if it is killed halfway, nothing looks like a run that could be resumed."""
    (partial / STATE).unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def saved_model(model: keras.Model, folder: Path) -> bytes:
    """A .keras file as Keras writes it, but deflated and without the time of day: the same run gives the same bytes."""
    plain = folder / "plain.keras"
    model.save(plain)
    packed = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "metadata.json":
                data = re.sub(rb'"date_saved": "[^"]*"', b'"date_saved": "1980-01-01@00:00:00"', data)
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(member, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    plain.unlink()
    return packed.getvalue()
