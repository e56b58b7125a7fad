"""The log of a disk's writes, played back after a power cut, on small logs made here."""

import struct
from pathlib import Path

import pytest

from virtualpi.logwrites import LogError, replay

SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4
SUPER = struct.pack("<QQQI", 0x6A736677736872, 1, 0, SECTOR).ljust(SECTOR, b"\0")


def entry(flags: int = 0, sector: int = 0, data: bytes = b"") -> bytes:
    return struct.pack("<QQQQ", sector, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0") + data


def write(letter: str, sector: int, flags: int = 0, sectors: int = 1) -> bytes:
    return entry(flags, sector, letter.encode() * SECTOR * sectors)


FLUSHED = entry(FLUSH)


class Disk:
    """Four sectors of dots, and a log of writes to them."""

    def __init__(self, folder: Path) -> None:
        self.image, self.log = folder / "disk", folder / "log"
        self.image.write_bytes(b"." * 4 * SECTOR)

    def after(self, *log: bytes) -> str:
        """The disk after a replay: a letter for each sector."""
        self.log.write_bytes(b"".join(log))
        self.replayed = replay(self.log, self.image)
        sectors = self.image.read_bytes()
        assert len(sectors) == 4 * SECTOR
        letters = [sectors[at : at + SECTOR].decode() for at in range(0, len(sectors), SECTOR)]
        assert all(len(set(letter)) == 1 for letter in letters)
        return "".join(letter[0] for letter in letters)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_a_write_that_no_flush_came_after_is_dropped_and_counted(disk: Disk) -> None:
    assert disk.after(SUPER, write("a", 0), FLUSHED, write("b", 1, sectors=2), write("c", 0)) == "a..."
    assert disk.replayed == (1, 2, 3 * SECTOR)


def test_writes_before_the_last_flush_are_kept_the_later_one_on_top(disk: Disk) -> None:
    assert disk.after(SUPER, write("a", 0), FLUSHED, write("b", 1, sectors=2), write("c", 0), FLUSHED) == "cbb."
    assert disk.replayed == (3, 0, 0)


@pytest.mark.parametrize("start", [SUPER, bytes(SECTOR)])  # QEMU writes the superblock with the first flush
def test_without_a_flush_nothing_is_kept(disk: Disk, start: bytes) -> None:
    assert disk.after(start, write("a", 0), write("b", 3)) == "...."
    assert disk.replayed == (0, 2, 2 * SECTOR)
    assert disk.after(start) == "...."


def test_what_was_written_through_is_kept_and_nothing_else_with_it(disk: Disk) -> None:
    assert disk.after(SUPER, write("a", 0), write("b", 1, FUA), write("c", 2)) == ".b.."


def test_a_write_with_a_flush_makes_those_before_it_certain_and_not_itself(disk: Disk) -> None:
    assert disk.after(SUPER, write("a", 0), write("b", 1, FLUSH)) == "a..."
    assert disk.after(SUPER, write("a", 0), write("b", 1, FLUSH | FUA)) == "ab.."


@pytest.mark.parametrize("left", [1, SECTOR - 1, SECTOR, 2 * SECTOR - 1])
def test_an_entry_that_the_end_of_the_log_has_torn_does_not_count(disk: Disk, left: int) -> None:
    assert disk.after(SUPER, write("a", 0), FLUSHED, write("b", 1, FUA)[:left]) == "a..."


def test_zeros_end_the_log(disk: Disk) -> None:
    assert disk.after(SUPER, write("a", 0), FLUSHED, bytes(3 * SECTOR)) == "a..."


@pytest.mark.parametrize(
    "log",
    [
        [SUPER, write("a", 0), bytes(2 * SECTOR), FLUSHED],  # a hole: which flush came after it cannot be known
        [SUPER, entry(DISCARD)],
        [write("a", 0), FLUSHED],
        [SUPER[:20]],
    ],
)
def test_a_log_that_cannot_be_believed_is_refused(disk: Disk, log: list[bytes]) -> None:
    with pytest.raises(LogError):
        disk.after(*log)
    assert disk.image.read_bytes() == b"." * 4 * SECTOR
