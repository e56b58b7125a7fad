"""limiar.toml: what a service watches, with which bundle, and what it keeps.

limiar.toml beside this file is the commented template of `limiar run --init`; a test holds the two together.
"""

import hashlib
import os
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.camera.address import find_source
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.health.publish import loopback
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.tiling import Tiling, parse_tiling
from limiar.edge_app.service.config_file import LIMIT, read_text, refuse, typed
from limiar.edge_app.system.files import read_bounded
from limiar.edge_app.system.listening import listen_on

TEMPLATE = Path(__file__).with_name("limiar.toml")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CURRENT = "current"  # the bundle that `limiar install` made current
_GIVE = {  # what to give for a key, "" for all others, if its text has another form
    "": "one to 63 letters, digits, dots, dashes and underscores, without a slash",
    "hosts": 'names of hosts without a port, such as "limiar.local"',
    "broker": 'a host and a port, such as "broker.example:8883"',
    "device": "one to 63 letters, digits, dashes and underscores",
    "topic": "one to 64 letters, digits, dashes and underscores",
}

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]
FilePath = Annotated[str, Meta(min_length=1, max_length=4000)]
FolderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\Z")]
Limit = Annotated[float, Meta(ge=0)]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in the file: immutable, and without undeclared keys."""


class AnswerSection(Section, frozen=True):
    """[answer]: the bundle, and how it decides."""

    bundle: FilePath = CURRENT  # a bundle's folder, or "current"
    keys: tuple[FilePath, ...] = ()  # public keys; if there is one, a bundle must be signed by one of them
    revoked: tuple[FilePath, ...] = ()
    file: Name | None = None
    runtime: Name | None = None
    threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    refer_below: Annotated[float, Meta(ge=0, le=1)] | None = None
    outside: OutsideRule = "refer"
    tiles: Annotated[str, Meta(max_length=20)] = ""  # "40,8": size and stride, px; "off"; "" as the bundle says

    @property
    def tiling(self) -> Tiling:
        """The same for `limiar.scan`. Raises ValueError: it is none of these."""
        return "bundle" if not self.tiles else None if self.tiles == "off" else parse_tiling(self.tiles)


class FolderSection(Section, frozen=True):
    """[[folder]]: a folder whose images are answered and then moved."""

    path: FilePath
    name: Name | None = None  # None: the last part of the path
    done: FolderName = "done"
    quarantine: FolderName = "quarantine"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Its name in results."""
        return self.name or os.path.basename(self.path)


class CameraSection(Section, frozen=True):
    """[[camera]]: a camera whose frames are answered."""

    name: Name
    source: Annotated[str, Meta(min_length=1, max_length=2000)]
    agree: Annotated[int, Meta(ge=1, le=100)] = 3
    of: Annotated[int, Meta(ge=1, le=100)] = 5
    every_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    roi: tuple[int, int, int, int] | None = None  # x, y, width, height, px
    size: tuple[int, int] | None = None  # width, height, px
    rate_hz: Annotated[float, Meta(gt=0, le=1000)] | None = None
    pixel_format: Literal["MJPG", "YUYV"] | None = None
    keep: Literal["off", "jpeg", "png"] = "off"
    keep_what: Literal["all", "refer", "changed"] = "all"


class Retention(Section, frozen=True):
    """How long one kind of thing is kept; 0: without a limit."""

    days: Limit = 0
    count: Annotated[int, Meta(ge=0)] = 0
    megabytes: Limit = 0


class FrameRetention(Retention, frozen=True):
    """As Retention, with limits of its own: nobody moves kept pictures away."""

    days: Limit = 30
    megabytes: Limit = 500


class KeepSection(Section, frozen=True):
    """[keep]: what is deleted when."""

    results: Retention = Retention()
    done: Retention = Retention()
    quarantine: Retention = Retention()
    frames: FrameRetention = FrameRetention()


class HealthSection(Section, frozen=True):
    """[health]: where metrics go, and when the disk counts as full."""

    listen: str = ""  # "127.0.0.1:9464"; "" for nowhere
    textfile: str = ""  # a .prom file for node_exporter; "" for none
    free_megabytes: Annotated[float, Meta(ge=1)] = 64.0


class DriftSection(Section, frozen=True):
    """[drift]: whether to compare what comes with the bundle's reference."""

    watch: bool = True
    window: Annotated[int, Meta(ge=100, le=100_000)] = 250  # images


class UpdateSection(Section, frozen=True):
    """[update]: when a new bundle is good, and USB sticks."""

    good_after: Annotated[int, Meta(ge=1)] = 20  # finished scans
    stick: bool = False
    stick_results: bool = True
    stick_folders: tuple[FilePath, ...] = ("/media", "/run/media", "/mnt")


