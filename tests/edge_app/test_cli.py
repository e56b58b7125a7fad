"""The command itself: what it says of commands that are not for this machine, and of itself."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app import __version__

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

# A machine without the desktop's packages, also where they are installed.
DEVICE = """
import sys
for name in ("tensorflow", "keras", "jinja2", "matplotlib"):
    sys.modules[name] = None
from edge_app.cli import main
main()
"""


@pytest.mark.parametrize("command", ["train", "convert"])
def test_a_device_answers_a_desktop_command_with_the_line_that_installs_it(command: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", DEVICE, command, "x", "--out", "y"], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(b"E-INSTALL-MISSING: ")
    assert done.stderr.endswith(f"pip install 'limiar[{command}]'\n".encode())
    assert done.stderr.count(b"\n") == 1


def test_the_version_and_the_help_are_there_on_any_machine(limiar: Limiar) -> None:
    assert limiar("--version").stdout.decode().strip() == f"limiar, version {__version__}"
    assert b"scan" in limiar("--help").stdout


def test_an_unknown_command_is_a_usage_error(limiar: Limiar) -> None:
    done = limiar("diagnose")
    assert done.returncode == 2
    assert b"No such command" in done.stderr


@pytest.mark.parametrize("command", [["doctor"], ["doctor", "--json"], ["scan", "{bundle}", "{images}"]])
def test_a_full_disk_under_stdout_is_one_line(limiar: Limiar, tiny_path: Path, images: Path, command: list[str]) -> None:
    words = [word.format(bundle=tiny_path, images=images) for word in command]
    with open("/dev/full", "wb") as full:
        done = limiar(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith(b"E-OUTPUT-WRITE: ")
    assert done.stderr.count(b"\n") == 1


def test_a_closed_pipe_ends_any_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edge_app", "doctor"], stdout=pipe, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("option", ["--csv", "--jsonl", "--annotate"])
@pytest.mark.parametrize("place", ["file/out", "fifo"])
def test_an_output_that_cannot_be_written_is_one_line_and_nothing_is_scanned(
    limiar: Limiar, tiny_path: Path, images: Path, tmp_path: Path, option: str, place: str
) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    done = limiar("scan", tiny_path, images, option, tmp_path / place)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-OUTPUT-WRITE: ")
    assert done.stderr.count(b"\n") == 1
    assert (tmp_path / "fifo").is_fifo()
