"""Ten unbalanced classes of RGB images of mixed sizes, from images to answers, with the commands that a person types."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

import coloured_shapes
from limiar.edge_app.cli import limiar as limiar_group
from limiar.train.record import run_folder

GATE = """
required = ["tflite_fp32", "tflite_int8", "onnx_fp32"]
inconclusive_passes = true  # three test images of a class decide nothing
[noninferiority]
margin = 0.4
alpha = 0.05
[decision]
confidence = 0.5
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Class folders, 12 images of the rarest class and 48 of the most frequent."""
    folder = tmp_path_factory.mktemp("shapes")
    coloured_shapes.write_shapes(folder, coloured_shapes.counts(12), seed=1)
    return folder


def limiar(*words):
    done = CliRunner().invoke(limiar_group, list(map(str, words)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_ten_unbalanced_classes_train_pass_the_gate_and_scan(shapes, tmp_path, limiar_convert):
    run_path, bundle, answers = (tmp_path / name for name in ("run", "bundle", "answers.jsonl"))
    changes = [word for change in ("epochs=6", "min_per_class=1", "warmup=0", "batch=16") for word in ("--set", change)]
    said = limiar("train", shapes, "--quick", "--size", "32x48", "--out", run_path, *changes).output
    assert len(re.findall(r"accuracy [\d.]+ \([\d.-]+\)  least recall_(?:red|blue)-", said)) == 2

    run = run_folder.read_run(run_path)
    assert run.labels == tuple(sorted(coloured_shapes.CLASSES))
    assert run.positive is None
    assert (run.input.height, run.input.width, run.input.channels) == (32, 48, 3)
    page = (run_path / run_folder.REPORT).read_text()
    assert all(f"recall of {label}" in page for label in run.labels)
    assert "ROC of the 6 classes found least against all others" in page

    (tmp_path / "gate.toml").write_text(GATE)
    assert limiar_convert(run_path, "--gate", tmp_path / "gate.toml", "--allow-chance", "--out", bundle).exit_code == 0

    limiar("scan", bundle, shapes, "--db", tmp_path / "results.db", "--jsonl", answers)
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert len(lines) == run.data.images
    assert all(set(line["probabilities"]) == set(run.labels) for line in lines)
    # Few images teach little, but the device says what Keras said of the same file, but for int8's steps.
    keras = {row.sha256: run.labels[int(np.argmax(row.logits))] for row in run_folder.read_predictions(run_path, run)}
    same = [line["label"] == keras[line["sha256"]] for line in lines]
    assert np.mean(same) > 0.9
