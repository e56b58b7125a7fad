#!/usr/bin/env python3
"""Runs docs/archive.md's own blocks, in order, where nothing is but limiar: an empty home, and no network except loopback.

    tests/harness/archive_fresh.py [--page docs/archive.md]

What the page assumes its reader to have is made here: images, two bundles, a store with objects
(tests/harness/object_store.py), and a machine called head. Each block that runs an archive finds nothing of it done. Exit
status 1 if a block fails, or an archive is not complete after it. Installing packages is the one thing that is left out, as
there is no network. Needs root, or a system that lets users make namespaces.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from limiar.edge_app.archive.status import archive_status
from object_store import ObjectStore

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "archive.md"
IMAGES = 30
ELSEWHERE = ("sbatch ",)  # blocks of clusters that are not here: the page says how they were tried
LIMIT_S = 120.0  # for one block
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41  # linux/sockios.h, linux/if.h
RUNS = re.compile(r"archive run (\w+)")
BLOCK = re.compile(
    r"^```sh(?: elsewhere)?\n(.*?)^```", re.MULTILINE | re.DOTALL
)  # scripts/documented leaves `elsewhere` to this


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--page", type=Path, default=PAGE)
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if not asked.inside:
        user = ["--user", "--map-root-user"] if os.geteuid() else []
        inside = [sys.executable, __file__, "--inside", "--page", str(asked.page)]
        return subprocess.run(["unshare", *user, "--net", "--mount", "--", *inside], check=False).returncode
    start_loopback()
    with tempfile.TemporaryDirectory(prefix="limiar-fresh-") as folder:
        return run_blocks(asked.page.read_text(encoding="utf-8"), Path(folder))


def start_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))


def run_blocks(page: str, folder: Path) -> int:
    """Runs the blocks of a page, each as one shell script; returns 1 if one fails."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    draw(work / "images")
    (work / "models").symlink_to(PROJECT / "models")
    next_bundle(work / "bundles" / "first")
    with ObjectStore(folder) as store:
        for number, path in enumerate(sorted((work / "images").iterdir())[:10]):
            store.put(f"2025/{'one' if number == 0 else number}.png" if number < 2 else f"2024/{number}.png", path.read_bytes())
        environment = surroundings(home, store)
        failed = 0
        for number, block in enumerate(BLOCK.findall(page), 1):
            if block.startswith(ELSEWHERE):
                print(f"block {number}: not run: {block.splitlines()[0]}")
                continue
            script = adapted(block, store)
            for done in (work / "work" / "done").glob("*") if "work" in RUNS.findall(script) else ():
                done.unlink()
            passed = tried(number, script, work, environment)
            left = [name for name in RUNS.findall(script) if not archive_status(work / name).complete]
            print(f"    not complete: {left}" if left else "", end="\n" if left else "", flush=True)
            failed += bool(left) or not passed
    return 1 if failed else 0


def draw(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(IMAGES):
        grey = rng.integers(0, 60, (50, 50), np.uint8) + np.linspace(20, 180, 50).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.png"), grey)


def next_bundle(folder: Path) -> None:
    """A bundle with the same model and another manifest."""
    shutil.copytree(PROJECT / "models" / "lung-nodule", folder)
    manifest = folder / "manifest.json"
    manifest.write_bytes(
        manifest.read_bytes().replace(b'"version":"', b'"version":"9.', 1).replace(b'"version": "', b'"version": "9.', 1)
    )


def surroundings(home: Path, store: ObjectStore) -> dict[str, str]:
    """The environment of a new account, with limiar on its path, and what its reader may know of the store in ~/.aws."""
    (home / ".aws").mkdir()
    key, secret = store.environment["AWS_ACCESS_KEY_ID"], store.environment["AWS_SECRET_ACCESS_KEY"]
    profile = f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\nregion = us-east-1\n"
    (home / ".aws" / "credentials").write_text(f"[reader]\n{profile}")
    return {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def adapted(block: str, store: ObjectStore) -> str:
    """The block, with this machine in place of the reader's own names."""
    lines = [line for line in block.splitlines() if not line.startswith("pip install")]
    text = "\n".join(lines).replace("https://storage.example.org", store.environment["AWS_ENDPOINT_URL"])
    text = text.replace("s3://scans/", "s3://bucket/")
    if "s3://" in text:
        text = text.replace("archive plan work", "archive plan objects").replace("archive run work", "archive run objects")
    return text.replace("--host head", "--host 127.0.0.1").replace("tls://head:", "tls://127.0.0.1:")


def tried(number: int, script: str, folder: Path, environment: dict[str, str]) -> bool:
    """Runs one; prints its lines and, if it failed, what it said. What it left in the background ends with it."""
    started = time.monotonic()
    command = ["bash", "-euo", "pipefail", "-c", script]
    with tempfile.TemporaryFile() as said:
        block = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            status = block.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            status = 124
        with contextlib.suppress(ProcessLookupError):  # nothing was left
            os.killpg(block.pid, signal.SIGKILL)
        block.wait()
        print(
            f"block {number}: {'passed' if status == 0 else f'status {status}'} ({time.monotonic() - started:.0f} s)",
            flush=True,
        )
        for line in script.splitlines():
            print(f"    {line}")
        if status:
            said.seek(0)
            print("\n".join(f"  | {line}" for line in said.read().decode("utf-8", "replace").splitlines()[-20:]), flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
