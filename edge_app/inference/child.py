"""Tries a model file in a child process, which it may crash or hang, before this process loads it.

Without numpy, for the process that keeps the store.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from limiar.edge_app.errors import LimiarError, ModelUnfit, RuntimeUnavailable
from limiar.edge_app.inference.model import Failed, Model, Ready, Unfit
from limiar.edge_app.system.channel import ParentEnd, WorkerEnd
from limiar.edge_app.system.children import Child, start_child
from limiar.edge_app.system.limits import limit_met

START_S = 60.0  # imports, model and one invocation, on a slow SD card
_STARTS = 3  # if so many processes end while loading, the model is at fault
_TURN_S = 0.5  # how often the caller gets a turn while it waits
_REPLIES = msgspec.msgpack.Decoder(Ready | Failed | Unfit)


class ChildLost(Exception):
    """A child process ended or fell silent; the text says how."""


def try_model(model: Model) -> Ready:
    """Loads a model file and invokes it once in a child process.

    Raises RuntimeUnavailable, and ModelUnfit if the model file is at fault.
    """
    process, connection, loaded = load_with(lambda: start_child(load_once), model)
    end(process, connection)
    return loaded


def load_with(
    start: Callable[[], tuple[Child, ParentEnd]], model: Model, turn: Callable[[], None] = lambda: None
) -> tuple[Child, ParentEnd, Ready]:
    """Starts a child that loads a model file; returns the child, which goes on running. Raises as `try_model`.

    turn: called twice a second while this waits.
    """
    lost = ""
    for _ in range(_STARTS):
        process, connection = start()
        connection.send(msgspec.msgpack.encode(model))
        try:
            reply = _REPLIES.decode(receive(process, connection, START_S, turn))
        except ChildLost as error:
            hung = process.is_alive()
            end(process, connection)
            lost = f"trying it {error}" if hung else f"trying it {error}, {_STARTS} times"
            if hung:
                break
            continue
        if isinstance(reply, Ready):
            return process, connection, reply
        end(process, connection)
        raise (ModelUnfit if isinstance(reply, Unfit) else RuntimeUnavailable)(reply.code, reply.message)
    raise ModelUnfit("E-RUNTIME-START", f"{model.name}: {lost}: choose another --file or --runtime")


def receive(process: Child, connection: ParentEnd, limit_s: float, turn: Callable[[], None] = lambda: None) -> bytes:
    """The child's next message. Raises ChildLost, whose text says what it did; and what `turn` raises: see `load_with`."""
    until = time.monotonic() + limit_s
    while (left_s := until - time.monotonic()) > 0:
        try:
            if (message := connection.next(min(_TURN_S, left_s))) is not None:
                return message
        except EOFError:
            process.join(1.0)
            raise ChildLost(f"ended its process with {process.exitcode}") from None
        turn()
    raise ChildLost(f"took over {limit_s:.0f} s")


def end(process: Child, connection: ParentEnd) -> None:
    """Kills a child, whatever it is doing."""
    process.kill()
    process.join()
    connection.close()


@contextmanager
def told(send: Callable[[bytes], None]) -> Iterator[None]:
    """In a child: an error that ends its work goes to the parent, as Unfit or Failed."""
    try:
        yield
    except ModelUnfit as unfit:
        send(msgspec.msgpack.encode(Unfit(unfit.code, unfit.message)))
    except LimiarError as error:
        send(msgspec.msgpack.encode(Failed(error.code, error.message)))
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if not (limit := limit_met(error)):
            raise
        send(msgspec.msgpack.encode(Failed(limit.code, limit.message)))


def load_once(parent: WorkerEnd) -> None:
    """The child's life."""
    with told(parent.send):
        from limiar.edge_app.inference.model_check import open_checked  # numpy and the runtime

        runtime = open_checked(msgspec.msgpack.decode(parent.receive(), type=Model))
        parent.send(msgspec.msgpack.encode(Ready(runtime.name, runtime.version)))
