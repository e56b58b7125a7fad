"""`limiar doctor`, and what it reads from the machine."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from boards import write_vcgencmd
from limiar.edge_app.doctor import Diagnosis, Package, State, find_problems
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes
from limiar.edge_app.system.machine import cpu_features, cpu_model, machine

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

PI_4 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
Features\t: fp asimd evtstrm crc32 cpuid
CPU part\t: 0xd08

Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
PC = """processor\t: 0
model name\t: Intel(R) Core(TM) i5 CPU
flags\t\t: fpu sse4_1 avx avx2 avx512_vnni lm
"""


@pytest.mark.parametrize(
    ("info", "model", "features"),
    [
        (PI_4, "Cortex-A72", ("asimd",)),
        (
            PI_4.replace("0xd08", "0xd0b").replace("asimd ", "asimd asimdhp asimddp "),
            "Cortex-A76",
            ("asimd", "asimddp", "asimdhp"),
        ),
        (PI_4.replace("0xd08", "0xfff"), "ARM part 0xfff", ("asimd",)),
        ("model name\t: ARMv8 Processor rev 3 (v8l)\n" + PI_4, "Cortex-A72", ("asimd",)),
        (PC, "Intel(R) Core(TM) i5 CPU", ("avx", "avx2", "avx512_vnni", "sse4_1")),
        ("", "unknown", ()),
    ],
)
def test_the_processor_is_named_and_its_vector_units(info: str, model: str, features: tuple[str, ...]) -> None:
    assert cpu_model(info) == model
    assert cpu_features(info) == features


def test_it_says_what_is_installed_here(limiar: Limiar, tmp_path: Path) -> None:
    done = limiar("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = msgspec.json.decode(done.stdout, type=Diagnosis)
    assert found.machine.architecture == platform.machine()
    assert found.problems == ()
    assert {package.name: package.version for package in found.packages}["numpy"] == importlib.metadata.version("numpy")
    runtimes = {runtime.name: runtime.version for runtime in found.runtimes if runtime.version}
    assert runtimes == {runtime.name: runtime.version for runtime in installed_runtimes()}
    assert all(package.path or package.install for package in (*found.packages, *found.runtimes))
    assert found.state == State(str(tmp_path / "state"), True, found.state.free_mb)
    assert not (tmp_path / "state").exists()
    assert found.installed_mb > 50  # numpy, Pillow, OpenCV and a runtime are there


def test_the_table_names_each_package_and_the_command_that_gets_what_is_missing(limiar: Limiar) -> None:
    text = limiar("doctor").stdout.decode()
    for word in ("limiar", "Python", "CPU", "numpy", "Pillow", "OpenCV", "picamera2", "Flask", "paho-mqtt", "state"):
        assert f"\n{word} " in f"\n{text}"
    for name in RUNTIMES.keys() - {found.name for found in installed_runtimes()}:
        assert f"is missing: {RUNTIMES[name].install}" in text


def test_a_board_that_throttled_and_its_meter_are_told(limiar: Limiar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"get_throttled": "throttled=0x50000", "pmic_read_adc": " HDMI_A current(22)=0.5A\n HDMI_V volt(23)=5.0V"}
    write_vcgencmd(tmp_path, answers)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    text = limiar("doctor").stdout.decode()
    assert "under-voltage since boot, throttled since boot" in text
    assert "Raspberry Pi 5 PMIC" in text


def test_a_package_that_kills_python_or_is_missing_is_a_problem_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("import os; os.abort()")
    (tmp_path / "cryptography.py").write_text("raise ImportError('built for another machine')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "LIMIAR_STATE": str(tmp_path)}
    command = [sys.executable, "-P", "-m", "limiar", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    problems = json.loads(done.stdout)["problems"]
    assert [problem for problem in problems if problem.startswith("OpenCV cannot be imported (it ended with -6)")]
    assert [problem for problem in problems if "built for another machine" in problem and "pip install limiar" in problem]


def test_what_a_device_cannot_do_without_is_a_problem() -> None:
    here = msgspec.structs.replace(machine(), bits=32, python="3.9.2")
    gone = Package("numpy", None, None, "is missing", True, "pip install limiar")
    extra = Package("picamera2", None, None, "is missing", False, "apt")
    runtime = Package("litert", None, None, "is missing", False, "pip install limiar")
    problems = list(find_problems(here, (gone, extra), (runtime,), State("/state", False, 0)))
    for words in ("32 bits", "Python 3.9.2 is too old", "numpy is missing", "no runtime works", "/state cannot be written"):
        assert any(words in problem for problem in problems)
    assert len(problems) == 5


def test_a_state_folder_that_cannot_be_written_is_a_problem(limiar: Limiar, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    done = limiar("doctor")
    assert done.returncode == 3
    assert b"set LIMIAR_STATE" in done.stdout
