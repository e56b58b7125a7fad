#!/usr/bin/env python3
"""Kills `limiar run` again and again while images arrive: is every good one answered once, and every bad one quarantined?

    tests/harness/service_kills.py BUNDLE IMAGES [--images 2000] [--bad 50] [--kills 20] [--seed 1] [--control]

Images are copied from IMAGES into a watched folder while the service runs: most are renamed into place, some are written there.
--control: the same with files moved before their answers are committed; it must lose some.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import hashlib
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "writers"))

from running import REAL
from services import Service

MOVED_FIRST = """
import time
from limiar.edge_app.service import folders
committed = folders.Folders.commit
def moved_first(self):
    for ready, reason in self._settled:
        self._watcher.done(ready.path) if reason is None else self._watcher.quarantined(ready.path, reason)
    self._settled.clear()
    self._watcher.turn()
    time.sleep(0.3)
    committed(self)
folders.Folders.commit = moved_first
"""


def bad_files(good: list[Path], count: int, rng: random.Random) -> dict[str, tuple[bytes, str]]:
    """Name -> bytes, and the code that they must get."""
    found = {}
    for k in range(count):
        data = rng.choice(good).read_bytes()
        kinds = (
            (b"", "E-IMAGE-EMPTY"),
            (b"not an image, but text %d\n" % k, "E-IMAGE-FORMAT"),
            (data[: len(data) // 2], "E-IMAGE-TRUNCATED"),
            (b"PK\x03\x04%d" % k + bytes(100), "E-IMAGE-FORMAT"),
            (data[:-12], "E-IMAGE-TRUNCATED"),
        )
        found[f"bad_{k:03d}.png"] = kinds[k % len(kinds)]
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path)
    options.add_argument("images", type=Path)
    options.add_argument("--images", dest="count", type=int, default=2000)
    options.add_argument("--bad", type=int, default=50)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--control", action="store_true")
    asked = options.parse_args()
    rng = random.Random(asked.seed)
    good = sorted(asked.images.rglob("*.png"))
    good = rng.sample(good, min(asked.count, len(good)))
    with tempfile.TemporaryDirectory() as folder:
        script = (MOVED_FIRST if asked.control else "") + REAL
        service = Service(Path(folder), asked.bundle.resolve(), script=script)
        bad = bad_files(good, asked.bad, rng)
        met = campaign(service, good, bad, asked.kills, rng)
    about = f"seed {asked.seed}: {len(good)} images, {len(bad)} bad files, {asked.kills} kills"
    print(f"{about}: {met or 'nothing lost, nothing double'}")
    if asked.control:
        return 0 if met else 1
    return 1 if met else 0


def campaign(service: Service, good: list[Path], bad: dict[str, tuple[bytes, str]], kills: int, rng: random.Random) -> str:
    """Feeds and kills; returns what went wrong, in words."""
    files = [(path.name, path.read_bytes()) for path in good] + [(name, data) for name, (data, _) in bad.items()]
    rng.shuffle(files)
    parts = [files[k :: kills + 1] for k in range(kills + 1)]
    for part in parts[:-1]:
        service.start()
        end = time.monotonic() + rng.uniform(0.3, 3.0)
        for name, data in part:
            service.put(name, data) if rng.random() < 0.8 else (service.inbox / name).write_bytes(data)
        time.sleep(max(0.0, end - time.monotonic()))
        service.kill()
    for name, data in parts[-1]:
        service.put(name, data)
    service.start()
    service.wait(lambda: not service.waiting(), 300)
    service.wait(lambda: not ({name for name, _ in parts[-1]} - set(service.done()) - set(service.quarantined())))
    status = service.end(signal.SIGTERM)
    return "; ".join(faults(service, good, bad, status))


def faults(service: Service, good: list[Path], bad: dict[str, tuple[bytes, str]], status: int) -> list[str]:
    """What is not as promised."""
    met = []
    answered = [sha256 for (sha256,) in service.rows("SELECT image_sha256 FROM results")]
    wanted = {hashlib.sha256(path.read_bytes()).digest() for path in good}
    done, quarantined = service.done(), service.quarantined()
    checks = {
        "exit status": status,
        "lost": len(wanted - set(answered)),
        "double": len(answered) - len(set(answered)),
        "not asked for": len(set(answered) - wanted),
        "good files that are not in done/": len({path.name for path in good} - set(done)),
        "bad files that are not in quarantine/": len(set(bad) - set(quarantined)),
        "good files in quarantine/": len(set(quarantined) - set(bad)),
        "wrong codes": sum(quarantined[name]["code"] != code for name, (_, code) in bad.items() if name in quarantined),
        "refusals": len(service.rows("SELECT code FROM refusals")) - len(bad),
        "entries without an order": len(service.rows("SELECT id FROM entries")) - len(answered) - len(bad),
        "integrity": int(service.rows("PRAGMA integrity_check") != [("ok",)]),
    }
    met += [f"{name}: {count}" for name, count in checks.items() if count]
    return met


if __name__ == "__main__":
    sys.exit(main())
