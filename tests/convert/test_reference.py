"""The reference for drift and the limits of "not assessable" that convert puts into a bundle; and drift on real patches."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from limiar.convert.pipeline import Converted
from limiar.convert.report.reference import reference_json
from limiar.convert.report.release_page import report_html
from limiar.convert.report.release_report import ReleaseReport, model_card, report_json
from limiar.convert.run.assessable import ENDS, assessing, choose_limits, refusals
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.drift.monitor import DriftWarning, Monitor
from limiar.edge_app.drift.reference import BundleReference, read_reference
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.statistics import measure
from limiar.edge_app.inference.classifier import Classifier, load
from limiar.edge_app.inference.session import Session
from limiar.train.data.phantoms import phantom

# Of a conversion


def test_a_bundle_has_the_reference_of_its_validation_images(bundle: Path, converted: Converted) -> None:
    opened = open_bundle(bundle)
    reference = read_reference(opened)
    assert reference == converted.reference
    assert reference.images == converted.report.images["val"]
    assert set(reference.files) == set(opened.manifest.models)


def test_the_reference_counts_what_a_device_decides_for_the_validation_images(
    bundle: Path, converted: Converted, images: tuple[Path, tuple]
) -> None:
    folder, rows = images
    classifier = load(Session(open_bundle(bundle)).model)
    decisions = [
        classifier.answer(decode(read_file(os.fsencode(folder / row.file)), row.file)).decision
        for row in rows
        if row.split == "val"
    ]
    name = converted.report.default_file
    assert name is not None
    assert converted.reference.files[name].decisions == {
        label: decisions.count(label) for label in (*converted.report.labels, "refer")
    }


def test_the_reference_has_the_same_bytes_again(converted: Converted) -> None:
    data = reference_json(converted.reference)
    assert reference_json(msgspec.json.decode(data, type=BundleReference)) == data
    assert len(data) < 10_000


# Limits


def textured(seed: int, count: int) -> Pixels:
    """uint8 [N, 40, 40, 1]: blobs with a little noise, of different brightness."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    pixels = []
    for _ in range(count):
        blob = np.exp(-((y - rng.uniform(10, 30)) ** 2 + (x - rng.uniform(10, 30)) ** 2) / (2 * rng.uniform(3, 6) ** 2))
        pixels.append(rng.uniform(40, 80) + rng.uniform(60, 120) * blob + rng.normal(0, rng.uniform(3, 6), (40, 40)))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[..., None]


def each(tensors: Pixels) -> Sequence[Pixels]:
    return [tensors[k : k + 1] for k in range(len(tensors))]


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05])
def test_limits_refuse_at_most_the_share_that_was_asked_for(share: float) -> None:
    images = textured(0, 400)
    limits = choose_limits(images, textured(1, 100), measure(each(textured(1, 100))), share)
    refused = refusals(limits, images).mean()
    assert refused <= share
    assert refused > 0 or share < 0.05  # it makes use of a large one
    assert limits.share == share
    assert [*limits.limits] == [*dict.fromkeys(name for name, _ in ENDS)]


def test_few_validation_images_refuse_nothing_that_training_has_shown() -> None:
    training = textured(2, 200)
    limits = choose_limits(textured(3, 10), training, measure(each(training)), 0.0)
    assert not refusals(limits, training).any()


def test_what_limits_cost_and_catch_is_counted() -> None:
    val, test = textured(4, 300), textured(5, 100)
    limits = choose_limits(val, textured(6, 200), measure(each(textured(6, 200))), 0.01)
    truth = np.arange(100) % 2
    found = assessing(limits, {"val": val, "test": test}, truth, ("neg", "pos"))
    assert found.refused["val"].value <= 0.01
    assert found.refused["test"].n == 100
    assert sum(one.n for one in found.refused_of_label.values()) == 100
    assert found.caught["blurred, sigma 4 px"].value > 0.9
    assert found.caught["noise, 40 levels"].value > 0.9
    assert found.caught["a tenth of the light"].value > 0.9


def test_the_report_shows_limits_only_if_there_are_any(converted: Converted) -> None:
    val = textured(7, 50)
    found = assessing(
        choose_limits(val, val, measure(each(val)), 0.02), {"val": val, "test": val}, np.arange(50) % 2, ("a", "b")
    )
    with_limits = msgspec.structs.replace(converted.report, assessing=found)
    page = report_html(with_limits, converted.answers, None).decode()
    assert "What is not assessable" in page
    assert "blurred, sigma 4 px" in page
    assert b"not assessable" in model_card(with_limits, "")
    assert msgspec.json.decode(report_json(with_limits), type=ReleaseReport) == with_limits
    assert "not assessable" not in report_html(converted.report, converted.answers, None).decode()
    assert b"assessing" not in report_json(converted.report)


# Drift on real patches: the reference of models/lung-nodule is its validation split, and these are its test split


@pytest.fixture(scope="module")
def classifier(project: Path) -> Classifier:
    session = Session(open_bundle(project / "models" / "lung-nodule"), measure=True)
    return load(session.model)


@pytest.fixture(scope="module")
def monitor_of(project: Path):
    session = Session(open_bundle(project / "models" / "lung-nodule"))
    reference = session.reference()
    assert reference is not None
    return lambda: Monitor(reference)


@pytest.fixture(scope="module")
def patches(lung: Path) -> list[Pixels]:
    with (lung / "manifest.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["split"] == "test"]
    pictures = [decode(read_file(os.fsencode(lung / name)), name) for name in names]
    return [picture[0 : picture.shape[0]] for picture in pictures]


def said(monitor: Monitor, classifier: Classifier, images: Sequence[Pixels], order: Sequence[int]) -> list[DriftWarning]:
    answers = {k: classifier.answer(images[k]) for k in {*order}}
    found = []
    for k in order:
        one = answers[k]
        assert one.statistics is not None
        found += monitor.add(one.decision, one.confidence, one.statistics)
    return found


def drawn(seed: int, count: int, of: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, of, count).tolist()


def test_real_patches_a_tenth_brighter_are_named_within_500(classifier, monitor_of, patches) -> None:
    brighter = [np.clip(np.rint(image * 1.1), 0, 255).astype(np.uint8) for image in patches]
    named = [said(monitor_of(), classifier, brighter, drawn(seed, 500, len(patches))) for seed in range(20)]
    assert all(named)
    assert all("high" in {warning.statistic for warning in warnings} for warnings in named)


def test_twenty_runs_of_unshifted_real_patches_raise_at_most_one_alarm(classifier, monitor_of, patches) -> None:
    alarms = [bool(said(monitor_of(), classifier, patches, drawn(seed, 1000, len(patches)))) for seed in range(20)]
    assert sum(alarms) <= 1


def test_a_window_of_other_images_among_real_patches_is_named(classifier, monitor_of, patches) -> None:
    rng = np.random.default_rng(0)
    images = [*patches, *(phantom(rng, None) for _ in range(250))]
    order = [*drawn(1, 250, len(patches)), *range(len(patches), len(images))]
    warnings = said(monitor_of(), classifier, images, order)
    assert warnings
    assert {warning.last for warning in warnings} == {500}


def test_a_window_of_one_class_among_real_patches_is_named(classifier, monitor_of, patches) -> None:
    decided = [k for k, image in enumerate(patches) if classifier.answer(image).label == "neg"]
    order = [*drawn(2, 250, len(patches)), *(decided[k] for k in drawn(3, 250, len(decided)))]
    warnings = said(monitor_of(), classifier, patches, order)
    assert "share of pos" in {warning.statistic for warning in warnings}