class PageSection(Section, frozen=True):
    """[page]: what people see in a browser."""

    listen: str = ""  # "127.0.0.1:8460"; "" for no page
    hosts: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}\Z")], ...] = ()
    read_only: bool = False
    token: bool = False
    certificate: str = ""  # PEM; "" for no TLS
    key: str = ""


class FleetSection(Section, frozen=True):
    """[fleet]: where results and status go, and where bundles come from."""

    broker: Annotated[str, Meta(pattern=r"^(|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5})\Z")] = ""  # "" for no fleet
    device: Annotated[str, Meta(pattern=r"^(|[A-Za-z0-9][A-Za-z0-9_-]{0,62})\Z")] = ""  # "": as the certificate says
    authority: str = ""  # PEM
    certificate: str = ""
    key: str = ""
    groups: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    paths: bool = True
    images: Literal["off", "refer", "all"] = "off"
    image_megabytes: Annotated[float, Meta(gt=0, le=4)] = 1.0
    status_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    home_assistant: bool = False
    bundles: Annotated[str, Meta(max_length=2000)] = ""  # address of the folder of bundles; "": takes none
    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")] = "limiar"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the broker."""
        host, _, port = self.broker.rpartition(":")
        return host.strip("[]"), int(port)


class DicomSection(Section, frozen=True):
    """[dicom]: what is kept of the UIDs of DICOM files."""

    uids: Literal["hashed", "plain"] = "hashed"


class LogSection(Section, frozen=True):
    """[log]"""

    level: Literal["error", "warning", "info"] = "info"


class Config(Section, frozen=True):
    """The whole file."""

    answer: AnswerSection = AnswerSection()
    folder: Annotated[tuple[FolderSection, ...], Meta(max_length=64)] = ()
    camera: Annotated[tuple[CameraSection, ...], Meta(max_length=16)] = ()
    keep: KeepSection = KeepSection()
    health: HealthSection = HealthSection()
    drift: DriftSection = DriftSection()
    update: UpdateSection = UpdateSection()
    page: PageSection = PageSection()
    fleet: FleetSection = FleetSection()
    dicom: DicomSection = DicomSection()
    log: LogSection = LogSection()


def read_config(path: Path) -> Config:
    """Reads and checks a file; relative paths in it are taken from its folder.

    Raises LimiarError E-CONFIG-READ, E-CONFIG-SYNTAX and E-CONFIG-VALUE, the last two with line and column.
    """
    text = read_text(path, "limiar run --init")
    return parse_config(text, printable(str(path)), path.resolve().parent)


def config_sha256(path: Path) -> str:
    """Of a configuration's bytes, for the audit log; empty if it cannot be read any more."""
    try:
        return hashlib.sha256(read_bounded(path, LIMIT, follow=True)).hexdigest()
    except OSError:
        return ""


def parse_config(text: str, where: str, folder: Path) -> Config:
    """The text of a file. where: its name, for messages. Raises LimiarError E-CONFIG-SYNTAX and E-CONFIG-VALUE."""
    config = _resolved(typed(text, where, Config, _GIVE), folder)
    _check(config, text, where)
    return config


def _resolved(config: Config, folder: Path) -> Config:
    """The same with absolute paths."""

    def absolute(path: str) -> str:
        return os.path.normpath(folder / path)

    answer = msgspec.structs.replace(
        config.answer,
        bundle=config.answer.bundle if config.answer.bundle == CURRENT else absolute(config.answer.bundle),
        keys=tuple(map(absolute, config.answer.keys)),
        revoked=tuple(map(absolute, config.answer.revoked)),
    )
    folders = tuple(msgspec.structs.replace(one, path=absolute(one.path)) for one in config.folder)
    cameras = tuple(msgspec.structs.replace(one, source=_video(one.source, absolute)) for one in config.camera)
    textfile = absolute(config.health.textfile) if config.health.textfile else ""
    health = msgspec.structs.replace(config.health, textfile=textfile)
    certificate, key = (absolute(path) if path else "" for path in (config.page.certificate, config.page.key))
    page = msgspec.structs.replace(config.page, certificate=certificate, key=key)
    files = {name: getattr(config.fleet, name) for name in ("authority", "certificate", "key")}
    fleet = msgspec.structs.replace(config.fleet, **{name: absolute(path) for name, path in files.items() if path})
    return msgspec.structs.replace(config, answer=answer, folder=folders, camera=cameras, health=health, page=page, fleet=fleet)


def _video(source: str, absolute: Callable[[str], str]) -> str:
    """A source with the absolute path of its video file, if it is one."""
    kind, _, file = source.partition(":")
    return f"video:{absolute(file)}" if kind == "video" and file else source


