"""What a service deletes by [keep], in a process of its own."""

import time
from pathlib import Path

import pytest

from limiar.edge_app.service.config import parse_config
from limiar.edge_app.service.keeping import Keeping, Tidied

CONFIG = """
[[folder]]
path = "inbox"
[keep.done]
count = 2
[keep.quarantine]
megabytes = 0.001
"""


def config(folder: Path, text: str = CONFIG) -> object:
    return parse_config(text, "limiar.toml", folder)


def tidied(keeping: Keeping) -> tuple[Tidied, ...]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if found := keeping.turn():
            return found
        time.sleep(0.01)
    return ()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    for name in ("done/a.png", "done/b.png", "done/c.png", "quarantine/d.png", "quarantine/d.png.json"):
        (tmp_path / "inbox" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "inbox" / name).write_bytes(bytes(800))
    return tmp_path / "inbox"


def test_what_is_over_the_limits_goes_once_an_hour_and_is_told(tmp_path: Path, inbox: Path) -> None:
    now = [0.0]
    with Keeping(config(tmp_path), tmp_path / "state", lambda: False, lambda: now[0]) as keeping:  # type: ignore[arg-type]
        assert keeping.turn() == ()
        assert len(list((inbox / "done").iterdir())) == 3  # a start that fails again and again deletes nothing
        now[0] = 61.0
        done, quarantine = tidied(keeping)
        assert (done.place, done.removed.files, done.error) == ("inbox/done", 1, "")
        assert (quarantine.place, quarantine.removed.files, quarantine.removed.bytes) == ("inbox/quarantine", 1, 1600)
        (inbox / "done" / "e.png").write_bytes(b"")
        now[0] = 3600.0
        assert keeping.turn() == ()
        assert len(list((inbox / "done").iterdir())) == 3
        now[0] = 3700.0
        assert tidied(keeping)[0].removed.files == 1


def test_a_folder_that_cannot_be_looked_through_is_told_and_the_others_are(tmp_path: Path, inbox: Path) -> None:
    now = [0.0]
    text = CONFIG + '[[folder]]\npath = "gone"\n'
    with Keeping(config(tmp_path, text), tmp_path, lambda: True, lambda: now[0]) as keeping:  # type: ignore[arg-type]
        now[0] = 61.0
        found = {one.place: one for one in tidied(keeping)}
    assert found["gone/done"].error == "No such file or directory"
    assert found["inbox/done"].removed.files == 1


def test_without_limits_nothing_is_looked_at(tmp_path: Path, inbox: Path) -> None:
    now = [0.0]
    text = '[[folder]]\npath = "inbox"\n'
    with Keeping(config(tmp_path, text), tmp_path, lambda: True, lambda: now[0]) as keeping:  # type: ignore[arg-type]
        now[0] = 61.0
        keeping.turn()
        until = time.monotonic() + 5
        while keeping._child and time.monotonic() < until:
            assert keeping.turn() == ()
            time.sleep(0.01)
    assert len(list(inbox.rglob("*.png"))) == 4
