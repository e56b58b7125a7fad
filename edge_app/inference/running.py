"""A running scan or camera: lines are given once their answers are committed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from limiar.edge_app.errors import LimiarError, StoreError
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Line, Origin
from limiar.edge_app.store.writer import Store


class Running(ABC):
    """Iterate over it, once, for its lines. It closes at the end, or on leaving its `with` block."""

    def __init__(self, session: Session, origin: Origin, store: Store, stop: Callable[[], bool], opened: ExitStack) -> None:
        """stop: asked at least every 50 ms; opened: closes everything, the store too."""
        self.session = session
        self.origin = origin
        self._store = store
        self._stop = stop
        self._opened = opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._opened.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Line]:
        with self:
            for lines in self.groups():
                yield from lines

    def groups(self) -> Iterator[list[Line]]:
        """Groups of lines, each after its commit. An error is raised after the lines of what was answered before it."""
        waiting: list[Line] = []
        failure: LimiarError | None = None
        try:
            for lines in self._kept_lines():
                waiting += lines
                if self._stop():
                    break
                if self._store.commit_due() or (waiting and not self._store.changed):
                    self._store.commit()
                    yield waiting
                    waiting = []
        except StoreError:  # nothing can be kept any more
            raise
        except LimiarError as error:
            failure = error
        self._store.commit()
        yield waiting
        if failure:
            raise failure

    @abstractmethod
    def _kept_lines(self) -> Iterator[list[Line]]:
        """Lines whose answers are in the store and not committed; an empty list at least every 50 ms."""
