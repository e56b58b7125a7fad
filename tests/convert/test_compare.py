"""`limiar compare`: two of a kind, image by image if their answers are there."""

import hashlib
import statistics
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from limiar.convert.commands.compare import compare as compare_command
from limiar.convert.compare.bench_results import compare_bench
from limiar.convert.compare.compare import _unpaired, compare, points
from limiar.convert.compare.machines import BenchTable
from limiar.convert.gate.decision_rule import in_words
from limiar.convert.run.predictions import AnswerTable, predictions_csv
from limiar.edge_app.bench.percentiles import Percentile
from limiar.edge_app.bench.result import BenchResult, Measurement
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.bundle.manifest import (
    BundleFile,
    Decision,
    InputSpec,
    Manifest,
    ModelFile,
    NotProven,
    Provenance,
    Threshold,
    Tolerance,
)
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import ConvertError, LimiarError
from limiar.edge_app.system.machine import condition, machine
from limiar.train.record.metrics import class_metrics, proportion
from limiar.train.record.run_folder import MODEL, PREDICTIONS, RECORD, PredictionRow, Run, TrainingData, record_json
from limiar.train.record.run_folder import predictions_csv as run_predictions

LABELS = ("neg", "pos")
COUNT = 400


def answers(wrong: range, labels: tuple[str, ...] = LABELS, first: int = 0) -> AnswerTable:
    """COUNT test images, classes in turn; those whose number is in `wrong` get another label."""
    truth = np.arange(COUNT) % len(labels)
    given = np.where(np.isin(np.arange(COUNT), wrong), (truth + 1) % len(labels), truth)
    return AnswerTable(
        labels=labels,
        sha256=tuple(f"{first + number:064x}" for number in range(COUNT)),
        split=("test",) * COUNT,
        truth=truth,
        logits={"tflite_int8": (4 * np.eye(len(labels)) - 2)[given].astype(np.float32)},
    )


def write(
    path: Path,
    answered: AnswerTable,
    table: bool = True,
    tool: str = "1",
    decision: Decision | None = None,
    splits: str = "0" * 64,
    not_proven: NotProven | None = None,
    name: str = "tflite_int8",
) -> Path:
    """A bundle of one model file that gives these answers; no runtime could read the bytes of that file."""
    answered = msgspec.structs.replace(answered, logits={name: answered.logits["tflite_int8"]})
    data = hashlib.sha256(answered.logits[name].tobytes()).digest()
    probabilities = answered.probabilities(name)
    assert probabilities is not None
    positive = "pos" if answered.labels == LABELS else None
    model = ModelFile(
        name=name,
        format="tflite",
        precision="int8",
        decision=decision or Decision(),
        expected_runtime="litert",
        tolerance=Tolerance(0, 0.1),
        metrics=class_metrics(answered.truth, probabilities, answered.labels, positive),
        verified=(),
    )
    manifest = Manifest(
        name="small",
        version=tool,
        release_counter=1,
        licence="none",
        intended_use="tests",
        labels=answered.labels,
        positive=positive,
        input=InputSpec(24, 24, 3),
        default_file=name,
        files=(BundleFile("a.tflite", len(data), hashlib.sha256(data).hexdigest(), model),),
        provenance=Provenance({}, {"splits_sha256": splits}, {"convert numpy": tool}, {}),
        not_proven=not_proven or msgspec.UNSET,
    )
    write_bundle(path, manifest, {"a.tflite": data})
    if table:
        beside = path.with_name(f"{path.name}.measured")
        beside.mkdir(exist_ok=True)
        (beside / "predictions.csv").write_bytes(predictions_csv(answered))
    return path


def outcomes(old: Path, new: Path) -> dict[str, str]:
    return {change.name: change.outcome for change in compare(old, new).files[0].changes}


def test_the_same_answers_are_the_same(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(10))), write(tmp_path / "new", answers(range(10)))
    review = compare(old, new)
    assert outcomes(old, new) == dict.fromkeys(("accuracy", "sensitivity", "specificity", "auc"), "same")
    assert review.files[0].paired
    assert review.files[0].images == COUNT
    assert review.differences == ()


