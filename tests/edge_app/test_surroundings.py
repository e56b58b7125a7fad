"""limiar where little is there: no home, no account, nothing that can be written, closed streams, strangers' modules, limits.

Every command works there, or one line names the cure.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privileges import need_root

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-P", "-c", "from limiar.edge_app.cli import main; main()"]
COMMANDS = {
    "help": "--help",
    "scan": "scan {bundle} {images}",
    "verify": "verify {bundle}",
    "bench": "bench {bundle} --file tflite_int8 --count 20",
    "doctor": "doctor",
    "camera": "camera {bundle} video:{images}/none.avi",
    "explain": "explain {mapped} {images}/00000.png --out {out}/why.png",
}
QUICK = [name for name in COMMANDS if name != "bench"]
UNKNOWN_USER = 12345


Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


Words = Callable[[str], list[str]]


@pytest.fixture
def words(tiny_path: Path, mapped_path: Path, images: Path, tmp_path: Path) -> Words:
    """A command's words, with real paths in them."""
    (tmp_path / "out").mkdir()
    places = {"bundle": tiny_path, "mapped": mapped_path, "images": images, "out": tmp_path / "out"}
    return lambda name: COMMANDS[name].format(**places).split()


@pytest.fixture
def public_words(tiny_path: Path, mapped_path: Path, images: Path) -> Iterator[Words]:
    """The same, below a folder that every user may enter."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        for place, source in (("bundle", tiny_path), ("mapped", mapped_path), ("images", images)):
            shutil.copytree(source, folder / place)
        (folder / "out").mkdir()
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        places = {place.name: place for place in folder.iterdir()}
        yield lambda name: COMMANDS[name].format(**places).split()


def run(command: list[str], **options: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, **{"capture_output": True, "timeout": 120, **options})  # type: ignore[call-overload,no-any-return]


def works_or_says_why(done: "subprocess.CompletedProcess[bytes]", *cures: str) -> str:
    """The code of its one line, or empty if it worked."""
    assert b"Traceback" not in done.stderr, done.stderr
    if done.returncode in (0, 4):
        return ""
    assert done.returncode in (1, 3), (done.returncode, done.stderr)
    assert done.stderr.startswith(b"E-") or done.stdout, done.stderr
    last = (done.stderr or done.stdout).decode().strip().splitlines()[-1]
    assert any(cure in last for cure in cures), last
    return last.partition(":")[0]


# No account, no home.


def as_nobody(command: list[str]) -> list[str]:
    """Runs it as a user without an account, who may read everything of ours and write nothing."""
    need_root("setpriv")
    ids = [f"--reuid={UNKNOWN_USER}", f"--regid={UNKNOWN_USER}", "--clear-groups"]
    return ["setpriv", *ids, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *command]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_user_without_an_account_or_a_home(public_words: Words, name: str) -> None:
    done = run(as_nobody([*COMMAND, *public_words(name)]), env={})
    expected = {"scan": "E-STORE-HOME", "camera": "E-STORE-HOME", "explain": "E-EXPLAIN-OUT", "doctor": "problem"}.get(name, "")
    assert works_or_says_why(done, "LIMIAR_STATE", "give --out") == expected


def test_a_user_without_an_account_needs_only_a_place_for_the_database(public_words: Words) -> None:
    need_root()
    folder = Path("/dev/shm") / f"limiar-{os.getpid()}"
    folder.mkdir()
    os.chown(folder, UNKNOWN_USER, UNKNOWN_USER)
    try:
        for environment, option in (({"LIMIAR_STATE": str(folder)}, []), ({}, ["--db", str(folder / "r.db")])):
            done = run(as_nobody([*COMMAND, *public_words("scan"), *option]), env=environment)
            assert done.returncode == 0, done.stderr
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"HOME": ""}, None),
        ({"HOME": "relative"}, None),
        ({"HOME": "{tmp}", "XDG_STATE_HOME": ""}, ".local/state/limiar"),
        ({"HOME": "{tmp}", "XDG_STATE_HOME": "relative"}, ".local/state/limiar"),
        ({"HOME": "{tmp}", "LIMIAR_STATE": ""}, ".local/state/limiar"),
        ({"HOME": "", "XDG_STATE_HOME": "{tmp}/x"}, "x/limiar"),
    ],
)
def test_an_empty_or_relative_home_is_none(environment: dict[str, str], place: str | None, tmp_path: Path) -> None:
    environment = {name: value.format(tmp=tmp_path) for name, value in environment.items()}
    print_it = "from limiar.edge_app.store.state import default_path; print(default_path())"
    done = run([sys.executable, "-P", "-c", print_it], env=environment, cwd=tmp_path)
    import pwd

    home = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/limiar" if place is None else tmp_path / place
    assert done.stdout.decode().strip() == str(home / "results.db")


# Nothing that can be written.

READ_ONLY = """
for place in /dev/shm /run /tmp /var/tmp /; do mount -o remount,ro,bind $place 2>/dev/null; done
if touch /tmp/limiar-test 2>/dev/null; then exit 99; fi
mount -t tmpfs none "$1" || exit 99
shift
exec "$@"
"""


@pytest.mark.parametrize("kept", [False, True], ids=["no place at all", "a place for results"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_system_without_a_folder_for_temporary_files(words: Words, tmp_path: Path, name: str, kept: bool) -> None:
    need_root("unshare")
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "out" if kept else tmp_path / "state")}
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", READ_ONLY, "-", str(tmp_path / "out")]
    done = run([*command, *COMMAND, *words(name)], env=environment)
    assert done.returncode != 99, "the root could not be made read-only"
    code = works_or_says_why(done, "LIMIAR_STATE", "check the path")
    refused = (
        {"camera": "E-SOURCE-OPEN"} if kept else dict.fromkeys(("scan", "camera"), "E-STORE-WRITE") | {"doctor": "problem"}
    )
    assert code == refused.get(name, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_system_without_proc(words: Words, tmp_path: Path, name: str) -> None:
    need_root("unshare")
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", 'mount -t tmpfs none /proc && exec "$@"', "-"]
    done = run([*command, *COMMAND, *words(name)], env=environment)
    assert b"Traceback" not in done.stderr, done.stderr
    # Runtimes do not know the processor then: int8 may come from other kernels, which verify is there to say.
    assert done.returncode in {"camera": (1,), "verify": (0, 3)}.get(name, (0,)), done.stderr
    if name == "scan":
        assert len(done.stdout.splitlines()) == 40


# Closed and full streams.


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("name", QUICK)
def test_closed_streams(words: Words, limiar: Limiar, tmp_path: Path, name: str, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    done = limiar(*words(name), preexec_fn=close)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (1 if name == "camera" else 0), done.stderr
    if 1 not in closed and name == "scan":
        assert len(done.stdout.splitlines()) == 40


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("name", QUICK)
def test_full_streams(words: Words, limiar: Limiar, name: str, stream: str) -> None:
    with open("/dev/full", "wb") as full:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = limiar(*words(name), capture_output=False, **pipes)
    if stream == "stderr":
        assert done.returncode == (1 if name == "camera" else 0)
    else:
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1].startswith(("E-OUTPUT-WRITE: ", "E-SOURCE-OPEN: "))
        assert b"Traceback" not in done.stderr


# Strangers' modules.


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder with scripts of the commonest names, which leave a mark when they run."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    for name in ("edge_app", "train", "convert"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    (folder / "train").mkdir()
    (folder / "train" / "__init__.py").write_text((folder / "train.py").read_text())
    return folder


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("way", ["PYTHONPATH", "current folder"])
def test_a_stranger_s_modules_never_run(words: Words, strangers: Path, tmp_path: Path, name: str, way: str) -> None:
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    if way == "PYTHONPATH":
        command = [sys.executable, "-m", "limiar"]
        environment["PYTHONPATH"] = f"{strangers}:{PROJECT}" if (PROJECT / "limiar").exists() else str(strangers)
    else:
        command = [
            sys.executable,
            "-c",
            "import sys; sys.path.append(sys.path.pop(0)); from limiar.edge_app.cli import main; main()",
        ]
        # the current folder is on the path, but behind: as python -m limiar finds the package in a checkout
        environment["PYTHONPATH"] = str(PROJECT)
    done = run([*command, *words(name)], env=environment, cwd=strangers)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert done.returncode == (1 if name == "camera" else 0), done.stderr


@pytest.mark.parametrize("command", ["--help", "scan", "verify", "doctor"])
def test_what_lies_in_the_current_folder_is_not_python_s_library_to_us(words: Words, tmp_path: Path, command: str) -> None:
    """`python -m` puts the current folder before Python's own; names that it needs itself before it runs us are left out."""
    folder = tmp_path / "mine"
    folder.mkdir()
    names = (
        "pathlib",
        "numpy",
        "json",
        "click",
        "msgspec",
        "sqlite3",
        "PIL",
        "cv2",
        "random",
        "queue",
        "inspect",
        "secrets",
        "csv",
    )
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n")
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state"), "PYTHONPATH": str(PROJECT)}
    given = words(command) if command in COMMANDS else [command]
    done = run([sys.executable, "-m", "limiar", *given], env=environment, cwd=folder)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("encoding", ["utf-16", "cp037", "ascii:strict"])
