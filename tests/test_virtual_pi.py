"""The basis of scripts/virtual_pi: roots entered through an overlay, and reports that cannot pass if nothing was asked."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtualpi import Failed, Unavailable, cache, debian
from virtualpi.namespace import Root
from virtualpi.outcome import Outcome, report

SLEEP = f"sleep {10**6 + os.getpid()}"  # what no other test run has


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root with this machine's own /usr, which is enough to see what is kept apart."""
    if subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode:
        if os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") == "1":
            pytest.fail("LIMIAR_REQUIRE_ROOT_TESTS=1, but this machine gives no user namespace")
        pytest.skip("this machine gives no user namespace")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "given").write_text("from outside\n")
    (tmp_path / "root").mkdir()
    for name in ("bin", "lib", "lib64"):
        (tmp_path / "root" / name).symlink_to(f"usr/{name}")
    return Root(tmp_path / "root", tmp_path / "changes", binds={"/usr": Path("/usr"), "/given": tmp_path / "here"})


def test_what_is_written_in_a_root_stays_out_of_it_and_what_is_bound_is_seen(root: Root, tmp_path: Path) -> None:
    said = root.run("sh", "-c", "id -u; cat /given/given; echo made >/limiar-made; cat /limiar-made").stdout
    assert said.split() == ["0", "from", "outside", "made"]
    assert not (tmp_path / "root" / "limiar-made").exists()
    assert root.run("cat", "/limiar-made").stdout == "made\n"  # the next command of the same root finds it


