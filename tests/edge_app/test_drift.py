"""Drift: what differs from the bundle's reference is named, and what does not differ raises no alarm."""

import hashlib
import math
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest

from limiar.edge_app.bundle.manifest import REFER, STATISTICS, BundleFile
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.control import AskStatus, ask
from limiar.edge_app.drift.monitor import FALSE_ALARM, DriftWarning, Monitor, fisher, kolmogorov_smirnov, psi
from limiar.edge_app.drift.reference import (
    REFERENCE,
    BundleReference,
    FileReference,
    Reference,
    compared,
    distribution,
    read_reference,
)
from limiar.edge_app.errors import BundleError
from limiar.edge_app.health.status import Status
from limiar.edge_app.inference import classifier as classifier_module
from limiar.edge_app.inference.session import Session
from services import Service, noise

Row = tuple[str, float, tuple[float, ...]]  # what Monitor.add takes


def row(rng: random.Random, brighter: float = 1.0, positive: float = 0.5) -> Row:
    """An answer whose statistics depend on each other, as those of images do; `clipped` is 0 for most, and `low` has ties."""
    mean = rng.gauss(90, 12) * brighter
    deviation = abs(rng.gauss(0.5, 0.1)) * mean
    low, high = float(max(0, round(mean - 2.5 * deviation))), min(255.0, round(mean + 2.5 * deviation))
    clipped = 0.0 if high < 255 else rng.random() / 10
    confidence = 0.5 + rng.random() / 2
    decision = REFER if confidence < 0.6 else "nodule" if rng.random() < positive else "other"
    return decision, confidence, (mean, deviation, low, high, 10 * deviation, clipped, 0.0)


def rows(seed: int, count: int, brighter: float = 1.0, positive: float = 0.5) -> list[Row]:
    rng = random.Random(seed)
    return [row(rng, brighter, positive) for _ in range(count)]


def reference_of(answers: list[Row]) -> Reference:
    values = [compared(statistics, confidence) for _, confidence, statistics in answers]
    names = (*STATISTICS, "confidence")
    decisions = [decision for decision, _, _ in answers]
    return Reference(
        len(answers),
        {name: distribution([value[k] for value in values], 20) for k, name in enumerate(names)},
        {name: decisions.count(name) for name in ("nodule", "other", REFER)},
    )


def said(monitor: Monitor, answers: list[Row]) -> list[DriftWarning]:
    return [warning for answer in answers for warning in monitor.add(*answer)]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(rows(0, 400))


def test_images_a_tenth_brighter_are_named_within_500(reference: Reference) -> None:
    for seed in range(20):
        warnings = said(Monitor(reference), rows(seed + 1, 500, brighter=1.1))
        assert warnings, seed
        assert {"mean", "high", "clipped"} & {warning.statistic for warning in warnings}
        assert all(warning.direction == "higher" for warning in warnings if warning.statistic == "high")


def test_twenty_runs_of_images_like_those_of_the_reference_raise_no_alarm(reference: Reference) -> None:
    assert [warning for seed in range(20) for warning in said(Monitor(reference), rows(seed + 100, 2500))] == []


def test_one_window_of_another_mix_of_classes_is_named_with_its_place(reference: Reference) -> None:
    stream = rows(1, 500) + rows(2, 250, positive=0.9) + rows(3, 250)
    warnings = said(Monitor(reference), stream)
    assert {(warning.first, warning.last) for warning in warnings} <= {(501, 750), (251, 750)}
    found = {warning.statistic: warning for warning in warnings}
    assert found["share of nodule"].direction == "higher"
    assert found["share of other"].direction == "lower"
    assert "share of nodule of answers" in found["share of nodule"].message


def test_a_window_of_other_images_is_named(reference: Reference) -> None:
    dark = [(decision, confidence, (20.0, 3.0, 12.0, 30.0, 5.0, 0.0, 0.0)) for decision, confidence, _ in rows(5, 250)]
    assert {"mean", "deviation", "high", "sharpness"} <= {
        one.statistic for one in said(Monitor(reference), rows(4, 250) + dark)
    }