def test_a_bundle_that_lost_images_of_one_class_is_worse_in_that_class_alone(tmp_path: Path) -> None:
    old = write(tmp_path / "old", answers(range(0)))
    new = write(tmp_path / "new", answers(range(1, 60, 2)))  # 30 of the 200 positive images
    review = compare(old, new)
    assert review.summary.startswith("tflite_int8: sensitivity worse (-15.0 points")
    assert "specificity same" in review.summary
    assert outcomes(new, old)["sensitivity"] == "better"
    gain = review.files[0].classes[0].gain
    assert gain.low < -0.15 < gain.high < 0


def test_one_lost_image_decides_nothing(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(range(1, 2)))
    assert outcomes(old, new)["sensitivity"] == "undecided"


def test_without_predictions_the_figures_are_compared_and_said_to_be(tmp_path: Path) -> None:
    old = write(tmp_path / "old", answers(range(0)), table=False)
    new = write(tmp_path / "new", answers(range(1, 20, 2)))
    review = compare(old, new)
    assert not review.files[0].paired
    assert "not image by image" in review.notes[0]
    paired = compare(write(tmp_path / "old", answers(range(0))), new).files[0].classes[0].gain
    unpaired = review.files[0].classes[0].gain
    assert unpaired.value == paired.value
    assert unpaired.high - unpaired.low > paired.high - paired.low


def test_newcombes_example_of_two_independent_shares() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 873-890, Table II (a), method 10: 56/70 - 48/80 is 0.2, 0.0524 to 0.3339.
    gain = _unpaired("accuracy", proportion(48, 80), proportion(56, 70), same=False).gain
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_predictions_of_another_bundle_are_not_used(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(range(9)))
    (tmp_path / "new.measured" / "predictions.csv").write_bytes(predictions_csv(answers(range(30))))
    review = compare(old, new)
    assert "does not belong to its tflite_int8" in review.notes[0]
    assert not review.files[0].paired


def test_only_images_of_both_test_splits_are_compared(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(range(0), first=100))
    review = compare(old, new)
    assert "300 images are in both" in review.notes[0]
    assert review.summary.startswith("on the 300 images of both test splits (400 and 400): tflite_int8: sensitivity same")
    assert review.files[0].images == 300


def test_figures_of_other_images_are_not_comparable_however_good_they_look(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(300))), write(tmp_path / "new", answers(range(0), first=COUNT))
    review = compare(old, new)
    assert review.summary.startswith("not comparable, measured on different test images: ")
    assert review.outcome == "not comparable"
    assert "No image is in both" in review.notes[0]
    assert set(outcomes(old, new).values()) == {"not comparable"}


def test_without_predictions_other_splits_are_not_comparable(tmp_path: Path) -> None:
    old = write(tmp_path / "old", answers(range(300)), table=False)
    new = write(tmp_path / "new", answers(range(0)), splits="1" * 64)
    review = compare(old, new)
    assert review.summary.startswith("not comparable, measured on different splits: ")
    assert set(outcomes(old, new).values()) == {"not comparable"}


def test_runs_with_other_test_images_are_not_comparable(tmp_path: Path) -> None:
    old, new = write_run(tmp_path / "old", answers(range(300))), write_run(tmp_path / "new", answers(range(0), first=COUNT))
    assert compare(old, new).outcome == "not comparable"


