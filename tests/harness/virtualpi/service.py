"""limiar.service on a whole machine in QEMU: Debian 13's systemd and kernel, a Cortex-A72, a read-only root, a data partition.

The unit is the one that scripts/install_pi installs. Its power is cut while images of the watched folder are answered: every
answer that could be read before a cut must be there before the service starts again, and in the end each image must be answered
and moved once. Then its classifier is stopped, which the service must notice, and its main process, which systemd's watchdog
must notice. Two controls must fail: a disk that is never flushed, and a unit without a watchdog.

    scripts/virtual_pi service
    scripts/virtual_pi service --cuts 20 --log service.log
"""

import argparse
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np
from PIL import Image as Picture

from virtualpi import PROJECT, Failed, qemu
from virtualpi.boot import VIRT, Data, Said, booted
from virtualpi.image import Image, make_image
from virtualpi.logwrites import LogError
from virtualpi.namespace import scratch_root
from virtualpi.outcome import Outcome, progress, report
from virtualpi.powercuts import KEPT, Kind, Series, cut_again_and_again

IMAGES = 1500  # all of them are answered over the cuts
_HUNG_IMAGES = 60
_LIMIT_S = 1200.0  # for one boot
_DISK = "256M"
_PACKAGES = ("systemd", "systemd-sysv", "udev", "dbus", "findutils", "procps")
_PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\nlimiar:x:990:990::/var/lib/limiar:/usr/sbin/nologin\n"
)
_GROUP = "root:x:0:\ntty:x:5:\ndisk:x:6:\nvideo:x:44:\nmessagebus:x:100:\nlimiar:x:990:\n"
# As docs/field.md has it: nothing but the data partition, and memory, can be written.
_FSTAB = """\
/dev/vdb /data ext4 defaults,noatime 0 2
/data/state /var/lib/limiar none bind,x-systemd.requires-mounts-for=/data 0 0
/data/srv /srv/limiar none bind,x-systemd.requires-mounts-for=/data 0 0
tmpfs /var/tmp tmpfs defaults 0 0
tmpfs /var/log tmpfs defaults 0 0
"""
_LOOK = """\
[Unit]
Description=what the last cut left
RequiresMountsFor=/var/lib/limiar
Before=limiar.service
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -P /run/guest/service.py look
"""
_TEST = """\
[Unit]
Description=the test
[Service]
ExecStart=/usr/bin/python3 -P /run/guest/service.py
[Install]
WantedBy=multi-user.target
"""
_CONTROL = Kind("control: ext4 never has the disk flush", mount="barrier")
_WITHOUT = {  # what a control takes away: drop-ins of systemd
    "barrier/data.mount.d": "[Mount]\nOptions=defaults,noatime,barrier=0\n",
    "watchdog/limiar.service.d": "[Service]\nWatchdogSec=0\n",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuts", type=int, default=3, help="cut the power so many times (default: 3; for a release 20)")
    parser.add_argument("--seed", type=int, help="seed for the times of the cuts (default: random, and printed)")
    log = PROJECT / "out" / "virtual_pi" / "service.log"
    parser.add_argument(
        "--log", type=Path, default=log, help="write the machines' output here (default: out/virtual_pi/service.log)"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    seed = random.randrange(2**32) if asked.seed is None else asked.seed  # not a secret
    asked.log.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="limiar-machine-") as name,
        asked.log.open("w", encoding="utf-8", buffering=1) as log,
    ):
        folder = Path(name)
        progress("the disk and the kernel")
        image = make_image(folder, _PACKAGES, _prepare)
        try:
            outcomes = [*_hangs(image, folder, log), *_cuts(image, asked.cuts, seed, folder, log)]
        except (Failed, LogError) as error:
            raise Failed(f"{error}: see {asked.log}") from None
        log.writelines(f"{one.where}: {one.what}: {one.found}, must be {one.must}\n" for one in outcomes)
    report(outcomes, asked.json)


