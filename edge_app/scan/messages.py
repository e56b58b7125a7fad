"""What a scan's parent process and its workers say to each other, as MessagePack over a socket.

parent -> worker   Job: what to run, once
worker -> parent   Ready, Failed or Unfit
parent -> worker   Task: some paths
worker -> parent   Batch: the sha256 of files that it has read      (a Task may give several batches)
parent -> worker   Known: the answers that they have already
worker -> parent   Outcomes: what became of them, in order          (a Batch may give several)
"""

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.inference.model import Failed, Model, Ready, Unfit


class Job(Struct, frozen=True):
    """What a worker runs."""

    model: Model
    follow: bool  # links to files
    annotate: str | None  # a folder for annotated images


class Task(Struct, frozen=True, array_like=True):
    """Paths to answer."""

    paths: list[bytes]


class Known(Struct, frozen=True, array_like=True):
    """For each file of a batch its answer, if the store has one."""

    answers: list[Answer | None]


class Batch(Struct, frozen=True, array_like=True, tag=True):
    """sha256 of each file of a batch; empty if it could not be read."""

    sha256: list[bytes]


class Answered(Struct, frozen=True, array_like=True, tag=True):
    """An image has an answer."""

    sha256: bytes
    answer: Answer
    stored: bool  # it had one before


class Refused(Struct, frozen=True, array_like=True, tag=True):
    """An image has no answer, and why."""

    sha256: bytes  # empty if the file could not be read
    code: str
    message: str


Outcome = Answered | Refused


class Outcomes(Struct, frozen=True, array_like=True, tag=True):
    """The next outcomes of a batch."""

    outcomes: list[Outcome]


Reply = Ready | Failed | Unfit | Batch | Outcomes
