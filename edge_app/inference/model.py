"""What a process is told to load, and how that went. Without numpy: the process that asks has none."""

from msgspec import Struct

from limiar.edge_app.bundle.manifest import Envelope, InputSpec
from limiar.edge_app.inference.rule import Rule


class Model(Struct, frozen=True):
    """A model file with all that it takes to answer images: it goes to child processes as MessagePack."""

    name: str  # of the model file
    format: str
    data: bytes  # its checked bytes
    labels: tuple[str, ...]
    input: InputSpec
    envelope: Envelope | None
    rule: Rule
    runtime: str | None = None  # None: the preferred one that is installed
    threads: int = 1


class Ready(Struct, frozen=True, array_like=True, tag=True):
    """The model is loaded."""

    runtime: str
    version: str


class Failed(Struct, frozen=True, array_like=True, tag=True):
    """The process cannot work at all: there is no runtime, or it gives no numbers."""

    code: str
    message: str


class Unfit(Struct, frozen=True, array_like=True, tag=True):
    """The process cannot work at all: the model file is not what the bundle says."""

    code: str
    message: str
