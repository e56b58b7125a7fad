"""When a file is complete. Looks and times come in as arguments, so there is neither a folder nor a clock here."""

import os
from pathlib import Path

import pytest

from limiar.edge_app.intake import look
from limiar.edge_app.intake.beneath import has_inodes
from limiar.edge_app.intake.look import EMPTY_S, STILL_S, Looks, Seen

A = b"/in/a.png"


def seen(size: int = 100, mtime_ns: int = 1, inode: int = 7, is_plain: bool = True) -> Seen:
    return Seen(1, inode, size, mtime_ns, is_plain)


def complete(looks: Looks, now_s: float, found: Seen, path: bytes = A) -> bool:
    """Looks again if that is due."""
    return path in looks.due(now_s) and looks.again(path, found, now_s)


def test_a_file_is_complete_once_two_looks_2_s_apart_saw_the_same() -> None:
    looks = Looks()
    looks.saw(A, seen(), 10.0)
    assert looks.due_at_s() == 10.0 + STILL_S
    assert not complete(looks, 11.9, seen())
    assert complete(looks, 12.0, seen())


@pytest.mark.parametrize(
    "changed", [seen(size=101), seen(mtime_ns=2), seen(inode=8), seen(is_plain=False)], ids=["size", "time", "inode", "kind"]
)
def test_any_change_starts_the_time_again(changed: Seen) -> None:
    looks = Looks()
    looks.saw(A, seen(), 0.0)
    assert not complete(looks, 2.0, changed)
    assert not complete(looks, 3.9, changed)
    assert complete(looks, 4.0, changed)


def test_looks_in_between_do_not_start_the_time_again_unless_the_file_grew() -> None:
    looks = Looks()
    for now_s in (0.0, 0.8, 1.6):
        looks.saw(A, seen(), now_s)
    assert complete(looks, 2.0, seen())
    for now_s, size in ((10.0, 1), (11.0, 2), (12.0, 3)):
        looks.saw(b"b", seen(size=size), now_s)
    assert not complete(looks, 13.9, seen(size=3), b"b")
    assert complete(looks, 14.0, seen(size=3), b"b")


def test_an_empty_file_waits_for_longer() -> None:
    looks = Looks()
    looks.saw(A, seen(size=0), 0.0)
    assert not complete(looks, EMPTY_S - 0.1, seen(size=0))
    assert complete(looks, EMPTY_S, seen(size=0))


def test_an_empty_file_that_gets_its_content_waits_2_s_from_then() -> None:
    looks = Looks()
    looks.saw(A, seen(size=0), 0.0)
    looks.saw(A, seen(), 5.0)
    assert not complete(looks, 6.9, seen())
    assert complete(looks, 7.0, seen())


def test_a_fifo_has_no_size_and_does_not_wait_for_one() -> None:
    looks = Looks()
    looks.saw(A, seen(size=0, is_plain=False), 0.0)
    assert complete(looks, STILL_S, seen(size=0, is_plain=False))


def test_a_file_that_was_renamed_into_place_is_complete_at_once() -> None:
    looks = Looks()
    looks.saw(A, seen(), 5.0, moved=True)
    assert complete(looks, 5.0, seen())


def test_an_empty_file_that_was_renamed_into_place_waits_all_the_same() -> None:
    looks = Looks()
    looks.saw(A, seen(size=0), 0.0, moved=True)
    assert not complete(looks, EMPTY_S - 0.1, seen(size=0))
    assert complete(looks, EMPTY_S, seen(size=0))


def test_a_look_at_the_folder_does_not_delay_a_file_that_was_renamed_into_place() -> None:
    looks = Looks()
    looks.saw(A, seen(), 5.0, moved=True)
    looks.saw(A, seen(), 5.1)
    assert complete(looks, 5.1, seen())


def test_a_rename_over_a_file_that_waits_makes_it_complete_at_once() -> None:
    looks = Looks()
    looks.saw(A, seen(), 0.0)
    looks.saw(A, seen(inode=8), 0.5, moved=True)
    assert complete(looks, 0.5, seen(inode=8))


def test_a_file_that_a_program_has_open_waits_for_longer_until_it_is_closed() -> None:
    looks = Looks()
    looks.saw(A, seen(), 0.0, writing=True)
    looks.saw(A, seen(), 5.0, writing=True)  # a look at the whole folder
    assert looks.due(look.WRITING_S - 0.1) == []
    assert looks.due(look.WRITING_S) == [A]  # some programs never close a file
    looks.saw(A, seen(), 10.0)
    assert not complete(looks, 11.9, seen())
    assert complete(looks, 12.0, seen())


