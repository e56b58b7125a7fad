"""When a device sends which rows, and when it forgets them: go-back-N, apart from how messages travel.

Rows go out in order. Only what the collector says that it has committed is forgotten: a broker acknowledges what it then loses.
If nothing moves for a while, the device goes back to the first row that the collector may lack.

A sequence names a row only together with its store's id, and an older copy of a store has the same id. So the mark of a row is
compared before anything is forgotten; if it differs, or there is no such row yet, the store sends everything again under a new
id, which doubles nothing, since a collector knows an entry by its key. The same is done if the collector went back.

An entry's key would not do for that: a store and its copy may both answer the same images again, by different bundles.
"""

import time
from collections.abc import Callable
from typing import Protocol

from limiar.edge_app.fleet.doubt import Doubt
from limiar.edge_app.fleet.messages import NO_MARK, ROWS_MOST, Acked, Row, Rows
from limiar.edge_app.store.outbox import Uplink

WINDOW = 1000  # rows that may be on their way
RETRY_S, LONGEST_S = 10.0, 300.0  # without progress, until it goes back
LISTEN_S = 2.0  # for the retained acknowledgement, after it has connected
ASK_S = 600.0  # a device with nothing to send asks the collector how far it is: it may have gone back to an older backup
_SOON_S = 1.0  # a service that could not be asked is asked again
_AT_ONCE = 4  # messages in a turn


class Outbox(Protocol):
    """What waits in the store. What its methods raise, `Sending.turn` raises."""

    def uplink(self) -> Uplink | None:
        """How far it is; None: this device is in no fleet."""

    def rows(self, after: int, most: int) -> tuple[str | None, list[Row]]:
        """The mark of the row with this sequence, if it waits too, and at most so many behind it, as one message holds them."""

    def mark_of(self, sequence: int) -> str | None:
        """The mark of a row that waits."""


class Forgetting(Protocol):
    """Who may change the store."""

    def delivered(self, store: bytes, sequence: int) -> bool:
        """Forgets the rows up to one; whether it was done."""

    def renew(self, store: bytes) -> bool:
        """Sends everything again, as another store; whether it was done."""