def test_a_class_without_an_image_in_common_is_not_comparable(tmp_path: Path) -> None:
    positives = answers(range(0)).rows(list(range(1, COUNT, 2)))
    others = answers(range(0), first=COUNT).rows(list(range(0, COUNT, 2)))
    mixed = AnswerTable(
        labels=LABELS,
        sha256=(*positives.sha256, *others.sha256),
        split=("test",) * COUNT,
        truth=np.concatenate([positives.truth, others.truth]),
        logits={"tflite_int8": np.concatenate([positives.logits["tflite_int8"], others.logits["tflite_int8"]])},
    )
    review = compare(write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", mixed))
    assert [one.name for one in review.files[0].classes] == ["sensitivity"]
    assert review.outcome == "not comparable"


def test_a_default_file_that_the_old_bundle_lacks_is_compared_with_the_old_default_file(tmp_path: Path) -> None:
    old = write(tmp_path / "old", answers(range(0)))
    new = write(tmp_path / "new", answers(range(1, 60, 2)), name="tflite_fp16")
    review = compare(old, new)
    assert review.summary.startswith("tflite_fp16 against tflite_int8: sensitivity worse (-15.0 points")
    assert (review.outcome, review.files[0].old_name) == ("worse", "tflite_int8")
    assert "tflite_int8 -> tflite_fp16: " in invoke(old, new).output


def test_a_verdict_that_is_not_a_plain_pass_is_said(tmp_path: Path) -> None:
    old = write(tmp_path / "old", answers(range(0)))
    allowed = NotProven("--allow-undecided", {"tflite_int8": "sensitivity lost up to 11.3 points"})
    review = compare(old, write(tmp_path / "new", answers(range(0)), not_proven=allowed))
    verdict = "PASS, 1 file undecided, allowed by --allow-undecided"
    assert f"The new bundle's verdict is {verdict}: tflite_int8." in review.notes
    assert [(one.old, one.new) for one in review.differences if one.name == "verdict"] == [("PASS", verdict)]


@pytest.mark.parametrize(
    ("wrong", "first", "statuses"),
    [
        (range(0), 0, {"undecided": 0, "worse": 0, "not-comparable": 0}),
        (range(1, 2), 0, {"undecided": 3, "worse": 0, "not-comparable": 0}),
        (range(1, 60, 2), 0, {"undecided": 3, "worse": 3, "not-comparable": 0}),
        (range(0), COUNT, {"undecided": 3, "worse": 3, "not-comparable": 3}),
    ],
)
def test_fail_on_ends_with_3_where_the_outcome_is_so_grave_or_graver(
    tmp_path: Path, wrong: range, first: int, statuses: dict[str, int]
) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(wrong, first=first))
    assert invoke(old, new).return_value == 0
    assert {level: invoke(old, new, "--fail-on", level).return_value for level in statuses} == statuses
    pair = write_run(tmp_path / "old-run", answers(range(0))), write_run(tmp_path / "new-run", answers(wrong, first=first))
    assert {level: invoke(*pair, "--fail-on", level).return_value for level in statuses} == statuses


def test_labels_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    names = ("cat", "dog", "fox")
    one = answers(range(0, 90, 3), names)
    turned = AnswerTable(
        labels=names[::-1],
        sha256=one.sha256,
        split=one.split,
        truth=2 - one.truth,
        logits={name: logits[:, ::-1] for name, logits in one.logits.items()},
    )
    review = compare(write(tmp_path / "old", one), write(tmp_path / "new", turned))
    assert review.summary == "tflite_int8: same fox, dog, cat"


def test_of_many_labels_the_summary_names_the_worse_ones_first(tmp_path: Path) -> None:
    names = ("cat", "dog", "fox")
    old = write(tmp_path / "old", answers(range(0), names))
    new = write(tmp_path / "new", answers(range(1, 100, 3), names))
    assert compare(old, new).summary == "tflite_int8: worse dog; same cat, fox"


def test_each_of_many_labels_has_its_recall_and_its_area_against_the_others(tmp_path: Path) -> None:
    names = ("cat", "dog", "fox")
    old = write(tmp_path / "old", answers(range(0), names))
    new = write(tmp_path / "new", answers(range(1, 100, 3), names))
    found = outcomes(old, new)
    assert list(found) == ["accuracy", *(f"recall_{name}" for name in names), *(f"auc_{name}" for name in names)]
    assert (found["recall_dog"], found["recall_fox"]) == ("worse", "same")
    assert found["auc_dog"] == "worse"
    assert set(outcomes(old, old).values()) == {"same"}


def test_a_threshold_counts_as_it_decides(tmp_path: Path) -> None:
    sure = Decision(refer_below=0.0, threshold=Threshold("pos", 0.999))  # more than any answer here: all are neg
    old = write(tmp_path / "old", answers(range(0)), table=True)
    new = write(tmp_path / "new", answers(range(0)), decision=sure)
    assert in_words(sure) == "pos from 0.999"
    review = compare(old, new)
    # The manifest above states accuracies of the largest probability.
    assert "does not belong to its tflite_int8" in review.notes[0]
    assert review.files[0].old != review.files[0].new


@pytest.mark.parametrize("labels", [("neg", "nodule"), ("cat", "dog", "fox")])
def test_unrelated_labels_are_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    old = write(tmp_path / "old", answers(range(0), ("a", "b", "c")))
    new = write(tmp_path / "new", answers(range(0), LABELS if len(labels) == 2 else labels))
    with pytest.raises(LimiarError) as caught:
        compare(old, new)
    assert caught.value.code == "E-COMPARE-LABELS"


