"""There is no network, and nothing can be written but the state folder and the watched folders: the service needs no more."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from privileges import need_root
from running import REAL
from services import Service, noise

# $1: the only folder that can be written; $2 in it: the state folder, in memory. Then: a log of system calls, and a command.
INSIDE = """
mount --bind "$1" "$1" && mount -t tmpfs none "$2" || exit 99
for place in /dev/shm /run /tmp /var/tmp /; do mount -o remount,ro,bind $place 2>/dev/null; done
if touch /tmp/limiar-test 2>/dev/null; then exit 99; fi
trace="$3"
shift 3
exec env -u CI HOME= strace -D -f -qq -y -e signal=none -e trace="$CALLS" -o "$trace" "$@"
"""
WRITING = (
    "open openat openat2 creat rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat symlink symlinkat "
    "truncate mknod mknodat chmod fchmodat chown lchown fchownat utimensat setxattr lsetxattr socket bind connect mount"
)
CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<given>.*)\) += +(?P<result>-?\d+)")
PATHS = re.compile(r'(?:<([^>]*)>, )?"([^"]*)"')
DESCRIPTORS = re.compile(r"\b(\d+)<(/[^>]*)>")
OWN = re.compile(r"^/proc/self/fd/(\d+)")
OPENED_TO_WRITE = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The folder that can be written."""
    need_root("unshare", "strace", "nsenter")
    (tmp_path / "device" / "state").mkdir(parents=True)
    return tmp_path / "device"


def run(command: list[str | Path], device: Path) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "LIMIAR_STATE": str(device / "state")}
    return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)


def inside(device: Path, trace: Path) -> list[str | Path]:
    """What comes before a command. The trace is written from outside: its file is open before the root is read-only."""
    calls = ",".join(f"?{name}" for name in WRITING.split())
    unshare = ["unshare", "--net", "--mount", "--propagation", "private", "env", f"CALLS={calls}"]
    return [*unshare, "bash", "-c", INSIDE, "-", device, device / "state", trace]


def changes(trace: Path) -> Iterator[tuple[str, list[str]]]:
    """Calls that would change something, whether or not they could, with the paths of each; and those to a network."""
    opened: dict[tuple[str, str], str] = {}  # process and descriptor -> path
    process = ""

    def whole(path: str) -> str:
        return OWN.sub(lambda own: opened.get((process, own[1]), "?"), path)

    for line in trace.read_text(errors="replace").splitlines():
        process = line.split()[0]
        opened |= {(process, number): path for number, path in DESCRIPTORS.findall(line)}
        if not (call := CALL.match(line)):
            continue
        name, given = call["name"], call["given"]
        if name in ("socket", "connect", "bind"):
            if "AF_UNIX" not in given:
                yield f"{name}({given})", []
        elif not name.startswith("open") or OPENED_TO_WRITE.search(given):
            # A name without a slash is in the folder whose descriptor is before it.
            yield f"{name}({given})", [whole(os.path.join(at or "/", name)) for at, name in PATHS.findall(given)]


def outside(trace: Path, *allowed: Path) -> list[str]:
    """Those of them that are not below an allowed folder."""
    fine = (*allowed, Path("/dev/null"))
    return [
        call
        for call, paths in changes(trace)
        if not paths or not all(any(Path(path).is_relative_to(folder) for folder in fine) for path in paths)
    ]


def test_run_and_status_write_only_to_the_state_and_the_watched_folder(device: Path, tiny_path: Path) -> None:
    trace = device / "trace"
    service = Service(device, tiny_path, around=inside(device, trace))
    with service:
        for k, data in enumerate(noise(20)):
            service.put(f"{k:03d}.png", data)
        service.put("bad.png", b"text")
        service.wait(lambda: len(service.done()) == 20 and len(service.quarantined()) == 1)
        enter = ["nsenter", "--target", str(service.pid), "--mount", "--net", "env", "-u", "CI", "HOME="]
        status = run([*enter, sys.executable, "-P", "-c", REAL, "status", "--json"], device)
        assert status.returncode == 0, status.stderr
        totals = msgspec.json.decode(status.stdout)["totals"]
        assert (totals["answered"], totals["refused"]) == (20, {"E-IMAGE-FORMAT": 1})
        assert service.end() == 0
    assert outside(trace, service.state, service.inbox) == []
    assert len(list(changes(trace))) > 20
    assert list(service.state.iterdir()) == []  # below the one in memory


@pytest.mark.parametrize("command", ["scan", "watch"])
def test_scan_and_watch_write_only_to_the_state_folder(device: Path, tiny_path: Path, images: Path, command: str) -> None:
    trace = device / "trace"
    words = [command, tiny_path, images, *(["--seconds", "20"] if command == "watch" else [])]
    done = run([*inside(device, trace), sys.executable, "-P", "-c", REAL, *words, "--jsonl", "-"], device)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 40
    assert outside(trace, device / "state") == []


def test_what_is_written_elsewhere_would_be_seen(device: Path, tiny_path: Path) -> None:
    trace = device / "trace"
    elsewhere = device / "elsewhere"
    script = f"import socket; socket.socket(); open({str(elsewhere)!r}, 'w').close()\n{REAL}"
    assert run([*inside(device, trace), sys.executable, "-P", "-c", script, "verify", tiny_path], device).returncode == 0
    found = outside(trace, device / "state")
    assert any(str(elsewhere) in call for call in found)
    assert any("AF_INET" in call for call in found)
