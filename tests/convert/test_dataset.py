"""Which images convert takes from a RUN."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.convert.run.dataset import (
    CALIBRATION_AT_LEAST,
    CALIBRATION_IMAGES,
    calibration_rows,
    full_range,
    read_tensors,
    split_of,
    split_rows,
)
from limiar.edge_app.errors import ConvertError
from limiar.train.dataset.reading import ReadLimits, read_all
from limiar.train.record.run_folder import Run, SplitRow, read_run


def rows(split: str, count: int, labels: str = "neg pos") -> list[SplitRow]:
    names = labels.split()
    return [SplitRow(f"{split}{i}.png", f"{split}{i}", names[i % len(names)], split, "") for i in range(count)]


def test_calibration_is_a_seeded_sample_of_the_train_split_alone() -> None:
    every = rows("train", 400) + rows("train_more", 400) + rows("val", 50) + rows("test", 50)
    chosen = calibration_rows(every, seed=7)
    assert len(chosen) == CALIBRATION_IMAGES
    assert {row.split for row in chosen} == {"train", "train_more"}
    assert len({row.file for row in chosen}) == len(chosen)
    assert chosen == calibration_rows(every[::-1], seed=7)
    assert chosen != calibration_rows(every, seed=8)


@pytest.mark.parametrize("count", [0, CALIBRATION_AT_LEAST - 1])
def test_too_few_training_images_cannot_calibrate(count: int) -> None:
    with pytest.raises(ConvertError, match=f"E-CONVERT-CALIBRATION-SIZE: {count} training images"):
        calibration_rows(rows("train", count) + rows("test", 100), seed=0)


def test_images_of_one_label_cannot_calibrate() -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-CALIBRATION-LABELS"):
        calibration_rows(rows("train", 100, "pos"), seed=0)


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_image_that_is_judged_cannot_calibrate(split: str) -> None:
    train = rows("train", 100)
    twin = msgspec.structs.replace(train[3], split=split, file="copy.png")
    with pytest.raises(ConvertError, match=r"E-CONVERT-CALIBRATION-OVERLAP: train3\.png"):
        calibration_rows([*train, twin], seed=0)


@pytest.mark.parametrize("pixels", [np.arange(40, 168).reshape(1, 8, 16, 1), np.full((1, 8, 8, 3), 90)])
def test_an_image_of_the_full_range_has_0_and_255_in_its_own_shape(pixels: np.ndarray) -> None:
    stretched = full_range(pixels.astype(np.uint8))
    assert (int(stretched.min()), int(stretched.max())) == (0, 255)
    assert stretched.shape == pixels.shape
    assert stretched.dtype == np.uint8


def test_a_stretched_image_keeps_the_order_of_its_pixels() -> None:
    levels = np.arange(40, 168, dtype=np.uint8).reshape(1, 8, 16, 1)
    assert (np.diff(full_range(levels).ravel().astype(int)) > 0).all()


@pytest.fixture
def record(run: Path) -> Run:
    return read_run(run)


def test_a_split_is_decoded_as_a_device_would(record: Run, images: tuple[Path, tuple[SplitRow, ...]]) -> None:
    chosen = split_rows(images[1], "val", record.labels)
    split = split_of(chosen, read_tensors(images[0], chosen, record.input), record.labels)
    assert split.tensors.shape == (60, 24, 24, 3)
    assert split.tensors.dtype == np.uint8
    assert [record.labels[index] for index in split.labels] == [row.label for row in images[1] if row.split == "val"]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_split_without_images_of_a_label_cannot_be_judged(
    record: Run, images: tuple[Path, tuple[SplitRow, ...]], part: str
) -> None:
    without = tuple(row for row in images[1] if (row.split, row.label) != (part, "pos"))
    with pytest.raises(ConvertError, match=f"E-CONVERT-SPLIT: the {part} split has no image of pos"):
        split_rows(without, part, record.labels)


def test_a_label_that_the_run_does_not_have_is_refused(record: Run, images: tuple[Path, tuple[SplitRow, ...]]) -> None:
    foreign = (*images[1], msgspec.structs.replace(images[1][-1], label="other"))
    with pytest.raises(ConvertError, match="E-CONVERT-LABEL: the test split has the label other"):
        split_rows(foreign, "test", record.labels)


def test_an_image_that_takes_too_much_memory_is_named_and_ends_nothing(
    record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.tile((np.arange(8000) * 255 // 8000).astype(np.uint8), (5000, 1))
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "large.png")  # takes 120 MB
    row = SplitRow("large.png", hashlib.sha256((tmp_path / "large.png").read_bytes()).hexdigest(), "neg", "val", "")
    monkeypatch.setattr(read_all, "__defaults__", (ReadLimits(memory_bytes=60 << 20),))
    with pytest.raises(ConvertError, match=r"E-CONVERT-DATA: .*large\.png: .*memory.*\(E-IMAGE-MEMORY\)"):
        read_tensors(tmp_path, [row], record.input)


def test_images_come_in_the_order_of_their_rows(record: Run, images: tuple[Path, tuple[SplitRow, ...]]) -> None:
    folder, rows = images
    chosen = [*rows[:70], *rows[300:370]][::-1]  # more than one reader is given at once
    tensors = read_tensors(folder, chosen, record.input)
    for row, tensor in zip(chosen, tensors, strict=True):
        assert np.array_equal(tensor, np.asarray(Image.open(folder / row.file)))  # of the model's own size