def write_run(folder: Path, answered: AnswerTable) -> Path:
    folder.mkdir()
    (folder / MODEL).write_bytes(b"a model")
    rows = [
        PredictionRow(sha256, "test", LABELS[label], tuple(logits))
        for sha256, label, logits in zip(answered.sha256, answered.truth, answered.logits["tflite_int8"].tolist(), strict=True)
    ]
    (folder / PREDICTIONS).write_bytes(run_predictions(rows, LABELS))
    record = Run(
        model="small",
        recipe="test",
        labels=LABELS,
        positive="pos",
        input=InputSpec(24, 24, 3),
        data=TrainingData("/data", COUNT, "0" * 64),
        seed=0,
        config={"rate": len(folder.name) / 1000},
        temperature=1.0,
        epochs=1,
        best_epoch=1,
        versions={},
        commit="unknown",
        model_sha256=hashlib.sha256(b"a model").hexdigest(),
    )
    (folder / RECORD).write_bytes(record_json(record))
    return folder


def test_two_runs_are_compared_by_their_test_splits(tmp_path: Path) -> None:
    old, new = write_run(tmp_path / "old", answers(range(60))), write_run(tmp_path / "newer", answers(range(0)))
    review = compare(old, new)
    assert review.summary.startswith("keras: sensitivity better (+15.0 points")
    assert [(one.name, one.old, one.new) for one in review.differences] == [("config: rate", "0.003", "0.005")]


def bench_result(path: Path, *p50_us: float) -> Path:
    """What `limiar bench --json` writes, one variant for each median, threads 1, 2, …; rounds lie within 5 us of it."""
    here, now = machine(), condition()
    measured = []
    for number, median in enumerate(p50_us):
        latency = Latency(100, median, None, None, 5, median - 5, median + 5)
        measured.append(
            Measurement(
                "tflite_int8", "litert", "2.3.0", number + 1, "bundle", 10, latency, latency, Start("2.3.0", 1, 1, 1, 1)
            )
        )
    result = BenchResult(
        app="limiar",
        time="2026-01-01T00:00:00Z",
        bundle="0" * 64,
        name="small",
        version="1",
        seed=0,
        starts=1,
        inputs=1,
        image="a PNG",
        machine=here,
        before=now,
        after=now,
        notes=("the machine was busy",),
        measurements=tuple(measured),
        skipped=(),
    )
    path.write_bytes(msgspec.json.encode(result))
    return path


def test_two_bench_results_are_compared_by_medians_and_undecided_where_rounds_overlap(tmp_path: Path) -> None:
    old, new = bench_result(tmp_path / "old.json", 100, 100, 100), bench_result(tmp_path / "new.json", 50, 108, 150, 70)
    review = compare_bench(old, new)
    assert [(one.threads, one.ratio, one.outcome) for one in review.timings] == [
        (1, 0.5, "faster"),
        (2, 1.08, "undecided"),
        (3, 1.5, "slower"),
    ]
    alone = "Only in the new one, so not compared: tflite_int8 on litert, 4 threads"
    assert review.notes == ("old: the machine was busy", "new: the machine was busy", alone)
    lines = invoke(old, new, "--html", tmp_path / "page.html").output.splitlines()
    assert lines[0] == "1 faster, 1 slower, 1 undecided; 1 slower from bytes to answer"
    assert lines[7] == "tflite_int8 on litert, 1 thread: faster"
    assert lines[8] == "  100 (95 to 105) -> 50 (45 to 55), x 0.500 (0.429 to 0.579)"
    assert "<h1>1 faster, 1 slower, 1 undecided; 1 slower from bytes to answer</h1>" in (tmp_path / "page.html").read_text()
    assert invoke(old, new, "--fail-on", "worse").return_value == 3
    assert invoke(old, old, "--fail-on", "worse").return_value == 0


def test_bench_results_of_two_machines_are_not_comparable(tmp_path: Path) -> None:
    old, new = bench_result(tmp_path / "old.json", 100), bench_result(tmp_path / "new.json", 50)
    result = msgspec.json.decode(old.read_bytes(), type=BenchResult)
    board = msgspec.structs.replace(result.machine, board="Raspberry Pi 5")
    old.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, machine=board)))
    assert compare_bench(old, new).summary == "not comparable, measured on two different machines: 1 faster"
    assert invoke(old, new, "--fail-on", "worse").return_value == 3


