"""Makes python3-picamera2, which Raspberry Pi OS has in its own archive and Debian does not have.

The package contains the real picamera2, and a simplejpeg compiled for the suite's numpy, like Raspberry Pi's. Modules that are
not available are replaced by stubs, which can be imported and do nothing: see STUBS.
"""

import re
import subprocess
from pathlib import Path

import wheelhouse
from virtualpi.camera_stack import LOCK
from virtualpi.device import PYTHONS

# Raw files and the screen; Debian 12 has no Python module of libcamera.
STUBS = {
    "bookworm": ("libcamera.py", "pykms.py", "pidng/core.py", "pidng/camdefs.py"),
    "trixie": ("pykms.py", "pidng/core.py", "pidng/camdefs.py"),
}
_STUB = "import sys\nfrom unittest.mock import MagicMock\n\nsys.modules[__name__] = MagicMock()\n"
_NEEDS = {
    "bookworm": ("python3-numpy", "python3-pil", "python3-prctl", "python3-av", "python3-piexif"),
    "trixie": ("python3-numpy", "python3-pil", "python3-prctl", "python3-av", "python3-piexif", "python3-libcamera"),
}
# Compiled for numpy 1, for Python 3.11 on x86-64; requirements/picamera2.lock has one for numpy 2.
_SIMPLEJPEG_1 = "simplejpeg==1.6.6 --hash=sha256:19e1bedda45128c561e01e4d286242bad452516d2157a51c122aff638b700b61\n"
PLACE = "/srv/raspberrypi"  # in a root


def make_archive(suite: str, folder: Path) -> dict[str, Path]:
    """Makes the archive and apt's line for it; returns what to bind into an amd64 root. Raises WheelhouseError."""
    archive, tree = folder / "archive", folder / "tree"
    archive.mkdir(parents=True)
    site = tree / "usr" / "lib" / "python3" / "dist-packages"
    locked = LOCK.read_text()
    if suite == "bookworm":
        locked = re.sub(r"^simplejpeg==.*\n(?:    .*\n)*", _SIMPLEJPEG_1, locked, flags=re.MULTILINE)
    wheelhouse.install_locked(site, [locked], PYTHONS[suite], "x86_64")
    for stub in STUBS[suite]:
        (site / stub).parent.mkdir(exist_ok=True)
        (site / stub).write_text(_STUB)
    version = next(site.glob("picamera2-*.dist-info")).name.split("-")[1].removesuffix(".dist")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        f"Package: python3-picamera2\nVersion: {version}\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\n"
        f"Depends: {', '.join(_NEEDS[suite])}\nDescription: stands in for the package of Raspberry Pi's archive\n"
    )
    deb = archive / "python3-picamera2.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, deb], check=True, capture_output=True)
    fields = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout
    file = f"Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {wheelhouse.sha256(deb)}\n"
    (archive / "Packages").write_text(fields + file)
    line = folder / "raspberrypi.list"
    line.write_text(f"deb [trusted=yes] file:{PLACE} ./\n")
    return {PLACE: archive, "/etc/apt/sources.list.d/raspberrypi.list": line}
