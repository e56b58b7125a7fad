"""The rules by which a device sends and forgets rows, in a world that loses, dies, and goes back to copies."""

import copy
import itertools
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from limiar.edge_app.fleet.messages import NO_MARK, Acked, Row, Rows
from limiar.edge_app.fleet.sending import Sending
from limiar.edge_app.store.outbox import Uplink


class Store:
    """An outbox in memory, as edge_app/store/outbox.py has it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.entries: dict[str, int] = {}  # by key: the answer, by its number among all that were ever given
        self._answers = itertools.count()
        self.begin()

    def begin(self) -> None:
        self.name = self._rng.randbytes(16)
        self.acked, self.newest = 0, 0
        self.waits: dict[int, tuple[str, str]] = {}  # mark and key
        self._put(list(self.entries))

    def add(self, count: int) -> None:
        self._answer([self._rng.randbytes(8).hex() for _ in range(count)])

    def again(self, count: int) -> None:
        """The first ones are answered again."""
        self._answer(list(self.entries)[:count])

    def _answer(self, keys: list[str]) -> None:
        self.entries |= {key: next(self._answers) for key in keys}
        self._put(keys)

    def _put(self, keys: list[str]) -> None:
        for key in keys:
            self.newest += 1
            self.waits[self.newest] = self._rng.randbytes(8).hex(), key

    def copied(self) -> "Store":
        found = copy.copy(self)
        found.entries, found.waits = dict(self.entries), dict(self.waits)
        return found

    def uplink(self) -> Uplink:
        return Uplink(self.name, self.acked, self.newest)

    def rows(self, after: int, most: int) -> tuple[str | None, list[Row]]:
        found = [number for number in sorted(self.waits) if number > after][:most]
        return self.mark_of(after), [self._row(number, *self.waits[number]) for number in found]

    def _row(self, number: int, mark: str, key: str) -> Row:
        return Row(sequence=number, mark=mark, key=key, kind="file", line=Raw(str(self.entries[key]).encode()))

    def mark_of(self, sequence: int) -> str | None:
        return self.waits[sequence][0] if sequence in self.waits else None

    def delivered(self, store: bytes, sequence: int) -> bool:
        if store == self.name and self.acked < sequence <= self.newest:
            self.waits = {number: row for number, row in self.waits.items() if number > sequence}
            self.acked = sequence
        return True

    def renew(self, store: bytes) -> bool:
        if store == self.name:
            self.begin()
        return True


class Collector:
    """The rules of edge_app/collect/receiver.py."""

    def __init__(self) -> None:
        self.stores: dict[str, tuple[int, str]] = {}
        self.of: dict[tuple[str, int], str] = {}
        self.rows: dict[str, int] = {}  # as Store.entries
        self.last: str | None = None

    def copied(self) -> "Collector":
        found = Collector()
        found.stores, found.of, found.rows, found.last = dict(self.stores), dict(self.of), dict(self.rows), self.last
        return found

    def take(self, rows: Rows) -> Acked:
        committed, last = self.stores.get(rows.store, (0, NO_MARK))
        before, gap, new = rows.before, False, []
        differ = any(
            self.of.get((rows.store, row.sequence), row.mark) != row.mark for row in rows.rows if row.sequence <= committed
        )
        for row in rows.rows:
            if row.sequence > committed + len(new):
                if differ or row.sequence != committed + len(new) + 1 or before not in (None, new[-1].mark if new else last):
                    gap = True
                    break
                new.append(row)
            before = row.mark
        for row in new:
            self.of[rows.store, row.sequence] = row.mark
            self.rows[row.key] = int(bytes(row.line))
        committed, last = committed + len(new), new[-1].mark if new else last
        self.stores[rows.store], self.last = (committed, last), rows.store
        return Acked(store=rows.store, sequence=committed, mark=last, gap=gap or differ)

    def lacks(self, entries: dict[str, int]) -> dict[str, int]:
        """Those that it has not, or only an older answer. A later one was given before the store was put back."""
        return {key: answer for key, answer in entries.items() if self.rows.get(key, -1) < answer}

    def ack(self) -> Acked | None:
        if self.last is None:
            return None
        committed, last = self.stores[self.last]
        return Acked(store=self.last, sequence=committed, mark=last)


class World:
    """A device, a broker and a collector; time goes on by steps."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.time = 0.0
        self.store, self.collector = Store(self.rng), Collector()
        self.up: deque[Rows] = deque()
        self.down: deque[Acked] = deque()
        self.retained: Acked | None = None
        self.connected = False
        self.sent: list[Rows] = []
        self.most = 7  # rows of a message
        self.start()

    def start(self) -> None:
        """A new process of the uplink."""
        self.connected = False
        self.up.clear()
        self.down.clear()
        self.sending = Sending(self, self, self.send, now=lambda: self.time)

    # what the uplink sees is whatever store lies there now
    def uplink(self) -> Uplink:
        return self.store.uplink()

    def rows(self, after: int, most: int) -> tuple[str | None, list[Row]]:
        return self.store.rows(after, min(most, self.most))

    def mark_of(self, sequence: int) -> str | None:
        return self.store.mark_of(sequence)

    def delivered(self, store: bytes, sequence: int) -> bool:
        return self.rng.random() < 0.8 and self.store.delivered(store, sequence)

    def renew(self, store: bytes) -> bool:
        return self.rng.random() < 0.8 and self.store.renew(store)

    def send(self, rows: Rows) -> bool:
        if self.connected:
            self.up.append(rows)
            self.sent.append(rows)
        return self.connected

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.sending.connected()
            if self.retained:
                self.sending.heard(self.retained, True)

    def cut(self) -> None:
        if self.connected:
            self.connected = False
            self.sending.disconnected()
            for _ in range(self.rng.randrange(len(self.up) + 1)):
                self.up.pop()
            self.down.clear()

    def collect(self, most: int) -> None:
        for _ in range(min(most, len(self.up))):
            ack = self.collector.take(self.up.popleft())
            self.retained = ack
            if self.connected:
                self.down.append(ack)

    def hear(self) -> None:
        while self.down:
            self.sending.heard(self.down.popleft(), False)

    def settle(self) -> None:
        """Everything works from now on."""
        quiet = 0
        for _ in range(4000):
            self.connect()
            self.sending.turn()
            self.collect(100)
            self.hear()
            self.sending.turn()
            self.time += 0.5
            quiet = quiet + 1 if not self.store.waits and not self.up and not self.down else 0
            if quiet == 1:
                self.time += 600
            if quiet > 40:
                return
        raise AssertionError(f"it does not end: {self.store.uplink()} {self.collector.stores}")