def in_processes(path: Path, out: Path, invoke_us: list[float], whole_us: list[float] | None = None, **changes: object) -> Path:
    """The result at a path, with these medians of its processes for every variant."""
    result = msgspec.json.decode(path.read_bytes(), type=BenchResult)

    def timed(medians: list[float]) -> Latency:
        return Latency(
            100, statistics.median(medians), None, None, 5, min(medians), max(medians), process_p50_us=tuple(medians)
        )

    measured = tuple(
        msgspec.structs.replace(one, invoke=timed(invoke_us), whole=timed(whole_us or invoke_us)) for one in result.measurements
    )
    out.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, measurements=measured, **changes)))
    return out


@pytest.mark.parametrize(
    ("old_us", "new_us", "outcome"),
    [
        ([100, 101, 99, 100, 100], [103, 104, 102, 103, 103], "slower"),  # 3 %, where processes differ by 1
        ([100, 101, 99, 100, 100], [97, 98, 96, 97, 97], "faster"),
        ([100, 110, 90, 100, 105], [103, 104, 102, 103, 103], "undecided"),
    ],
)
def test_a_variant_is_faster_or_slower_if_its_processes_leave_no_doubt(
    tmp_path: Path, old_us: list[float], new_us: list[float], outcome: str
) -> None:
    one = bench_result(tmp_path / "one.json", 100)
    old, new = in_processes(one, tmp_path / "old.json", old_us), in_processes(one, tmp_path / "new.json", new_us)
    (found,) = compare_bench(old, new).timings
    assert found.outcome == outcome
    assert found.low is not None
    assert found.high is not None
    assert (found.low > 1, found.high < 1) == (outcome == "slower", outcome == "faster")


def test_a_way_from_bytes_to_answer_that_became_slower_is_worse_though_invoke_did_not(tmp_path: Path) -> None:
    one, same = bench_result(tmp_path / "one.json", 100), [100.0, 101, 99]
    old = in_processes(one, tmp_path / "old.json", same, [1000, 1001, 999])
    new = in_processes(one, tmp_path / "new.json", same, [1100, 1101, 1099])
    review = compare_bench(old, new)
    assert (review.summary, review.outcome) == ("1 undecided; 1 slower from bytes to answer", "worse")
    assert [one.outcome for one in review.wholes] == ["slower"]


def test_a_clock_that_was_slower_in_the_new_run_is_shown_and_decides_nothing(tmp_path: Path) -> None:
    one, calm = bench_result(tmp_path / "one.json", 100), [100.0, 101, 99, 100, 100]

    def yardstick(us: float) -> Latency:
        return Latency(100, us, None, None, 5, us, us, process_p50_us=tuple(us * scatter / 100 for scatter in calm))

    old = in_processes(one, tmp_path / "old.json", calm, yardstick=yardstick(10))
    new = in_processes(one, tmp_path / "new.json", [1.1 * us for us in calm], yardstick=yardstick(11))
    (found,) = compare_bench(old, new).timings
    assert found.outcome == "undecided"
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.ratio < found.high
    assert found.by_yardstick is not None
    assert found.by_yardstick == pytest.approx((1.0, 0.986, 1.014), abs=0.002)


def test_other_cores_are_another_machine(tmp_path: Path) -> None:
    one = bench_result(tmp_path / "one.json", 100)
    cores = msgspec.structs.replace(machine(), cores=64)
    review = compare_bench(one, in_processes(one, tmp_path / "new.json", [50.0, 51.0], machine=cores))
    assert review.outcome == "not comparable"
    assert "cores" in review.notes[0]


def test_a_run_that_is_invalid_is_not_comparable(tmp_path: Path) -> None:
    one, same = bench_result(tmp_path / "one.json", 100), [100.0, 101, 99]
    new = in_processes(one, tmp_path / "new.json", same, valid=False, invalid=("the board slowed down: cool it",))
    review = compare_bench(one, new)
    assert (review.outcome, review.summary) == ("not comparable", "not comparable, the new run is INVALID: 1 undecided")
    assert "new: the board slowed down: cool it" in review.notes


