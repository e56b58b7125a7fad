"""`limiar status`: of a running service, and of what it has left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.health.status import Status

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def service(tiny_path: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A running service that watches tmp_path/inbox, with a state folder in tmp_path/state."""
    (tmp_path / "inbox").mkdir()
    config = tmp_path / "limiar.toml"
    config.write_text(f'[answer]\nbundle = "{tiny_path}"\n[health]\nfree_megabytes = 1\n[[folder]]\npath = "inbox"\n')
    command = [sys.executable, "-P", "-m", "limiar", "run", str(config)]
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as running:
        try:
            yield running
        finally:
            os.killpg(running.pid, signal.SIGKILL)


def said(tmp_path: Path, limiar: Limiar) -> tuple[int, Status]:
    done = limiar("status", "--json", "--state", tmp_path / "state")
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, msgspec.json.decode(done.stdout, type=Status)


def test_a_service_says_how_it_is(service: object, images: Path, tmp_path: Path, limiar: Limiar) -> None:
    until = time.monotonic() + 60
    (tmp_path / "inbox" / "bad.png").write_bytes(b"no image")
    for image in sorted(images.iterdir())[:3]:
        shutil.copy(image, tmp_path / "inbox")
    while True:
        code, status = said(tmp_path, limiar)
        if status.running and status.totals.answered == 3 and status.totals.refused:
            break
        assert time.monotonic() < until, status
        time.sleep(0.2)
    assert code == 0
    assert status.bundle
    assert status.bundle.name == "tiny"
    (inbox,) = status.sources
    assert (inbox.name, inbox.answered, inbox.refused) == ("inbox", 3, 1)
    assert status.memory
    assert status.memory.processes >= 3
    assert status.disk
    assert status.disk.ballast_bytes == 4 << 20
    assert [(one.name, one.state, one.restarts) for one in status.processes] == [
        ("folder inbox", "running", 0),
        ("classifier 1", "running", 0),
    ]
    shown = limiar("status", "--state", tmp_path / "state").stdout.decode()
    assert "tiny 0.1.0" in shown
    assert "3 answers, 1 refused" in shown
    metrics = limiar("status", "--prometheus", "--state", tmp_path / "state").stdout
    assert b'\nlimiar_source_answers_total{source="inbox",kind="folder"} 3\n' in metrics


def test_without_a_service_what_it_left_is_shown_and_nothing_is_written(
    tiny_path: Path, images: Path, tmp_path: Path, limiar: Limiar
) -> None:
    limiar("scan", tiny_path, images)
    before = sorted(path.name for path in (tmp_path / "state").iterdir())
    code, status = said(tmp_path, limiar)
    assert code == 3
    assert not status.running
    assert status.store
    assert status.store.entries == 40
    assert [problem.code for problem in status.problems if problem.level == "failed"] == ["E-SERVICE-NONE"]
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == before
    shown = limiar("status", "--state", tmp_path / "state").stdout.decode()
    assert shown.startswith("FAILED: no service runs")


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path, limiar: Limiar) -> None:
    code, status = said(tmp_path, limiar)
    assert (code, status.store, status.bundle, status.disk) == (3, None, None, None)
