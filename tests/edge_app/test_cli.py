"""The command itself: what it says of commands that are not for this machine, and of itself."""

import subprocess
import sys
from collections.abc import Callable

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