def many(folder: Path) -> list[Path]:
    """Four results: an old one without processes, one that is INVALID, one of another board, one with two variants."""
    one = bench_result(folder / "one.json", 100)
    two = in_processes(one, folder / "two.json", [10.0, 10.1, 10.2], valid=False, invalid=("the board slowed down: cool it",))
    board = msgspec.structs.replace(machine(), board="Raspberry Pi 5")
    three = in_processes(one, folder / "three.json", [1000.0, 1001.0], machine=board)
    return [one, two, three, bench_result(folder / "four.json", 100, 60)]


def test_more_than_two_bench_results_are_a_table_in_the_order_of_the_arguments(tmp_path: Path) -> None:
    paths = many(tmp_path)
    found = compare(*paths)
    assert isinstance(found, BenchTable)
    assert found.summary == "4 results from 2 machines, 2 variants; 1 INVALID"
    assert [Path(one.path) for one in found.columns] == paths
    assert [[cell and cell.us for cell in row.cells] for row in found.rows] == [
        [100, 10.1, 1000.5, 100],
        [None, None, None, 60],
    ]
    done = invoke(*paths, "--json")
    assert msgspec.json.decode(done.output, type=BenchTable) == found


def test_the_table_of_many_results_fits_into_80_columns_and_says_what_each_is(tmp_path: Path) -> None:
    paths = many(tmp_path)
    lines = invoke(*paths, *paths, *paths).output.splitlines()
    legend = next(number for number, line in enumerate(lines) if line.startswith("[1] "))
    table = lines[:legend]
    assert max(map(len, table)) <= 80
    assert lines[legend].startswith("[1] " + compare(*paths).columns[0].machine + ": small 1,")
    assert "[2]!" in "".join(table)
    assert "    INVALID: the board slowed down: cool it" in lines
    assert sum("Raspberry Pi 5" in line for line in lines) == 3


def test_the_page_of_many_results_has_a_plot_for_each_variant_and_escapes_what_files_say(tmp_path: Path) -> None:
    paths = many(tmp_path)
    hostile = msgspec.structs.replace(machine(), board="<script>alert(1)</script>")
    paths.append(in_processes(paths[0], tmp_path / "hostile.json", [50.0, 51.0], machine=hostile))
    assert invoke(*paths, "--html", tmp_path / "page.html").exception is None
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figcaption>") == page.count('<svg viewBox="0 0') == 2
    assert "<script" not in page
    assert "INVALID: the board slowed down: cool it" in page


def test_a_file_whose_medians_or_intervals_make_no_sense_can_be_drawn(tmp_path: Path) -> None:
    paths = many(tmp_path)
    none = Latency(5, None, None, None, 1, 10, 10)
    result = msgspec.json.decode(paths[0].read_bytes(), type=BenchResult)
    for number, percentile in enumerate((Percentile(50, 100, 0, 200, 11), Percentile(50, 100, -5, None, 11), None)):
        latency = Latency(100, 100, None, None, 5, 95, 105, percentiles=(percentile,)) if percentile else none
        strange = [msgspec.structs.replace(one, invoke=latency, threads=40 + number) for one in result.measurements]
        paths.append(tmp_path / f"strange{number}.json")
        paths[-1].write_bytes(msgspec.json.encode(msgspec.structs.replace(result, measurements=tuple(strange))))
    assert invoke(*paths, "--html", tmp_path / "page.html").exception is None
    found = compare(*paths)
    assert isinstance(found, BenchTable)
    assert {(cell.low_us, cell.high_us) for row in found.rows[2:] for cell in row.cells if cell} == {(95, 105)}


