"""The workers of a scan, as the parent sees them: it hands out paths and gets outcomes back in the same order.

A worker that dies or falls silent is replaced, and the files that it had not answered are tried again one at a time, so that
only the file at fault is refused.
"""

import math
import select
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, Self

import msgspec

from limiar.edge_app.answer import Answer
from limiar.edge_app.errors import ModelUnfit, RuntimeUnavailable
from limiar.edge_app.inference.model import Failed, Ready, Unfit
from limiar.edge_app.scan.fork import fork_worker
from limiar.edge_app.scan.messages import Batch, Job, Known, Outcome, Outcomes, Refused, Reply, Task
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child
from limiar.edge_app.system.process import cpu_s, gets_no_time

_TASK_FILES = 16  # files of the first tasks: few, so that answers come at once
_TASK_FILES_MOST = 1024  # files of later tasks, at most; each should take _TASK_S
_TASK_S = 0.1  # long enough that waiting for the parent, and its work on the same processor, count little
_START_S = 60.0  # imports and model on a slow SD card
_STARTS = 3  # if so many workers in a row end while loading, the model is at fault
_STARTS_LATER = 20  # the same, once a worker has loaded it: something else is at fault, such as a lack of memory
_IMAGE_S = 5.0  # for one image
_BUSY_S = 60.0  # for one image, if the machine is too busy to run the worker
_TRIES = 3  # if so many workers are lost over an image, the last two over it alone, the image is at fault
_TICK_S = 0.05  # how often the caller gets a turn to commit and report

_REPLIES = msgspec.msgpack.Decoder(Reply)


class _Task:
    def __init__(self, number: int, paths: list[bytes]) -> None:
        self.number = number
        self.paths = paths
        self.outcomes: list[Outcome] = []
        self.alone = False  # True: one path at a time, since a worker was lost over this task

    def left(self) -> list[bytes]:
        return self.paths[len(self.outcomes) :]


class Tries(Protocol):
    """How many workers were lost over each path; a service keeps that over restarts."""

    def begin(self, paths: Sequence[bytes]) -> None:
        """These are given to a worker now."""

    def over(self, paths: Sequence[bytes]) -> None:
        """A worker is done with these: what ends everything from now on is not their fault."""

    def lost(self, paths: Sequence[bytes]) -> None:
        """A worker was lost that had these paths in hand."""

    def of(self, path: bytes) -> int:
        """How many were lost over a path so far."""


class _Tries:
    """Those of one scan."""

    def __init__(self) -> None:
        self._counts = Counter[bytes]()

    def begin(self, paths: Sequence[bytes]) -> None:
        pass  # what it has in hand is lost only with the scan itself

    def over(self, paths: Sequence[bytes]) -> None:
        pass

    def lost(self, paths: Sequence[bytes]) -> None:
        self._counts.update(paths)

    def of(self, path: bytes) -> int:
        return self._counts[path]


