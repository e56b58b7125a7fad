#!/usr/bin/env python3
"""Runs the commands of docs/fleet.md as they are printed, in an empty home and without any network but the machine's own.

    tests/harness/fleet_fresh.py

They are its blocks marked `sh elsewhere`, in order, in one shell that stops at the first failure. What the page assumes its
reader to have, `BUNDLE`, `NEW.limiar`, `IMAGES` and `release.pub`, is made before. Needs root or user namespaces, mosquitto,
nginx and openssl. Exit status 1 if a command fails.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE
from limiar.edge_app.bundle.signature import sign

PROJECT = Path(__file__).resolve().parents[2]
LIMIT_S = 300.0
SHELL = ["bash", "-e", "-u", "-o", "pipefail", "-x"]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="limiar-fleet-") as folder:
        return run(Path(folder))


def run(folder: Path) -> int:
    """Makes what the page assumes its reader to have, and runs the page. Returns the exit status; what it said is printed."""
    home = folder / "home"
    home.mkdir()
    key = Ed25519PrivateKey.generate()
    (home / "release.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signed(PROJECT / "models/lung-nodule", home / "BUNDLE", key, 1)
    signed(PROJECT / "models/lung-nodule", folder / "NEW", key, 2)
    limiar = Path(sys.executable).with_name("limiar")
    subprocess.run([limiar, "pack", folder / "NEW", "--out", home / "NEW.limiar"], check=True)
    (home / "IMAGES").mkdir()
    for number, image in enumerate(sorted((home / "BUNDLE" / "golden").glob("*.png"))[:8]):
        shutil.copy(image, home / "IMAGES" / f"{number}.png")
    script = folder / "page.sh"
    script.write_text("trap 'kill $(jobs -p); nginx -e stderr -p \"$PWD\" -c nginx.conf -s stop' EXIT\n" + page())
    environ = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LIMIAR_STATE": str(home / "state"),
        "PATH": f"{limiar.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    }
    # First root of a namespace, which may bring its network up; then no root, since servers started by root change their user.
    inner = f"ip link set lo up && exec unshare --user --map-user=1000 --map-group=1000 {' '.join(SHELL)} {script}"
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    outer = ["unshare", *root, "--net", "--pid", "--fork", "--kill-child", "sh", "-c", inner]
    return subprocess.run(outer, cwd=home, env=environ, timeout=LIMIT_S, stdin=subprocess.DEVNULL, check=False).returncode


def page() -> str:
    """The blocks of the page, one after the other."""
    text = (PROJECT / "docs/fleet.md").read_text()
    return "".join(re.findall(r"^```sh elsewhere\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def signed(source: Path, bundle: Path, key: Ed25519PrivateKey, counter: int) -> None:
    """A copy of a bundle with this release counter."""
    shutil.copytree(source, bundle)
    manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    manifest |= {"release_counter": counter, "version": f"{counter}.0.0"}
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (bundle / MANIFEST).write_bytes(data)
    (bundle / SIGNATURE).write_bytes(sign(data, key))


if __name__ == "__main__":
    sys.exit(main())