def _prepare(guest: Path) -> None:
    """The service as install_pi leaves it, on a root that is never written to."""
    texts = {
        "etc/passwd": _PASSWD,
        "etc/group": _GROUP,
        "etc/fstab": _FSTAB,
        "etc/machine-id": "",
        "etc/hostname": "limiar\n",
        "etc/limiar/limiar.toml": '[answer]\nbundle = "/opt/lung-nodule"\n[[folder]]\npath = "/srv/limiar/inbox"\n',
        "etc/systemd/system/limiar.service": (PROJECT / "scripts" / "limiar.service").read_text(),
        "etc/systemd/system/test.service": _TEST,
        "etc/systemd/system/look.service": _LOOK,
        "opt/limiar/venv/bin/limiar": '#!/bin/sh\nPYTHONPATH=/opt/limiar exec python3 -P -m limiar "$@"\n',
    }
    texts |= {f"opt/without/{name}/control.conf": text for name, text in _WITHOUT.items()}
    for name, text in texts.items():
        path = guest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # otherwise a hard link's other name would change too
        path.write_text(text)
        path.chmod(0o755 if "/bin/" in name else 0o644)
    wants = guest / "etc" / "systemd" / "system" / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for unit in ("limiar.service", "look.service", "test.service"):
        (wants / unit).symlink_to(f"../{unit}")
    (wants.parent / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    for unit in ("getty@.service", "serial-getty@.service"):  # there is nobody, and a console that is written to a file
        (wants.parent / unit).symlink_to("/dev/null")
    for place in ("var/lib/limiar", "srv/limiar", "var/tmp", "var/log", "run", "tmp"):
        (guest / place).mkdir(parents=True, exist_ok=True)


def _make_disk(folder: Path, waiting: int, more: int, name: str) -> Path:
    """The data partition: images that wait in the watched folder, and more to put there."""
    rng = np.random.default_rng(0)
    data = folder / name
    inbox, stored = data / "srv" / "inbox", data / "srv" / "stored"
    for place, count in ((inbox, waiting), (stored, more)):
        place.mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (50, 50), dtype=np.uint8)
            Picture.fromarray(pixels).save(place / f"{index:04d}.png", compress_level=1)
    (data / "state").mkdir(mode=0o750)
    for path in [data / "state", data / "srv", *(data / "srv").rglob("*")]:
        shutil.chown(path, 990, 990)
    with scratch_root(qemu.system_root(), binds={"/out": folder}) as root:
        ready = "lazy_itable_init=0,lazy_journal_init=0"
        root.run("mke2fs", "-q", "-t", "ext4", "-E", ready, "-d", f"/out/{name}", f"/out/{name}.disk", _DISK)
    shutil.rmtree(data)
    return folder / f"{name}.disk"


def _job(part: str, without: str = "") -> dict[str, str]:
    return {"job": "systemd", "part": part, "without": without, "systemd.show_status": "0"}


def _cut_job(kind: Kind, _: int, last: bool) -> Mapping[str, str]:
    return _job("last" if last else "cut", "" if kind is KEPT or last else kind.mount)


def _cuts(image: Image, cuts: int, seed: int, folder: Path, log: TextIO) -> Iterator[Outcome]:
    fresh = _make_disk(folder, IMAGES, 0, "waiting")
    for kind in (KEPT, _CONTROL):
        disk = folder / "cut.disk"
        subprocess.run(["cp", "--sparse=always", fresh, disk], check=True)
        series = cut_again_and_again(kind, cuts if kind is KEPT else 1, seed, image, disk, log, _cut_job, _LIMIT_S)
        yield _cut_outcome(series, seed)
        if kind is KEPT:
            yield _end_outcome(series)


def _cut_outcome(series: Series, seed: int) -> Outcome:
    dropped = sum(cut.dropped for cut in series.cuts)
    found = f"{len(series.cuts)} cuts, {dropped} writes dropped, {series.reported} reported, {series.lost} lost"
    passed = series.lost == series.corrupt == 0 < series.reported if series.kind is KEPT else series.lost > 0
    must = "0 lost, 0 corrupt" if series.kind is KEPT else "some lost"
    return Outcome(f"seed {seed}", series.kind.name, f"{found}, {series.corrupt} corrupt", must, passed)


