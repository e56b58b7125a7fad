"""Debian's packages and roots, from the mirror that this machine's apt uses; the machine's packages and lists stay unchanged.

What is made is kept in the cache under the hash of what it was made from; it is complete or absent, and is only read.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wheelhouse
from virtualpi import Unavailable
from virtualpi.cache import kept, key

TOOLS = ("mmdebstrap", "arch-test", "debian-archive-keyring")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Package:
    """One of Debian's packages, for amd64."""

    name: str
    version: str | None  # None: the suite's own
    suite: str
    sha256: str | None  # None: whatever the suite's signed lists say

    @property
    def key(self) -> str:
        """Its name in the cache."""
        return (self.sha256 or self.suite)[:16]


def mirror() -> str:
    """Where this machine's apt gets Debian from. Raises Unavailable."""
    try:
        # By what the archive says about itself: other archives may come first, and a security archive does not have everything.
        command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian", "Label: Debian"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        listed = []
    if not listed or not _KEYRING.exists():
        raise _missing()
    return listed[0]


def _missing() -> Unavailable:
    get = f"sudo apt-get update && sudo apt-get install --no-install-recommends {' '.join(TOOLS)}"
    return Unavailable(f"needs Debian, its tools and apt's lists: {get}")


def download(package: Package) -> Path:
    """The .deb, with its sha256 checked. Raises Unavailable if the mirror no longer has this version."""

    def make(deb: Path) -> None:
        with tempfile.TemporaryDirectory(dir=deb.parent) as folder:
            found = _download(package, Path(folder))
            sha256 = wheelhouse.sha256(found)
            if package.sha256 not in (None, sha256):
                raise Unavailable(f"{found.name} has sha256 {sha256}, but {package.sha256} is pinned: do not use it")
            found.replace(deb)

    return kept("packages", f"{package.name}_{package.key}.deb", make)


def _download(package: Package, folder: Path) -> Path:
    """Downloads it with its own lists and settings: this machine's apt may have another suite."""
    for name in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "etc" / "sources.list").write_text(_line(package.suite))
    settings = {
        "Dir::Etc": folder / "etc",
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for words in (["update"], ["download", f"{package.name}={package.version}" if package.version else package.name]):
        done = subprocess.run(["apt-get", "-qq", *options, *words], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            wanted, said = f"{package.name} {package.version or ''}".strip(), " ".join(done.stderr.split())[-300:]
            cure = "check the network; if the mirror has a newer version, pin that one in tests/harness/virtualpi/qemu.py"
            raise Unavailable(f"{package.suite} gives no {wanted} ({said}): {cure}")
    return next(folder.glob("*.deb"))


def unpack(package: Package, member: str) -> Path:
    """One executable file of a package: `./usr/bin/qemu-aarch64`."""
    deb = download(package)

    def make(program: Path) -> None:
        with (
            program.open("wb") as file,
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as archive,
        ):
            subprocess.run(["tar", "-x", "-O", member], stdin=archive.stdout, stdout=file, check=True)
        program.chmod(0o755)

    return kept("programs", f"{Path(member).name}-{package.key}", make)


def root(suite: str, arch: str, packages: Sequence[str], also: Sequence[str] = (), variant: str = "extract") -> Path:
    """A root of a suite: a folder that is only read. Raises Unavailable.

    packages: as apt-get takes them, also as "libcamera-tools/trixie-backports"; also: more suites to take them from.
    variant: "extract" only unpacks, in seconds and for any architecture: it has no users, and what the packages' scripts would
    set up is missing. "minbase" runs the scripts, natively: what a person's system has.
    """

    def make(path: Path) -> None:
        lines = [_line(one).strip() for one in (suite, *also)]
        if not shutil.which("mmdebstrap"):
            raise _missing()
        if os.geteuid() and variant != "extract":
            raise Unavailable(f"only root can make a {variant} root: run it with sudo")
        mode = "chrootless" if os.geteuid() else "root"  # unpacking needs no rights; the files belong to the user who runs this
        options = [f"--variant={variant}", f"--architectures={arch}", f"--include={','.join(packages)}", f"--mode={mode}"]
        command = ["mmdebstrap", "--quiet", *options, suite, str(path), *lines]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"no {suite} root for {arch}: {' '.join(done.stderr.split())[-600:]}")

    return kept("roots", f"{suite}-{arch}-{key((suite, arch, *packages, *also, variant))}", make)


def _line(suite: str) -> str:
    """A line of sources.list."""
    return f"deb [signed-by={_KEYRING}] {mirror()} {suite} main\n"
