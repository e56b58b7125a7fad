"""Messages about loading a model: the request, and how it went. Without numpy, as the process that asks."""

from msgspec import Struct

from limiar.edge_app.bundle.manifest import Assessable, Envelope, InputSpec, TiledFile, TileSpec
from limiar.edge_app.inference.rule import Rule


class BlockFile(Struct, frozen=True):
    """The file that answers blocks of tiles with a model file's weights."""

    spec: TiledFile
    data: bytes  # its checked bytes


class Model(Struct, frozen=True):
    """A model file with everything needed to answer images; it goes to child processes as MessagePack."""

    name: str  # of the model file
    format: str
    data: bytes  # its checked bytes
    labels: tuple[str, ...]
    input: InputSpec
    envelope: Envelope | None
    rule: Rule
    runtime: str | None = None  # None: the first installed one, by preference
    threads: int = 1
    measure: bool = False  # answers have the statistics of their images, for drift/monitor.py
    limits: Assessable | None = None  # beyond them an image is refused
    tiles: TileSpec | None = None  # into which a file's picture is cut; None: it is answered as one image
    blocks: BlockFile | None = None  # for these tiles; None: they are answered one by one

    @property
    def tiling(self) -> str | None:
        """What tells its answers by tiles apart from others of the same bundle: "40,8"; refused tiles change a map."""
        refusing = ",refuse" if self.rule.outside == "refuse" else ""
        return f"{self.tiles.size},{self.tiles.stride}{refusing}" if self.tiles else None


class Ready(Struct, frozen=True, array_like=True, tag=True):
    """The model is loaded."""

    runtime: str
    version: str


class Failed(Struct, frozen=True, array_like=True, tag=True):
    """The process cannot work: there is no runtime, an answer is not finite, or a limit of the machine was met."""

    code: str
    message: str


class Unfit(Struct, frozen=True, array_like=True, tag=True):
    """The process cannot work: the model file is not what the bundle says."""

    code: str
    message: str
