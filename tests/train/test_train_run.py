"""`limiar train` from images to RUN, as a person and as convert see it."""

import base64
import csv
import functools
import hashlib
import html
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import keras
import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.convert.gate.decision_rule import fit
from limiar.convert.gate.gate_file import read_gate
from limiar.edge_app.errors import DataError, TrainError
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.image.statistics import measure, outside, statistics
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.report.image import png_url
from limiar.train.config import configured
from limiar.train.fit.fit import unfinished
from limiar.train.fit.unfinished import partial_folder
from limiar.train.record import run_folder
from limiar.train.record.metrics import class_metrics
from limiar.train.record.operating_points import Scores
from limiar.train.record.referral import referrals
from limiar.train.report.run_page import COURSE_DIFFERENCES, IMAGE_PX, confusion, harder
from limiar.train.report.summary import summary
from limiar.train.run.make_run import make_run
from limiar.train.run.steps import positive_of


def test_a_run_holds_what_the_contract_names(small_run):
    names = {run_folder.MODEL, run_folder.RECORD, run_folder.SPLITS, run_folder.PREDICTIONS, run_folder.HISTORY}
    assert {path.name for path in small_run.iterdir()} == names | {run_folder.REPORT}
    run = run_folder.read_run(small_run)
    assert (run.model, run.recipe, run.labels, run.positive) == ("compact", "limiar", ("neg", "pos"), "pos")
    assert run.config["epochs"] == 3
    assert {"python", "keras", "numpy", "limiar", "backend"} <= set(run.versions)


def test_the_record_holds_the_envelope_of_the_training_images_and_tells_others_apart(small_run, phantom_folder):
    run = run_folder.read_run(small_run)
    rows = [row for row in run_folder.read_splits(small_run, run) if row.part == "train"]
    images = [model_input(decode(read_file(str(phantom_folder / row.file)), row.file), run.input) for row in rows]
    assert run.envelope == measure(images)
    others = np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)
    assert all(outside(run.envelope, statistics(image[np.newaxis])) for image in others)


def test_splits_name_every_image_with_its_hash(small_run, phantom_folder):
    rows = run_folder.read_splits(small_run, run_folder.read_run(small_run))
    assert {row.file for row in rows} == {path.name for path in phantom_folder.iterdir()}
    for row in rows:
        assert row.sha256 == hashlib.sha256((phantom_folder / row.file).read_bytes()).hexdigest()


def test_predictions_are_those_of_the_model_file_on_the_devices_pixels(small_run, phantom_folder):
    run = run_folder.read_run(small_run)
    predictions = {row.sha256: row for row in run_folder.read_predictions(small_run, run)}
    rows = run_folder.read_splits(small_run, run)
    assert len(predictions) == len(rows) == 160
    model = keras.saving.load_model(small_run / run_folder.MODEL, safe_mode=True)
    images = [model_input(decode(read_file(str(phantom_folder / row.file)), row.file), run.input) for row in rows]
    answers = model.predict(np.concatenate(images), verbose=0)
    want = np.array([predictions[row.sha256].logits for row in rows])
    assert np.allclose(answers, want, atol=1e-5)


def test_the_history_has_a_line_for_each_epoch(small_run):
    lines = list(csv.DictReader((small_run / run_folder.HISTORY).open()))
    assert [line["epoch"] for line in lines] == ["1", "2", "3"]
    best = min(lines, key=lambda line: float(line["val_loss"]))
    assert int(best["epoch"]) == run_folder.read_run(small_run).best_epoch


def test_the_same_seed_gives_the_same_run(small_run, tmp_path, request_for, silent):
    make_run(request_for(tmp_path / "again", "epochs=3"), silent)
    for name in (run_folder.MODEL, run_folder.SPLITS, run_folder.PREDICTIONS, run_folder.HISTORY):
        assert (tmp_path / "again" / name).read_bytes() == (small_run / name).read_bytes()


def test_the_report_is_one_file_with_every_figure(small_run):
    page = (small_run / run_folder.REPORT).read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 5
    for word in (
        "sensitivity",
        "specificity",
        "AUC",
        "precision",
        "recall",
        "F1",
        "support",
        "Confusion",
        "diagnosis",
        "ECE",
        "Youden",
    ):
        assert word in page
    run = run_folder.read_run(small_run)
    rows = [row for row in run_folder.read_predictions(small_run, run) if row.split == "test"]
    answers = softmax(np.array([row.logits for row in rows]))
    for metric in class_metrics([run.labels.index(row.label) for row in rows], answers, run.labels, "pos").values():
        assert f"{metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f}) of {metric.n}" in page


def test_on_a_phone_each_table_scrolls_in_its_box_or_names_its_cells(small_run):
    page = (small_run / run_folder.REPORT).read_text()
    assert page.count("<table") == len(re.findall(r'<div class="scroll" [^>]*tabindex="0">\n<table', page)) == 5
    points = page[page.index('id="points"') :]
    assert re.findall(r'<td data-head="([^"]*)">', points[: points.index("</tr>", points.index("<tbody>"))]) == [
        *("sensitivity, validation", "specificity, validation", "sensitivity, test", "specificity, test")
    ]
    assert "@media (max-width: 40rem)" in page


