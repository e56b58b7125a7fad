"""The pictures of a page of studies, drawn by a process that may crash."""

from types import TracebackType
from typing import Self

import msgspec

from limiar.edge_app.series.drawing import DRAWN, Draw, Drawn
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child, spawn_named

_LIMIT_S = 20.0  # for one picture: a slice of 50 megapixels takes 3 s on a small board
_CHILD = ("limiar.edge_app.series.picture_child", "main")


class Pictures:
    """Draws slices, one at a time. A picture that crashes or hangs the process costs that picture."""

    def __init__(self) -> None:
        self._child: tuple[Child, ParentEnd] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    @property
    def child(self) -> Child | None:
        """The process, if there is one."""
        return self._child[0] if self._child else None

    def draw(self, asked: Draw) -> Drawn:
        """Code E-IMAGE-CRASH: the process ended; E-IMAGE-TIMEOUT: it took too long. Raises OSError: there is no process."""
        self._child = self._child or spawn_named(*_CHILD)
        end = self._child[1]
        end.send(msgspec.msgpack.encode(asked))
        try:
            while end.unsent:
                end.flush()
            drawn = end.next(_LIMIT_S)
        except EOFError:
            self._end()
            return Drawn(b"", code="E-IMAGE-CRASH")
        if drawn is None:
            self._end()
            return Drawn(b"", code="E-IMAGE-TIMEOUT")
        return DRAWN.decode(drawn)

    def _end(self) -> None:
        if self._child:
            child, end = self._child
            self._child = None
            end.close()
            child.kill()
            child.join()