def test_more_images_for_a_person_are_named_as_the_refer_rate(reference: Reference) -> None:
    stream = [
        (REFER if k % 3 else decision, confidence, values) for k, (decision, confidence, values) in enumerate(rows(6, 250))
    ]
    found = {warning.statistic: warning for warning in said(Monitor(reference), stream)}
    assert found["refer rate"].direction == "higher"


def test_decisions_by_another_rule_than_the_bundles_are_not_compared(reference: Reference) -> None:
    other = msgspec.structs.replace(reference, decisions={})
    assert said(Monitor(other), [(REFER, confidence, values) for _, confidence, values in rows(7, 1000)]) == []


@pytest.mark.parametrize(("value", "direction"), [(3.0, "lower"), (9.0, "higher")])
def test_a_statistic_that_is_always_the_same_is_compared_too(value: float, direction: str) -> None:
    decision, confidence, _ = rows(8, 1)[0]
    always = reference_of([(decision, confidence, (5.0,) * 7)] * 300)
    warnings = said(Monitor(always), [(decision, confidence, (value,) + (5.0,) * 6)] * 250)
    assert [(warning.statistic, warning.direction) for warning in warnings] == [("mean", direction)]
    assert warnings[0].psi > 1


def test_colour_that_nobody_sees_is_no_drift(reference: Reference) -> None:
    from_video = [(*answer[:2], (*answer[2][:-1], 1.1)) for answer in rows(9, 500)]
    assert said(Monitor(reference), from_video) == []


def test_what_lasts_is_said_once_and_again_if_it_comes_back(reference: Reference) -> None:
    monitor = Monitor(reference)
    first = said(monitor, rows(10, 1500, brighter=1.3))
    assert len({warning.statistic for warning in first}) == len(first)
    assert {one.statistic for one in monitor.state().lasting} == {one.statistic for one in first}
    assert said(monitor, rows(11, 1000)) == []
    assert monitor.state().lasting == ()
    assert monitor.state().answers == 2500
    assert {one.statistic for one in said(monitor, rows(12, 500, brighter=1.3))} >= {"mean", "high"}


def test_a_small_reference_needs_a_larger_difference() -> None:
    """Its own chance counts: what 400 images show, 20 cannot."""
    assert said(Monitor(reference_of(rows(0, 20))), rows(13, 500, brighter=1.1)) == []
    wrong = [bool(said(Monitor(reference_of(rows(seed, 20))), rows(seed + 1000, 1000))) for seed in range(50)]
    assert sum(wrong) == 0


def test_fishers_test_agrees_with_counting() -> None:
    for of_n, n, of_m, m in [(3, 10, 7, 9), (0, 12, 5, 8), (10, 10, 1, 6), (4, 20, 4, 20), (0, 5, 0, 5)]:
        total = of_n + of_m
        chances = {k: math.comb(m, k) * math.comb(n, total - k) / math.comb(n + m, total) for k in range(min(total, m) + 1)}
        tails = (sum(c for k, c in chances.items() if k <= of_m), sum(c for k, c in chances.items() if k >= of_m))
        assert fisher(of_n, n, of_m, m) == pytest.approx(min(1, 2 * min(tails)), rel=1e-9)


def test_the_distance_is_that_of_the_two_distributions() -> None:
    p, direction = kolmogorov_smirnov([5, 5, 0], [0, 5, 5])
    assert p == pytest.approx(2 * math.exp(-2 * 0.5**2 * 100 / 20))
    assert direction == "higher"
    assert kolmogorov_smirnov([1, 8, 1], [5, 0, 5])[1] == "other"
    assert kolmogorov_smirnov([3, 4, 3], [30, 40, 30])[0] == 1.0


