"""`limiar run`: images that arrive are answered, kept and moved, whatever ends a part of it."""

import hashlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.control import AskReload, AskReview, AskStatus, ask
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install.install import install_bundle
from services import Service, noise


@pytest.fixture
def service(tmp_path: Path, tiny_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "device", tiny_path) as running:
        yield running


def put_images(service: Service, count: int = 5, seed: int = 0) -> list[bytes]:
    data = noise(count, seed)
    for k, one in enumerate(data):
        service.put(f"{seed}-{k:03d}.png", one)
    return data


def answered(service: Service) -> list[object]:
    return [sha256 for (sha256,) in service.rows("SELECT image_sha256 FROM results ORDER BY sequence")]


def test_an_image_is_answered_once_and_moved_after_its_answer_is_kept(service: Service) -> None:
    data = put_images(service)
    service.wait(lambda: len(service.done()) == 5)
    assert answered(service) == [hashlib.sha256(one).digest() for one in data]  # in name order
    assert service.waiting() == []
    assert service.rows("SELECT DISTINCT source FROM results") == [("inbox",)]


def test_a_file_without_an_answer_is_in_quarantine_with_the_reason(service: Service) -> None:
    service.put("a.png", b"text")
    put_images(service, 1)
    service.wait(lambda: service.done() and service.quarantined())
    reason = service.quarantined()["a.png"]
    assert reason["code"] == "E-IMAGE-FORMAT"
    assert reason["source"] == "inbox"
    assert reason["sha256"] == hashlib.sha256(b"text").hexdigest()
    assert service.rows("SELECT code, tries FROM refusals") == [("E-IMAGE-FORMAT", 0)]


def test_the_same_image_again_has_one_answer_and_is_moved_too(service: Service) -> None:
    data = put_images(service, 1)
    service.wait(lambda: len(service.done()) == 1)
    service.put("twin.png", data[0])
    service.wait(lambda: len(service.done()) == 2)
    assert len(answered(service)) == 1


def test_entries_have_one_order_over_answers_and_refusals(service: Service) -> None:
    put_images(service, 2)
    service.wait(lambda: len(service.done()) == 2)
    service.put("bad.png", b"text")
    service.wait(service.quarantined)
    put_images(service, 1, seed=1)
    service.wait(lambda: len(service.done()) == 3)
    assert service.rows("SELECT kind FROM entries ORDER BY id") == [("file",), ("file",), ("refusal",), ("file",)]


def test_sigterm_ends_it_in_order_and_the_audit_log_says_so(service: Service) -> None:
    put_images(service)
    service.wait(service.done)
    started = time.monotonic()
    assert service.end() == 0
    assert time.monotonic() - started < 5
    kinds = [kind for (kind,) in service.rows("SELECT kind FROM audit ORDER BY id")]
    assert (kinds[0], kinds[-1]) == ("start", "stop")
    assert service.rows("SELECT * FROM in_hand") == []