def test_a_file_that_waits_waits_for_longer_once_a_program_writes_to_it() -> None:
    looks = Looks()
    looks.saw(A, seen(), 0.0)
    looks.saw(A, seen(), 1.0, writing=True)
    assert looks.due(3.0) == []


def test_a_file_that_vanishes_while_it_waits_is_forgotten() -> None:
    looks = Looks()
    looks.saw(A, seen(), 0.0)
    assert looks.due(2.0) == [A]
    assert not looks.again(A, None, 2.0)
    assert looks.waiting == 0


def test_a_file_is_reported_once() -> None:
    looks = Looks()
    looks.saw(A, seen(), 0.0)
    assert complete(looks, 2.0, seen())
    looks.saw(A, seen(), 3.0)
    looks.answered(A, stays=True)
    looks.saw(A, seen(), 4.0)
    assert looks.due(100.0) == []
    assert looks.waiting == 0


def test_a_file_that_changes_after_its_answer_is_reported_again() -> None:
    looks = Looks()
    looks.report(A, seen().identity)
    looks.answered(A, stays=True)
    looks.saw(A, seen(mtime_ns=2), 10.0)
    assert complete(looks, 12.0, seen(mtime_ns=2))


def test_a_file_that_changes_while_it_is_in_hand_is_reported_after_its_answer() -> None:
    looks = Looks()
    looks.report(A, seen().identity)
    looks.saw(A, seen(size=200), 10.0)
    assert looks.due(20.0) == []
    assert looks.due_at_s() == float("inf")  # or the process would look without a pause
    looks.answered(A, stays=True)
    assert complete(looks, 20.0, seen(size=200))


def test_a_file_that_was_moved_away_and_put_back_is_reported_again() -> None:
    looks = Looks()
    looks.report(A, seen().identity)
    looks.answered(A, stays=False)
    looks.saw(A, seen(), 10.0)
    assert complete(looks, 12.0, seen())


def test_what_a_whole_look_did_not_see_is_forgotten_but_not_what_is_in_hand() -> None:
    looks = Looks()
    for path in (A, b"b", b"c"):
        looks.report(path, seen().identity)
    looks.answered(A, stays=True)
    looks.answered(b"b", stays=True)
    looks.begin()
    looks.saw(b"b", seen(), 5.0)
    looks.end()
    assert looks.identity(b"c") == seen().identity
    looks.saw(A, seen(), 6.0)
    looks.saw(b"b", seen(), 6.0)
    assert looks.due(10.0) == [A]


def test_files_become_due_by_folder_and_name() -> None:
    looks = Looks()
    names = [b"b/2.png", b"b-c/1.png", b"a.png", b"b/1.png", b"z.png"]
    for name in names:
        looks.saw(name, seen(), 0.0)
    assert looks.due(2.0) == [b"a.png", b"b/1.png", b"b/2.png", b"b-c/1.png", b"z.png"]


def test_so_many_files_are_in_hand_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "IN_HAND", 3)
    looks = Looks()
    for number in range(10):
        looks.saw(b"%d" % number, seen(), 0.0)
    reported: list[bytes] = []
    while due := looks.due(2.0):
        assert len(due) <= 3
        for path in due:
            assert looks.again(path, seen(), 2.0)
            reported.append(path)
        assert looks.due_at_s() == float("inf") or not looks.waiting
        looks.answered(due[0], stays=True)
    assert reported == [b"%d" % number for number in range(10)]


def test_so_many_files_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WAITING", 3)
    looks = Looks()
    assert [looks.saw(b"%d" % number, seen(), 0.0) for number in range(5)] == [True, True, True, False, False]
    assert looks.saw(b"0", seen(size=5), 1.0)  # one that waits may change
    assert looks.waiting == 3


def test_an_identity_has_32_bytes_for_any_file(tmp_path: os.PathLike[str]) -> None:
    for status in (os.stat(tmp_path), os.stat("/dev/null"), os.lstat("/proc/self/exe")):
        assert len(Seen.of(status, has_inodes=True).identity) == 32
    assert len(Seen(2**64 - 1, 2**64 - 1, 2**63 - 1, -1, True).identity) == 32


def test_where_a_file_system_makes_up_inodes_they_do_not_count(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_bytes(b"x")
        os.utime(path, ns=(1, 1))
    assert Seen.of(one.stat(), has_inodes=False) == Seen.of(other.stat(), has_inodes=False)
    assert Seen.of(one.stat(), has_inodes=True) != Seen.of(other.stat(), has_inodes=True)


def test_ext4_and_tmpfs_have_inodes_and_what_is_not_known_counts_as_having_them(tmp_path: Path) -> None:
    assert all(has_inodes(path) for path in (os.fsencode(tmp_path), b"/dev/shm", b"/none"))