EVERY_DAY = (
    *(
        "add",
        "add",
        "turn",
        "turn",
        "turn",
        "turn",
        "collect",
        "collect",
        "collect",
        "hear",
        "hear",
        "hear",
        "connect",
        "connect",
    ),
    *("cut", "wait", "lose", "restart", "again"),
)
COPIES = ("copy", "put back", "replace", "collector copy", "collector put back")


def did(world: World, step: str, copies: dict[str, Any]) -> None:
    match step:
        case "add":
            world.store.add(world.rng.randrange(1, 30))
        case "again":
            world.store.again(world.rng.randrange(1, 30))
        case "turn":
            world.sending.turn()
        case "collect":
            world.collect(world.rng.randrange(1, 6))
        case "hear":
            world.hear()
        case "connect":
            world.connect()
        case "cut":
            world.cut()
        case "wait":
            world.time += world.rng.choice((0.5, 3, 11, 400))
        case "lose":  # a broker that was killed has acknowledged what it then loses
            for _ in range(world.rng.randrange(1, 4)):
                if world.up:
                    del world.up[world.rng.randrange(len(world.up))]
        case "restart":
            world.start()
        case "copy":
            copies["store"] = world.store.copied()
        case "put back" if "store" in copies:
            world.store = copies["store"].copied()
            if world.rng.random() < 0.5:  # a service that finds its store damaged puts a copy back, and its uplink goes on
                world.start()
        case "replace":
            world.store = Store(world.rng)
            world.start()
        case "collector copy":
            copies["collector"] = world.collector.copied()
        case "collector put back" if "collector" in copies:
            world.collector = copies["collector"].copied()
            world.down.clear()
            world.retained = world.collector.ack()
            if world.retained and world.connected:
                world.down.append(world.retained)


@pytest.mark.parametrize("seed", range(0, 2000, 500))
def test_every_entry_of_the_store_is_at_the_collector_in_the_end(seed: int) -> None:
    for one in range(seed, seed + 500):
        world, copies = World(one), {}
        for step in world.rng.choices((*EVERY_DAY, *COPIES), k=world.rng.randrange(200)):
            did(world, step, copies)
        world.settle()
        assert not world.collector.lacks(world.store.entries), one


@given(st.integers(0, 1 << 32), st.lists(st.sampled_from(EVERY_DAY), max_size=80))
@settings(max_examples=200, deadline=None)
def test_without_copies_nothing_is_forgotten_that_the_collector_lacks_at_any_time(seed: int, steps: list[str]) -> None:
    world = World(seed)
    for step in steps:
        did(world, step, {})
        waiting = {key for _, key in world.store.waits.values()}
        gone = {key: answer for key, answer in world.store.entries.items() if key not in waiting}
        assert not world.collector.lacks(gone)
        assert world.store.acked <= world.collector.stores.get(world.store.name.hex(), (0, ""))[0]


def running(rows: int) -> World:
    world = World(1)
    world.store.add(rows)
    world.connect()
    world.time += 3
    return world