def test_a_single_round_is_undecided_and_says_why(tmp_path: Path) -> None:
    one = bench_result(tmp_path / "one.json", 100)
    result = msgspec.json.decode(one.read_bytes(), type=BenchResult)
    alone = Latency(20, 50, None, None, 1, 50, 50, process_p50_us=(50.0,))
    measured = tuple(msgspec.structs.replace(each, invoke=alone) for each in result.measurements)
    (tmp_path / "new.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(result, measurements=measured)))
    review = compare_bench(one, tmp_path / "new.json")
    assert [(each.outcome, each.low, each.high) for each in review.timings] == [("undecided", None, None)]
    assert "a single round shows no spread" in invoke(one, tmp_path / "new.json").output


def test_a_broken_file_among_many_results_is_named(tmp_path: Path) -> None:
    paths = many(tmp_path)
    (tmp_path / "broken.json").write_text('{"machine": 1}')
    with pytest.raises(ConvertError, match=r"broken\.json") as met:
        compare(*paths, tmp_path / "broken.json")
    assert met.value.code == "E-COMPARE-KIND"


def test_more_than_two_bundles_and_a_verdict_over_more_than_two_results_are_refused(tmp_path: Path) -> None:
    paths = many(tmp_path)
    write(tmp_path / "bundle", answers(range(0)))
    with pytest.raises(ConvertError, match="bundle is a folder: of bundles and RUNs, give two"):
        compare(*paths, tmp_path / "bundle")
    assert isinstance(invoke(*paths, "--fail-on", "worse").exception, click.UsageError)


def test_what_a_bench_result_says_cannot_control_the_terminal(tmp_path: Path) -> None:
    one = bench_result(tmp_path / "one.json", 100)
    evil = in_processes(one, tmp_path / "evil.json", [50.0, 51.0], notes=("\x1b[2Jgone",), name="\x1b]0;title\x07")
    assert "\x1b" not in invoke(one, evil).output
    assert "\x1b" not in invoke(one, evil, evil).output


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(compare_command, [str(word) for word in words], standalone_mode=False)


def test_the_command_s_first_line_is_the_outcome_and_its_json_is_the_review(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(range(1, 60, 2)), tool="2")
    review = compare(old, new)
    assert invoke(old, new).output.splitlines()[0] == review.summary
    assert msgspec.json.decode(invoke(old, new, "--json").output, type=type(review)) == review
    assert "convert numpy" in invoke(old, new).output


def test_the_page_holds_what_a_reviewer_reads_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(range(1, 60, 2)))
    assert invoke(old, new, "--html", tmp_path / "review.html").exception is None
    page = (tmp_path / "review.html").read_text()
    change = compare(old, new).files[0].classes[0]
    assert f"<h1>{compare(old, new).summary}</h1>" in page
    assert points(change) in page
    assert "default-src 'none'" in page
    assert "src=" not in page


@pytest.mark.parametrize(
    "pair",
    [("bundle", "run"), ("bundle", "missing"), ("bundle", "text"), ("text", "text"), ("deep", "deep"), ("empty", "bundle")],
)
def test_what_is_not_two_of_a_kind_is_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    write(tmp_path / "bundle", answers(range(0)))
    write_run(tmp_path / "run", answers(range(0)))
    (tmp_path / "text").write_text("a note")
    (tmp_path / "deep").write_text('{"a":' * 100_000)
    (tmp_path / "empty").mkdir()
    error = invoke(tmp_path / pair[0], tmp_path / pair[1]).exception
    assert isinstance(error, LimiarError)
    assert error.code == "E-COMPARE-KIND"


def test_a_page_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", answers(range(0)))
    error = invoke(bundle, bundle, "--html", tmp_path / "none" / "page.html").exception
    assert isinstance(error, LimiarError)
    assert error.code == "E-COMPARE-OUT"


def test_comparing_loads_no_tensorflow(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", answers(range(0)))
    code = f"import sys; sys.argv = ['x', {str(bundle)!r}, {str(bundle)!r}, '--html', {str(tmp_path / 'page.html')!r}]\n"
    code += "from limiar.convert.commands.compare import compare\ncompare(standalone_mode=False)\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_predictions_of_another_bundle_of_the_same_accuracy_are_not_used(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0, 40, 2))), write(tmp_path / "new", answers(range(1, 41, 2)))
    (tmp_path / "new.measured" / "predictions.csv").write_bytes((tmp_path / "old.measured" / "predictions.csv").read_bytes())
    review = compare(old, new)
    assert "does not belong to its tflite_int8" in review.notes[0]
    assert outcomes(old, new) != dict.fromkeys(outcomes(old, new), "same")


def test_predictions_beside_the_latency_of_another_bundle_are_not_used(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", answers(range(0))), write(tmp_path / "new", answers(range(0)), splits="1" * 64)
    latency = tmp_path / "new.measured" / "latency.json"
    latency.write_text(f'{{"bundle": "{hashlib.sha256((new / "manifest.json").read_bytes()).hexdigest()}"}}')
    assert compare(old, new).outcome == "same"
    latency.write_text(f'{{"bundle": "{hashlib.sha256((old / "manifest.json").read_bytes()).hexdigest()}"}}')
    assert "does not belong to this bundle" in compare(old, new).notes[0]
    assert compare(old, new).outcome == "not comparable"
