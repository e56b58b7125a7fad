"""Which bundle runs: tries are counted before it is loaded, and what does not work gives way to the one before."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install import record
from limiar.edge_app.install.current import current_bundle
from limiar.edge_app.install.record import BUNDLES, Record, read_record, write_record
from limiar.edge_app.install.slots import Slots, slot_of


@pytest.fixture
def state(tmp_path: Path, tiny_path: Path) -> Path:
    """A state folder with a good bundle in slot a, and a new one of the same bytes in slot b, on trial and current."""
    folder = tmp_path / "state" / BUNDLES
    folder.mkdir(parents=True)
    for slot in ("a", "b"):
        shutil.copytree(tiny_path, folder / slot)
    new = slot_of(open_bundle(tiny_path))
    write_record(folder, Record(a=msgspec.structs.replace(new, good=True, tries_left=0), b=new))
    record.point(folder, "b")
    return folder.parent


def tries(state: Path) -> int:
    found = read_record(state / BUNDLES)
    return found.b.tries_left


def damage(path: Path) -> None:
    name = path / "tflite_int8.tflite"
    data = bytearray(name.read_bytes())
    data[100] ^= 1
    name.write_bytes(data)


def test_each_start_of_a_trial_uses_a_try_which_is_on_the_disk_before_the_bundle_is_loaded(state: Path) -> None:
    for left in (2, 1, 0):
        start = Slots(state).start()
        assert (start.path.name, start.on_trial, start.tries_left, start.fell_back) == ("b", True, left, "")
        assert tries(state) == left


def test_the_start_after_the_last_try_falls_back_and_says_so_once(state: Path) -> None:
    for _ in range(3):
        Slots(state).start()
    start = Slots(state).start()
    assert (start.path.name, start.on_trial) == ("a", False)
    assert "last try" in start.fell_back
    assert os.readlink(state / BUNDLES / "current") == "a"
    again = Slots(state).start()
    assert (again.path.name, again.fell_back) == ("a", "")


def test_a_good_bundle_starts_as_often_as_it_likes_and_raises_the_floor(state: Path) -> None:
    slots = Slots(state)
    slots.start()
    assert slots.status().floor == 0
    slots.good()
    assert slots.status().floor == 1
    for _ in range(5):
        start = Slots(state).start()
        assert (start.path.name, start.on_trial, start.fell_back) == ("b", False, "")


def test_a_failure_falls_back_at_once(state: Path) -> None:
    slots = Slots(state)
    slots.start()
    assert slots.fail("its worker died")
    assert current_bundle(state).name == "a"
    assert Slots(state).start().path.name == "a"
    assert [slot.left for slot in slots.status().slots] == ["", "its worker died"]


def test_nobody_falls_back_to_a_bundle_that_failed(state: Path) -> None:
    slots = Slots(state)
    slots.start()
    assert slots.fail("one")
    slots.start()
    assert not slots.fail("two")
    assert Slots(state).start().path.name == "a"


def test_a_damaged_current_bundle_gives_way_to_the_other_one_loudly(state: Path) -> None:
    damage(state / BUNDLES / "b")
    start = Slots(state).start()
    assert (start.path.name, start.fell_back) == ("a", "E-BUNDLE-HASH")


def test_a_damaged_bundle_gives_way_even_to_one_that_was_left(state: Path) -> None:
    slots = Slots(state)
    slots.start()
    slots.fail("it was slow")
    damage(state / BUNDLES / "a")
    assert Slots(state).start().path.name == "b"


def test_two_damaged_bundles_are_refused_with_what_to_do(state: Path) -> None:
    for slot in ("a", "b"):
        damage(state / BUNDLES / slot)
    with pytest.raises(LimiarError, match=r"E-UPDATE-DAMAGED.*install it again"):
        Slots(state).start()


def test_another_bundle_in_the_folder_of_a_slot_is_damage(state: Path, tiny_path: Path) -> None:
    found = read_record(state / BUNDLES)
    write_record(state / BUNDLES, found.having("b", msgspec.structs.replace(found.b, bundle="0" * 64)))
    assert Slots(state).start().path.name == "a"


def test_the_first_bundle_has_nothing_to_fall_back_to_and_is_started_all_the_same(state: Path) -> None:
    shutil.rmtree(state / BUNDLES / "a")
    found = read_record(state / BUNDLES)
    write_record(state / BUNDLES, found.having("a", None))
    for left in (2, 1, 0, 0, 0):
        slots = Slots(state)
        start = slots.start()
        assert (start.path.name, start.tries_left, start.fell_back) == ("b", left, "")
        assert not slots.fail("it does not work")


def test_a_cut_between_the_record_and_the_link_is_made_good_by_the_next_start(state: Path) -> None:
    found = read_record(state / BUNDLES)
    write_record(state / BUNDLES, found.having("b", msgspec.structs.replace(found.b, left="its worker died")))
    start = Slots(state).start()
    assert (start.path.name, start.fell_back) == ("a", "its worker died")


@pytest.mark.parametrize("broken", [b"", b"{", b"\xff" * 100, b'{"schema": 2}', b"[" * 100_000, b" " * (1 << 20)])
def test_without_a_readable_record_the_current_bundle_still_loads_on_trial(state: Path, broken: bytes) -> None:
    (state / BUNDLES / "slots.json").write_bytes(broken)
    start = Slots(state).start()
    assert (start.path.name, start.on_trial, start.tries_left) == ("b", True, 2)
    assert open_bundle(start.path)


@pytest.mark.parametrize("target", ["", "../..", "/etc", "c", None])
def test_a_link_that_leads_elsewhere_is_not_followed_and_the_good_bundle_loads(state: Path, target: str | None) -> None:
    link = state / BUNDLES / "current"
    link.unlink()
    if target:
        link.symlink_to(target)
    elif target is not None:
        link.write_bytes(b"b")
    assert Slots(state).start().path.name == "a"


def test_a_service_marks_only_the_bundle_that_it_started(state: Path) -> None:
    slots = Slots(state)
    slots.start()
    found = read_record(state / BUNDLES)
    newer = msgspec.structs.replace(found.b, bundle="0" * 64, tries_left=3)
    write_record(state / BUNDLES, found.having("b", newer))  # meanwhile another one was installed into the slot
    slots.good()
    assert not slots.fail("late")
    assert read_record(state / BUNDLES).b == newer


def test_without_a_bundle_the_message_says_how_to_install_one(tmp_path: Path) -> None:
    for ask in (Slots(tmp_path).start, lambda: current_bundle(tmp_path)):
        with pytest.raises(LimiarError, match=r"E-UPDATE-NONE.*limiar install"):
            ask()
    assert Slots(tmp_path).status().current is None
    (tmp_path / BUNDLES).mkdir()
    with pytest.raises(LimiarError, match=r"E-UPDATE-NONE"):
        Slots(tmp_path).start()


def test_a_state_folder_that_cannot_be_written_is_named(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(record, "write_whole", refuse)
    with pytest.raises(LimiarError, match=r"E-UPDATE-WRITE.*Read-only"):
        Slots(state).start()
    assert tries(state) == 3
