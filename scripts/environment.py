"""Makes the virtual environments that scripts/ use, each exactly as its lock says: `environment.py NAME...`.

Needs a Python from 3.11 to 3.13 and nothing else. An environment that is up to date is left alone; one that is older than its
lock, or unfinished, is made again. Packages come from wherever this machine's pip is configured to get them.
"""

import ast
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
REQUIREMENTS = PROJECT / "requirements"


@dataclass(frozen=True)
class Environment:
    """One virtual environment: the folder beside pyproject.toml, the lock it follows, and how limiar gets into it."""

    folder: str
    lock: str
    editable: bool  # True: this checkout in place; False: a wheel built from it, as a device would get it


ENVIRONMENTS = {
    "desktop": Environment(".venv", "desktop.lock", editable=True),
    "device-newest": Environment(".venv-device-newest", "device-newest.lock", editable=False),
    "device-lowest": Environment(".venv-device-lowest", "device-lowest.lock", editable=False),
    # convert runs this checkout in it, to try the files that it has just written with tflite-runtime.
    "tflite-runtime": Environment(".venv-tflite", "tflite-runtime.lock", editable=True),
}
DESKTOP = PROJECT / ENVIRONMENTS["desktop"].folder / "bin"
STAMP = "limiar-environment"  # a file in the folder: what it was made from; empty while it is being made
EXACT = ("--require-hashes", "--requirement")  # and a lock
UV_NAMES = {  # pip's setting -> uv's variable
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
}


class EnvironmentFailed(Exception):
    """One line: what failed and what to do."""


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in ENVIRONMENTS]
    if unknown or not names:
        print(f"usage: environment.py {' | '.join(ENVIRONMENTS)} ...", file=sys.stderr)
        return 2
    try:
        # Two scripts may start at once in a fresh clone: the second waits for what the first makes.
        with open(PROJECT / "pyproject.toml", "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            for name in names:
                make(ENVIRONMENTS[name])
    except EnvironmentFailed as error:
        print(f"environment.py: {error}", file=sys.stderr)
        return 1
    return 0


def make(environment: Environment) -> None:
    """Makes the environment unless it is up to date. Raises EnvironmentFailed."""
    folder = PROJECT / environment.folder
    desktop = environment == ENVIRONMENTS["desktop"]
    python = sys.executable if desktop else python_3_11()
    packages, limiar = fingerprints(environment, python)
    found_packages, found_limiar = stamp(folder)
    if found_packages != packages:
        print(f"{environment.folder}: installing {environment.lock}", file=sys.stderr)
        begin(folder)
        run([python, "-m", "venv", *([] if desktop else ["--without-pip"]), folder])
        if desktop:
            run([DESKTOP / "python", "-m", "pip", "install", "--quiet", *EXACT, REQUIREMENTS / "installer.lock"])
        install(folder, *EXACT, str(REQUIREMENTS / environment.lock))
    # A wheel is a copy, and the code may have changed since.
    if (found_packages, found_limiar) != (packages, limiar) or not environment.editable:
        with tempfile.TemporaryDirectory() as built:
            install(folder, "--no-deps", "--force-reinstall", str(wheel(Path(built), environment.editable)))
    (folder / STAMP).write_text(f"{packages}\n{limiar}\n")


def fingerprints(environment: Environment, python: str) -> tuple[str, str]:
    """One line for the packages and one for limiar itself; if a line differs from the stamp's, that part is installed again."""
    version = subprocess.check_output([python, "-c", "import sys; print(*sys.version_info)"], text=True)
    locks = [REQUIREMENTS / environment.lock, REQUIREMENTS / "installer.lock"]
    packages = [sha256(lock) for lock in locks]
    return " ".join([str(PROJECT), version.strip(), *packages]), sha256(PROJECT / "pyproject.toml")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stamp(folder: Path) -> tuple[str, str]:
    """The fingerprints of an existing environment; empty ones if there is none, or it is unfinished."""
    if not folder.exists():
        return "", ""
    if not (folder / STAMP).is_file():
        raise EnvironmentFailed(f"{folder} was not made by scripts/environment.py: move it away or delete it")
    packages, _, limiar = (folder / STAMP).read_text().partition("\n")
    return packages, limiar.strip()


def begin(folder: Path) -> None:
    """Replaces the folder with an empty one, which is marked as unfinished."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / STAMP).touch()


def install(folder: Path, *arguments: str) -> None:
    """Installs with uv, which takes a third of pip's time; if that fails, with pip."""
    python = folder / "bin" / "python"
    uv = [str(DESKTOP / "uv"), "pip", "install", "--quiet", "--python", str(python), *arguments]
    done = subprocess.run(uv, env=uv_settings(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        print(f"uv could not install this; trying pip:\n{done.stderr}", file=sys.stderr)
        run([DESKTOP / "python", "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", *arguments])


def uv_settings() -> dict[str, str]:
    """The process's environment, with this machine's pip configuration as uv's variables (uv does not read pip's)."""
    settings = dict(os.environ)
    listed = subprocess.check_output([DESKTOP / "python", "-m", "pip", "config", "list"], text=True)
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = UV_NAMES.get(key.rpartition(".")[2])
        if name:
            settings.setdefault(name, " ".join(ast.literal_eval(value).split()))
    # Every file is checked against the lock's hashes, so any index may provide it.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match"} | settings


def wheel(built: Path, editable: bool) -> Path:
    """limiar's wheel in the folder `built`, made by the desktop's build backend, so that nothing is downloaded."""
    target = "wheel:editable" if editable else "wheel:standard"
    run([DESKTOP / "python", "-m", "hatchling", "build", "--target", target, "--directory", built])
    return next(built.glob("*.whl"))


def python_3_11() -> str:
    """A Python 3.11: the only version for which tflite-runtime and all of the lowest versions have wheels."""
    for candidate in (sys.executable, "python3.11", "python3"):
        found = shutil.which(candidate)
        probe = [found or candidate, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 11))"]
        if found and subprocess.run(probe, capture_output=True).returncode == 0:
            return found
    raise EnvironmentFailed(
        "needs Python 3.11 (tflite-runtime has no wheel for a later one), but PATH has none: install python3.11"
    )


def run(command: list[str | Path]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT)
    if done.returncode:
        line = " ".join(str(part) for part in command)
        raise EnvironmentFailed(f"`{line}` failed with exit status {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
