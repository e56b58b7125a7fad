"""scripts/install_pi on fresh systems: Debian 12 and 13, with a network and without, and systems that it must refuse.

With a network: fresh roots of this machine's architecture, in which packages run their own scripts; a user with sudo installs,
interrupts, updates, and installs for a camera. Without one: the 64-bit ARM wheels on an emulated Cortex-A72, in an empty
network namespace. Refused: 32-bit ARM, another release, another Python, and anything that needs a network.

    scripts/virtual_pi install
    scripts/virtual_pi install --suite trixie
"""

import argparse
import concurrent.futures
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import wheelhouse
from virtualpi import PROJECT, debian, page, qemu
from virtualpi.device import PYTHONS
from virtualpi.namespace import Root, scratch_root
from virtualpi.outcome import Outcome, progress, report
from virtualpi.raspberry_archive import STUBS, make_archive

# What Raspberry Pi OS has and is needed here. `minbase` has all but these; `extract` does not resolve all dependencies.
_FRESH = ("ca-certificates", "python3", "sudo", "systemd")
_BASE = ("base-files", "bash", "coreutils", "dash", "dpkg", "libc-bin", "sed", "util-linux")
_ARM = (*_BASE, "ca-certificates", "libgcc-s1", "libstdc++6", "python3", "python3-venv", "zlib1g")
_CHECKOUT, _RELEASE, _OTHER, _BROKEN = "/media/limiar", "/media/release", "/media/index", "/media/broken"
_SCRIPT = f"{_CHECKOUT}/scripts/install_pi"
_CONFIG = "/etc/limiar/limiar.toml"
_HOME, _DEVICE, _CAMERA = "/home/pi", "/home/pi/limiar-device", "/home/pi/a camera"
# Sends Ctrl-C to all processes that a terminal would send it to, when half of the packages are there.
_INTERRUPTED = """
import glob, os, signal, subprocess, sys, time
half = sys.argv[1] + "/.install_pi-venv-*/lib/python3*/site-packages/numpy"
before = len(glob.glob(half))
process = subprocess.Popen(sys.argv[2:], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while process.poll() is None and len(glob.glob(half)) == before:
    time.sleep(0.01)
os.killpg(process.pid, signal.SIGINT)
print(process.wait())
"""
_TOGETHER = """
import numpy, picamera2, cv2, ai_edge_litert.interpreter
print(numpy.__version__, numpy.__file__, cv2.__version__)
"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", choices=list(PYTHONS), help="only in this suite")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    page.option(parser)


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    suites = [asked.suite] if asked.suite else list(PYTHONS)
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as name, concurrent.futures.ThreadPoolExecutor() as pool:
        scratch = Path(name)
        release = make_release(scratch / "release", suites)
        refusing = pool.submit(lambda: list(refusals(scratch)))
        found = list(pool.map(lambda suite: visits(suite, release, scratch / suite), suites))
    report([outcome for visit in found for outcome in visit.outcomes] + refusing.result(), asked.json)
    if asked.docs:
        page.write("install", [figure for visit in found for figure in visit.figures])


@dataclass
class Visit:
    """What was found in one suite."""

    outcomes: list[Outcome] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)


def visits(suite: str, release: Path, folder: Path) -> Visit:
    visit = Visit()
    visit.outcomes += without_network(suite, release, visit.figures)
    visit.outcomes += with_network(suite, release, folder, visit.figures)
    return visit


def make_release(folder: Path, suites: Sequence[str]) -> Path:
    """Makes the part of a release that a device needs. Raises WheelhouseError."""
    shutil.copytree(PROJECT / "models", folder / "bundles")
    shutil.copy(PROJECT / "scripts" / "install_pi", folder)
    limiar = wheelhouse.build_wheel(folder)
    for suite in suites:
        python = PYTHONS[suite]
        wheelhouse.make_wheelhouse(folder / f"wheelhouse-cp{python.replace('.', '')}-aarch64", limiar, python)
    return folder


def without_network(suite: str, release: Path, figures: list[tuple[str, str]]) -> Iterator[Outcome]:
    """Installs a device's real wheels from a release's folder alone."""
    where = f"{suite}, aarch64, no network"
    progress(f"{where}: install_pi --offline, some minutes")
    with scratch_root(debian.root(suite, "arm64", _ARM), qemu=qemu.user_mode(), binds={_RELEASE: release}) as root:
        # As the script of ca-certificates would do; pip 25 does not start without it.
        together = "/etc/ssl/certs/ca-certificates.crt"
        root.run("bash", "-c", f"mkdir -p /etc/ssl/certs && cat /usr/share/ca-certificates/mozilla/*.crt >{together}")
        interfaces = "import socket; print(*(name for _, name in socket.if_nameindex()))"
        found = root.run("python3", "-c", interfaces, network=False).stdout.strip()
        yield Outcome(where, "network interfaces", found, "lo", found == "lo")
        started = time.monotonic()
        command = (f"{_RELEASE}/install_pi", "--offline", _RELEASE, "--to", _DEVICE)
        done = root.run(*command, network=False, timeout_s=1800, check=False)
        took = time.monotonic() - started
        yield exit_status(where, "install_pi --offline", done)
        yield verified(where, done)
        line = re.search(r"^machine +(.*)", done.stdout, re.MULTILINE)
        machine = line[1] if line else "nothing"
        yield Outcome(where, "limiar doctor: machine", machine, "aarch64", "aarch64" in machine)
        figures.append((f"{suite}, `--offline`, emulated aarch64", f"{took:.0f} s, {megabytes(root, _DEVICE):.0f} MB"))


def with_network(suite: str, release: Path, folder: Path, figures: list[tuple[str, str]]) -> Iterator[Outcome]:
    """What a person does, from a fresh system to a camera."""
    where = f"{suite}, with a network"
    progress(f"{where}: a fresh system")
    folder.mkdir()
    binds = {_CHECKOUT: PROJECT, _RELEASE: release, **pip_settings(folder, other_index(folder, release))}
    shutil.copytree(PROJECT / "models" / "lung-nodule", folder / "broken" / "lung-nodule")
    with (folder / "broken" / "lung-nodule" / "MODEL_CARD.md").open("r+b") as card:
        card.write(b"%")
    binds |= {_BROKEN: folder / "broken"}
    binds |= {place: Path(place) for place in ("/etc/resolv.conf", "/etc/hosts")} | make_archive(suite, folder)
    with scratch_root(debian.root(suite, "amd64", _FRESH, variant="minbase"), binds=binds) as root:
        root.run("bash", "-c", "useradd --create-home pi && echo 'pi ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/pi")
        house = f"wheelhouse-cp{PYTHONS[suite].replace('.', '')}-aarch64"
        yield refused(
            f"{suite}, no python3-venv", as_pi(root, _SCRIPT, "--offline", f"{_RELEASE}/{house}"), "sudo apt-get install"
        )

        progress(f"{where}: install_pi")
        before, started = packages(root), time.monotonic()
        done = as_pi(root, _SCRIPT)
        took, added = time.monotonic() - started, packages(root) - before
        yield exit_status(where, "install_pi", done)
        yield verified(where, done)
        said = [line for line in done.stderr.splitlines() if line.startswith("+ sudo ")]
        wanted = ["+ sudo apt-get update", "+ sudo apt-get install --yes --no-install-recommends python3-venv"]
        yield Outcome(where, "what it ran with sudo", "; ".join(said), "; ".join(wanted), said == wanted)
        figures.append(
            (f"{suite}, native x86-64", f"{took:.0f} s, {megabytes(root, _DEVICE):.0f} MB, {len(added)} apt packages")
        )

        progress(f"{where}: interrupted, and again")
        as_pi(
            root, "mkdir", "-p", f"{_DEVICE}/.install_pi-venv-AbCdEf/lib", f"{_DEVICE}/.venv-backup"
        )  # as a power cut leaves it
        venv = root.run("readlink", f"{_DEVICE}/venv").stdout
        status = as_pi(root, "python3", "-c", _INTERRUPTED, _DEVICE, _SCRIPT).stdout.strip()
        yield Outcome(where, "exit status after Ctrl-C", status, "130", status == "130")
        yield from one_venv(root, f"{where}, after Ctrl-C", kept=venv)
        done = as_pi(root, _SCRIPT)
        yield exit_status(where, "install_pi again", done)
        asked_again = "+ sudo " in done.stderr
        yield Outcome(where, "sudo when nothing is missing", "used" if asked_again else "not used", "not used", not asked_again)
        yield from one_venv(root, f"{where}, after an update", replaced=venv)

        progress(f"{where}: a bundle with a changed byte")
        venv, bundle = (root.run("readlink", f"{_DEVICE}/{name}").stdout for name in ("venv", "bundles/lung-nodule"))
        done = as_pi(root, _SCRIPT, "--bundle", f"{_BROKEN}/lung-nodule")
        yield Outcome(where, "exit status with a broken bundle", str(done.returncode), "3", done.returncode == 3)
        yield from one_venv(root, f"{where}, after a broken bundle", kept=venv)
        same = root.run("readlink", f"{_DEVICE}/bundles/lung-nodule").stdout == bundle
        yield Outcome(where, "the bundle", "as before" if same else "another", "as before", same)

        # A second index in pip's settings, as on Raspberry Pi OS, with the same versions but other bytes.
        taken = as_pi(root, f"{_DEVICE}/venv/bin/pip", "download", "--quiet", "--no-deps", "--dest", "taken", "click")
        listed = as_pi(root, "ls", "taken").stdout.strip() if not taken.returncode else taken.stderr
        yield Outcome(where, "control: click without hashes", listed, "the other index's", "-1-py3" in listed)
        yield from service(root, suite, figures)
        yield from camera(root, suite, f"{_RELEASE}/{house}", figures)


def service(root: Root, suite: str, figures: list[tuple[str, str]]) -> Iterator[Outcome]:
    """`--service` where systemd is installed but does not run, then the commands of docs/field.md."""
    where = f"{suite}, service"
    progress(f"{suite}: install_pi --service")
    yield refused(f"{suite}, --service without sudo", as_pi(root, _SCRIPT, "--service"), "run it with sudo")
    started = time.monotonic()
    done = as_pi(root, "sudo", _SCRIPT, "--service")
    figures.append((f"{suite}, `--service`, native x86-64", f"{time.monotonic() - started:.0f} s"))
    yield exit_status(where, "install_pi --service", done)
    yield verified(where, done)
    for words in (
        ("limiar", "run", _CONFIG, "--check"),
        ("systemctl", "is-enabled", "limiar"),
        ("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/limiar.service"),
        ("test", "-w", "/srv/limiar/inbox"),
    ):
        yield exit_status(where, " ".join(words), as_pi(root, "sudo", *words))
    status = as_pi(root, "sudo", "limiar", "status").stdout
    said = next((line for line in status.splitlines() if line.startswith("bundle ")), "none")
    yield Outcome(where, "sudo limiar status", said, "lung-nodule", "lung-nodule" in said)
    owners = root.run("find", "/var/lib/limiar", "-not", "-user", "limiar").stdout.strip()
    yield Outcome(where, "files of others in /var/lib/limiar", owners or "none", "none", not owners)
    back = as_pi(root, "sudo", "limiar", "rollback")
    yield Outcome(where, "sudo limiar rollback", back.stderr.strip(), "E-UPDATE-BACK", "E-UPDATE-BACK" in back.stderr)

    root.run("sh", "-c", f"echo '# mine' >>{_CONFIG}")
    again = as_pi(root, "sudo", _SCRIPT, "--service")
    yield exit_status(where, "install_pi --service again", again)
    kept = root.run("tail", "-n", "1", _CONFIG).stdout.strip()
    yield Outcome(where, "the configuration after an update", kept, "# mine", kept == "# mine")
    same = "keeps the bundle" in again.stdout
    yield Outcome(where, "the bundle after an update", "kept" if same else "installed again", "kept", same)


def camera(root: Root, suite: str, house: str, figures: list[tuple[str, str]]) -> Iterator[Outcome]:
    """apt's modules and pip's must share one numpy; without the constraint they do not."""
    where = f"{suite}, camera, stubs of {' '.join(sorted({re.split('[./]', stub)[0] for stub in STUBS[suite]}))}"
    progress(f"{suite}: install_pi --camera")
    started = time.monotonic()
    done = as_pi(root, _SCRIPT, "--camera", "--to", _CAMERA)
    took = time.monotonic() - started
    yield exit_status(where, "install_pi --camera", done)
    yield verified(where, done)
    again = as_pi(root, _SCRIPT, "--to", _CAMERA)
    yield exit_status(where, "install_pi again, not told of the camera", again)
    system = root.run("python3", "-s", "-c", "import numpy; print(numpy.__version__)").stdout.strip()
    python = f"{_CAMERA}/venv/bin/python"
    found = as_pi(root, python, "-c", _TOGETHER).stdout.strip()
    numpy, path, opencv = (found.split() + ["nothing"] * 3)[:3]
    passed = numpy == system and path.startswith("/usr/lib/python3/")
    yield Outcome(where, "numpy with picamera2, OpenCV, LiteRT", f"{numpy} of {path}", f"the system's {system}", passed)
    newest = "4.11" if numpy.startswith("1.") else "5.0"
    yield Outcome(where, "OpenCV in the same process", opencv, newest, opencv.startswith(newest))
    figures.append((f"{suite}, `--camera`, native x86-64: numpy {numpy}, OpenCV {opencv}", f"{took:.0f} s"))
    if numpy.startswith("1."):
        yield refused(f"{suite}, a wheelhouse with numpy 2", as_pi(root, _SCRIPT, "--camera", "--offline", house), "numpy 1.")

    # Controls: the constraints keep numpy if something else is installed later, and without them it does not stay.
    newer = ("-m", "pip", "install", "--quiet", "numpy>=2.3", "opencv-python-headless>=5")
    kept = as_pi(root, python, *newer)
    yield Outcome(
        where, "numpy >= 2.3 asked for", "installed" if not kept.returncode else "refused", "refused", bool(kept.returncode)
    )
    root.run("rm", f"{_CAMERA}/venv/pip.conf")
    as_pi(root, python, *newer)
    broken = as_pi(root, python, "-c", _TOGETHER)
    found = broken.stdout.strip() or broken.stderr.strip().splitlines()[-1]
    other = bool(broken.returncode) or found.split()[0] != system
    yield Outcome(where, "control: the same without constraints", found, "another numpy, or none that works", other)


def refusals(folder: Path) -> Iterator[Outcome]:
    """Systems that must be refused, each with one sentence."""
    progress("systems that are refused")
    binds = {_CHECKOUT: PROJECT}
    path = debian.root("bookworm", "armhf", _BASE)
    with scratch_root(path, qemu=qemu.user_mode("arm"), cpu="cortex-a15", arch="arm", binds=binds) as root:
        machine = root.run("uname", "-m").stdout.strip()
        yield refused(f"32-bit ({machine})", root.run("bash", _SCRIPT, check=False), "32-bit")
    release, python = folder / "os-release", folder / "python3"
    release.write_text("VERSION_CODENAME=bullseye\n")
    python.write_text("#!/bin/sh\necho 3.9\n")
    python.chmod(0o755)
    fresh = debian.root("bookworm", "amd64", _FRESH, variant="minbase")
    for where, words, more in (
        ("Debian 11", "bullseye", {"/usr/lib/os-release": release}),
        ("Python 3.9", "3.11 to 3.13", {"/usr/bin/python3.11": python}),
    ):
        with scratch_root(fresh, binds=binds | more) as root:
            yield refused(where, root.run("bash", _SCRIPT, check=False), words)


def as_pi(root: Root, *command: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command as the user pi, who may use sudo."""
    return root.run(
        "runuser", "--user", "pi", "--", "env", f"HOME={_HOME}", *command, folder=_HOME, timeout_s=1800, check=False
    )


