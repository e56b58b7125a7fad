"""Folders that say which images train and which judge."""

import io

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError
from limiar.train.dataset.image_folder import load
from limiar.train.dataset.listing import list_images
from limiar.train.dataset.split_folders import part_of
from limiar.train.dataset.splits import Shares

SPEC = InputSpec(height=40, width=40, channels=3)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path):
    """made("train/cat", 3, …) -> the data folder with so many images in each folder, all of them different."""

    def make(**counts):
        seed = 0
        for folder, count in counts.items():
            place = tmp_path / "data" / folder
            place.mkdir(parents=True, exist_ok=True)
            for k in range(count):
                seed += 1
                (place / f"{k:03}.png").write_bytes(png(seed))
        return tmp_path / "data"

    return make


def loaded(folder, table=None):
    return load(folder, table, SPEC, Shares(seed=0, minimum=1), lambda done, total: None)


def layout(train, val, test, count=3):
    return {f"{part}/{name}": count for part in (train, val, test) for name in ("cat", "dog")}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training_set", "valid", "test_set"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "dev", "TEST"),
        ("train2017", "val2017", "test-2017"),
        ("train_images", "validation-images", "test images"),
        ("training", "validation", "evaluation"),  # a data set of food has these
        ("seg_train", "seg_val", "seg_test"),
        ("asl_alphabet_train", "asl_alphabet_valid", "asl_alphabet_test"),
        ("01_train", "02_val", "03_test"),
        ("imagesTrain", "imagesVal", "imagesTest"),
        ("treino", "validação", "teste"),
        ("entrenamiento", "validación", "prueba"),
    ],
)
def test_folders_named_as_splits_are_the_given_splits(made, train, val, test):
    data, notes = loaded(made(**layout(train, val, test)))
    assert data.labels == ("cat", "dog")
    assert not data.drawn
    for row in data.rows:
        folder, label, _ = row.file.split("/")
        assert (row.split, row.label) == ({train: "train", val: "val", test: "test"}[folder], label)
    assert any(f"{train} (train, 6 images)" in note and "given splits" in note for note in notes)


def test_splits_below_a_folder_that_holds_everything(made):
    data, _ = loaded(made(**{f"archive/data/{name}": count for name, count in layout("train", "val", "test").items()}))
    assert data.labels == ("cat", "dog")
    assert {row.split for row in data.rows} == {"train", "val", "test"}


def test_splits_below_the_class_folders(made):
    folder = made(**{f"{name}/{part}": 3 for part in ("train", "val", "test") for name in ("cat", "dog")})
    data, _ = loaded(folder)
    assert data.labels == ("cat", "dog")
    assert all((row.label, row.split) == tuple(row.file.split("/")[:2]) for row in data.rows)


def test_splits_of_images_that_are_labelled_by_suffix(tmp_path):
    for k in range(24):
        place = tmp_path / ("train", "valid", "test")[k % 3]
        place.mkdir(exist_ok=True)
        (place / f"{k:02}_{'pos' if k % 2 else 'neg'}.png").write_bytes(png(k))
    data, _ = loaded(tmp_path)
    assert data.labels == ("neg", "pos")
    assert {row.file.split("/")[0]: row.split for row in data.rows} == {"train": "train", "valid": "val", "test": "test"}


@pytest.mark.parametrize("between", [("train", "val", "test"), ("images", "images", "images"), ("data", "images", "test")])
def test_a_folder_between_split_and_classes_that_says_nothing_is_passed_over(made, between):
    parts = ("train", "val", "test")
    folder = made(**{f"{part}/{one}/{name}": 2 for part, one in zip(parts, between, strict=True) for name in ("cat", "dog")})
    data, _ = loaded(folder)
    assert data.labels == ("cat", "dog")
    assert all(row.split == row.file.split("/")[0] for row in data.rows)


def test_a_test_tube_beside_a_bullet_train_is_a_class(made):
    assert loaded(made(**{"test tube": 8, "bullet train": 8}))[0].labels == ("bullet train", "test tube")


def test_folders_inside_a_class_folder_are_no_classes(made):
    folder = made(**{f"{part}/{name}/scan{k}": 2 for part in ("train", "val", "test") for name in ("a", "b") for k in (1, 2)})
    assert loaded(folder)[0].labels == ("a", "b")


