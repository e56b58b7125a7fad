"""What a command asks of the running service: the service alone writes the store, so that others need not.

JSON over STATE/control.sock, one question and one answer a connection. A command first asks the service; if none runs, it opens
the store itself.
"""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.system import local_socket

SOCKET = "control.sock"  # in the state folder

Line = Annotated[str, Meta(min_length=1, max_length=200)]


class AskStatus(Struct, frozen=True, tag="status", forbid_unknown_fields=True):
    """How is the service? It answers what `limiar status --json` prints."""


class AskReview(Struct, frozen=True, tag="review", forbid_unknown_fields=True):
    """Keep what a person says about an entry of the store, beside the model's answer."""

    entry: Annotated[int, Meta(ge=1)]
    label: Annotated[str, Meta(max_length=4096)] | None  # None: the model's label is right
    by: Line
    why: Annotated[str, Meta(max_length=1000)] = ""


class AskUndo(Struct, frozen=True, tag="undo", forbid_unknown_fields=True):
    """Keep that a person takes back the review of an entry that holds."""

    entry: Annotated[int, Meta(ge=1)]
    by: Line
    review: int | None = None  # the one that is meant; None: whichever holds


class AskAudit(Struct, frozen=True, tag="audit", forbid_unknown_fields=True):
    """Keep a change in the audit log."""

    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}\Z")]  # "install", "roll-back"
    detail: dict[str, str]


StoreName = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class AskDelivered(Struct, frozen=True, tag="delivered", forbid_unknown_fields=True):
    """A collector has committed everything up to a sequence of a store's outbox."""

    store: StoreName
    sequence: Annotated[int, Meta(ge=1)]


class AskRenew(Struct, frozen=True, tag="renew", forbid_unknown_fields=True):
    """Send everything again, under another name than this store's: it or the collector went back to an older copy."""

    store: StoreName


class AskUplink(Struct, frozen=True, tag="uplink", forbid_unknown_fields=True):
    """Show what is wrong with the uplink to the fleet in the status; nothing if the code is empty."""

    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=4096)]


class AskReload(Struct, frozen=True, tag="reload", forbid_unknown_fields=True):
    """Start again with the configuration and the bundle that are current now."""


Question = AskStatus | AskReview | AskUndo | AskAudit | AskDelivered | AskRenew | AskUplink | AskReload


class Done(Struct, frozen=True, tag="done"):
    """It was kept, on the disk."""

    value: msgspec.Raw = msgspec.Raw(b"null")  # what was asked for


class Refusal(Struct, frozen=True, tag="refused"):
    """Why not."""

    code: str
    message: str


QUESTIONS = msgspec.json.Decoder(Question)
_REPLIES = msgspec.json.Decoder(Done | Refusal)


def ask(state: Path, question: Question) -> bytes | None:
    """Asks the service of a state folder; its answer as JSON, or None if no service runs there.

    Raises LimiarError: the service refuses, with its code; E-SERVICE-SILENT: it does not answer.
    """
    try:
        said = local_socket.ask(state / SOCKET, msgspec.json.encode(question))
    except PermissionError:
        met = f"the service of {state} belongs to another user"
        raise LimiarError("E-SERVICE-USER", f"{met}: run this as that user, for example with sudo") from None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        met = f"the service of {state} did not answer ({error.strerror or error})"
        raise LimiarError("E-SERVICE-SILENT", f"{met}: try again, or restart it") from None
    if said is None:
        return None
    try:
        reply = _REPLIES.decode(said)
    except msgspec.MsgspecError:
        met = f"the service of {state} answered in a way that this limiar does not know"
        raise LimiarError("E-SERVICE-SILENT", f"{met}: restart the service after an update of limiar") from None
    if isinstance(reply, Refusal):
        raise LimiarError(reply.code, reply.message)
    return bytes(reply.value)
