"""A runtime that a bundle was not verified on answers nothing before the bundle's golden images have passed on it, here."""

import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limiar.edge_app.bundle.manifest import Verified
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import RuntimeUnavailable
from limiar.edge_app.inference import verified
from limiar.edge_app.runtimes import installed_runtimes
from verified_bundles import written

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

HERE = installed_runtimes("tflite")[0]  # what `limiar scan` takes
MACHINE = platform.machine()
OTHER_VERSION = Verified(HERE.name, "0.0.1", MACHINE)


@pytest.fixture
def elsewhere(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that was verified on another version of the runtime."""
    return written(tmp_path / "elsewhere", tiny_bundle, (OTHER_VERSION,))


@pytest.fixture
def wrong(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle from elsewhere whose int8 file gives other answers here."""

    def moved(golden: dict[str, Any]) -> None:
        golden["logits"]["tflite_int8"][0][0] += 1.0

    return written(tmp_path / "wrong", tiny_bundle, (OTHER_VERSION,), moved)


def says(done: "subprocess.CompletedProcess[bytes]") -> set[str]:
    """The values of `verified` in the lines of a scan or camera."""
    assert done.returncode == 0, done.stderr
    return {json.loads(line)["verified"] for line in done.stdout.splitlines()}


def record(tmp_path: Path, bundle: Path) -> Path:
    return tmp_path / "state" / "verified" / f"{open_bundle(bundle).sha256}.json"


# The command with the golden images counted: a line in the file for each time that they are run.
COUNTED = """
import limiar.edge_app.inference.verified
tried = limiar.edge_app.inference.verified._try
def counted(*arguments):
    with open({file!r}, "a") as file:
        file.write("tried\\n")
    return tried(*arguments)
limiar.edge_app.inference.verified._try = counted
from limiar.edge_app.cli import main
main()
"""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[set[str], int]]:
    """Runs a scan or camera; what its lines have as `verified`, and how often golden images were run so far."""
    file = tmp_path / "tried"
    file.touch()
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))

    def run(*arguments: str | Path) -> tuple[set[str], int]:
        command = [sys.executable, "-P", "-c", COUNTED.format(file=str(file)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, timeout=120)
        return says(done), len(file.read_text().splitlines())

    return run


Counted = Callable[..., tuple[set[str], int]]


def test_where_the_bundle_was_verified_it_is_used_at_once(
    counted: Counted, tiny_path: Path, images: Path, video: Path, tmp_path: Path
) -> None:
    assert counted("scan", tiny_path, images) == ({"bundle"}, 0)
    assert counted("camera", tiny_path, f"video:{video}") == ({"bundle"}, 0)
    assert not (tmp_path / "state" / "verified").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_elsewhere_the_golden_images_run_once_and_what_passed_is_kept(
    counted: Counted, elsewhere: Path, images: Path, video: Path, tmp_path: Path, workers: str
) -> None:
    assert counted("scan", elsewhere, images, "--workers", workers) == ({"device"}, 1)
    kept = json.loads(record(tmp_path, elsewhere).read_bytes())
    assert kept["bundle"] == open_bundle(elsewhere).sha256
    (trial,) = kept["trials"]
    assert list(trial.values())[:4] == ["tflite_int8", HERE.name, HERE.version, MACHINE]
    assert list(trial)[4:] == ["cpu", "app", "time"]
    assert counted("scan", elsewhere, images, "--again") == ({"device"}, 1)
    assert counted("camera", elsewhere, f"video:{video}") == ({"device"}, 1)
    assert counted("scan", elsewhere, images, "--file", "tflite_fp32") == ({"device"}, 2)  # another file is another question
    assert counted("scan", elsewhere, images) == ({"device"}, 2)


def test_a_person_is_told_once_why_the_start_took_longer(limiar: Limiar, elsewhere: Path, images: Path) -> None:
    first, second = (limiar("scan", elsewhere, images).stderr.decode() for _ in range(2))
    assert f"tflite_int8 was not verified with {HERE} on {MACHINE} before; its golden images pass there" in first
    assert "verified" not in second


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((), "device"),
        ((Verified(HERE.name, HERE.version, "riscv64"),), "device"),
        ((Verified("another", HERE.version, MACHINE),), "device"),
        ((Verified(HERE.name, HERE.version, MACHINE, options="4 threads"),), "device"),
        ((OTHER_VERSION, Verified(HERE.name, HERE.version, MACHINE)), "bundle"),
        ((Verified(HERE.name, HERE.version, MACHINE, cpu="cortex-a72"),), "bundle"),
    ],
    ids=["nothing", "another machine", "another runtime", "other options", "this too", "this on another processor"],
)
def test_runtime_version_and_machine_must_be_in_the_list_as_a_device_runs_them(
    limiar: Limiar, tiny_bundle: Bundle, images: Path, tmp_path: Path, seen: tuple[Verified, ...], expected: str
) -> None:
    assert says(limiar("scan", written(tmp_path / "bundle", tiny_bundle, seen), images)) == {expected}