def test_ctrl_c_has_the_status_that_a_shell_expects(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    assert service.end(signal.SIGINT) == 130


def test_a_second_service_on_the_same_state_is_refused(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    second = Service(service.folder, "nowhere")
    second.start()
    assert second.process
    assert second.process.wait(20) == 1
    assert "E-SERVICE-BUSY" in service.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_stops_is_replaced(service: Service, number: int) -> None:
    put_images(service, 2)
    service.wait(lambda: len(service.done()) == 2)
    workers = [pid for pid in service.children() if "numpy" in Path(f"/proc/{pid}/maps").read_text()]
    assert workers
    for pid in workers:
        os.kill(pid, number)
    put_images(service, 3, seed=1)
    service.wait(lambda: len(service.done()) == 5, 60)


def test_answers_and_files_are_whole_after_a_kill(service: Service) -> None:
    data = put_images(service, 300)
    service.wait(lambda: len(answered(service)) > 20)
    service.kill()
    service.start()
    service.wait(lambda: len(service.done()) == 300)
    assert sorted(answered(service)) == sorted(hashlib.sha256(one).digest() for one in data)


def test_a_file_that_ended_the_service_three_times_is_put_aside_without_another_try(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    service.end()
    target = service.put("poison.png", noise(1)[0])
    with sqlite3.connect(service.db) as db:
        db.execute("INSERT INTO in_hand VALUES (?, 2, 1)", (os.fsencode(target),))
    db.close()
    service.start()
    service.wait(service.quarantined)
    reason = service.quarantined()["poison.png"]
    assert (reason["code"], reason["tries"]) == ("E-IMAGE-CRASH", 3)
    assert service.rows("SELECT * FROM in_hand") == []


def test_a_file_in_hand_at_an_end_in_order_has_lost_no_try(service: Service) -> None:
    put_images(service, 500)
    for _ in range(5):
        service.wait(lambda: service.rows("SELECT * FROM in_hand") or not service.waiting())
        service.end()
        service.start()
    service.wait(lambda: len(service.done()) == 500, 60)
    assert service.quarantined() == {}


def test_sighup_reads_the_configuration_again(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    (service.folder / "second").mkdir()
    with service.config.open("a") as file:
        file.write('[[folder]]\npath = "second"\n')
    os.kill(service.pid, signal.SIGHUP)
    (service.folder / "second" / "a.png").write_bytes(noise(1)[0])
    service.wait(lambda: (service.folder / "second" / "done" / "a.png").exists())
    assert service.rows("SELECT source FROM results") == [("second",)]


def test_a_change_of_the_threshold_is_in_the_audit_log(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    service.config.write_text(service.config.read_text().replace("[answer]\n", "[answer]\nrefer_below = 0.5\n"))
    os.kill(service.pid, signal.SIGHUP)
    service.wait(lambda: service.rows("SELECT * FROM audit WHERE kind = 'threshold'"))
    ((detail,),) = service.rows("SELECT detail FROM audit WHERE kind = 'threshold'")
    assert detail == '{"refer_below":"0.95 -> 0.5"}'
    assert len(service.rows("SELECT * FROM audit WHERE kind = 'config'")) == 1


def test_a_configuration_that_cannot_be_used_changes_nothing(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    service.config.write_text("[answer\n")
    os.kill(service.pid, signal.SIGHUP)
    service.wait(lambda: "E-CONFIG-SYNTAX" in service.log.read_text())
    put_images(service, 1)
    service.wait(service.done)


def test_a_command_asks_the_running_service(service: Service) -> None:
    put_images(service, 1)
    service.wait(service.done)
    status = msgspec.json.decode(ask(service.state, AskStatus()) or b"null")
    assert (status["running"], status["totals"]["answered"], status["sources"][0]["state"]) == (True, 1, "ok")
    ask(service.state, AskReview(1, "neg", "Ana", "a scar"))
    assert service.rows("SELECT entry, label, by, why FROM reviews") == [(1, "neg", "Ana", "a scar")]
    ask(service.state, AskReload())
    service.wait(lambda: len(service.rows("SELECT * FROM audit WHERE kind = 'start'")) == 2)


def test_what_is_passed_over_is_counted_and_stays(service: Service) -> None:
    (service.inbox / ".hidden.png").write_bytes(b"x")
    (service.inbox / "notes.txt").write_bytes(b"x")

    def passed_over() -> str:
        status = msgspec.json.decode(ask(service.state, AskStatus()) or b"null")
        return str(status["sources"][0]["passed_over"]) if status else ""

    service.wait(lambda: "1 hidden" in passed_over() and ".txt" in passed_over())
    assert {path.name for path in service.waiting()} == {".hidden.png", "notes.txt"}


def test_nobody_answers_without_a_service(tmp_path: Path) -> None:
    assert ask(tmp_path, AskStatus()) is None
    assert ask(tmp_path / "missing", AskStatus()) is None


def test_a_service_without_a_bundle_says_so_and_answers_once_one_is_installed(tmp_path: Path, tiny_path: Path) -> None:
    def problems(service: Service) -> list[str]:
        said = ask(service.state, AskStatus()) if service.state.exists() else None
        return [one["code"] for one in msgspec.json.decode(said)["problems"]] if said else []

    with Service(tmp_path / "device", "current") as service:
        service.wait(lambda: "E-UPDATE-NONE" in problems(service))
        install_bundle(tiny_path, state=service.state)
        put_images(service, 1)
        service.wait(service.done)
        assert "E-UPDATE-NONE" not in problems(service)


def test_a_review_of_nothing_is_refused(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    with pytest.raises(LimiarError) as caught:
        ask(service.state, AskReview(99, None, "Ana"))
    assert caught.value.code == "E-RESULT-MISSING"


def test_a_folder_that_is_not_there_yet_is_said_once_and_watched_later(service: Service) -> None:
    service.wait(lambda: service.rows("SELECT * FROM audit"))
    service.inbox.rename(service.folder / "away")
    service.wait(lambda: "E-WATCH" in service.log.read_text())
    time.sleep(2)
    (service.folder / "away").rename(service.inbox)
    put_images(service, 1)
    service.wait(service.done, 60)
    lines = [line for line in service.log.read_text().splitlines() if " error " in line]
    assert len(lines) == 1


def test_the_process_that_keeps_the_store_has_no_decoder_and_no_thread(service: Service) -> None:
    put_images(service, 1)
    service.wait(service.done)
    maps = Path(f"/proc/{service.pid}/maps").read_text()
    assert not [name for name in ("numpy", "cv2", "_imaging", "litert") if name in maps]
    assert len(list(Path(f"/proc/{service.pid}/task").iterdir())) == 1


def test_check_names_what_is_missing(tmp_path: Path, tiny_path: Path, limiar) -> None:  # type: ignore[no-untyped-def]
    service = Service(tmp_path / "device", tiny_path)
    assert limiar("run", service.config, "--check").returncode == 0
    service.inbox.rmdir()
    ended = limiar("run", service.config, "--check")
    assert (ended.returncode, b"E-CONFIG-FOLDER" in ended.stderr) == (1, True)
