"""What a scan's parent process and its workers say to each other, as MessagePack over a pipe.

parent -> worker   Job: what to run, once
worker -> parent   Ready, Failed or Unfit
parent -> worker   Task: some paths
worker -> parent   Batch: the sha256 of files that it has read      (a Task may give several batches)
parent -> worker   Known: the answers that they have already
worker -> parent   Outcomes: what became of them, in order          (a Batch may give several)
"""

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.bundle.manifest import Envelope, InputSpec, Manifest, ModelFile
from limiar.edge_app.inference.rule import Rule


class Job(Struct, frozen=True):
    """What a worker runs."""

    name: str  # of the model file
    format: str
    model: bytes
    labels: tuple[str, ...]
    input: InputSpec
    envelope: Envelope | None
    rule: Rule
    runtime: str | None  # None: the preferred one that is installed
    threads: int
    follow: bool  # links to files
    annotate: str | None  # a folder for annotated images


def job_of(
    manifest: Manifest,
    file: ModelFile,
    model: bytes,
    runtime: str | None,
    threads: int = 1,
    rule: Rule | None = None,
    follow: bool = False,
    annotate: str | None = None,
) -> Job:
    """What a worker needs of a bundle and one of its model files. rule: another than the file's own."""
    return Job(
        name=file.name,
        format=file.format,
        model=model,
        labels=manifest.labels,
        input=manifest.input,
        envelope=manifest.envelope,
        rule=rule or Rule(file.decision),
        runtime=runtime,
        threads=threads,
        follow=follow,
        annotate=annotate,
    )


class Task(Struct, frozen=True, array_like=True):
    """Paths to answer."""

    paths: list[bytes]


class Known(Struct, frozen=True, array_like=True):
    """For each file of a batch its answer, where the store has one."""

    answers: list[Answer | None]


class Ready(Struct, frozen=True, array_like=True, tag=True):
    """The model is loaded."""

    runtime: str
    version: str


class Failed(Struct, frozen=True, array_like=True, tag=True):
    """The worker cannot work at all: no runtime, or one that gives no numbers."""

    code: str
    message: str


class Unfit(Struct, frozen=True, array_like=True, tag=True):
    """The worker cannot work at all: the model file is not what the bundle says."""

    code: str
    message: str


class Batch(Struct, frozen=True, array_like=True, tag=True):
    """sha256 of each file of a batch; empty for one that could not be read."""

    sha256: list[bytes]


class Answered(Struct, frozen=True, array_like=True, tag=True):
    """An image has an answer; `stored` where it had one before."""

    sha256: bytes
    answer: Answer
    stored: bool


class Refused(Struct, frozen=True, array_like=True, tag=True):
    """An image has no answer, and why."""

    sha256: bytes  # empty where the file could not be read
    code: str
    message: str


Outcome = Answered | Refused


class Outcomes(Struct, frozen=True, array_like=True, tag=True):
    """The next outcomes of a batch."""

    outcomes: list[Outcome]


Reply = Ready | Failed | Unfit | Batch | Outcomes
