"""Which model file, runtime and number of threads `limiar bench` proposes, and what --save-best keeps."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import limiar as api
from limiar.edge_app.bench.choose import Candidate, check_keepable, choose, propose, save_best
from limiar.edge_app.bench.plan import tried_threads
from limiar.edge_app.bench.result import BenchResult, Measurement, Variant
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.runtimes import installed_runtimes
from limiar.edge_app.store.profile import Profile, profile_path
from verified_bundles import written

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

HERE = installed_runtimes("tflite")[0]


def test_the_best_is_kept_and_a_scan_uses_it(limiar: Limiar, quick_bench: Limiar, tiny_path: Path, images: Path) -> None:
    """Of one file alone, which is not the bundle's default: otherwise which one is the fastest would be chance."""

    def used() -> set[str]:
        return {json.loads(line)["file"] for line in limiar("scan", tiny_path, images, "--jsonl", "-").stdout.splitlines()}

    default = used()
    other = next(name for name in ("tflite_fp32", "tflite_int8") if name not in default)
    done = quick_bench(tiny_path, "--count", "40", "--file", other, "--save-best")
    assert done.returncode == 0, done.stderr
    assert b"kept for scan" in done.stderr
    assert f"Best here: {other}".encode() in done.stdout
    assert used() == {other}


def candidate(us: float, size: int = 1) -> Candidate:
    return Candidate([[round(us * 1000 + jitter) for jitter in range(20)] for _ in range(12)], us, size)


def test_of_variants_that_are_as_fast_the_one_with_fewer_threads_is_proposed() -> None:
    one, two, slow = Variant("a", "litert", 1), Variant("a", "litert", 2), Variant("b", "litert", 1)
    found = choose({two: candidate(10), one: candidate(10), slow: candidate(20)}, "b", seed=0)
    assert found
    assert found.best == one
    assert found.over
    assert found.over.high < 0.6  # of the default's 20 us
    assert choose({}, "b", seed=0) is None


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({Variant("a", "litert", 2): candidate(10)}, "as fast as 1 other, and preferred for fewer threads"),
        ({Variant("b", "litert", 1): candidate(10)}, "as fast as 1 other, and preferred for being the bundle's choice"),
        (
            {Variant("a", "other", 1): msgspec.structs.replace(candidate(10), p50_us=10.1)},
            "as fast as 1 other, and preferred for its lower median",
        ),
        (
            {Variant("a", "litert", 2): candidate(10), Variant("b", "litert", 1): candidate(10)},
            "as fast as 2 others, and preferred for being the bundle's choice",
        ),
        ({Variant("b", "litert", 1): candidate(20)}, "the fastest of 2 from image to answer"),
        ({}, "nothing else was measured"),
    ],
)
def test_a_proposal_says_the_reason_that_decided(others: dict[Variant, Candidate], why: str) -> None:
    found = choose({**others, Variant("a", "litert", 1): candidate(10)}, "a", seed=0)
    assert found
    assert (found.best, found.why) == (Variant("a", "litert", 1), why)


def test_of_files_that_the_bundle_would_not_choose_the_smaller_is_proposed() -> None:
    large, small = Variant("a", "litert", 1), Variant("b", "litert", 1)
    found = choose({large: candidate(10, 200), small: candidate(10, 100)}, "c", seed=0)
    assert found
    assert (found.best, found.why) == (small, "as fast as 1 other, and preferred for its smaller file")


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({"valid": False}, "the run is INVALID"),
        ({"proposal": None}, "the golden images of no model file pass on a runtime here"),
        ({"measurements": "without a median"}, "20 calls are too few for a median"),
    ],
)
def test_what_is_not_to_be_relied_on_is_not_kept(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, Any], met: str
) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path))
    result = api.bench(tiny_bundle, files=["tflite_int8"], preset="quick", count=20)
    if "measurements" in changes:
        without = msgspec.structs.replace(result.measurements[0].whole, p50_us=None)
        changes = {"measurements": [msgspec.structs.replace(one, whole=without) for one in result.measurements]}
    with pytest.raises(LimiarError, match=f"^E-BENCH-UNFIT: no profile was kept, since {met}: "):
        save_best(msgspec.structs.replace(result, **{"valid": True, **changes}), tmp_path)
    assert not profile_path(tmp_path, tiny_bundle.sha256).exists()


