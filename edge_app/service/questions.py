"""Answers what commands ask the running service: edge_app/control.py."""

from collections.abc import Callable

import msgspec

from limiar.edge_app.control import (
    QUESTIONS,
    AskAudit,
    AskDelivered,
    AskReload,
    AskRenew,
    AskReview,
    AskStatus,
    AskUndo,
    AskUplink,
    Done,
    Question,
    Refusal,
)
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.health.status import Status
from limiar.edge_app.store.writer import Store


class Questions:
    """What a service answers. The parts that it does not have at the moment are None."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status
        self.store: Store | None = None
        self.commit: Callable[[], None] = lambda: None
        self.reload = False
        self.uplink = ("", "")  # what is wrong with the uplink to the fleet: code and message

    def answer(self, question: bytes) -> bytes:
        """JSON in, JSON out; the answer is on the disk. Raises nothing."""
        try:
            return msgspec.json.encode(Done(msgspec.Raw(self._answer(QUESTIONS.decode(question)))))
        except msgspec.MsgspecError as error:
            message = f"the question cannot be read ({error}): use the limiar that the service runs"
            return msgspec.json.encode(Refusal("E-SERVICE-QUESTION", message))
        except LimiarError as error:
            return msgspec.json.encode(Refusal(error.code, error.message))

    def _answer(self, question: Question) -> bytes:
        match question:
            case AskStatus():
                return msgspec.json.encode(self._status())
            case AskReload():
                self.reload = True
            case AskReview(entry, label, by, why):
                store = self._open_store()
                store.review(entry, label, by, why)
                store.audit("review", {"entry": str(entry), "label": label or "", "by": by})
                self.commit()
            case AskUndo(entry, by, meant):
                store = self._open_store()
                store.take_back(entry, by, meant)
                store.audit("review-undo", {"entry": str(entry), "by": by})
                self.commit()
            case AskAudit(kind, detail):
                self._open_store().audit(kind, detail)
                self.commit()
            case AskDelivered(name, sequence):
                self._open_store().outbox.delivered(bytes.fromhex(name), sequence)
                self.commit()
            case AskRenew(name):
                store = self._open_store()
                store.outbox.renew(bytes.fromhex(name))
                store.audit("uplink-renewed", {"store": name})
                self.commit()
            case AskUplink(code, message):
                self.uplink = (code, message)
        return b"null"

    def _open_store(self) -> Store:
        if self.store is None:
            met = "the service cannot write its store now, and its log says why"
            raise LimiarError("E-SERVICE-STORE", f"{met}: try again once it can")
        return self.store