def _check(config: Config, text: str, where: str) -> None:
    """What the types cannot say. Raises LimiarError E-CONFIG-VALUE."""
    if not config.folder and not config.camera:
        refuse(text, where, "", "nothing to watch: add a [[folder]] or a [[camera]]")
    if config.answer.revoked and not config.answer.keys:
        refuse(text, where, "answer.revoked", "revoked keys say which signatures do not count: add `keys` for those that do")
    try:
        _ = config.answer.tiling
    except ValueError as error:
        refuse(text, where, "answer.tiles", str(error))
    named = [(f"folder[{k}].name", one.source) for k, one in enumerate(config.folder)]
    named += [(f"camera[{k}].name", one.name) for k, one in enumerate(config.camera)]
    names: set[str] = set()
    for key, name in named:
        if name in names:
            refuse(text, where, key, f"two sources are named {name}: give each its own `name`")
        names.add(name)
    try:
        if config.health.listen:
            loopback(config.health.listen)
    except LimiarError as error:
        refuse(text, where, "health.listen", error.message)
    if config.health.textfile and not config.health.textfile.endswith(".prom"):
        refuse(text, where, "health.textfile", "node_exporter reads only files whose names end in .prom: give it such a name")
    try:
        if config.page.listen:
            listen_on(config.page.listen)
    except LimiarError as error:
        refuse(text, where, "page.listen", error.message)
    if bool(config.page.certificate) != bool(config.page.key):
        refuse(text, where, "page.certificate", "`certificate` and `key` belong together: give both, or none")
    _check_fleet(config.fleet, text, where)
    if config.fleet.bundles and config.answer.bundle != CURRENT:
        met = f'what is pulled would not answer, since [answer] names a bundle: leave `bundle = "{CURRENT}"` there'
        refuse(text, where, "fleet.bundles", met)
    for k, one in enumerate(config.folder):
        _check_folder(config, k, one, text, where)
    for k, camera in enumerate(config.camera):
        _check_camera(k, camera, text, where)


def _check_fleet(fleet: FleetSection, text: str, where: str) -> None:
    if not fleet.broker:
        if fleet != FleetSection():
            refuse(text, where, "fleet", 'it has no `broker`: give its address, such as "broker.example:8883"')
        return
    if not 0 < fleet.address[1] < 1 << 16:
        refuse(text, where, "fleet.broker", "its port must be from 1 to 65535")
    if bool(fleet.certificate) != bool(fleet.key) or bool(fleet.certificate) != bool(fleet.authority):
        refuse(text, where, "fleet.certificate", "`authority`, `certificate` and `key` belong together: give all or none")
    if not fleet.certificate and fleet.address[0] not in LOOPBACK:
        refuse(text, where, "fleet.broker", "without a certificate, only a broker on this machine is used: 127.0.0.1:1883")
    if not fleet.certificate and not fleet.device:
        refuse(text, where, "fleet.device", "without a certificate, give the name of this device")
    if fleet.bundles:
        _check_bundles(fleet.bundles, text, where)


def _check_bundles(address: str, text: str, where: str) -> None:
    try:
        parts = urllib.parse.urlsplit(address)
        whole = bool(parts.hostname) and parts.port != 0 and parts.username is None and not parts.query + parts.fragment
    except ValueError:
        whole = False
    if not whole or parts.scheme not in ("http", "https") or re.search("[^!-~]", address):
        refuse(text, where, "fleet.bundles", 'give the address of a folder, such as "https://bundles.example/limiar"')
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        refuse(text, where, "fleet.bundles", "http is for this machine alone: give an https address")


def _check_folder(config: Config, k: int, one: FolderSection, text: str, where: str) -> None:
    at = f"folder[{k}]"
    for other in config.folder[:k]:
        both = os.path.commonpath([one.path, other.path])
        if both in (one.path, other.path):
            refuse(text, where, f"{at}.path", f"it is, is in, or holds the folder of {other.source}: watch the outer one alone")
    if one.done == one.quarantine:
        refuse(text, where, f"{at}.quarantine", "`done` and `quarantine` are two folders in the watched one: give two names")
    if not os.path.basename(one.path):
        refuse(text, where, f"{at}.path", "the root folder cannot be watched: give a folder for images")


def _check_camera(k: int, camera: CameraSection, text: str, where: str) -> None:
    at = f"camera[{k}]"
    if camera.agree > camera.of:
        refuse(text, where, f"{at}.agree", f"{camera.agree} of {camera.of} frames cannot agree: `agree` is at most `of`")
    if camera.roi and (min(camera.roi[:2]) < 0 or min(camera.roi[2:]) < 1):
        refuse(text, where, f"{at}.roi", "it is x, y, width and height in pixels: x and y from 0, the others from 1")
    if camera.size and min(camera.size) < 1:
        refuse(text, where, f"{at}.size", "it is width and height in pixels, each from 1")
    try:
        find_source(camera.source)
    except LimiarError as error:
        refuse(text, where, f"{at}.source", error.message)