def exit_status(where: str, what: str, done: "subprocess.CompletedProcess[str]") -> Outcome:
    said = "" if not done.returncode else f": {' '.join(done.stderr.split()[-40:])}"
    return Outcome(where, f"{what}: exit status", f"{done.returncode}{said}", "0", not done.returncode)


def verified(where: str, done: "subprocess.CompletedProcess[str]") -> Outcome:
    passed = re.findall(r"^(\S+) .* pass$", done.stdout, re.MULTILINE)
    return Outcome(where, "limiar verify", f"{len(passed)} model files pass", "8", len(passed) == 8)


def refused(where: str, done: "subprocess.CompletedProcess[str]", words: str) -> Outcome:
    """Was it refused with one line, before anything was done?"""
    lines = done.stderr.splitlines()
    passed = done.returncode == 1 and not done.stdout and len(lines) == 1 and lines[0].startswith("install_pi: ")
    return Outcome(where, "refused", " ".join(lines), f"one line: … {words} …", passed and words in done.stderr)


def one_venv(root: Root, where: str, kept: str = "", replaced: str = "") -> Iterator[Outcome]:
    """Is there exactly one venv, which works, and nothing unfinished?"""
    left = root.run("ls", "-A", _DEVICE).stdout.split()
    venvs = [name for name in left if name.startswith(".install_pi-venv-")]
    yield Outcome(where, "someone else's folder", "kept" if ".venv-backup" in left else "GONE", "kept", ".venv-backup" in left)
    yield Outcome(where, "folders with a venv", str(len(venvs)), "1", len(venvs) == 1)
    now = root.run("readlink", f"{_DEVICE}/venv").stdout
    right = now == kept if kept else now != replaced
    yield Outcome(
        where, "the venv", "another" if now != (kept or replaced) else "as before", "as before" if kept else "another", right
    )
    found = as_pi(root, f"{_DEVICE}/venv/bin/limiar", "--version").stdout.strip()
    yield Outcome(where, "limiar --version", found, "limiar …", found.startswith("limiar"))


