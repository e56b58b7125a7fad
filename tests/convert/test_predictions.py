"""predictions.csv and the gallery."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limiar.convert.gate.decision_rule import decided
from limiar.convert.report.gallery import FLIPS_SHOWN, Scored, gallery
from limiar.convert.run.predictions import AnswerTable, predictions_csv, read_predictions_csv
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.inference.softmax import softmax

LABELS = ("a,b", 'c"d: e')


def answers(count: int = 40) -> AnswerTable:
    rng = np.random.default_rng(1)
    return AnswerTable(
        labels=LABELS,
        sha256=tuple(f"{number:064x}" for number in range(count)),
        split=tuple("val" if number < 10 else "test" for number in range(count)),
        truth=rng.integers(0, 2, count),
        logits={name: rng.normal(0, 4, (count, 2)).astype(np.float32) for name in ("keras", "tflite_int8")},
    )


def test_predictions_come_back_as_the_very_same_float32(tmp_path: Path) -> None:
    written = answers()
    written.logits["tflite_int8"][3] = [np.nan, -np.inf]
    (tmp_path / "predictions.csv").write_bytes(predictions_csv(written))
    read = read_predictions_csv(tmp_path / "predictions.csv")
    assert (read.labels, read.sha256, read.split) == (written.labels, written.sha256, written.split)
    assert np.array_equal(read.truth, written.truth)
    assert list(read.logits) == list(written.logits)
    for name, logits in written.logits.items():
        assert read.logits[name].tobytes() == logits.tobytes()
    assert read.probabilities("tflite_int8") is None  # a NaN: it has no figures
    assert read.part("test").probabilities("tflite_int8") is not None
    assert read.probabilities("onnx_int8") is None


@pytest.mark.parametrize(
    "table",
    [b"", b"sha256,label\n", b"sha256,split,label,keras:a,x:b\n", b"sha256,split,label,keras:a\n0,test,a,one\n", b"\xff\x00"],
)
def test_a_table_that_is_no_predictions_csv_is_refused(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "predictions.csv").write_bytes(table)
    with pytest.raises(ConvertError) as caught:
        read_predictions_csv(tmp_path / "predictions.csv")
    assert caught.value.code == "E-COMPARE-TABLE"


def test_probabilities_are_those_that_the_app_computes() -> None:
    table = answers()
    assert np.array_equal(table.probabilities("keras"), np.stack([softmax(row) for row in table.logits["keras"]]))


def flipped(count: int, flips: int) -> tuple[Scored, Scored]:
    """Two models: the second decides the first `flips` images differently, and its scores drift away."""
    scores = np.linspace(0.2, 0.8, count)
    decisions = ["pos"] * count
    return Scored(scores, decisions), Scored(scores + np.arange(count) / 1000, ["refer"] * flips + decisions[flips:])


def test_every_flip_is_shown_before_the_largest_differences() -> None:
    tensors = np.arange(12 * 4 * 4 * 3, dtype=np.uint8).reshape(12, 4, 4, 3)
    shown = gallery(tensors, [f"{k:064x}" for k in range(12)], ["neg"] * 12, *flipped(12, 3))
    assert [(one.keras, one.file) for one in shown.flips] == [("pos", "refer")] * 3
    assert shown.flips_in_all == 3
    assert [int(one.sha256, 16) for one in shown.flips] == [0, 0, 0]  # only the beginning of a hash is shown
    gaps = [one.file_score - one.keras_score for one in shown.differences]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == pytest.approx(0.011)


def test_a_thumbnail_is_the_model_input() -> None:
    tensors = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 1), np.uint8)
    shown = gallery(tensors, ["0" * 64, "1" * 64], ["neg"] * 2, *flipped(2, 1))
    assert shown.flips[0].png is not None
    data = base64.b64decode(shown.flips[0].png.partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), tensors[0, ..., 0])


def test_more_flips_than_are_shown_are_counted() -> None:
    shown = gallery(None, ["0" * 64] * 40, ["neg"] * 40, *flipped(40, 40))
    assert (len(shown.flips), shown.flips_in_all, shown.differences) == (FLIPS_SHOWN, 40, ())


def test_without_thumbnails_there_is_no_pixel() -> None:
    shown = gallery(None, ["0" * 64] * 4, ["neg"] * 4, *flipped(4, 2))
    assert {one.png for one in (*shown.flips, *shown.differences)} == {None}


def test_a_referred_image_is_decided_as_refer() -> None:
    assert decided(np.array([0, 1]), np.array([False, True]), ("neg", "pos")) == ["neg", "refer"]
