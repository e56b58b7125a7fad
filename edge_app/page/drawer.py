"""A process that draws pictures for all threads of the page: started when it is needed, ended when it is idle."""

import threading
import time

import msgspec

from limiar.edge_app.page.drawing import DRAWN, Draw, Drawn
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child, spawn_named
from limiar.edge_app.system.process import cpu_s, gets_no_time

IDLE_S = 60.0  # after the last picture, the process ends
_TURN_S = 5.0  # a request waits so long for those before it: a thread that waits answers nobody else
_BUSY_S = 30.0  # for one picture where others have the processor
_LOOK_S = 0.2
_CHILD = ("limiar.edge_app.page.picture_child", "main")


class Busy(Exception):
    """Other pictures, or other programs, take too long."""


class Drawer:
    """A picture that crashes or hangs the process costs that picture."""

    def __init__(self, limit_s: float) -> None:
        """limit_s: seconds of computing for one picture."""
        self._limit_s = limit_s
        self._lock = threading.Lock()  # of the process
        self._child: tuple[Child, ParentEnd] | None = None
        self._used_at = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        child = self._child
        return child[0].pid if child else None

    def warm(self) -> None:
        """Starts the process, while a browser still reads the page that will ask for pictures."""
        if self._lock.acquire(blocking=False):
            try:
                self._start()
            except Busy:
                pass  # the first picture says so
            finally:
                self._lock.release()

    def draw(self, draw: Draw) -> Drawn:
        """Code E-IMAGE-CRASH: the process ended; E-IMAGE-TIMEOUT: it took too long. Raises Busy."""
        if not self._lock.acquire(timeout=_TURN_S):
            raise Busy
        try:
            end = self._start()
            end.send(msgspec.msgpack.encode(draw))  # a few paths: the socket takes them at once
            if (answer := self._answer(end)) is not None:
                return DRAWN.decode(answer)
            self._end()
            return Drawn(b"", "E-IMAGE-TIMEOUT")
        except Busy:
            self._end()
            raise
        except (EOFError, OSError, msgspec.MsgspecError):
            self._end()  # the next picture gets a new process
            return Drawn(b"", "E-IMAGE-CRASH")
        finally:
            self._used_at = time.monotonic()
            self._lock.release()

    def end_if_idle(self) -> None:
        """Ends the process if nothing was drawn for a while."""
        if self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._used_at > IDLE_S:
                    self._end()
            finally:
                self._lock.release()

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        with self._lock:
            self._end()

    def _start(self) -> ParentEnd:
        """Raises Busy: the machine has no memory, or no process, left."""
        self._used_at = time.monotonic()
        try:
            self._child = self._child or spawn_named(*_CHILD)
        except OSError:
            raise Busy from None
        return self._child[1]

    def _answer(self, end: ParentEnd) -> bytes | None:
        """None: it took too long. Raises EOFError, and Busy if it gets no time."""
        until = time.monotonic() + _BUSY_S
        pid = self.pid or 0
        before_s = cpu_s(pid)
        answer = end.next(self._limit_s)
        while answer is None and gets_no_time(pid, before_s, self._limit_s):
            if time.monotonic() > until:
                raise Busy
            answer = end.next(_LOOK_S)
        return answer

    def _end(self) -> None:
        if self._child:
            child, end = self._child
            self._child = None
            end.close()
            child.kill()
            child.join()