def packages(root: Root) -> set[str]:
    return set(root.run("dpkg-query", "--show").stdout.splitlines())


def megabytes(root: Root, folder: str) -> float:
    """MB of 10^6 bytes."""
    return int(root.run("du", "--summarize", "--bytes", folder).stdout.split()[0]) / 1e6


def other_index(folder: Path, release: Path) -> Path:
    """An index that has the same version of a package with other bytes, under a name that pip prefers."""
    click = next(release.glob("*/click-*-py3-none-any.whl"))
    here = folder / "index" / "click"
    here.mkdir(parents=True)
    made = here / click.name.replace("-py3-", "-1-py3-")
    made.write_bytes(click.read_bytes())
    with zipfile.ZipFile(made, "a") as archive:
        archive.comment = b"built anew"
    (here / "index.html").write_text(f'<a href="{made.name}#sha256={wheelhouse.sha256(made)}">{made.name}</a>\n')
    return here.parent


def pip_settings(folder: Path, index: Path) -> Mapping[str, Path]:
    """What to bind: a /etc/pip.conf with this machine's settings and one more index, and the files that it names."""
    listed = subprocess.run([*wheelhouse.PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    lines = sorted(listed.splitlines(), key=lambda line: line.startswith(":env:"))  # environment variables come last: they win
    found = {re.split(r"[.=]", line, maxsplit=2)[1]: line.partition("=")[2].strip("'\"").replace("\\n", " ") for line in lines}
    places = {word.removeprefix("file://"): word for value in found.values() for word in value.split()}
    # The pages of an index may link to files beside it.
    binds = {(str(Path(place).parent) if word.startswith("file:") else place) for place, word in places.items()}
    found["extra-index-url"] = f"{found.get('extra-index-url', '')} file://{_OTHER}".strip()
    conf = folder / "pip.conf"
    conf.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()))
    here = {bind: Path(bind) for bind in sorted(binds) if bind.startswith("/") and Path(bind).exists()}
    return {**here, "/etc/pip.conf": conf, _OTHER: index}