def test_at_most_a_window_of_rows_is_on_its_way() -> None:
    world = running(3000)
    while world.sending.turn():
        pass
    assert 1000 <= sum(len(one.rows) for one in world.sent) < 1007
    world.collect(1)
    world.hear()
    world.sending.turn()
    assert world.store.acked == 7


def test_it_does_not_forget_by_what_a_broker_acknowledges() -> None:
    world = running(5)
    world.sending.turn()
    world.up.clear()  # the broker had taken it
    for _ in range(100):
        world.time += 1
        world.sending.turn()
    assert len(world.store.waits) == 5


def test_a_collector_that_is_away_costs_a_message_now_and_then_and_a_smaller_one_each_time() -> None:
    world = running(3000)
    while world.sending.turn():
        pass
    first = len(world.sent)
    for _ in range(3600):
        world.time += 1
        world.sending.turn()
    again = [len(one.rows) for one in world.sent[first:]]
    assert len(again) < 18  # 10, 20, 40 … 300 s
    assert again[-1] == 1
    world.settle()


def test_before_it_sends_it_hears_what_the_collector_has() -> None:
    world = World(1)
    world.store.add(20)
    waits = dict(world.store.waits)
    world.settle()
    world.store.add(5)
    waits |= world.store.waits
    world.store.acked = 0  # the service was killed before it wrote that down
    world.store.waits = waits
    world.start()
    world.sent.clear()
    world.connect()
    world.sending.turn()
    assert world.sent[0].rows[0].sequence == 21
    assert world.store.acked in (0, 20)


def test_an_old_message_of_the_collector_does_not_make_it_send_everything_again() -> None:
    world = running(50)
    old = Acked(store=world.store.name.hex(), sequence=7, mark=world.store.waits[7][0])
    world.settle()
    name = world.store.name
    world.sending.heard(old, False)
    world.sending.turn()
    assert world.sent[-1].rows == ()  # it asks
    world.settle()
    for _ in range(100):
        world.time += 1
        world.collect(10)
        world.hear()
        world.sending.turn()
    assert world.store.name == name


def test_a_collector_that_went_back_gets_everything_again_once_it_has_said_so_twice() -> None:
    world = running(50)
    world.collector.take(Rows(store=world.store.name.hex(), rows=tuple(world.store.rows(0, 7)[1])))
    older = world.collector.copied()
    world.settle()
    name, world.collector = world.store.name, older
    world.sending.heard(older.ack(), False)
    for _ in range(20):
        world.time += 1
        world.sending.turn()
        world.collect(10)
        world.hear()
    world.settle()
    assert world.store.name != name
    assert not world.collector.lacks(world.store.entries)


def test_two_collectors_that_contradict_each_other_are_asked_now_and_then() -> None:
    world, second = running(50), Collector()
    world.settle()
    world.sent.clear()
    for number in range(600):
        if number % 100 == 0:
            world.store.add(1)
        world.sending.turn()
        for rows in world.up:
            world.sending.heard(world.collector.take(rows), False)
            world.sending.heard(second.take(rows), False)
        world.up.clear()
        world.time += 0.1
    assert len(world.sent) < 60  # a minute


def test_a_collector_that_says_more_than_there_is_does_not_keep_the_store_busy() -> None:
    world, names = running(50), set()
    for _ in range(6000):
        names.add(world.store.name)
        world.sending.heard(Acked(store=world.store.name.hex(), sequence=world.store.newest + 1, mark="ab" * 8), False)
        world.sending.turn()
        world.time += 0.1
    assert len(names) < 12  # ten minutes


def test_a_store_that_goes_back_and_grows_again_while_there_is_no_network_forgets_nothing_that_was_not_sent() -> None:
    world = running(50)
    world.settle()
    copy = world.store.copied()
    world.store.add(50)
    world.settle()
    world.start()  # so it knows how far the collector is by the store, and no mark
    world.sending.turn()
    world.store = copy
    world.store.add(80)  # past what the collector has
    world.settle()
    assert not world.collector.lacks(world.store.entries)


def test_a_store_and_its_copy_that_answer_the_same_images_again_are_told_apart() -> None:
    world = running(50)
    world.settle()
    copy = world.store.copied()
    world.store.again(50)
    world.settle()
    world.store = copy
    world.store.again(50)  # by another bundle, perhaps
    world.start()
    world.settle()
    assert not world.collector.lacks(world.store.entries)


def test_a_broken_connection_that_brings_nothing_forward_makes_messages_smaller() -> None:
    world = running(3000)
    sizes = []
    rows, world.most = world.store.rows, 200

    def noted(after: int, most: int) -> tuple[str | None, list[Row]]:
        sizes.append(most)
        return rows(after, most)

    setattr(world.store, "rows", noted)  # noqa: B010 mypy takes it for a mistake
    for _ in range(10):
        world.sending.turn()
        world.cut()
        world.up.clear()
        world.connect()
        world.time += 3
    assert sizes[0] == 200
    assert sizes[-1] == 1