def test_on_an_emulator_nothing_is_kept_which_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """scripts/virtual_pi does it on a real emulator."""
    monkeypatch.setattr("limiar.edge_app.bench.choose.emulated", lambda: "qemu")
    with pytest.raises(LimiarError, match=r"^E-BENCH-UNFIT: .* the processor is emulated by qemu: "):
        check_keepable()


def test_the_best_is_looked_for_among_several_numbers_of_threads(quick_bench: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    words = ["--count", "20", "--file", "tflite_int8", "--runtime", HERE.name, "--json", "-"]

    def tried(*more: str) -> list[int]:
        done = quick_bench(tiny_path, *words, *more)
        return [one.threads for one in msgspec.json.decode(done.stdout, type=BenchResult).measurements]

    assert tried() == [1]
    assert tried("--save-best") == tried_threads()
    assert tried("--save-best", "--threads", "3") == [3]


def unverified(path: Path, bundle: Bundle, wrong: str = "") -> Bundle:
    """A bundle that was verified nowhere. wrong: the file whose golden images do not pass."""

    def moved(golden: dict[str, Any]) -> None:
        if wrong:
            golden["logits"][wrong][0][0] += 1.0

    return open_bundle(written(path, bundle, (), moved))


def test_golden_images_that_pass_are_run_for_the_winner_alone(quick_bench: Limiar, tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = unverified(tmp_path / "unseen", tiny_bundle)
    words = ["--count", "40", "--file", "tflite_int8,tflite_fp32", "--runtime", HERE.name, "--threads", "1"]
    plain = quick_bench(bundle.path, *words, "--json", "-")
    assert msgspec.json.decode(plain.stdout, type=BenchResult).proposal is None
    done = quick_bench(bundle.path, *words, "--save-best", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"its golden images pass there") == 1
    result = msgspec.json.decode(done.stdout, type=BenchResult)
    kept = msgspec.json.decode(profile_path(tmp_path / "state", bundle.sha256).read_bytes(), type=Profile)
    assert result.proposal
    assert kept.file == result.proposal.best.file
    assert {one.file: one.verified for one in result.measurements}[kept.file] == "device"
    assert sorted(one.verified for one in result.measurements) == ["device", "no"]


def measured(bundle: Bundle, files: tuple[str, ...]) -> dict[str, Measurement]:
    result = api.bench(bundle, files=files, runtimes=[HERE.name], preset="quick", count=20)
    return {one.file: one for one in result.measurements}


def timed(one: Measurement, us: float) -> Measurement:
    return msgspec.structs.replace(one, whole=msgspec.structs.replace(one.whole, p50_us=us))


def test_if_the_golden_images_of_the_fastest_do_not_pass_the_next_one_is_proposed(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))
    bundle = unverified(tmp_path / "wrong", tiny_bundle, "tflite_fp32")
    found = measured(bundle, ("tflite_fp32", "tflite_int8"))
    both = [timed(found["tflite_fp32"], 10), timed(found["tflite_int8"], 20)]
    wholes = [candidate(10).whole, candidate(20).whole]
    proposed = propose(bundle, both, wholes, 0, verify=True)
    assert proposed.proposal
    assert proposed.proposal.best == Variant("tflite_int8", HERE.name, 1)
    assert [one.verified for one in proposed.measurements] == ["no", "device"]
    (note,) = proposed.notes
    assert note.startswith("tflite_fp32 was not verified with ")
    assert "its golden images do not pass there (logits differ by 1" in note
    only = propose(bundle, both[:1], wholes[:1], 0, verify=True)
    assert only.proposal is None
    assert propose(bundle, both[:1], wholes[:1], 0, verify=False).notes == ()
