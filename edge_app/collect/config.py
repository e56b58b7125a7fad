"""collect.toml: the broker, the database and the folders of a fleet's receiving end.

collect.toml beside this file is the commented template of `limiar collect --init`; a test holds the two together.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.errors import printable
from limiar.edge_app.fleet.topics import ROOT
from limiar.edge_app.service.config_file import read_text, refuse, typed

TEMPLATE = Path(__file__).with_name("collect.toml")
_GIVE = {"": "one to 64 letters, digits, dashes and underscores"}
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252}):([0-9]{1,5})", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in the file: immutable, and without undeclared keys."""


class BrokerSection(Section, frozen=True):
    """[broker]: where devices send."""

    address: str = "localhost:8883"
    authority: str = ""  # PEM; "" for no TLS
    certificate: str = ""
    key: str = ""
    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")] = ROOT

    @property
    def host(self) -> str:
        """Without the port."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class DatabaseSection(Section, frozen=True):
    """[database]: where rows are kept."""

    url: Annotated[str, Meta(min_length=1, max_length=4000)] = "sqlite:///fleet.db"


class ImagesSection(Section, frozen=True):
    """[images]: what devices send beside their answers."""

    folder: str = ""  # "" for none


class BundlesSection(Section, frozen=True):
    """[bundles]: what devices may be told to install."""

    folder: str = ""  # "" for none


class StatusSection(Section, frozen=True):
    """[status]: when a device counts as silent."""

    silent_s: Annotated[float, Meta(gt=0)] = 300
    gone: tuple[str, ...] = ()  # devices whose silence is no failure


class LogSection(Section, frozen=True):
    """[log]"""

    level: Literal["error", "warning", "info"] = "info"


class CollectConfig(Section, frozen=True):
    """The whole file."""

    broker: BrokerSection = BrokerSection()
    database: DatabaseSection = DatabaseSection()
    images: ImagesSection = ImagesSection()
    bundles: BundlesSection = BundlesSection()
    status: StatusSection = StatusSection()
    log: LogSection = LogSection()


def read_config(path: Path) -> CollectConfig:
    """Reads and checks a file; relative paths in it are taken from its folder.

    Raises LimiarError E-CONFIG-READ, E-CONFIG-SYNTAX and E-CONFIG-VALUE, the last two with line and column.
    """
    text = read_text(path, "limiar collect --init")
    return parse_config(text, printable(str(path)), path.resolve().parent)


def parse_config(text: str, where: str, folder: Path) -> CollectConfig:
    """The text of a file. where: its name, for messages. Raises LimiarError E-CONFIG-SYNTAX and E-CONFIG-VALUE."""
    config = _resolved(typed(text, where, CollectConfig, _GIVE), folder)
    _check(config, text, where)
    return config


def _resolved(config: CollectConfig, folder: Path) -> CollectConfig:
    """The same with absolute paths."""

    def absolute(path: str) -> str:
        return os.path.normpath(folder / path) if path else ""

    replace = msgspec.structs.replace
    broker = config.broker
    files = {name: absolute(getattr(broker, name)) for name in ("authority", "certificate", "key")}
    url, sqlite = config.database.url, "sqlite:///"
    if url.startswith(sqlite) and (file := url.removeprefix(sqlite)):
        url = f"{sqlite}{absolute(file)}"
    return replace(
        config,
        broker=replace(broker, **files),
        database=DatabaseSection(url),
        images=ImagesSection(absolute(config.images.folder)),
        bundles=BundlesSection(absolute(config.bundles.folder)),
    )


def _check(config: CollectConfig, text: str, where: str) -> None:
    """What the types cannot say. Raises LimiarError E-CONFIG-VALUE."""
    broker = config.broker
    if not (found := _ADDRESS.fullmatch(broker.address)) or not 0 < int(found[2]) < 1 << 16:
        refuse(text, where, "broker.address", "it is not a host and a port: give one such as broker.example:8883")
    if bool(broker.certificate) != bool(broker.key):
        refuse(text, where, "broker.certificate", "`certificate` and `key` belong together: give both, or none")
    if bool(broker.certificate) != bool(broker.authority):
        refuse(text, where, "broker.authority", "TLS takes `authority`, `certificate` and `key`: give all three, or none")
    if not broker.authority and broker.host not in _LOOPBACK:
        refuse(text, where, "broker.authority", "without TLS only a broker on this machine is used: give its authority")
