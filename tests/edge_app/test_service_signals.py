"""`limiar run` ends within 5 s whatever it does, reads its configuration again at any time, and replaces what stops."""

import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privileges import need_root
from running import REAL
from services import Service, noise

END_S = 5.0
FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW of linux/fs.h
# Seconds instead of tens of them, for a test.
IMPATIENT = """
import limiar.edge_app.intake.watcher
limiar.edge_app.intake.watcher._SILENT_S = 2.5
limiar.edge_app.intake.watcher._LOST_S = 5.0
"""


@pytest.fixture
def service(tmp_path: Path, tiny_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "device", tiny_path) as running:
        yield running


def started(service: Service, times: int = 1) -> None:
    service.wait(lambda: len(service.rows("SELECT * FROM audit WHERE kind = 'start'")) >= times)


def put_images(service: Service, count: int, seed: int = 0) -> set[bytes]:
    """Their sha256."""
    data = noise(count, seed)
    for k, one in enumerate(data):
        service.put(f"{seed}-{k:03d}.png", one)
    return {hashlib.sha256(one).digest() for one in data}


def answered(service: Service) -> set[object]:
    found = [sha256 for (sha256,) in service.rows("SELECT image_sha256 FROM results")]
    assert len(found) == len(set(found))
    return set(found)


def child(service: Service, what: Callable[[Path], bool]) -> int:
    """Waits for it."""
    found: list[int] = []

    def there() -> bool:
        for pid in service.children():
            with contextlib.suppress(OSError):  # it has ended, or closed what is looked at: it is looked at again
                if what(Path(f"/proc/{pid}")):
                    found.append(pid)
        return bool(found)

    service.wait(there)
    return found[0]


def is_worker(process: Path) -> bool:
    return "numpy" in (process / "maps").read_text()


def is_intake(process: Path) -> bool:
    return any(os.readlink(link) == "anon_inode:inotify" for link in (process / "fd").iterdir())


def ends_soon(service: Service) -> int:
    """Its exit status."""
    began_s = time.monotonic()
    status = service.end()
    assert time.monotonic() - began_s < END_S
    return status


def test_it_ends_at_any_moment_of_its_start(tmp_path: Path, tiny_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    service = Service(tmp_path / "device", tiny_path)
    wanted = put_images(service, 40)
    for _ in range(6):
        with service:
            time.sleep(rng.uniform(0, 1.5))
            # Before it listens to signals, it has changed nothing, and ends as any program does.
            assert ends_soon(service) in (0, -signal.SIGTERM)
    with service:
        service.wait(lambda: len(service.done()) == 40)
    assert answered(service) == wanted
    assert service.quarantined() == {}


def test_it_ends_while_it_is_busy(service: Service) -> None:
    put_images(service, 500)
    service.wait(lambda: service.rows("SELECT * FROM in_hand"))
    assert ends_soon(service) == 0
    assert service.rows("SELECT * FROM in_hand") == []


@pytest.mark.parametrize("which", [is_worker, is_intake], ids=["worker", "intake"])
def test_it_ends_although_a_part_of_it_is_stopped(service: Service, which: Callable[[Path], bool]) -> None:
    started(service)
    child(service, is_intake)
    stopped = child(service, which)
    os.kill(stopped, signal.SIGSTOP)
    put_images(service, 1)
    time.sleep(0.5)
    assert ends_soon(service) == 0
    assert not Path(f"/proc/{stopped}").exists()


def test_it_ends_while_it_waits_for_a_bundle_that_cannot_be_used(tmp_path: Path) -> None:
    with Service(tmp_path / "device", tmp_path / "nothing") as service:
        service.wait(lambda: "E-BUNDLE" in service.log.read_text())
        assert ends_soon(service) == 0


def test_it_ends_while_a_disk_hangs_and_goes_on_with_it_later(tmp_path: Path, tiny_path: Path) -> None:
    need_root("mkfs.ext4", "mount")
    service = Service(tmp_path / "device", tiny_path)
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, service.inbox], check=True)
    folder = os.open(service.inbox, os.O_RDONLY)
    try:
        shutil.rmtree(service.inbox / "lost+found")
        with service:
            started(service)
            intake = child(service, is_intake)
            os.kill(intake, signal.SIGSTOP)
            wanted = put_images(service, 1)
            fcntl.ioctl(folder, FREEZE, 0)
            os.kill(intake, signal.SIGCONT)
            # It waits in the kernel, where not even SIGKILL reaches it.
            service.wait(lambda: Path(f"/proc/{intake}/stat").read_text().rpartition(")")[2].split()[0] == "D")
            assert answered(service) == wanted
            assert ends_soon(service) == 0
            fcntl.ioctl(folder, THAW, 0)
            service.start()
            service.wait(lambda: len(service.done()) == 1)
            assert ends_soon(service) == 0
        assert answered(service) == wanted
    finally:
        os.close(folder)
        subprocess.run(["fsfreeze", "--unfreeze", service.inbox], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", "--lazy", service.inbox], check=True)


def test_an_intake_that_stops_is_said_and_replaced(tmp_path: Path, tiny_path: Path) -> None:
    with Service(tmp_path / "device", tiny_path, script=IMPATIENT + REAL) as service:
        started(service)
        before = child(service, is_intake)
        os.kill(before, signal.SIGSTOP)
        wanted = put_images(service, 2)
        service.wait(lambda: "E-WATCH-SILENT" in service.log.read_text())
        service.wait(lambda: len(service.done()) == 2, 60)
        assert answered(service) == wanted
        assert not Path(f"/proc/{before}").exists()


def test_nothing_is_lost_while_the_configuration_is_read_again_and_again(service: Service) -> None:
    wanted = put_images(service, 400)
    first = service.config.read_text()
    for k in range(3):
        started(service, k + 1)
        service.config.write_text(first.replace("workers = 1", f"workers = {2 - k % 2}"))
        os.kill(service.pid, signal.SIGHUP)
    service.wait(lambda: len(service.done()) == 400, 60)
    assert answered(service) == wanted
    assert service.quarantined() == {}


def test_a_bundle_that_cannot_be_used_is_said_and_another_configuration_is_tried_at_once(
    tmp_path: Path, tiny_path: Path
) -> None:
    slow = "import limiar.edge_app.service.backoff as it; it.FIRST_S = it.LONGEST_S = 600.0\n"
    with Service(tmp_path / "device", tiny_path, script=slow + REAL) as service:
        started(service)
        first = service.config.read_text()
        service.config.write_text(first.replace('bundle = "', 'bundle = "nothing'))
        os.kill(service.pid, signal.SIGHUP)
        service.wait(lambda: "E-BUNDLE" in service.log.read_text())
        service.config.write_text(first)
        os.kill(service.pid, signal.SIGHUP)
        started(service, 2)
        put_images(service, 1)
        service.wait(service.done)