@pytest.mark.parametrize(("n", "m"), [(30, 30), (100, 250), (239, 250), (239, 500)])
def test_p_values_of_equal_distributions_are_not_too_small(n: int, m: int) -> None:
    """P(p <= a) <= a, up to four standard errors of so many draws."""
    rng, draws = np.random.default_rng(n * m), 1000
    values = np.sort(rng.normal(size=(draws, n)))
    edges = values[:, [-(-n * k // 20) - 1 for k in range(1, 21)]]
    small = []
    for k in range(draws):
        of_n = np.diff(np.searchsorted(values[k], edges[k], "right"), prepend=0, append=n)
        of_m = np.diff(np.searchsorted(np.sort(rng.normal(size=m)), edges[k], "right"), prepend=0, append=m)
        small.append(kolmogorov_smirnov(of_n.tolist(), of_m.tolist())[0])
    rates = [fisher(int(rng.binomial(n, 0.3)), n, int(rng.binomial(m, 0.3)), m) for _ in range(draws)]
    for found in (np.array(small), np.array(rates)):
        for level in (0.1, 0.05, 0.01):
            assert (found <= level).mean() <= level + 4 * math.sqrt(level / draws)


def test_the_stability_index_is_nought_for_equal_shares_and_finite_for_an_empty_bin() -> None:
    assert psi([10, 20, 70], [10, 20, 70]) == 0
    shifted = psi([100, 100], [150, 50])
    assert shifted == pytest.approx(0.25 * math.log(0.75 / 0.5) - 0.25 * math.log(0.25 / 0.5), rel=0.02)
    assert 1 < psi([100, 0], [0, 100]) < 20


def test_the_bins_of_a_distribution_hold_about_the_same_number_of_values() -> None:
    found = distribution([float(k) for k in range(1, 101)], 20)
    assert found.counts == (5,) * 20
    assert (found.least, found.edges[-1]) == (1, 100)
    assert [found.bin(value) for value in (0.5, 1, 5, 5.5, 100, 101)] == [0, 1, 1, 2, 20, 21]
    assert distribution([7.0], 20).counts == (1,)
    assert distribution([1.0] * 50 + [2.0] * 50, 20).counts == (50, 50)


# The bundle's file


def bundle_reference(labels: tuple[str, ...], files: list[str]) -> BundleReference:
    answers = rows(0, 100)
    found = reference_of(answers)
    decisions = dict.fromkeys((*labels, REFER), 0) | {labels[0]: 60, REFER: 40}
    statistics = {name: one for name, one in found.distributions.items() if name != "confidence"}
    each = {name: FileReference(found.distributions["confidence"], decisions) for name in files}
    return BundleReference(1, 100, statistics, each)  # type: ignore[arg-type]


@pytest.fixture
def with_reference(tiny_bundle: Bundle, tmp_path: Path) -> tuple[Path, BundleReference]:
    made = bundle_reference(tiny_bundle.manifest.labels, [*tiny_bundle.manifest.models])
    return with_file(tiny_bundle, msgspec.json.encode(made), tmp_path / "bundle"), made


def with_file(bundle: Bundle, data: bytes, path: Path) -> Path:
    contents = {file.path: bundle.read(file.path) for file in bundle.manifest.files} | {REFERENCE: data}
    listed = BundleFile(REFERENCE, len(data), hashlib.sha256(data).hexdigest())
    write_bundle(path, msgspec.structs.replace(bundle.manifest, files=(*bundle.manifest.files, listed)), contents)
    return path


def test_a_bundle_gives_the_reference_of_the_file_that_answers(with_reference: tuple[Path, BundleReference]) -> None:
    path, made = with_reference
    session = Session(open_bundle(path), file="onnx_fp32")
    assert session.reference() == made.of("onnx_fp32")
    assert [*made.of("onnx_fp32").distributions] == [*STATISTICS, "confidence"]


def test_with_another_rule_than_the_bundles_the_decisions_are_left_out(with_reference: tuple[Path, BundleReference]) -> None:
    bundle = open_bundle(with_reference[0])
    for other in (Session(bundle, refer_below=0.6), Session(bundle, outside="ignore")):
        found = other.reference()
        assert found is not None
        assert found.decisions == {}


def test_a_bundle_without_a_reference_has_none(tiny_bundle: Bundle) -> None:
    assert Session(tiny_bundle).reference() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: b"{", "truncated"),
        (lambda made: b"[" * 100_000, "Expected `object`"),
        (
            lambda made: msgspec.json.encode(made).replace(b'"images":100', b'"images":101'),
            "100 images are counted instead of 101",
        ),
        (lambda made: msgspec.json.encode(msgspec.structs.replace(made, files={})), "model files are not the bundle's"),
        (lambda made: msgspec.json.encode(made).replace(b'"mean"', b'"meen"'), "meen"),
        (lambda made: msgspec.json.encode(made).replace(b'"refer"', b'"rever"'), "not the bundle's labels"),
        (lambda made: msgspec.json.encode(made).replace(b'"least":', b'"least":1e9,"x":'), "x"),
        (lambda made: msgspec.json.encode(made).replace(b'"edges":[', b'"edges":[1e300,'), "edges do not ascend"),
        (lambda made: b" " * (5 << 20), "over 4 MiB"),
    ],
)
def test_a_reference_that_contradicts_itself_or_the_bundle_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, change, said
) -> None:
    made = bundle_reference(tiny_bundle.manifest.labels, [*tiny_bundle.manifest.models])
    with pytest.raises(BundleError, match=r"convert the model again") as error:
        read_reference(open_bundle(with_file(tiny_bundle, change(made), tmp_path / "bundle")))
    assert error.value.code == "E-BUNDLE-REFERENCE"
    assert said in error.value.message