class _Worker:
    """A worker process and its task."""

    def __init__(self, process: Child, connection: ParentEnd, tries: Tries) -> None:
        self.process = process
        self._tries = tries
        self.connection = connection
        self.task: _Task | None = None
        self._given: list[bytes] = []  # the paths that it got last
        self.given_at = 0.0  # when it got its task
        self.awaited = 0  # outcomes still to come
        self.asks = False  # it has a task, and has not yet said which images it read
        self.ready = False
        self.cpu_s = 0.0
        self.deadline = time.monotonic() + _START_S

    def give(self, task: _Task) -> None:
        self.task = task
        self.given_at = time.monotonic()
        paths = task.left()[:1] if task.alone else task.left()
        self._tries.over(self._given)
        self._tries.begin(paths)
        self._given = paths
        self.awaited = len(paths)
        self.asks = True
        self.send(Task(paths))

    def waits_for_machine(self) -> bool:
        """Whether it is late because other programs have the processor, or because its memory is swapped out."""
        late_s = time.monotonic() - self.deadline
        return self.ready and late_s < _BUSY_S - _IMAGE_S and gets_no_time(self.process.pid, self.cpu_s, _IMAGE_S)

    def extend(self) -> None:
        """Starts its time again, after it was given something or said something."""
        self.deadline = time.monotonic() + _IMAGE_S
        self.cpu_s = cpu_s(self.process.pid)

    def start(self, job: Job) -> None:
        self.send(job)
        self.deadline = time.monotonic() + _START_S

    def send(self, message: Job | Task | Known) -> None:
        self.extend()
        self.connection.send(msgspec.msgpack.encode(message))

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class Workers:
    """Worker processes. Use as a context manager: leaving ends them."""

    def __init__(self, processes: Iterable[tuple[Child, ParentEnd]], tries: Tries | None = None) -> None:
        self._tries = tries or _Tries()
        self._workers = [_Worker(process, connection, self._tries) for process, connection in processes]
        self._restarts = [0] * len(self._workers)
        self._again: list[_Task] = []  # the tasks of lost workers
        self._loaded: Ready | None = None  # by the first worker
        self._failed_starts = 0  # since a worker was ready
        self._task_files = _TASK_FILES  # of the next task

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def processes(self) -> list[tuple[int, bool, int]]:
        """Of each worker: its process id, whether it has loaded the model, and how often it was started again."""
        workers = zip(self._workers, self._restarts, strict=True)
        return [(worker.process.pid, worker.ready, restarts) for worker, restarts in workers]

    def start(self, job: Job, turn: Callable[[], None] = lambda: None) -> Ready:
        """Has the workers load and try the model; waits for the first, and returns its runtime.

        turn: called at least every 50 ms. Raises RuntimeUnavailable, and ModelUnfit if the model file is at fault.
        """
        self._job = job
        for worker in self._workers:
            worker.start(job)
        while not self._loaded:
            self._receive(_TICK_S, known=lambda _: [])
            self._replace_lost()
            turn()
        return self._loaded

    def run(
        self, paths: Iterable[bytes | None], known: Callable[[list[bytes]], list[list[Answer]]]
    ) -> Iterator[list[tuple[bytes, Outcome]]]:
        """Outcomes in the order of the paths, a few at a time; an empty list at least every 50 ms, so that the caller can act.

        A None among the paths means that there is none yet. `known` returns the answers that the store has for each file of
        a batch (sha256; empty if it could not be read): one, or one for each frame. Raises RuntimeUnavailable.
        """
        tasks = self._tasks(paths)
        finished: dict[int, _Task] = {}
        following = 0  # the number of the task whose outcomes are due next
        more = True
        turn_at = time.monotonic()  # when the caller gets its next turn
        while True:
            for worker in self._workers:
                if worker.ready and worker.task is None:
                    task = self._again.pop() if self._again else next(tasks, None)
                    more = task is not None
                    if task and task.paths:
                        worker.give(task)
            # Workers that wait for an answer come first: they then infer while the caller deals with outcomes.
            if not any(worker.asks for worker in self._workers) or time.monotonic() >= turn_at:
                due: list[tuple[bytes, Outcome]] = []
                while task_due := finished.pop(following, None):
                    due.extend(zip(task_due.paths, task_due.outcomes, strict=True))
                    following += 1
                yield due
                turn_at = time.monotonic() + _TICK_S
            if not more and not self._again and not any(worker.task for worker in self._workers):
                for worker in self._workers:
                    worker.process.kill()  # it ends while the caller deals with the last outcomes
                return
            for task in self._receive(max(0.0, turn_at - time.monotonic()), known) + self._replace_lost():
                finished[task.number] = task

    def _receive(self, timeout_s: float, known: Callable[[list[bytes]], list[list[Answer]]]) -> list[_Task]:
        """Deals with the workers' messages; returns the tasks that they finish."""
        finished: list[_Task] = []
        poll = select.poll()
        by_descriptor = {worker.connection.fileno(): worker for worker in self._workers if worker.deadline > 0.0}
        for descriptor, worker in by_descriptor.items():
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if worker.connection.unsent else 0))
        for descriptor, events in poll.poll(math.ceil(timeout_s * 1000)):
            worker = by_descriptor[descriptor]
            if events & select.POLLOUT:
                worker.connection.flush()
            if events & ~select.POLLOUT:
                try:
                    for message in worker.connection.receive():
                        finished += self._heard(worker, _REPLIES.decode(message), known)
                except (EOFError, msgspec.MsgspecError):
                    worker.deadline = 0.0
        return finished

    def _heard(self, worker: _Worker, reply: Reply, known: Callable[[list[bytes]], list[list[Answer]]]) -> list[_Task]:
        """Deals with a message; returns the task that it finishes, if any."""
        worker.extend()
        match reply:
            case Ready() as loaded:
                worker.ready, worker.deadline = True, float("inf")
                self._loaded = loaded
                self._failed_starts = 0
            case Failed(code, message):
                raise RuntimeUnavailable(code, message)
            case Unfit(code, message):
                raise ModelUnfit(code, message)
            case Batch(hashes):
                worker.asks = False
                worker.send(Known(known(hashes)))
            case Outcomes(outcomes) if worker.task:
                worker.task.outcomes.extend(outcomes)
                worker.awaited -= len(outcomes)
                if worker.awaited == 0:
                    task, worker.task, worker.deadline = worker.task, None, float("inf")
                    if not task.left():
                        if not task.alone:  # for one that is, the time is of its last image only
                            self._fit_tasks(len(task.paths), time.monotonic() - worker.given_at)
                        return [task]
                    worker.give(task)
        return []

    def _fit_tasks(self, files: int, seconds: float) -> None:
        """Sets the size of the next tasks, so that each takes a worker about _TASK_S."""
        fitting = int(files * _TASK_S / max(seconds, 1e-6))
        self._task_files = max(1, min(fitting, 2 * self._task_files, _TASK_FILES_MOST))

    def _tasks(self, paths: Iterable[bytes | None]) -> Iterator[_Task]:
        """Numbered tasks; one without paths while there is no path yet."""
        number = 0
        chunk: list[bytes] = []
        for path in paths:
            if path is not None:
                chunk.append(path)
            if path is None or len(chunk) >= self._task_files:
                yield _Task(number, chunk)
                number += bool(chunk)
                chunk = []
        if chunk:
            yield _Task(number, chunk)

    def _replace_lost(self) -> list[_Task]:
        """Replaces workers that died or are late; returns the tasks that end with that. Raises ModelUnfit."""
        finished: list[_Task] = []
        for index, worker in enumerate(self._workers):
            if time.monotonic() < worker.deadline or (worker.deadline > 0.0 and worker.waits_for_machine()):
                continue
            hung = worker.process.is_alive() and worker.deadline > 0.0
            worker.end()
            if not worker.ready:
                self._failed_starts += 1
                if hung or self._failed_starts == (_STARTS_LATER if self._loaded else _STARTS):
                    times = f"ended its process with {worker.process.exitcode}, {self._failed_starts} times"
                    met = f"{self._job.model.name}: trying it {f'took over {_START_S:.0f} s' if hung else times}"
                    raise ModelUnfit("E-RUNTIME-START", f"{met}: choose another --file or --runtime")
            self._restarts[index] += 1
            self._workers[index] = _Worker(*fork_worker(), self._tries)
            self._workers[index].start(self._job)
            if task := worker.task:
                in_hand = task.left()[: worker.awaited]
                self._tries.lost(in_hand)
                if len(in_hand) == 1 and ((task.alone and hung) or self._tries.of(in_hand[0]) >= _TRIES):
                    task.outcomes.append(_lost(hung))
                task.alone = True
                (self._again if task.left() else finished).append(task)
        return finished


def _lost(hung: bool) -> Refused:
    if hung:
        return Refused(b"", "E-IMAGE-TIMEOUT", f"took over {_IMAGE_S:.0f} s to decode: make it smaller")
    return Refused(b"", "E-IMAGE-CRASH", "ended the process that decoded it: set the file aside and report it")