def test_the_report_escapes_what_a_file_name_says(tmp_path, request_for, silent, phantom_folder):
    folder = tmp_path / "images"
    folder.mkdir()
    for k, path in enumerate(sorted(phantom_folder.iterdir())):
        (folder / f"<script>{k}<_{path.name[-7:]}").write_bytes(path.read_bytes())
    make_run(request_for(tmp_path / "run", model="lenet", folder=folder), silent)
    page = (tmp_path / "run" / run_folder.REPORT).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_confusion_matrix_has_the_true_class_in_rows():
    matrix = confusion(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), 2)
    assert matrix.tolist() == [[1, 1], [1, 2]]


def test_the_courses_recipe_says_where_it_differs(tmp_path, request_for, silent):
    run = make_run(request_for(tmp_path / "run", model="lenet", recipe="course"), silent)
    assert (run.temperature, run.best_epoch) == (1.0, 2)  # no temperature, the last epoch
    page = (tmp_path / "run" / run_folder.REPORT).read_text()
    assert all(f"<li>{text}</li>" in html.unescape(page) for text in COURSE_DIFFERENCES)
    assert "precision and recall exchanged" in page


def test_three_classes_train(tmp_path, request_for, silent):
    rng = np.random.default_rng(0)
    for k, label in enumerate(("cat", "dog", "fox")):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(40):
            pixels = rng.integers(80 * k, 80 * k + 60, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    asked = request_for(tmp_path / "run", "min_per_class=2", "epochs=4", model="lenet", folder=tmp_path / "images")
    run = make_run(asked, silent)
    assert (run.labels, run.positive) == (("cat", "dog", "fox"), None)
    assert "recall of fox" in (tmp_path / "run" / run_folder.REPORT).read_text()


@pytest.mark.parametrize(("side_px", "shown_px"), [(8, 8), (40, 40), (64, 64), (300, 80)])
def test_an_image_of_any_size_fits_the_reports_grid(side_px, shown_px):
    url = png_url(np.zeros((side_px, side_px // 2, 3), np.uint8), IMAGE_PX)
    shown = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert shown.size == (shown_px // 2, shown_px)


def test_a_run_is_never_written_over(small_run, request_for, silent):
    with pytest.raises(TrainError) as refused:
        make_run(request_for(small_run), silent)
    assert refused.value.code == "E-TRAIN-OUT"


def test_a_positive_that_is_no_label_is_refused(tmp_path, request_for, silent):
    with pytest.raises(TrainError) as refused:
        make_run(request_for(tmp_path / "run", positive="nodule"), silent)
    assert refused.value.code == "E-TRAIN-POSITIVE"


def test_a_positive_of_more_than_two_labels_is_refused():
    with pytest.raises(TrainError) as refused:
        positive_of("b", ("a", "b", "c"))
    assert refused.value.code == "E-TRAIN-POSITIVE"
    assert positive_of(None, ("a", "b", "c")) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((), ", with dropout and class weights"),
        (("dropout=0", "balance=false"), ""),
        (("smoothing=0.1",), ", with dropout, smoothed targets and class weights"),
        (("balance=false", "sharp_epochs=3"), ", with dropout, the last 3 epochs less augmented"),
    ],
)
def test_the_report_says_what_sets_training_figures_apart(changes, said):
    assert harder(msgspec.structs.asdict(configured("limiar", changes))) == said


def swallowed(*_):
    """A Ctrl-C that does not get through, as in TensorFlow's C++ after it has called back."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("at", ["image", "begin", "epoch"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_ctrl_c_that_a_library_swallows_ends_the_training_all_the_same(tmp_path, request_for, silent, at, epochs):
    with pytest.raises(KeyboardInterrupt):
        make_run(request_for(tmp_path / "run", f"epochs={epochs}"), replace(silent, **{at: swallowed}))
    kept = unfinished(partial_folder(tmp_path / "run"))
    assert (kept.done if kept else 0) == (at == "epoch")
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_callers_own_hears_every_ctrl_c(tmp_path, request_for, silent):
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        make_run(request_for(tmp_path / "run"), replace(silent, epoch=swallowed))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(heard) == 2
    assert (tmp_path / "run").exists()


def test_ctrl_c_keeps_what_was_trained_and_says_how_to_go_on(tmp_path, phantom_folder):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "limiar", "train", phantom_folder, "--out", out, "--set", "epochs=500"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    # A shell that starts the tests in the background lets them ignore Ctrl-C, and a child inherits that.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heard) as process:
        deadline = time.monotonic() + 300
        while not (partial_folder(out) / "state.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "repeat the command to continue" in said
    assert "Traceback" not in said
    assert (partial_folder(out) / "state.json").exists()
    assert not out.exists()


NASTY = ("z $^$", "_hidden", "$\\frac{", "\\", "a" * 200, "<b>&amp;", "猫")


def test_labels_that_are_formulas_or_markup_end_in_a_report(tmp_path, request_for, silent, recwarn):
    rng = np.random.default_rng(0)
    for c, label in enumerate(NASTY):
        place = tmp_path / "images" / label
        place.mkdir(parents=True)
        for k in range(8):
            pixels = np.clip(rng.normal(30 + 30 * c, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{k}.png")
    changes = ("min_per_class=1", "epochs=1", "batch=8", "rate=0.02")
    make_run(request_for(tmp_path / "run", *changes, folder=tmp_path / "images"), silent)
    page = (tmp_path / "run" / run_folder.REPORT).read_text()
    assert "z $^$" in page
    assert "<b>&amp;" not in page
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


def test_a_run_is_there_also_where_its_report_cannot_be_drawn(tmp_path, request_for, silent, monkeypatch):
    def broken(*args):
        raise RuntimeError("no\nfont at <all>")

    monkeypatch.setattr("limiar.train.report.run_page.draw_roc", broken)
    notes = []
    make_run(request_for(tmp_path / "run"), replace(silent, note=notes.append))
    run = run_folder.read_run(tmp_path / "run")
    assert run_folder.read_predictions(tmp_path / "run", run)
    said = [note for note in notes if note.startswith("E-TRAIN-REPORT: ")]
    assert len(said) == 1
    assert "no font at <all>" in said[0]
    assert "no font at &lt;all&gt;" in (tmp_path / "run" / run_folder.REPORT).read_text()


def test_of_many_images_the_run_says_the_epochs_that_it_had(tmp_path, request_for, silent):
    request = request_for(tmp_path / "run")
    request = replace(request, config=msgspec.structs.replace(request.config, epochs=40, patience=1, images=1))
    run = make_run(request, silent)
    assert run.config["epochs"] == 20
    again = make_run(replace(request, resume=True), silent)  # done already
    assert again == run


def test_the_summary_says_what_is_referred_and_what_the_test_split_decides(small_run):
    said = summary(small_run, run_folder.read_run(small_run))
    assert "the course's rule (refer below 0.95) refers " in said
    assert "limiar convert's default rule (" in said
    assert "the test split can only decide" in said
    assert "--allow-undecided" in said


def test_the_rule_that_the_summary_and_the_page_call_convert_s_is_the_one_that_convert_fits(small_run):
    run = run_folder.read_run(small_run)
    rows = [row for row in run_folder.read_predictions(small_run, run) if row.split == "val"]
    truth = np.array([run.labels.index(row.label) for row in rows])
    scores = Scores(softmax(np.array([row.logits for row in rows])), truth, run.labels.index(run.positive))
    decision = fit(read_gate().decision, scores, run.labels)
    assert f": refer below {decision.refer_below:.3g}) refers " in summary(small_run, run)
    assert f": refer below {decision.refer_below:.3g}) refers " in (small_run / run_folder.REPORT).read_text()


def test_where_no_confidence_reaches_the_aim_the_summary_says_that_convert_keeps_the_usual_cut():
    wrong = Scores(np.tile([0.1, 0.9], (20, 1)), np.zeros(20, np.int64), 1)
    own, course = referrals(wrong, wrong)
    assert "cannot be reached, so the usual cut: refer below 0.95) refers 100 % of the test images" in own
    assert course == "the course's rule (refer below 0.95) refers 100 % of the test images"


@pytest.mark.parametrize("label", ["a\rb", "refer", "refused", "\x1b[31m", "gr\udcf6n", "\u202eabc"])
def test_a_label_that_no_bundle_can_hold_is_refused_before_the_training(tmp_path, request_for, silent, phantom_folder, label):
    for path in phantom_folder.iterdir():
        place = tmp_path / "images" / ("other" if path.stem.endswith("neg") else label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{path.stem[:-4]}.png").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"rename it|another name") as refused:
        make_run(request_for(tmp_path / "run", folder=tmp_path / "images"), silent)
    assert refused.value.code == "E-DATA-LABEL"
    assert refused.value.message.isprintable()
    assert not partial_folder(tmp_path / "run").exists()


def test_any_file_name_goes_from_images_to_a_run_and_back(tmp_path, request_for, silent, phantom_folder):
    names = {f"{name}_pos.png" for name in ("a\rb", "a\nb", "=1+1", "\udcff", "$^$", "a,b", "\u202e", '"')}
    folder = tmp_path / "images"
    shutil.copytree(phantom_folder, folder)
    positive = [path for path in sorted(folder.iterdir()) if path.stem.endswith("pos")]
    for path, name in zip(positive, sorted(names), strict=False):
        path.rename(folder / name)
    make_run(request_for(tmp_path / "run", "epochs=12", "rate=0.01", folder=folder), silent)
    run = run_folder.read_run(tmp_path / "run")
    assert names < {row.file for row in run_folder.read_splits(tmp_path / "run", run)}
    (tmp_path / "run" / run_folder.REPORT).read_text()
