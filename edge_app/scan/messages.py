"""The messages between a scan's parent process and its workers, as MessagePack over a socket.

parent -> worker   Job: what to run, once
worker -> parent   Ready, Failed or Unfit
parent -> worker   Task: some paths
worker -> parent   Batch: the sha256 of files that it has read      (a Task may lead to several)
parent -> worker   Known: the answers that they already have
worker -> parent   Outcomes: what became of them, in order          (a Batch may lead to several; empty: it is still working)
"""

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.inference.model import Failed, Model, Ready, Unfit


class Job(Struct, frozen=True):
    """What a worker runs."""

    model: Model
    follow: bool  # read links to files
    annotate: str | None  # a folder for annotated images
    maps: str | None = None  # a folder for the maps of their tiles
    plain_uids: bool = False  # of DICOM files, not hashed

    @property
    def draws(self) -> bool:
        """Whether an image is needed even if it has an answer."""
        return self.annotate is not None or self.maps is not None


class Task(Struct, frozen=True, array_like=True):
    """Paths to answer."""

    paths: list[bytes]


class Known(Struct, frozen=True, array_like=True):
    """The answers that the store has for each file of a batch: at most one, or one for each frame."""

    answers: list[list[Answer]]


class Batch(Struct, frozen=True, array_like=True, tag=True):
    """sha256 of each file of a batch; empty if it could not be read."""

    sha256: list[bytes]


class Answered(Struct, frozen=True, array_like=True, tag=True, gc=False):  # as in answer.py
    """An image has an answer."""

    sha256: bytes
    answer: Answer
    stored: bool  # the store already had it


class Refused(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Why an image has no answer."""

    sha256: bytes  # empty if the file could not be read
    code: str
    message: str


class Frames(Struct, frozen=True, array_like=True, tag=True):
    """What became of each frame of a DICOM file that has several."""

    sha256: bytes
    frames: list[Answered | Refused]


Outcome = Answered | Refused | Frames


class Outcomes(Struct, frozen=True, array_like=True, tag=True):
    """The next outcomes of a batch."""

    outcomes: list[Outcome]


Reply = Ready | Failed | Unfit | Batch | Outcomes