@pytest.mark.parametrize(("lacks", "given"), [("val", ("train", "test")), ("test", ("train", "val"))])
def test_a_part_that_is_not_given_is_drawn_from_training_and_said(made, lacks, given):
    data, notes = loaded(made(**{f"{part}/{name}": 20 for part in given for name in ("cat", "dog")}))
    drawn = [row for row in data.rows if row.split == lacks]
    assert drawn
    assert all(row.file.startswith("train/") for row in drawn)
    other = given[1]
    assert all(row.split == other for row in data.rows if row.file.startswith(other))
    assert any(f"lack {lacks}" in note and f"{len(drawn)} for {lacks}" in note for note in notes)
    assert data.drawn == (lacks == "test")


def test_a_training_folder_alone_lends_both_other_parts(made):
    data, notes = loaded(made(**{"train/cat": 20, "train/dog": 20}))
    counts = {part: sum(row.split == part for row in data.rows) for part in ("train", "val", "test")}
    assert counts == {"train": 24, "val": 6, "test": 10}
    assert any("lack test and val" in note for note in notes)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (
            {"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/dog": 2, "extra/cat": 2, "extra/dog": 2},
            "extra beside them are not",
        ),
        ({"train/cat": 2, "train/dog": 2, "unseen/cat": 2, "unseen/dog": 2}, "unseen beside them are not"),
        ({"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/hound": 2}, "different classes"),
        ({"train/cat": 2, "train/dog": 2, "val/cat": 2, "test/cat": 2, "test/dog": 2}, "val lacks dog"),
        ({"test/cat": 2, "test/dog": 2, "val/cat": 2, "val/dog": 2}, "none is for training"),
        ({"seg_train/cat": 2, "seg_train/dog": 2, "seg_test/cat": 2, "seg_test/dog": 2, "seg_pred": 2}, "seg_pred beside them"),
        ({"trainA": 2, "trainB": 2, "testA": 2, "testB": 2}, r"several things \(a, b\)"),
        ({"cat/train": 2, "cat/test": 2, "dog/train": 2, "dog/test": 2, "dog/raw": 2}, "raw beside them are not"),
    ],
)
def test_what_only_looks_like_splits_is_refused(made, folders, words):
    with pytest.raises(DataError, match=words) as refused:
        loaded(made(**folders))
    assert refused.value.code == "E-DATA-SPLIT"
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("folders", [{"train": 6, "test": 6}, {"train/cat": 3, "train/dog": 3, "test": 6}])
def test_split_folders_without_classes_never_become_labels(made, folders):
    with pytest.raises(DataError, match="is not in a class folder") as refused:
        loaded(made(**folders))
    assert refused.value.code == "E-DATA-LABEL"


def test_an_image_beside_the_split_folders_is_refused(made):
    folder = made(**layout("train", "val", "test"))
    (folder / "loose.png").write_bytes(png(999))
    with pytest.raises(DataError, match=r"loose\.png is beside the folders of the splits"):
        loaded(folder)


@pytest.mark.parametrize("empty", ["val", "train/fox"])
def test_an_empty_split_or_class_folder_is_refused(made, empty):
    folder = made(**layout("train", "valid", "test"))
    (folder / empty).mkdir()
    with pytest.raises(DataError, match="contains no image") as refused:
        loaded(folder)
    assert refused.value.code == "E-DATA-EMPTY"


def test_a_class_may_be_called_train_and_is_said_to_be_one(made):
    data, notes = loaded(made(bus=8, car=8, train=8))
    assert data.labels == ("bus", "car", "train")
    assert any("train is taken for a class" in note for note in notes)


def test_a_table_without_splits_says_that_the_folders_are_passed_over(made, tmp_path):
    folder = made(**layout("train", "val", "test", count=8))
    lines = [f"{image.file},{image.label}" for image in list_images(folder, None).images]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *lines]))
    data, notes = loaded(folder, table)
    assert data.drawn
    assert any("the table gives no splits" in note for note in notes)


@pytest.mark.parametrize(
    "name", ["cat", "trainer", "protest", "valley", "devil", "contest", "set", "images", "2017", "interval"]
)
def test_other_names_are_no_splits(name):
    assert part_of(name) is None