class Sending:
    """Call `connected` and `disconnected`, `heard` with what the collector says, and `turn` often."""

    def __init__(
        self,
        outbox: Outbox,
        forgetting: Forgetting,
        send: Callable[[Rows], bool],
        *,
        ready: Callable[[], bool] = lambda: True,
        now: Callable[[], float] = time.monotonic,
        window: int = WINDOW,
        retry_s: float = RETRY_S,
        listen_s: float = LISTEN_S,
    ) -> None:
        """send: hands a message to the connection; whether it took it. ready: whether it would."""
        self._outbox, self._forgetting, self._send, self._ready = outbox, forgetting, send, ready
        self._now, self._window, self._retry_s, self._listen_s = now, window, retry_s, listen_s
        self._begins: float | None = None  # when it may send; None: not connected
        self._most = ROWS_MOST  # of a message: fewer while nothing arrives
        self._heard: list[tuple[Acked, bool]] = []
        self._ask_at = self._renew_at = now()  # the service
        self._renew_wait_s = _SOON_S  # longer each time: a collector that is wrong each time costs the store little
        self._doubt = Doubt(now, retry_s)
        self._spoke = now()  # when something was sent that the collector answers
        self._arrived = False  # whether the collector has answered in this connection
        self.uplink: Uplink | None = None  # as it was at the last turn
        self._start(None)

    def _start(self, store: bytes | None) -> None:
        """With a store, of which nothing is known."""
        self._store = store
        self.acked, self._mark = 0, NO_MARK  # the last row that the collector has, and its mark
        self._kept = 0  # up to this row the store had forgotten
        self.sent = 0  # the highest sequence that was sent
        self._gap_at: tuple[int, float] | None = None  # where it went back to after a gap, and when
        self._doubt.end()
        self._from_acked()

    def _from_acked(self) -> None:
        """Nothing is on its way."""
        self._next = self.acked + 1
        self._moves()

    def _moves(self) -> None:
        """There is progress, or nothing that could make any."""
        self._since = self._now()
        self._wait_s = self._retry_s
        self._back_at = self._since + self._wait_s
        self._probing = False

    @property
    def silent_s(self) -> float:
        """For how long the collector has not answered; 0 if it need not."""
        return self._now() - self._since if self._begins is not None and self._waits else 0.0

    @property
    def _waits(self) -> bool:
        return self._probing or self._next > self.acked + 1

    def connected(self) -> None:
        """There is a connection, with nothing on its way."""
        self._begins = self._now() + self._listen_s
        self._gap_at = None
        self._arrived = False
        self._spoke = self._now() - ASK_S
        self._from_acked()

    def disconnected(self) -> None:
        """What was on its way may be lost."""
        if self._begins is not None and self._waits and not self._arrived:
            self._most = max(1, self._most // 2)
        self._begins = None
        self._heard.clear()
        self._doubt.end()

    def heard(self, ack: Acked, retained: bool) -> None:
        """The collector said what it has; `turn` acts on it. retained: the broker kept it, so that it may be old."""
        self._heard.append((ack, retained))

    def turn(self) -> bool:
        """What is to be done now; whether there is more to do at once."""
        now = self.uplink = self._outbox.uplink()
        if now is None:
            self._heard.clear()
            return False
        if now.store != self._store:
            self._start(now.store)
        self._kept = max(self._kept, now.acked)
        if now.acked > self.acked:
            self.acked, self._mark = now.acked, NO_MARK
            self._next = max(self._next, now.acked + 1)
        for ack, retained in self._heard:
            if ack.store == now.store.hex():
                self._take(ack, retained)
        self._heard.clear()
        if self._doubt.due and self._speak(Rows(store=now.store.hex(), rows=())):
            self._doubt.asked()
        if not self._agrees(now):
            self._renew(now)
            return False
        if now.acked < self.acked and self._now() >= self._ask_at and not self._forgetting.delivered(now.store, self.acked):
            self._ask_at = self._now() + _SOON_S
        if self._begins is None or self._now() < self._begins:
            return False
        self._go_back()
        more = self._send_rows(now)
        if not more and self.acked and not self._waits and self._now() - self._spoke >= ASK_S:
            self._speak(Rows(store=now.store.hex(), rows=()))
        return more

    def _take(self, ack: Acked, retained: bool) -> None:
        if ack.sequence < self.acked:
            self._doubt.begin(old=retained)
            return
        self._doubt.end()
        if self._begins is not None:
            self._begins = min(self._begins, self._now())
        if ack.sequence > self.acked:
            self.acked, self._mark = ack.sequence, ack.mark
            self._next = max(self._next, ack.sequence + 1)
            self._most = min(ROWS_MOST, 2 * self._most)
            self._arrived = True
            self._moves()
        if ack.gap and not self._went_back(ack.sequence):
            self._gap_at = (ack.sequence, self._now())
            self._next = ack.sequence + 1

    def _went_back(self, sequence: int) -> bool:
        """Each message behind a gap says the same: it goes back once."""
        return self._gap_at is not None and self._gap_at[0] == sequence and self._now() - self._gap_at[1] < self._retry_s

    def _agrees(self, now: Uplink) -> bool:
        """Whether the collector and the store mean the same rows."""
        if self._doubt.sure or now.acked < self._kept:
            return False
        if self.acked <= now.acked:
            return True
        if self.acked > now.newest:
            return False
        own = self._outbox.mark_of(self.acked)
        return own is None or own == self._mark or self._mark == NO_MARK

    def _renew(self, now: Uplink) -> None:
        if self._now() >= self._renew_at:
            self._renew_at = self._now() + self._renew_wait_s
            if self._forgetting.renew(now.store):
                self._renew_wait_s = min(2 * self._renew_wait_s, LONGEST_S)

    def _speak(self, rows: Rows) -> bool:
        if sent := self._send(rows):
            self._spoke = self._now()
        return sent

    def _go_back(self) -> None:
        """After a while without progress: by one message, and a smaller one each time, for perhaps no collector runs."""
        if not self._waits:
            self._moves()
        elif self._now() >= self._back_at:
            self._next = self.acked + 1
            self._wait_s = min(2 * self._wait_s, LONGEST_S)
            self._back_at = self._now() + self._wait_s
            self._most = max(1, self._most // 2) if self._probing else self._most
            self._probing = True

    def _send_rows(self, now: Uplink) -> bool:
        for _ in range(_AT_ONCE):
            limit = self.acked + (1 if self._probing else self._window)
            if self._next > min(now.newest, limit) or not self._ready():
                return False
            before, rows = self._outbox.rows(self._next - 1, self._most)
            if not rows:
                return False
            if rows[0].sequence != self._next:  # the store lacks rows of its own
                self._renew(now)
                return False
            if before is None and self._next == self.acked + 1 and self._mark != NO_MARK:
                before = self._mark
            if not self._speak(Rows(store=now.store.hex(), before=before, rows=tuple(rows))):
                return False
            self._next = rows[-1].sequence + 1
            self.sent = max(self.sent, rows[-1].sequence)
        return True