class Answered(msgspec.Struct):
    """Every answer: an image that was answered twice is in it twice."""

    images: list[str]


class Moved(msgspec.Struct):
    """Images by where they are in the end."""

    done: int
    quarantine: int
    left: int


def _end_outcome(series: Series) -> Outcome:
    moved = msgspec.json.decode(series.end["files"].out, type=Moved)
    answers = len(msgspec.json.decode(series.end["answered"].out, type=Answered).images)
    found = f"{answers} images answered, {moved.done} files moved, {moved.left} left, {moved.quarantine} in quarantine"
    passed = (answers, moved.done, moved.left, moved.quarantine) == (IMAGES, IMAGES, 0, 0)
    return Outcome("after the cuts", "every image", found, f"{IMAGES} answered and moved", passed)


class Step(msgspec.Struct):
    """What guest/service.py says about a step; None: it did not happen in time."""

    seconds: float | None
    answered: float | None = None
    restarts: str = msgspec.field(name="NRestarts", default="")
    result: str = msgspec.field(name="Result", default="")


def _hangs(image: Image, folder: Path, log: TextIO) -> Iterator[Outcome]:
    answers = _answers(image, folder, log, "hang")
    exposure = answers["exposure"].out
    level = float(exposure.split(":")[1].split()[0])
    yield Outcome("systemd 257", "exposure", f"{level}", "<= 1.5", level <= 1.5)
    complaints = [line for line in answers["verify"].out.splitlines() if "limiar" in line]
    yield Outcome("systemd 257", "systemd-analyze verify", "; ".join(complaints) or "nothing", "nothing", not complaints)
    yield _step(answers, "started", "the service is ready after its start")
    yield _step(answers, "answers", "20 images are answered")
    yield _step(answers, "worker", "20 images while the classifier is stopped", restarts="0")
    main = _step(answers, "main", "a stopped main process is started again", restarts="1")
    yield main
    answered = msgspec.json.decode(answers["main"].out, type=Step).answered
    yield Outcome("virt", "then 20 images are answered", f"{answered} s", "in time", answered is not None)
    yield _step(answers, "reload", "systemctl reload", restarts="1")
    yield _step(answers, "stop", "systemctl stop")
    read_only = msgspec.json.decode(answers["root"].out)["read_only"]
    yield Outcome("virt", "the root", "read-only" if read_only else "writable", "read-only", read_only)
    progress("-M virt: without a watchdog")
    main_without = msgspec.json.decode(_answers(image, folder, log, "unwatched", "watchdog")["main"].out, type=Step)
    found = "it stays stopped" if main_without.seconds is None else f"started again after {main_without.seconds} s"
    yield Outcome("virt", "control: no watchdog", found, "it stays stopped", main_without.seconds is None)


def _step(answers: Mapping[str, Said], name: str, what: str, restarts: str = "") -> Outcome:
    step = msgspec.json.decode(answers[name].out, type=Step)
    found = "not in time" if step.seconds is None else f"{step.seconds} s"
    if restarts:
        found += f", {step.restarts} restarts by systemd"
    passed = step.seconds is not None and step.restarts in ("", restarts or step.restarts)
    return Outcome("virt", what, found, f"in time{f', {restarts} restarts' if restarts else ''}", passed)


def _answers(image: Image, folder: Path, log: TextIO, part: str, without: str = "") -> Mapping[str, Said]:
    """Boots with a fresh data partition. Raises Failed."""
    progress(f"-M virt: {part}")
    disk = _make_disk(folder, 0, _HUNG_IMAGES, part)
    data = Data(disk, disk.with_suffix(".log"))
    data.log.write_bytes(b"")
    with booted(VIRT, image, _job(part, without), log, data, _LIMIT_S) as guest:
        answers = guest.answers()
    if "failed" in answers:
        raise Failed(f"the machine's test ended with {answers['failed'].out}")
    return answers
