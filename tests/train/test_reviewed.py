"""`limiar train --from RUN --add REVIEWED`: what a person reviewed goes to training, what a RUN was judged on stays apart."""

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from limiar.convert.compare.compare import compare
from limiar.convert.source.source_model import run_facts
from limiar.edge_app.errors import DataError, TrainError
from limiar.train.config import continued
from limiar.train.data.phantoms import phantoms
from limiar.train.data.reviewed import SPLIT, Reviewed, list_reviewed, open_parent, settle
from limiar.train.fit.models import deployable, trainable
from limiar.train.record import run_folder
from limiar.train.record.run_folder import SplitRow
from limiar.train.run.make_run import make_run

ROWS = [SplitRow(f"{part}.png", "0" * 64, "neg", part, group) for part, group in (("train", ""), ("val", "p1"), ("test", "p2"))]
TENSORS = ["of train", "of val", "of test"]


def settled(tmp_path, *images):
    """settle() of (tensor, label, split, group), each in a file of its own."""
    reviewed = [Reviewed(tmp_path / f"{k}.png", *image[1:]) for k, image in enumerate(images)]
    return settle(ROWS, reviewed, [*TENSORS, *(image[0] for image in images)])


def test_a_new_image_is_added_once(tmp_path):
    found = settled(tmp_path, ("new", "pos"), ("new", "pos"))
    assert (found.added, found.known, found.corrected) == ((0,), 1, {})


def test_an_image_of_training_with_another_label_corrects_it(tmp_path):
    found = settled(tmp_path, ("of train", "pos"))
    assert (found.added, found.corrected, found.corrections) == ((), {0: "pos"}, 1)
    assert settled(tmp_path, ("of train", "neg")).known == 1


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_image_of_val_or_test_is_left_out_whatever_its_label(tmp_path, part):
    found = settled(tmp_path, (f"of {part}", "neg"), (f"of {part}", "neg"))
    assert (found.added, found.corrected, found.held, found.doubted) == ((), {}, 2, 0)
    doubted = settled(tmp_path, (f"of {part}", "pos"))
    assert (doubted.added, doubted.corrected, doubted.held, doubted.doubted) == ((), {}, 1, 1)


def test_an_image_of_a_group_in_val_is_left_out(tmp_path):
    found = settled(tmp_path, ("new", "pos", "", "p1"), ("newer", "pos", "", "p3"))
    assert (found.added, found.grouped) == ((1,), 1)


def test_an_image_that_is_listed_for_test_does_not_get_there(tmp_path):
    found = settled(tmp_path, ("new", "pos", "test"), ("newer", "pos", "train_b"))
    assert (found.added, found.elsewhere) == ((1,), 1)


def test_two_people_who_disagree_are_named(tmp_path):
    with pytest.raises(DataError) as refused:
        settled(tmp_path, ("new", "pos"), ("new", "neg"))
    assert refused.value.code == "E-DATA-BOTH-LABELS"


def test_a_corrected_table_of_a_scan_is_read_as_scan_writes_it(tmp_path):
    table = tmp_path / "results.csv"
    lines = [
        "path,sha256,decision,label,confidence",
        f"/images/a.png,{'1' * 64},refer,pos,0.6",
        "'-b.png,,neg,neg,0.99",
        "broken.png,,refused,,",
    ]
    table.write_text("\n".join(lines))
    images, notes = list_reviewed(table)
    assert [(str(image.path), image.label, image.sha256) for image in images] == [
        ("/images/a.png", "pos", "1" * 64),
        ("-b.png", "neg", ""),
    ]
    assert "1 line without a label skipped" in notes[0]


@pytest.mark.parametrize(
    "text", ["name,label\na.png,pos\n", "file,decision\na.png,pos\n", "file,label\na.png,pos\na.png,neg\n"]
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, text):
    (tmp_path / "reviewed.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        list_reviewed(tmp_path / "reviewed.csv")
    assert refused.value.code == "E-DATA-CSV"


def test_what_ships_can_be_trained_on_and_is_the_same_function(small_run):
    model = keras.saving.load_model(small_run / run_folder.MODEL)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3)).astype(np.float32)
    grown = trainable(model, temperature=2.0, dropout=0.3)
    assert np.allclose(grown(pixels), 2 * model(pixels), atol=1e-4)  # float32 sums in another order
    assert np.allclose(deployable(grown, 2.0)(pixels), model(pixels), atol=1e-4)
    largest = max(np.abs(layer.get_weights()[0]).max() for layer in grown.layers if layer.weights)
    assert np.abs(grown.layers[1].get_weights()[0]).max() > largest / 100  # of the same size, so that one rate fits all


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory, small_run, phantom_folder):
    """A CSV of 40 new images, a training image with the other label, one with its own, and one of test."""
    folder = tmp_path_factory.mktemp("reviewed")
    rows = run_folder.read_splits(small_run, run_folder.read_run(small_run))
    train_rows = [row for row in rows if row.part == "train"]
    test_row = next(row for row in rows if row.part == "test")
    lines = []
    for name, data in phantoms(40, seed=8):
        (folder / name).write_bytes(data)
        lines.append((folder / name, "", name[-7:-4]))
    other = {"neg": "pos", "pos": "neg"}[train_rows[0].label]
    lines.append((phantom_folder / train_rows[0].file, train_rows[0].sha256, other))
    lines += [(phantom_folder / row.file, row.sha256, row.label) for row in (train_rows[1], test_row)]
    table = folder / "reviewed.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "sha256", "label"), *lines])
    return table


