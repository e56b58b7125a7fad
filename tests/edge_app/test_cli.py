"""The command itself: what it says about itself, and about commands that are not for this machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from limiar.edge_app import __version__

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

# A machine without the desktop's packages, also where they are installed.
DEVICE = """
import sys
for name in ("tensorflow", "keras", "jinja2", "matplotlib"):
    sys.modules[name] = None
from limiar.edge_app.cli import main
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


@pytest.mark.parametrize("way", [["-m", "limiar"], ["-c", "from limiar.edge_app.cli import main; main()"]], ids=str)
def test_usage_calls_the_command_by_its_name_however_it_was_started(way: list[str]) -> None:
    done = subprocess.run([sys.executable, *way, "bench", "--help"], capture_output=True, timeout=60)
    assert done.stdout.startswith(b"Usage: limiar bench ")


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
        done = subprocess.run([sys.executable, "-P", "-m", "limiar", "doctor"], stdout=pipe, stderr=subprocess.PIPE, timeout=60)
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


@pytest.mark.parametrize(("command", "option"), [("scan", "--db"), ("scan", "--csv"), ("camera", "--db")])
def test_one_file_for_two_outputs_is_refused_before_the_database_is_touched(
    limiar: Limiar, tiny_path: Path, images: Path, tmp_path: Path, command: str, option: str
) -> None:
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.write_text("kept")
    link.symlink_to(kept)
    source = images if command == "scan" else "v4l2:/dev/video99"
    done = limiar(command, tiny_path, source, option, kept, "--jsonl", link)
    assert (done.returncode, kept.read_text()) == (2, "kept")
    assert b"are the same file" in done.stderr


# A limit on a file's size is met as a full disk is: in the middle of a write.
FULL = """
import resource, signal, sys
from pathlib import Path
from limiar.edge_app.errors import OutputError
from limiar.edge_app.output.jsonl import JsonFile
from limiar.edge_app.camera.source import Address
path = Path(sys.argv[1])
output = JsonFile(path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
lines = [Address("video", "x" * 100, "x")] * 1000
try:
    output.write(lines)
except OutputError as error:
    print(error)
output.close()
"""


def test_a_file_of_lines_that_could_not_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-P", "-c", FULL, path], capture_output=True, timeout=60)
    assert done.stdout.startswith(b"E-OUTPUT-WRITE: ")
    assert done.stderr == b""
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_where_the_second_output_cannot_be_opened_nothing_is_left_of_the_first(
    limiar: Limiar, tiny_path: Path, images: Path, tmp_path: Path
) -> None:
    done = limiar("scan", tiny_path, images, "--jsonl", tmp_path / "a.jsonl", "--csv", tmp_path)
    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == []


@pytest.mark.parametrize("words", [["--file", ""], ["--annotate="], [""]])
def test_an_empty_argument_is_a_usage_error(limiar: Limiar, tiny_path: Path, images: Path, words: list[str]) -> None:
    done = limiar("scan", tiny_path, images, *words)
    assert done.returncode == 2
    assert b"An argument is empty" in done.stderr


@pytest.mark.parametrize("words", [["scan", "x", "y", "--refer-below"], ["camera", "x", "y", "--seconds"]])
def test_nan_is_no_number_of_a_range(limiar: Limiar, words: list[str]) -> None:
    assert limiar(*words, "nan").returncode == 2


def test_a_table_for_stdout_is_refused_with_what_stdout_can_have(limiar: Limiar, tiny_path: Path, images: Path) -> None:
    done = limiar("scan", tiny_path, images, "--csv", "-")
    assert (done.returncode, b"--jsonl -" in done.stderr) == (2, True)