def test_a_command_that_fails_is_said_with_its_words(root: Root) -> None:
    with pytest.raises(Failed, match=r"`sh -c echo no >&2; exit 7` ended with 7:\nno"):
        root.run("sh", "-c", "echo no >&2; exit 7")


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(root: Root) -> None:
    with pytest.raises(Failed, match=r"did not end in 1 s"):
        root.run("sh", "-c", f"{SLEEP} & {SLEEP}", timeout_s=1)
    deadline_s = time.monotonic() + 60
    while (left := _running(SLEEP)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left == []


# A level with a thread in a root, as `scripts/virtual_pi` runs one.
_LEVEL = """
import concurrent.futures, sys
from types import SimpleNamespace
from pathlib import Path
from virtualpi import __main__ as program
from virtualpi.namespace import scratch_root

def work(path):
    with scratch_root(Path(path), binds={"/usr": Path("/usr")}) as root:
        root.run("sh", "-c", "touch /made; SLEEP", check=False)
        root.run("sh", "-c", "SLEEP", check=False)

def main(asked):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(work, sys.argv.pop()).result()

program.LEVELS = ("level",)
program.importlib = SimpleNamespace(import_module=lambda _: SimpleNamespace(options=lambda _: None, main=main))
sys.argv.insert(1, "level")
sys.exit(program.main())
"""


@pytest.mark.parametrize(("number", "status", "left"), [("SIGINT", 130, 0), ("SIGTERM", 143, 0), ("SIGKILL", -9, 1)])
def test_stopped_it_leaves_no_process_and_where_it_can_no_folder(
    root: Root, tmp_path: Path, project: Path, number: str, status: int, left: int
) -> None:
    (tmp_path / "tmp").mkdir()
    environ = {**os.environ, "PYTHONPATH": f"{project}/tests/harness:{project}/scripts", "TMPDIR": str(tmp_path / "tmp")}
    code = _LEVEL.replace("SLEEP", SLEEP).replace("sys.argv.pop()", repr(str(root.path)))
    with subprocess.Popen([sys.executable, "-P", "-c", code], env=environ, stderr=subprocess.PIPE) as process:
        deadline_s = time.monotonic() + 120
        while not _running(SLEEP) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert _running(SLEEP)
        process.send_signal(getattr(signal, number))
        assert process.wait(timeout=60) == status
    deadline_s = time.monotonic() + 60
    while _running(SLEEP) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert _running(SLEEP) == []
    assert len(list((tmp_path / "tmp").iterdir())) == left


@pytest.mark.parametrize(
    ("program", "refuses", "cure"),
    [
        ("mount", "binfmt_misc", r"\(mount: binfmt_misc refused\): needs Linux 6\.7, and this is \d"),
        ("mount", "proc", r"\(mount: permission denied\): run it as root"),
        ("mount", "overlay", r"\(mount: overlay refused\): set TMPDIR to a folder on ext4"),
        ("unshare", "unshare failed", r"\(unshare: unshare failed refused\): let users make namespaces .*, or run it as root"),
    ],
)
def test_a_machine_that_lets_nobody_into_a_root_is_one_line_with_the_cure(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, refuses: str, cure: str
) -> None:
    fake = tmp_path / "bin" / program
    fake.parent.mkdir()
    said = "permission denied" if refuses == "proc" else f"{refuses} refused"
    refuse = f"echo '{program}: {said}' >&2; exit 1"
    wanted = "*" if program == "unshare" else f"*' {refuses} '*"
    fake.write_text(f'#!/bin/bash\ncase " $* " in {wanted}) {refuse} ;; esac\nexec /usr/bin/{program} "$@"\n')
    fake.chmod(0o755)
    path = f"{fake.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    monkeypatch.setenv("PATH", path)
    asked = dataclasses.replace(root, qemu=Path("/bin/true"))
    with pytest.raises(Unavailable, match=r"^no root can be entered here " + cure):
        asked.run("true", environ={"PATH": path})


def _running(words: str) -> list[str]:
    return [command for command in _commands() if command.startswith(words)]


def _commands() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def test_without_a_network_there_is_none(root: Root) -> None:
    assert root.run("sh", "-c", "cat /proc/net/dev | tail -n +3 | cut -d: -f1", network=False).stdout.split() in ([], ["lo"])


@pytest.mark.parametrize("as_json", [False, True])
def test_a_report_prints_all_and_fails_for_what_is_not_as_it_must_be(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    good = Outcome("bookworm", "uname -m", "aarch64", "aarch64", True)
    bad = Outcome("bookworm", "TensorFlow", "tensorflow", "none", False)
    report([good], as_json)
    with pytest.raises(Failed, match=r"^bookworm: TensorFlow: tensorflow, must be none$"):
        report([good, bad], as_json)
    said = capsys.readouterr().out
    assert [one["passed"] for one in json.loads(said[said.rindex("[") :])] == [True, False] if as_json else "FAIL" in said


def test_nothing_asked_is_no_pass() -> None:
    with pytest.raises(Failed, match="nothing was asked"):
        report([])


def test_a_package_with_other_bytes_than_the_pinned_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(package: object, folder: Path) -> Path:
        (folder / "qemu.deb").write_bytes(b"another")
        return folder / "qemu.deb"

    monkeypatch.setattr(cache, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "_download", other)
    package = debian.Package("qemu-user", "10", "bookworm", "0" * 64)
    with pytest.raises(Unavailable, match=r"qemu\.deb has sha256 [0-9a-f]{64}, but 0{64} is pinned: do not use it"):
        debian.download(package)
    assert list((tmp_path / "packages").glob("*.deb")) == []


def test_what_is_made_once_is_made_once_by_all_who_ask_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    made = []

    def make(folder: Path) -> None:
        folder.mkdir()
        made.append(folder)
        time.sleep(0.05)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: cache.kept("roots", "bookworm", make), range(4)))
    assert (len(made), found) == (1, {tmp_path / "roots" / "bookworm"})


def test_what_could_not_be_made_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path)

    def make(folder: Path) -> None:
        (folder / "half").mkdir(parents=True)
        raise Failed("no network")

    with pytest.raises(Failed, match="no network"):
        cache.kept("roots", "bookworm", make)
    assert [path.name for path in (tmp_path / "roots").iterdir()] == [".bookworm.lock"]


def test_what_a_killed_run_left_half_made_goes_when_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    (tmp_path / "roots" / ".bookworm-x1y2z3" / "bookworm").mkdir(parents=True)
    cache.kept("roots", "bookworm", Path.mkdir)
    assert {path.name for path in (tmp_path / "roots").iterdir()} == {".bookworm.lock", "bookworm"}
