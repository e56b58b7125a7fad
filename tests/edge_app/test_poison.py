"""An image that crashes, exhausts or hangs its worker is tried at most three times, over restarts, and costs no other image."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from limiar.edge_app.service.tries import MOST
from poison import KINDS, poison_name, poisoned, tries
from running import REAL
from services import Service, noise

CODES = {"crash": "E-IMAGE-CRASH", "memory": "E-IMAGE-CRASH", "hang": "E-IMAGE-TIMEOUT"}


def files(good: int, poison: int) -> dict[str, bytes]:
    """All whole, all different; the poison is spread among the others."""
    data = noise(good + poison)
    rng = random.Random(0)
    found = {f"{rng.choice('az')}{number:03}.png": data[number] for number in range(good)}
    return found | {poison_name(number): data[good + number] for number in range(poison)}


def put(service: Service, wanted: dict[str, bytes]) -> None:
    for name, data in wanted.items():
        service.put(name, data)


def test_poison_is_quarantined_and_every_other_image_is_answered(tmp_path: Path, tiny_path: Path) -> None:
    marks = tmp_path / "marks"
    wanted = files(200, 20)
    with Service(tmp_path / "device", tiny_path, script=poisoned(marks) + REAL, workers=2) as service:
        put(service, wanted)
        service.wait(lambda: not service.waiting(), 240)
        quarantined = service.quarantined()
        assert service.end() == 0
    assert {name: reason["code"] for name, reason in quarantined.items()} == {
        name: CODES[name.split("-")[1]] for name in wanted if name.startswith("poison-")
    }
    assert service.done() == {name: data for name, data in wanted.items() if not name.startswith("poison-")}
    assert len(service.rows("SELECT * FROM results")) == 200
    assert max(tries(marks).values()) <= MOST
    assert all(0 < reason["tries"] <= MOST for reason in quarantined.values())


def test_tries_are_counted_over_kills_of_the_service(tmp_path: Path, tiny_path: Path) -> None:
    marks = tmp_path / "marks"
    wanted = files(30, 4)
    service = Service(tmp_path / "device", tiny_path, script=poisoned(marks) + REAL)
    with service:
        put(service, wanted)
        for number in range(3):
            seen = sum(tries(marks).values())
            service.wait(lambda seen=seen: sum(tries(marks).values()) > seen or not service.waiting(), 60)
            time.sleep(0.05 * number)
            service.kill()
            service.start()
        service.wait(lambda: not service.waiting(), 240)
        quarantined = service.quarantined()
    assert sorted(quarantined) == sorted(name for name in wanted if name.startswith("poison-"))
    assert len(service.done()) == 30
    assert max(tries(marks).values()) <= MOST, tries(marks)
    assert all(0 < reason["tries"] <= MOST for reason in quarantined.values())


def test_poison_that_ends_the_whole_service_is_put_aside_after_three_starts_and_its_neighbours_are_not(
    tmp_path: Path, tiny_path: Path
) -> None:
    marks, data = tmp_path / "marks", noise(41)
    good = {f"{'az'[number % 2]}{number:02}.png": data[number] for number in range(40)}
    service = Service(tmp_path / "device", tiny_path, script=poisoned(marks) + REAL)
    put(service, {**good, "poison-all-0.png": data[40]})
    with service:
        for _ in range(MOST):
            assert service.process.wait(60) == -signal.SIGKILL
            service.start()
        service.wait(lambda: not service.waiting(), 60)
        quarantined = service.quarantined()
        assert service.end() == 0
    assert {name: (reason["code"], reason["tries"]) for name, reason in quarantined.items()} == {
        "poison-all-0.png": ("E-IMAGE-CRASH", MOST)
    }
    assert service.done() == good
    assert tries(marks) == {"poison-all-0.png": MOST}


def test_a_refused_file_that_was_not_moved_yet_is_not_tried_again(tmp_path: Path, tiny_path: Path) -> None:
    marks = tmp_path / "marks"
    service = Service(tmp_path / "device", tiny_path, script=poisoned(marks) + REAL)
    (service.inbox / "quarantine").write_bytes(b"")  # in the way: nothing can be moved
    name = poison_name(0)
    with service:
        service.put(name, noise(1)[0])
        service.wait(lambda: service.rows("SELECT tries FROM refusals") == [(MOST,)])
        service.kill()
        (service.inbox / "quarantine").unlink()
        service.start()
        service.wait(service.quarantined)
        assert service.quarantined()[name]["tries"] == MOST
        assert service.rows("SELECT * FROM in_hand") == []
    assert tries(marks) == {name: MOST}


def test_the_same_files_are_all_answered_where_nothing_is_poison_to_the_worker(tmp_path: Path, tiny_path: Path) -> None:
    wanted = files(20, 20)  # the control: it is not their content
    with Service(tmp_path / "device", tiny_path) as service:
        put(service, wanted)
        service.wait(lambda: len(service.done()) == 40)
        assert service.quarantined() == {}


def test_a_watch_goes_on_after_poison(tmp_path: Path, tiny_path: Path) -> None:
    inbox, marks = tmp_path / "inbox", tmp_path / "marks"
    inbox.mkdir()
    wanted = files(40, len(KINDS))
    for name, data in wanted.items():
        (inbox / name).write_bytes(data)
    words = [sys.executable, "-P", "-c", poisoned(marks) + REAL, "watch", str(tiny_path), str(inbox)]
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    lines = []
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        while len(lines) < len(wanted):
            lines.append(json.loads(process.stdout.readline()))
        process.terminate()
        assert process.wait(30) == 143
    found = {Path(line["path"]).name: line.get("code") for line in lines}
    assert {name: code for name, code in found.items() if code} == {
        name: CODES[name.split("-")[1]] for name in wanted if name.startswith("poison-")
    }
    assert max(tries(marks).values()) <= MOST
    assert sorted(found) == sorted(wanted)