@pytest.mark.parametrize("command", ["scan", "camera"])
def test_other_answers_than_the_recorded_ones_are_refused_and_nothing_is_kept(
    limiar: Limiar, wrong: Path, images: Path, video: Path, tmp_path: Path, command: str
) -> None:
    done = limiar(command, wrong, images if command == "scan" else f"video:{video}")
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"E-RUNTIME-GOLDEN: tflite_int8 was not verified with {HERE} on {MACHINE}, ")
    assert "(logits differ by " in line
    assert f": install {HERE.name} 0.0.1, as verified, or choose another --file or --runtime; " in line
    assert not record(tmp_path, wrong).exists()
    db = sqlite3.connect(tmp_path / "state" / "results.db")
    assert [db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("bundles", "results")] == [(0,), (0,)]
    db.close()


def test_a_version_for_another_machine_is_not_offered_as_the_cure(
    limiar: Limiar, wrong: Path, images: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    def moved(golden: dict[str, Any]) -> None:
        golden["logits"]["tflite_int8"][0][0] += 1.0

    foreign = written(tmp_path / "foreign", tiny_bundle, (Verified(HERE.name, "0.0.1", "riscv64"),), moved)
    line = limiar("scan", foreign, images).stderr.decode()
    assert "E-RUNTIME-GOLDEN" in line
    assert "install" not in line
    assert "choose another --file or --runtime" in line


def test_a_bundle_without_golden_images_is_used_only_where_it_was_verified(
    limiar: Limiar, tiny_bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    def left_out(golden: dict[str, Any]) -> None:
        del golden["logits"]["tflite_int8"]

    done = limiar("scan", written(tmp_path / "bundle", tiny_bundle, (), left_out), images)
    assert done.returncode == 1
    assert b"E-RUNTIME-GOLDEN" in done.stderr
    assert b"E-BUNDLE-GOLDEN" in done.stderr


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "nested past any parser": lambda data: data.replace(b"{", b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b",", 1),
    "not text": lambda data: b"\xff" * len(data),
    "another key": lambda data: data.replace(b'"trials"', b'"trails"'),
    "another bundle's": lambda data: data.replace(data.split(b'"')[3], b"0" * 64),
    "another file's": lambda data: data.replace(b"tflite_int8", b"tflite_fp32"),
    "another version's": lambda data: data.replace(f'"{HERE.version}"'.encode(), b'"0.0.1"'),
    "another processor's": lambda data: data.replace(b'"cpu": "', b'"cpu": "not '),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_foreign_record_counts_as_none(
    counted: Counted, elsewhere: Path, images: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    counted("scan", elsewhere, images)
    path = record(tmp_path, elsewhere)
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert counted("scan", elsewhere, images) == ({"device"}, 2)
    assert counted("scan", elsewhere, images) == ({"device"}, 2)  # it is whole again


def test_what_passed_for_one_bundle_says_nothing_of_another(
    counted: Counted, limiar: Limiar, elsewhere: Path, wrong: Path, images: Path, tmp_path: Path
) -> None:
    counted("scan", elsewhere, images)
    shutil.copy(record(tmp_path, elsewhere), record(tmp_path, wrong))
    done = limiar("scan", wrong, images)
    assert done.returncode == 1
    assert b"E-RUNTIME-GOLDEN" in done.stderr


def test_where_the_record_cannot_be_written_the_golden_images_run_at_every_start(
    counted: Counted, elsewhere: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "verified").touch()  # where the folder should be
    assert counted("scan", elsewhere, images) == ({"device"}, 1)
    assert counted("scan", elsewhere, images) == ({"device"}, 2)


@pytest.mark.parametrize(
    ("script", "said"),
    [("kill -SEGV $$", "ended with -11"), ("exec sleep 60", "no answer after"), ("exit 7", "exit status 7")],
    ids=["crashes", "hangs", "ends"],
)
def test_a_model_that_takes_the_process_of_its_golden_images_along_is_refused(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    if "sleep" in script:
        monkeypatch.setattr(verified, "_TRIAL_S", 0.5)
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))
    bundle = open_bundle(elsewhere)
    file, _ = bundle.model()
    with pytest.raises(RuntimeUnavailable, match=said) as raised:
        verified.ensure_verified(bundle, file, HERE.name, HERE.version)
    assert raised.value.code == "E-RUNTIME-GOLDEN"
    assert not record(tmp_path, elsewhere).exists()


def test_a_bundle_that_was_exchanged_meanwhile_does_not_lend_its_golden_images(
    elsewhere: Path, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))
    bundle = open_bundle(elsewhere)
    file, _ = bundle.model()
    shutil.rmtree(elsewhere)
    shutil.copytree(tiny_path, elsewhere)
    with pytest.raises(RuntimeUnavailable, match="another bundle is there now"):
        verified.ensure_verified(bundle, file, HERE.name, HERE.version)


def test_bench_says_of_each_row_who_verified_it_and_measures_it_anyway(
    limiar: Limiar, quick_bench: Limiar, elsewhere: Path, tiny_path: Path, images: Path
) -> None:
    def row(bundle: Path) -> str:
        options = ("--file", "tflite_int8", "--runtime", HERE.name, "--count", "20", "--json", "-")
        (measured,) = json.loads(quick_bench(bundle, *options).stdout)["measurements"]
        return str(measured["verified"])

    assert row(tiny_path) == "bundle"
    assert row(elsewhere) == "no"
    limiar("scan", elsewhere, images)
    assert row(elsewhere) == "device"


def test_stored_answers_and_the_spreadsheet_say_it_too(limiar: Limiar, elsewhere: Path, images: Path, tmp_path: Path) -> None:
    limiar("scan", elsewhere, images)
    done = limiar("scan", elsewhere, images, "--csv", tmp_path / "out.csv")
    assert b"40 from the database" in done.stderr
    assert says(done) == {"device"}
    assert (tmp_path / "out.csv").read_text().count(",True,device,,") == 40
    db = sqlite3.connect(tmp_path / "state" / "results.db")
    assert db.execute("SELECT file, verified FROM bundles").fetchall() == [("tflite_int8", "device")]
    db.close()


# The command, with another Python for the golden images.
PYTHON = """
import sys
sys.executable = sys.argv.pop(1)
from limiar.edge_app.cli import main
main()
"""


def test_ctrl_c_while_the_golden_images_run_is_no_failure_of_theirs(elsewhere: Path, images: Path, tmp_path: Path) -> None:
    python, begun = tmp_path / "python", tmp_path / "begun"
    python.write_text(f'#!/bin/sh\ntouch {begun}; sleep 2; exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = [sys.executable, "-P", "-c", PYTHON, str(python), "scan", str(elsewhere), str(images)]
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as scan:
        while not begun.exists():
            assert scan.poll() is None
            time.sleep(0.01)
        os.killpg(scan.pid, signal.SIGINT)  # as a terminal does
        assert scan.stderr
        said = scan.stderr.read()
        assert scan.wait(60) == 130, said
    assert b"golden images pass there" in said
