"""scripts/install_pi refuses the wrong systems before it does anything. `scripts/virtual_pi install` tries the rest."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def install(project: Path, tmp_path: Path) -> Install:
    """Runs the script in an empty home, with programs of ours before the system's: name=what it prints, or None to fail."""

    def run(*words: str, **programs: str | None) -> "subprocess.CompletedProcess[str]":
        for name, printed in programs.items():
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text("#!/bin/sh\nexit 127\n" if printed is None else f"#!/bin/sh\necho {printed}\n")
            program.chmod(0o755)
        home = tmp_path / "home"
        home.mkdir()
        environ = {**os.environ, "HOME": str(home), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run([project / "scripts" / "install_pi", *words], env=environ, capture_output=True, text=True)
        assert list(home.iterdir()) == []
        return done

    return run


def test_help_has_an_example_and_every_option(install: Install) -> None:
    done = install("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  scripts/install_pi --camera" in done.stdout
    assert all(
        option in done.stdout
        for option in ("--camera", "--service", "--to DIR", "--bundle BUNDLE", "--offline WHEELHOUSE", "WHEEL")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ofline", "house"], "there is no option --ofline"),
        (["--to"], "--to needs a folder"),
        (["--bundle", ""], "--bundle needs a folder"),
        (["a.whl", "b.whl"], "not a.whl and b.whl"),
        (["--offline", "house", "a.whl"], "leave a.whl out"),
        (["--service", "--to", "/srv/limiar"], "leave --to out"),
    ],
)
def test_a_usage_error_is_one_line_that_names_it(install: Install, words: list[str], said: str) -> None:
    done = install(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("install_pi: ")
    assert said in done.stderr


@pytest.mark.parametrize(("arch", "bits"), [("armhf", 32), ("armhf", 64), ("armel", 32), ("i386", 32), ("arm64", 32)])
def test_a_32_bit_userland_is_refused_also_on_a_64_bit_kernel(install: Install, arch: str, bits: int) -> None:
    done = install(dpkg=arch, getconf=str(bits), uname="aarch64")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"install_pi: this system's programs are 32-bit ({arch}), and there are no 32-bit wheels of LiteRT and ONNX Runtime:"
        " write the 64-bit Raspberry Pi OS to the card; Raspberry Pi 3, 4, 5 and Zero 2 W run it\n"
    )


@pytest.mark.parametrize(("arch", "said"), [("riscv64", "this system is for riscv64"), (None, "there is no dpkg")])
def test_another_machine_or_system_is_refused(install: Install, arch: str | None, said: str) -> None:
    done = install(dpkg=arch, getconf="64")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