# Statistics from the worker


def test_answers_have_statistics_only_if_asked_and_they_are_computed_once(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = classifier_module.statistics
    monkeypatch.setattr(classifier_module, "statistics", lambda tensor: calls.append(1) or real(tensor))
    picture = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    model = msgspec.structs.replace(Session(tiny_bundle).model, measure=False)
    plain = classifier_module.load(model).answer(picture)
    assert plain.statistics is None
    assert len(calls) == (tiny_bundle.manifest.envelope is not None)
    calls.clear()
    measured = classifier_module.load(msgspec.structs.replace(model, measure=True)).answer(picture)
    assert len(calls) == 1
    assert measured.statistics is not None
    assert len(measured.statistics) == len(STATISTICS)
    assert measured.statistics[STATISTICS.index("colour")] == 0


def test_the_limit_of_a_false_alarm_is_stated(project: Path) -> None:
    assert f"one in {1 / FALSE_ALARM:,.0f} windows" in (project / "docs" / "drift.md").read_text()


# In a service


def test_a_service_says_what_differs_in_its_log_its_status_and_the_audit_log(
    with_reference: tuple[Path, BundleReference], tmp_path: Path
) -> None:
    """Noise is unlike the reference in everything."""
    with Service(tmp_path / "device", with_reference[0]) as service:
        for k, one in enumerate(noise(250, 0)):
            service.put(f"{k:03d}.png", one)
        service.wait(lambda: len(service.done()) == 250, 60)
        reply = ask(service.state, AskStatus())
        assert reply
        drift = msgspec.json.decode(reply, type=Status).drift
        assert {"mean", "deviation"} <= {one.statistic for one in drift}
        said = service.log.read_text()
        assert "W-DRIFT: mean brightness (mean) of answers 1 to 250 is " in said
        kept = [msgspec.json.decode(detail) for (detail,) in service.rows("SELECT detail FROM audit WHERE kind = 'drift'")]
        assert {one["statistic"] for one in kept} == {one.statistic for one in drift}


def test_a_service_says_that_a_bundle_without_a_reference_is_not_watched(tiny_path: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "device", tiny_path) as service:
        service.wait(lambda: "drift is not watched" in service.log.read_text())
