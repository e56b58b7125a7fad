"""What a process is told to load, and how that went. Without numpy: who asks has none."""

from msgspec import Struct

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