def test_doctor_understands_its_own_processes_whatever_a_terminal_has(limiar: Limiar, tmp_path: Path, encoding: str) -> None:
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state"), "PYTHONIOENCODING": encoding}
    done = limiar("doctor", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["train", "convert", "check", "compare", "keygen", "inspect", "phantoms"])
def test_a_stranger_s_modules_do_not_run_for_a_desktop_command(strangers: Path, tmp_path: Path, command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{strangers}:{PROJECT}"}
    done = run([sys.executable, "-m", "limiar", command, "--help"], env=environment, cwd=strangers)
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 0
    assert done.stdout.startswith(b"Usage: ")


INTERRUPTING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "WHEN":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("when", ["limiar.edge_app.cli", "limiar.edge_app.errors", "click", "limiar.edge_app.bundle.manifest"])
def test_ctrl_c_while_it_starts_is_no_traceback(words: Words, tmp_path: Path, when: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING.replace("WHEN", when))
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state"), "PYTHONPATH": f"{tmp_path}:{PROJECT}"}
    done = run([sys.executable, "-m", "limiar", *words("verify")], env=environment)
    assert (done.returncode, done.stderr.strip()) == (130 if when == "limiar.edge_app.bundle.manifest" else -2, b"")


# Limits.


@pytest.mark.parametrize("count", [5, 7, 8, 9, 10, 12, 16, 24])
def test_few_open_files_are_enough_or_the_cure_is_named(words: Words, limiar: Limiar, count: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    code = works_or_says_why(limiar(*words("scan"), preexec_fn=limit), "ulimit -n", "ulimit")
    assert code in ("", "E-MACHINE-LIMIT")
    if count >= 16:
        assert code == ""


@pytest.mark.parametrize("megabytes", [60, 100, 150, 250])
def test_a_camera_with_little_memory_says_so_in_a_line(words: Words, limiar: Limiar, megabytes: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))

    code = works_or_says_why(limiar(*words("camera"), preexec_fn=limit), "ulimit", "choose another --file", "check the path")
    assert code in ("E-MACHINE-LIMIT", "E-RUNTIME-START", "E-RUNTIME-LOAD", "E-SOURCE-OPEN")


def test_a_limit_on_the_size_of_files_is_named_as_such(words: Words, limiar: Limiar) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    assert works_or_says_why(limiar(*words("scan"), preexec_fn=limit), "ulimit -f") == "E-STORE-WRITE"


@pytest.mark.parametrize("megabytes", [60, 150, 200, 250, 300, 1000])
def test_little_memory_is_enough_or_the_cure_is_named(words: Words, limiar: Limiar, megabytes: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    done = limiar(*words("scan"), preexec_fn=limit)
    code = works_or_says_why(done, "ulimit", "choose another --file")
    assert code in ("", "E-MACHINE-LIMIT", "E-RUNTIME-START", "E-RUNTIME-LOAD")
    if megabytes == 1000:
        assert len([json.loads(line) for line in done.stdout.splitlines()]) == 40
