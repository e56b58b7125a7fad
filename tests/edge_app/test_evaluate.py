"""`limiar evaluate`: a bundle scored on labelled images, with the packages of a device alone."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import limiar as api
from limiar.convert.evaluate.figures import Judged, figures, independent, label_figures, precisions, recalls
from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.errors import DataError
from limiar.train.record.metrics import brier, class_metrics, decision_metrics, ece_interval, nll


def written(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Noise in class folders; pos images are darker, except that every fifth looks like one of the other label."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 120 if (label == "pos") != (k % 5 == 4) else 256, (50, 50), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{k:03d}.png", compress_level=1)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 neg and 12 pos images. Read only."""
    return written(tmp_path_factory.mktemp("labelled") / "images", {"neg": 20, "pos": 12})


@pytest.fixture
def own(images: Path, tmp_path: Path) -> Path:
    """A copy of them that the test may change."""
    return Path(shutil.copytree(images, tmp_path / "images"))


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(folder: Path, **columns) -> list[dict[str, str]]:
    """A row for each image; columns: name -> value, or a function of the image's number."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    return [
        {"file": file, "label": file.split("/")[0]}
        | {name: value(k) if callable(value) else value for name, value in columns.items()}
        for k, file in enumerate(files)
    ]


def test_the_figures_are_those_of_what_scan_answers(tiny_path, images, tmp_path):
    found = api.evaluate(tiny_path, images)
    lines = sorted(api.scan(tiny_path, [images], db=tmp_path / "results.db"), key=lambda line: line.path or "")
    truth = [Path(line.path or "").parent.name for line in lines]
    numbers = [("neg", "pos").index(label) for label in truth]
    answers = [[line.probabilities[label] for label in ("neg", "pos")] for line in lines]
    wanted = class_metrics(numbers, answers, ("neg", "pos"), "pos")
    wanted |= decision_metrics(truth, [line.decision for line in lines]) | {"ece": ece_interval(numbers, answers)}
    assert {name: found.figures[name] for name in wanted} == wanted
    assert found.figures["nll"].value == pytest.approx(nll(numbers, answers))
    assert found.figures["brier"].value == pytest.approx(brier(numbers, answers))
    decided = [(label, line.decision) for label, line in zip(truth, lines, strict=True)]
    for label in ("neg", "pos"):
        counts = {decision: decided.count((label, decision)) for decision in ("neg", "pos", REFER, REFUSED)}
        assert found.labels[label].decided == counts
    assert sum(one.images for one in found.reliability) == 32


def test_two_workers_give_what_one_gives(tiny_path, images):
    one, two = (api.evaluate(tiny_path, images, workers=count) for count in (1, 2))
    assert msgspec.json.encode(one) == msgspec.json.encode(two)


def test_the_worst_images_are_those_whose_true_label_is_least_probable(tiny_path, images):
    found = api.evaluate(tiny_path, images, worst=1000)
    wrong = [one.of_truth for one in found.worst]
    assert wrong == sorted(wrong)
    assert len(wrong) == round((1 - found.figures["accuracy"].value) * 32)
    assert [one.file for one in api.evaluate(tiny_path, images, worst=2).worst] == [one.file for one in found.worst[:2]]
    with api.open_classifier(tiny_path) as classify:
        assert classify(images / found.worst[0].file).label == found.worst[0].label != found.worst[0].truth


def test_a_refused_image_counts_as_wrong_and_is_named_with_its_code(tiny_path, own):
    (own / "pos" / "cut.png").write_bytes((own / "pos" / "000.png").read_bytes()[:300])
    before = api.evaluate(tiny_path, own)
    assert [(one.code, one.images, one.files) for one in before.refused] == [("E-IMAGE-TRUNCATED", 1, ("pos/cut.png",))]
    (own / "pos" / "cut.png").unlink()
    after = api.evaluate(tiny_path, own)
    assert before.figures["sensitivity"].value == pytest.approx(after.figures["sensitivity"].value * 12 / 13)
    assert before.figures["accuracy"].n == 33
    assert before.figures["auc"] == after.figures["auc"]  # of the images that have an answer
    assert before.labels["pos"].decided["refused"] == 1


def test_refused_images_end_the_command_with_4(tiny_path, own, limiar):
    assert limiar("evaluate", tiny_path, own).returncode == 0
    (own / "neg" / "empty.png").write_bytes(b"")
    done = limiar("evaluate", tiny_path, own)
    assert done.returncode == 4
    assert b"1 image refused with E-IMAGE-" in done.stdout
    assert b"neg/empty.png" in done.stdout


@pytest.mark.parametrize(("split", "count"), [(None, 16), ("test", 16), ("train", 8), ("val", 8), ("all", 32)])
def test_a_split_is_chosen_and_without_a_choice_it_is_test(tiny_path, images, tmp_path, split, count):
    names = ("test", "train_more", "test", "val")
    listed = table(tmp_path / "labels.csv", rows_of(images, split=lambda k: names[k % 4]))
    assert api.evaluate(tiny_path, images, csv=listed, split=split).images == count


def test_a_split_that_is_not_there_is_refused(tiny_path, images):
    with pytest.raises(DataError, match=r"E-EVALUATE-SPLIT.*none"):
        api.evaluate(tiny_path, images, split="val")


def test_labels_that_the_bundle_lacks_are_refused_before_any_image_is_read(tiny_path, own):
    (own / "pos").rename(own / "nodule")
    with pytest.raises(DataError, match=r"E-EVALUATE-LABEL: .* nodule \(12\); the bundle has neg, pos"):
        api.evaluate(tiny_path, own)


def test_images_of_one_label_alone_have_the_figures_that_this_allows(tiny_path, images):
    rows = [row for row in rows_of(images) if row["label"] == "pos"]
    one = api.evaluate(tiny_path, images, csv=table(images.parent / "pos.csv", rows))
    assert set(one.figures) == {"accuracy", "sensitivity", "refer_rate", "accuracy_decided", "ece", "nll", "brier"}
    assert one.labels["neg"].recall is None
    assert any("there is no image of neg" in note for note in one.notes)


def test_images_of_one_group_widen_the_intervals_and_groups_of_one_do_not(tiny_path, images, tmp_path):
    alone = table(tmp_path / "alone.csv", rows_of(images, group=lambda k: f"p{k}"))
    patients = table(tmp_path / "patients.csv", rows_of(images, group=lambda k: f"p{k // 4}"))
    by_image, same, by_patient = (api.evaluate(tiny_path, images, csv=csv) for csv in (None, alone, patients))
    assert (by_image.groups, same.groups, by_patient.groups) == (None, None, 8)
    assert same.figures == by_image.figures
    assert by_patient.figures["nll"] != by_image.figures["nll"]
    assert by_patient.figures["nll"].value == by_image.figures["nll"].value
    assert any("8 groups are few" in note for note in by_patient.notes)


def test_each_value_of_a_column_has_figures_of_its_own(tiny_path, images, tmp_path):
    listed = table(tmp_path / "labels.csv", rows_of(images, scanner=lambda k: "A" if k % 3 else "B"))
    found = api.evaluate(tiny_path, images, csv=listed, group_by="scanner")
    assert [(one.value, one.images) for one in found.compared] == [("A", 21), ("B", 11)]
    right = sum(one.figures["accuracy"].value * one.images for one in found.compared)
    assert right == pytest.approx(found.figures["accuracy"].value * 32)


@pytest.mark.parametrize(("column", "met"), [("age", "it has file, label, scanner"), ("file", "it has file")])
def test_a_column_that_is_not_there_is_refused(tiny_path, images, tmp_path, column, met):
    listed = table(tmp_path / "labels.csv", rows_of(images, scanner="A"))
    with pytest.raises(DataError, match=f"E-EVALUATE-COLUMN.*{met}"):
        api.evaluate(tiny_path, images, csv=listed, group_by=column)


def test_a_column_without_a_table_is_refused(tiny_path, images):
    with pytest.raises(DataError, match=r"E-EVALUATE-COLUMN.*does not exist"):
        api.evaluate(tiny_path, images, group_by="scanner")


def test_a_file_with_two_labels_and_copies_are_said(tiny_path, own):
    shutil.copy(own / "pos" / "000.png", own / "neg" / "copy.png")
    found = api.evaluate(tiny_path, own)
    assert any("neg/copy.png and pos/000.png are the same file with two labels" in note for note in found.notes)
    assert any("1 image is a copy of another" in note for note in found.notes)


def test_json_has_everything_and_the_table_begins_with_the_figures(tiny_path, images, limiar):
    done = limiar("evaluate", tiny_path, images, "--json")
    found = msgspec.json.decode(done.stdout)
    assert found["bundle"]["name"] == "tiny"
    assert found["origin"]["file"] == "tflite_int8"
    assert found["figures"]["accuracy"]["n"] == 32
    text = limiar("evaluate", tiny_path, images).stdout.decode().splitlines()
    assert text[0].startswith("tiny 0.1.0, tflite_int8 on ")
    metric = found["figures"]["accuracy"]
    shown = f"  accuracy           {metric['value']:.3f}   95 % interval {metric['low']:.3f} to {metric['high']:.3f}"
    assert text[1] == shown


def test_a_page_shows_the_figures_and_the_worst_images(tiny_path, images, tmp_path):
    pytest.importorskip("jinja2", reason="pages need jinja2")
    page = tmp_path / "out" / "page.html"
    found = api.evaluate(tiny_path, images, html=page)
    html = page.read_text()
    assert f"{found.figures['accuracy'].value:.3f}" in html
    assert html.count("data:image/png;base64,") == len(found.worst) > 0
    assert "<script" not in html
    assert "Not for diagnosis" in html


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tiny_path, images, tmp_path, limiar):
    (tmp_path / "page").mkdir()
    done = limiar("evaluate", tiny_path, images, "--html", tmp_path / "page")
    assert done.returncode == 1
    assert done.stderr.startswith(b"E-OUTPUT-WRITE: ")


def test_it_needs_neither_tensorflow_nor_what_else_the_desktop_has(tiny_path, images):
    code = (
        "import sys, limiar; limiar.evaluate(sys.argv[1], sys.argv[2]);"
        "heavy = {'tensorflow', 'keras', 'scipy', 'sklearn', 'statsmodels', 'jinja2', 'onnx', 'matplotlib'} & {*sys.modules};"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, tiny_path, images], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def judged(seed: int, refused: int = 0, positive: str | None = "pos", groups: list[str] | None = None) -> Judged:
    names = ("neg", "pos") if positive else ("a", "b", "c")
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(names), 80)
    probabilities = rng.dirichlet(np.ones(len(names)), 80) * 0.5 + 0.5 * np.eye(len(names))[truth] * rng.random((80, 1))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = probabilities.argmax(axis=1)
    decisions = np.where(probabilities.max(axis=1) < 0.7, REFER, np.array(names)[labels])
    labels[:refused], probabilities[:refused], decisions[:refused] = -1, np.nan, REFUSED
    return Judged(names, positive, truth, labels, probabilities, decisions, independent(groups) if groups else None)


@pytest.mark.parametrize("positive", ["pos", None])
def test_the_figures_of_labels_are_those_of_class_metrics(positive):
    images = judged(1, positive=positive)
    wanted = class_metrics(images.truth, images.probabilities, images.names, positive)
    found = figures(images)
    assert {name: found[name] for name in wanted} == wanted


def test_refused_images_are_wrong_in_shares_and_absent_from_what_is_of_scores():
    images = judged(2, refused=10)
    found, answered = figures(images), figures(images.of(images.labels >= 0))
    assert found["accuracy"].value == pytest.approx(answered["accuracy"].value * 70 / 80)
    assert {found[name].n for name in ("auc", "ece", "nll", "brier")} == {70}
    assert found["accuracy_decided"].n == answered["accuracy_decided"].n + 10


def test_if_every_image_is_refused_there_are_no_scores():
    found = figures(judged(3, refused=80))
    assert found["accuracy"].value == 0.0
    assert set(found) == {"accuracy", "sensitivity", "specificity", "refer_rate", "accuracy_decided"}


def test_intervals_of_equal_images_in_groups_are_wider_than_those_of_independent_ones():
    one = judged(4)
    rows = np.repeat(np.arange(80), 5)
    alone, grouped = one.of(rows), msgspec.structs.replace(one.of(rows), groups=rows)
    for name, metric in figures(grouped).items():
        by_image = figures(alone)[name]
        assert metric.value == by_image.value
        assert metric.high - metric.low > 1.3 * (by_image.high - by_image.low) or name == "ece"


@pytest.mark.parametrize("groups", [None, [f"p{k // 5}" for k in range(80)]])
def test_the_recall_of_a_label_is_the_same_wherever_it_stands(groups):
    two, three = judged(7, groups=groups), judged(8, positive=None, groups=groups)
    assert recalls(two) == {"pos": figures(two)["sensitivity"], "neg": figures(two)["specificity"]}
    assert recalls(three) == {name: figures(three)[f"recall_{name}"] for name in "abc"}


def test_precision_is_the_share_of_right_images_among_those_that_got_a_label():
    images = judged(9)
    got = images.labels == 1
    assert precisions(images)["pos"].value == pytest.approx((images.truth[got] == 1).mean())
    assert "pos" not in precisions(msgspec.structs.replace(images, labels=np.zeros(80, int)))


def test_a_label_that_an_operating_point_gives_counts_in_place_of_the_bundles_own():
    images = judged(5)
    found = label_figures(images, np.full(80, 1))
    assert (found["sensitivity"].value, found["specificity"].value) == (1.0, 0.0)


def test_ctrl_c_ends_the_workers(tiny_path, images):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = children()
    with pytest.raises(KeyboardInterrupt):
        api.evaluate(tiny_path, images, workers=2, tick=interrupt)
    assert children() <= before  # one that an earlier test left may end meanwhile


def children() -> set[str]:
    """The processes that this one has started and that are still there."""
    return {name for task in Path("/proc/self/task").iterdir() for name in (task / "children").read_text().split()}


def test_the_readme_has_the_figures_of_the_reference_bundle_on_the_test_patches(project, lung, limiar):
    done = limiar("evaluate", project / "models" / "lung-nodule", lung)
    figures = re.findall(r"^  \w.*95 % interval .*$", done.stdout.decode(), re.MULTILINE)
    assert len(figures) == 9
    assert "\n".join(figures) in (project / "README.md").read_text()
