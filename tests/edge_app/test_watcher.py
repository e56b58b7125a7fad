"""The processes that look at folders: real folders on ext4 and in memory, real inotify."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from limiar.edge_app.image.folder import Choice
from limiar.edge_app.intake import child, inotify, look, watcher
from limiar.edge_app.intake.messages import Beat, Event, Fine, Quarantined, Ready, Settled, Trouble, WatchedFolder
from limiar.edge_app.intake.watcher import Watcher
from limiar.edge_app.system.channel import channel
from limiar.edge_app.system.process import cpu_s

LONG_S = 60.0  # for what takes 3 s on a machine with nothing else to do
REASON = Quarantined(code="E-X", message="", source="in", sha256=None, tries=3, time="", bundle="", app="")


def folder_of(path: Path, source: str = "in", **how: object) -> WatchedFolder:
    return WatchedFolder(source, os.fsencode(path), **how)


class Heard:
    """What a Watcher said, and when."""

    def __init__(self, watching: Watcher) -> None:
        self.watching = watching
        self.events: list[tuple[float, Event]] = []

    def turn(self) -> list[Event]:
        events = self.watching.turn()
        self.events += [(time.monotonic(), event) for event in events]
        return events

    def wait(self, holds: Callable[[], object], limit_s: float = LONG_S) -> None:
        end_s = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end_s, [event for _, event in self.events if not isinstance(event, Beat)]
            self.turn()
            time.sleep(0.01)

    def for_s(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end_s)

    def of(self, *kinds: type) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kinds)]

    def names(self) -> list[str]:
        return [os.fsdecode(os.path.basename(event.path)) for event in self.of(Ready)]

    def at_s(self, path: Path) -> list[float]:
        """When it was reported."""
        return [at_s for at_s, event in self.events if isinstance(event, Ready) and event.path == os.fsencode(path)]


@contextlib.contextmanager
def watching(*folders: WatchedFolder) -> Iterator[Heard]:
    with Watcher(folders) as found:
        yield Heard(found)


def pid(heard: Heard) -> int:
    return heard.watching._folders[0]._child[0].pid


# One folder on each file system, in which much happens; the tests look at what was said about it.


def prepare(inbox: Path, outside: Path) -> None:
    for name in ("b.png", "a.png", "sub/deep/c.png", "done/old.png", "quarantine/old.png", "x.png.part", ".hidden.png"):
        (inbox / name).parent.mkdir(parents=True, exist_ok=True)
        (inbox / name).write_bytes(b"there before")
    for name in ("Thumbs.db", "notes.txt", "~x.png"):
        (inbox / name).write_bytes(b"no picture")
    (outside / "far.png").write_bytes(b"elsewhere")
    os.link(outside / "far.png", inbox / "hard.png")
    (inbox / "link.png").symlink_to(outside / "far.png")
    (inbox / "linked").symlink_to(outside)
    (inbox / "folder.png").mkdir()
    os.mkfifo(inbox / "fifo.png")
    Path(os.fsdecode(os.fsencode(inbox) + b"/line\nbyte\xff.png")).write_bytes(b"x")
    (outside / "whole").mkdir()
    (outside / "whole/in-folder.png").write_bytes(b"came with its folder")


def happen(inbox: Path, outside: Path, at: dict[str, float]) -> Iterator[None]:
    """One step every half second; the times are of the moments before, as a machine may stop right after one."""
    growing = inbox / "growing.png"
    for _ in range(3):
        with growing.open("ab") as file:
            file.write(b"more")
        yield
    (outside / "moved").write_bytes(b"whole")
    shutil.copy(outside / "moved", inbox / "moved.png.part")
    at["moved"] = time.monotonic()
    (inbox / "moved.png.part").rename(inbox / "moved.png")
    (inbox / "gone.png").write_bytes(b"not for long")
    (outside / "whole").rename(inbox / "whole")
    (inbox / "new").mkdir()
    at["new"] = time.monotonic()
    (inbox / "new/b.png").write_bytes(b"in a new folder")
    yield
    (inbox / "gone.png").unlink()
    at["growing"] = time.monotonic()
    with growing.open("ab") as file:
        file.write(b"the end")
    at["changed"] = time.monotonic()
    (inbox / "a.png").write_bytes(b"another content")
    yield
    (inbox / "late.png").write_bytes(b"")
    yield
    at["late"] = time.monotonic()
    (inbox / "late.png").write_bytes(b"content at last")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SimpleNamespace]]:
    with contextlib.ExitStack() as made:
        found = {}
        for kind, base in (("ext4", tmp_path_factory.mktemp("story")), ("tmpfs", Path("/dev/shm"))):
            if not os.access(base, os.W_OK):
                continue
            home = Path(made.enter_context(tempfile.TemporaryDirectory(dir=base)))
            inbox, outside = home / "inbox", home / "outside"
            inbox.mkdir()
            outside.mkdir()
            prepare(inbox, outside)
            found[kind] = SimpleNamespace(inbox=inbox, outside=outside, at={})
        folders = [folder_of(one.inbox, kind, done="done", quarantine="quarantine") for kind, one in found.items()]
        heard = made.enter_context(watching(*folders))
        for one in found.values():
            one.steps = happen(one.inbox, one.outside, one.at)
        heard.wait(lambda: len(heard.of(Ready)) >= 8 * len(found))  # what was there
        for _ in range(8):
            for event in heard.of(Ready):
                heard.watching.left(event.path)
            for one in found.values():
                next(one.steps, None)
            heard.for_s(0.5)
        heard.wait(lambda: all(heard.at_s(one.inbox / name) for one in found.values() for name in ("growing.png", "late.png")))
        heard.for_s(1.5)  # what must not be reported would be
        for kind, one in found.items():
            one.events = [(at_s, event) for at_s, event in heard.events if event.source == kind]
            one.heard = Heard(heard.watching)
            one.heard.events = one.events
        yield found


@pytest.fixture(params=["ext4", "tmpfs"])
def told(request: pytest.FixtureRequest, story: dict[str, SimpleNamespace]) -> SimpleNamespace:
    if request.param not in story:
        pytest.skip(f"no {request.param} here")
    return story[request.param]


def test_what_was_there_is_reported_in_the_order_of_names(told: SimpleNamespace) -> None:
    there = ["a.png", "b.png", "fifo.png", "folder.png", "hard.png", "line\nbyte\udcff.png", "link.png", "c.png"]
    assert told.heard.names()[: len(there)] == there


def test_every_file_is_reported_once_and_a_changed_one_twice(told: SimpleNamespace) -> None:
    names = sorted(told.heard.names())
    expected = {"b.png": 2, "a.png": 2}  # there is another b.png in the new folder
    once = ["c.png", "hard.png", "link.png", "folder.png", "fifo.png", "line\nbyte\udcff.png"]
    once += ["growing.png", "moved.png", "in-folder.png", "late.png"]
    assert names == sorted([name for name, count in expected.items() for _ in range(count)] + once)


def test_hidden_and_unfinished_names_and_what_is_moved_away_are_passed_over_and_counted(told: SimpleNamespace) -> None:
    last = told.heard.of(Beat)[-1]
    assert last.passed == {"hidden": 1, "unfinished": 2, "system": 1, "other": 1, "link": 1, "output": 2}
    assert "1 other file (1 .txt)" in last.passed_text
    assert last.waiting == 0


def test_no_file_is_reported_before_it_was_still_for_2_s(told: SimpleNamespace) -> None:
    inbox = told.inbox
    for name, event in (("growing.png", "growing"), ("a.png", "changed"), ("new/b.png", "new"), ("late.png", "late")):
        took_s = told.heard.at_s(inbox / name)[-1] - told.at[event]
        print(f"{name}: {took_s:.2f} s after it was written")
        assert took_s >= look.STILL_S
        assert took_s < LONG_S


def test_a_file_that_was_renamed_into_place_is_reported_before_one_that_was_written(told: SimpleNamespace) -> None:
    took_s = told.heard.at_s(told.inbox / "moved.png")[0] - told.at["moved"]
    print(f"moved.png: {took_s:.3f} s after it was renamed into place")
    assert told.heard.names().index("moved.png") < told.heard.names().index("growing.png")
    assert took_s < LONG_S


# What goes wrong.


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def test_events_that_inotify_loses_are_made_up_for_by_looking(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    with watching(folder_of(inbox)) as heard:
        heard.wait(lambda: heard.of(Fine))
        os.kill(pid(heard), signal.SIGSTOP)  # it reads no events: the kernel keeps 16,384 and drops the others
        for number in range(20_000):
            path = inbox / f"{number:05}.png"
            path.write_bytes(b"x")
        os.kill(pid(heard), signal.SIGCONT)
        taken = set[bytes]()

        def all_taken() -> bool:
            for event in heard.of(Ready)[len(taken) :]:
                assert event.path not in taken
                taken.add(event.path)
                heard.watching.left(event.path)
            return len(taken) == 20_000

        heard.wait(all_taken)


def test_what_inotify_loses_is_said(inbox: Path) -> None:
    hints = inotify.Hints()
    hints.watch(os.fsencode(inbox))
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most // 2 + 10):  # each file is created and closed
        (inbox / f"{number}.png").write_bytes(b"")
    found: list[inotify.Hint] = []
    while more := hints.take():
        found += more
    assert found[-1].path is None
    assert len(found) == most + 1
    os.close(hints.descriptor)


def test_a_folder_that_does_not_answer_is_said_and_the_others_go_on(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_SILENT_S", 2.0)
    (tmp_path / "other").mkdir()
    with watching(folder_of(inbox, "hangs"), folder_of(tmp_path / "other", "other")) as heard:
        heard.wait(lambda: len(heard.of(Fine)) == 2)
        os.kill(pid(heard), signal.SIGSTOP)  # as a process that waits for a dead share
        heard.wait(lambda: heard.of(Trouble))
        (tmp_path / "other/a.png").write_bytes(b"x")
        heard.wait(lambda: heard.names() == ["a.png"])
        os.kill(pid(heard), signal.SIGCONT)
        heard.wait(lambda: len(heard.of(Fine)) == 3)
    assert [(event.source, event.code) for event in heard.of(Trouble)] == [("hangs", "E-WATCH-SILENT")]


def test_a_folder_that_does_not_answer_for_long_gets_another_process_and_nothing_is_reported_twice(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_SILENT_S", 1.5)
    monkeypatch.setattr(watcher, "_LOST_S", 3.0)
    (inbox / "in-hand.png").write_bytes(b"x")
    with watching(folder_of(inbox, done="done")) as heard:
        heard.wait(lambda: heard.names() == ["in-hand.png"])
        first = pid(heard)
        os.kill(first, signal.SIGSTOP)
        heard.wait(lambda: heard.watching._folders[0]._child is None)
        heard.watching.done(os.fsencode(inbox / "in-hand.png"))  # while there is no process
        heard.wait(lambda: len(heard.of(Fine)) == 2)
        assert pid(heard) != first
        heard.wait(lambda: heard.of(Settled))
        (inbox / "new.png").write_bytes(b"x")
        heard.wait(lambda: "new.png" in heard.names())
    assert heard.names() == ["in-hand.png", "new.png"]
    assert (inbox / "done/in-hand.png").exists()


def test_a_process_that_is_killed_is_replaced(inbox: Path) -> None:
    (inbox / "in-hand.png").write_bytes(b"x")
    with watching(folder_of(inbox, quarantine="quarantine")) as heard:
        heard.wait(lambda: heard.names() == ["in-hand.png"])
        os.kill(pid(heard), signal.SIGKILL)
        heard.watching.quarantined(os.fsencode(inbox / "in-hand.png"), REASON)
        heard.wait(lambda: heard.of(Settled))
    assert [event.code for event in heard.of(Trouble)] == ["E-WATCH-LOST"]
    assert heard.of(Settled)[0].to == os.fsencode(inbox / "quarantine/in-hand.png")
    assert heard.names() == ["in-hand.png"]


def test_a_folder_that_is_not_there_is_said_once_and_watched_once_it_is(inbox: Path) -> None:
    inbox.rmdir()
    with watching(folder_of(inbox)) as heard:
        heard.wait(lambda: heard.of(Trouble))
        heard.for_s(2.5)
        inbox.mkdir()
        (inbox / "a.png").write_bytes(b"x")
        heard.wait(lambda: heard.names() == ["a.png"])
    assert [event.code for event in heard.of(Trouble)] == ["E-WATCH-MISSING"]
    assert len(heard.of(Fine)) == 1


def test_a_file_that_cannot_be_moved_is_moved_once_it_can(
    inbox: Path, tmp_path: Path, in_a_thread: Callable[..., Heard]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (inbox / "done").symlink_to(tmp_path / "elsewhere")
    (inbox / "a.png").write_bytes(b"x")
    heard = in_a_thread(folder_of(inbox, done="done"))
    heard.wait(lambda: heard.names() == ["a.png"])
    heard.watching.done(os.fsencode(inbox / "a.png"))
    heard.wait(lambda: heard.of(Trouble))
    heard.for_s(0.5)
    assert [event.code for event in heard.of(Trouble)] == ["E-WATCH-LINK"]
    (inbox / "done").unlink()
    heard.wait(lambda: heard.of(Settled))
    assert (inbox / "done/a.png").exists()
    assert len(heard.of(Fine)) == 2
    assert heard.names() == ["a.png"]


def test_a_file_that_changes_before_its_move_stays_and_is_reported_again(
    inbox: Path, in_a_thread: Callable[..., Heard]
) -> None:
    path = inbox / "a.png"
    path.write_bytes(b"x")
    heard = in_a_thread(folder_of(inbox, done="done"))
    heard.wait(lambda: heard.names() == ["a.png"])
    path.write_bytes(b"more")
    heard.watching.done(os.fsencode(path))
    heard.wait(lambda: heard.names() == ["a.png", "a.png"])
    assert [event.to for event in heard.of(Settled)] == [None]
    heard.watching.done(os.fsencode(path))
    heard.wait(lambda: (inbox / "done/a.png").exists())


def test_a_slow_upload_that_pauses_is_not_taken_for_finished(inbox: Path, in_a_thread: Callable[..., Heard]) -> None:
    heard = in_a_thread(folder_of(inbox))
    heard.wait(lambda: heard.of(Fine))
    with (inbox / "slow.png").open("wb") as file:
        for _ in range(2):
            file.write(b"half")
            file.flush()
            heard.for_s(2.0)  # four times what a file must be still for
        assert heard.names() == []
    heard.wait(lambda: heard.names() == ["slow.png"])


def test_a_file_that_a_program_never_closes_is_reported_all_the_same(
    inbox: Path, in_a_thread: Callable[..., Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WRITING_S", 2.0)
    heard = in_a_thread(folder_of(inbox))
    heard.wait(lambda: heard.of(Fine))
    with (inbox / "open.png").open("wb") as file:
        file.write(b"all of it")
        file.flush()
        heard.wait(lambda: heard.names() == ["open.png"])


@pytest.mark.parametrize("lack", ["inotify", "watches"])
def test_without_inotify_everything_is_found_by_looking(
    inbox: Path, in_a_thread: Callable[..., Heard], monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    class No:
        def inotify_init1(self, flags: int) -> int:
            return -1 if lack == "inotify" else os.eventfd(0, flags)

        def inotify_add_watch(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(inotify, "ctypes", SimpleNamespace(CDLL=lambda *_, **__: No()))
    heard = in_a_thread(folder_of(inbox))
    heard.wait(lambda: heard.of(Fine))
    (inbox / "sub").mkdir()
    (inbox / "sub/a.png").write_bytes(b"x")
    (inbox / "b").write_bytes(b"y")
    (inbox / "b").rename(inbox / "b.png")
    heard.wait(lambda: sorted(heard.names()) == ["a.png", "b.png"])


def test_an_empty_file_is_reported_after_it_was_empty_for_longer(
    inbox: Path, in_a_thread: Callable[..., Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "EMPTY_S", 2.0)
    heard = in_a_thread(folder_of(inbox))
    heard.wait(lambda: heard.of(Fine))
    began_s = time.monotonic()
    (inbox / "a-empty.png").write_bytes(b"")
    (inbox / "b.png").write_bytes(b"x")
    heard.wait(lambda: len(heard.names()) == 2)
    assert heard.names() == ["b.png", "a-empty.png"]
    assert heard.at_s(inbox / "a-empty.png")[0] - began_s >= 2.0


def test_a_folder_in_it_that_a_link_replaces_is_not_followed(
    inbox: Path, tmp_path: Path, in_a_thread: Callable[..., Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/a.png").write_bytes(b"not for you")
    (inbox / "sub").mkdir()
    (inbox / "sub/a.png").write_bytes(b"x")
    seen = threading.Event()
    real = look.Looks.due

    def late(looks: look.Looks, now_s: float) -> list[bytes]:
        found = real(looks, now_s)
        if found:  # between the first look and the second
            (inbox / "sub").rename(tmp_path / "away")
            (inbox / "sub").symlink_to(tmp_path / "secret")
            monkeypatch.setattr(look.Looks, "due", real)
            seen.set()
        return found

    monkeypatch.setattr(look.Looks, "due", late)
    heard = in_a_thread(folder_of(inbox))
    heard.wait(seen.is_set)
    heard.for_s(2.0)
    assert heard.names() == []


def test_globs_choose_also_what_inotify_hints_at(inbox: Path, in_a_thread: Callable[..., Heard]) -> None:
    heard = in_a_thread(folder_of(inbox, choice=Choice(include=("*.png",), exclude=("not/",))))
    heard.wait(lambda: heard.of(Fine))
    for name in ("not/a.png", "yes/b.png", "yes/c.jpg", "yes/.d.png"):
        (inbox / name).parent.mkdir(exist_ok=True)
        (inbox / f"{name}.new").write_bytes(b"x")
        (inbox / f"{name}.new").rename(inbox / name)
    heard.wait(lambda: heard.names() == ["b.png"])
    heard.for_s(2.0)
    assert heard.names() == ["b.png"]


@pytest.fixture
def in_a_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Heard]]:
    """`in_a_thread(FOLDER)`: a Watcher whose child is a thread, so that a test can replace its parts; files wait for 0.5 s."""
    monkeypatch.setattr(look, "STILL_S", 0.5)
    monkeypatch.setattr(child, "_MOVE_EVERY_S", 0.3)
    threads: list[threading.Thread] = []

    class Alive:
        def kill(self) -> None: ...

        def join(self, timeout_s: float) -> None: ...

    def start(target: Callable[..., None]) -> tuple[Alive, object]:
        parents_end, end = channel()
        threads.append(threading.Thread(target=target, args=(end,)))
        threads[-1].start()
        return Alive(), parents_end

    monkeypatch.setattr(watcher, "start_child", start)
    with contextlib.ExitStack() as opened:
        yield lambda folder: opened.enter_context(watching(folder))
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()


def test_a_folder_that_is_given_as_a_link_is_watched(inbox: Path, tmp_path: Path, in_a_thread: Callable[..., Heard]) -> None:
    (tmp_path / "link").symlink_to(inbox)
    heard = in_a_thread(folder_of(tmp_path / "link", done="done"))
    heard.wait(lambda: heard.of(Fine))
    (inbox / "a").write_bytes(b"x")
    (inbox / "a").rename(inbox / "a.png")
    heard.wait(lambda: heard.names() == ["a.png"])
    heard.watching.done(os.fsencode(tmp_path / "link/a.png"))
    heard.wait(lambda: (inbox / "done/a.png").exists())


def test_names_and_globs_need_not_be_utf_8(inbox: Path, in_a_thread: Callable[..., Heard]) -> None:
    for name in (b"a.\xff", b"b\xff.png", b"c\xfe.png"):
        Path(os.fsdecode(os.fsencode(inbox) + b"/" + name)).write_bytes(b"x")
    heard = in_a_thread(folder_of(inbox, choice=Choice(exclude=(os.fsdecode(b"*\xfe*"),))))
    heard.wait(lambda: heard.of(Ready) and heard.of(Beat)[-1].passed)
    assert heard.names() == ["b\udcff.png"]
    assert heard.of(Beat)[-1].passed_text == "1 other file (1 .\\xff), 1 excluded"


def test_a_file_that_changed_while_it_was_in_hand_costs_nothing_until_its_answer(inbox: Path) -> None:
    (inbox / "a.png").write_bytes(b"x")
    with watching(folder_of(inbox)) as heard:
        heard.wait(lambda: heard.names() == ["a.png"])
        (inbox / "a.png").write_bytes(b"more")
        heard.for_s(2.5)
        before_s = cpu_s(pid(heard))
        heard.for_s(2.0)
        assert cpu_s(pid(heard)) - before_s < 1.0