@pytest.fixture(scope="module")
def continued_run(tmp_path_factory, small_run, reviewed, request_for, silent):
    """(RUN, what was said)."""
    out, notes = tmp_path_factory.mktemp("continued") / "run", []
    parent = open_parent(small_run, reviewed)
    asked = request_for(out).continuing(parent, continued(parent.run, ["epochs=2"]))
    make_run(asked, replace(silent, note=notes.append))
    return out, notes


def test_a_continued_run_keeps_val_and_test_and_says_what_it_learned_from(continued_run, small_run):
    out, notes = continued_run
    run, old = run_folder.read_run(out), run_folder.read_run(small_run)
    assert run.parent == run_folder.Lineage(old.model_sha256, added=40, corrected=1, left_out=2)
    rows, before = run_folder.read_splits(out, run), run_folder.read_splits(small_run, old)
    assert [row for row in rows if row.part != "train"] == [row for row in before if row.part != "train"]
    assert sum(row.split == SPLIT for row in rows) == 40
    assert [a.file for a, b in zip(rows, before, strict=False) if a.label != b.label] == [
        next(row.file for row in before if row.part == "train")
    ]
    assert "40 new in training, 1 corrected" in notes[0]
    assert "1 left out: in val or test" in notes[0]
    assert run.config["rate"] == pytest.approx(old.config["rate"] / 10)
    assert run.model_sha256 != old.model_sha256
    assert run_facts(run)["parent_model_sha256"] == old.model_sha256
    assert run_facts(run)["reviewed"] == "40 added, 1 corrected, 2 left out"
    assert old.model_sha256 in (out / run_folder.REPORT).read_text()


def test_a_continued_run_is_compared_with_its_parent_image_by_image(continued_run, small_run):
    review = compare(small_run, continued_run[0])
    tests = sum(row.split == "test" for row in run_folder.read_predictions(small_run, run_folder.read_run(small_run)))
    assert review.files[0].paired
    assert review.files[0].images == tests
    assert [change.name for change in review.files[0].changes] == ["accuracy", "sensitivity", "specificity", "auc"]
    assert "reviewed" in {difference.name for difference in review.differences}


def test_resume_of_a_continued_run_compares_its_images(continued_run, small_run, reviewed, tmp_path, request_for, silent):
    out, _ = continued_run
    other = tmp_path / "reviewed.csv"
    other.write_text("\n".join(line for k, line in enumerate(reviewed.read_text().splitlines()) if k != 1))

    def resumed(table):
        parent = open_parent(small_run, table)
        asked = request_for(out).continuing(parent, continued(parent.run, ["epochs=2"]))
        return make_run(replace(asked, resume=True), silent)

    assert resumed(reviewed) == run_folder.read_run(out)
    with pytest.raises(TrainError) as refused:
        resumed(other)
    assert refused.value.code == "E-TRAIN-OUT"


def refused_code(tmp_path, request_for, silent, run, table, folder=None):
    parent = open_parent(run, table)
    asked = request_for(tmp_path / "run").continuing(parent, continued(parent.run, ["epochs=1"]))
    with pytest.raises((TrainError, DataError)) as refused:
        make_run(replace(asked, folder=folder or asked.folder), silent)
    assert not (tmp_path / "run").exists()
    return refused.value.code


def test_a_label_that_the_run_has_not_is_refused(tmp_path, request_for, silent, small_run, phantom_folder):
    (tmp_path / "t.csv").write_text(f"path,label\n{min(phantom_folder.iterdir())},cyst\n")
    assert refused_code(tmp_path, request_for, silent, small_run, tmp_path / "t.csv") == "E-TRAIN-ADD"


def test_images_that_teach_nothing_new_are_refused(tmp_path, request_for, silent, small_run, phantom_folder):
    assert refused_code(tmp_path, request_for, silent, small_run, phantom_folder) == "E-TRAIN-ADD"


def test_an_image_that_changed_since_its_review_is_refused(tmp_path, request_for, silent, small_run, phantom_folder):
    image = min(phantom_folder.iterdir())
    (tmp_path / "t.csv").write_text(f"path,label,sha256\n{image},{image.stem[-3:]},{'0' * 64}\n")
    assert refused_code(tmp_path, request_for, silent, small_run, tmp_path / "t.csv") == "E-TRAIN-ADD"


def test_data_that_is_not_the_run_s_is_refused(tmp_path, request_for, silent, small_run, reviewed, phantom_folder):
    copy = tmp_path / "images"
    copy.mkdir()
    names = sorted(path.name for path in phantom_folder.iterdir())
    for name, data in zip(names, (path.read_bytes() for path in sorted(phantom_folder.iterdir())[::-1]), strict=True):
        (copy / name).write_bytes(data)
    assert refused_code(tmp_path, request_for, silent, small_run, reviewed, copy) == "E-TRAIN-FROM"


def test_data_without_the_run_s_images_is_told_from_bad_images(tmp_path, request_for, silent, small_run, reviewed):
    (tmp_path / "empty").mkdir()
    assert refused_code(tmp_path, request_for, silent, small_run, reviewed, tmp_path / "empty") == "E-TRAIN-FROM"


@pytest.mark.parametrize(
    "words",
    [
        ["--from", "run"],
        ["--add", "x"],
        ["--from", "run", "--add", "x", "--model", "lenet"],
        ["--from", "run", "--add", "x", "--set", "test_share=0.5"],
    ],
)
def test_what_does_not_belong_together_is_a_usage_error(tmp_path, words):
    from limiar.train.commands.train import train as command

    done = CliRunner().invoke(command, [str(tmp_path), "--out", str(tmp_path / "new"), *words])
    assert done.exit_code == 2
