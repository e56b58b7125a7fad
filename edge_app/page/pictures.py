"""Pictures of kept answers for a browser: drawn by processes of their own, and thumbnails kept for a while."""

import hashlib
import os
import threading
from collections import Counter, OrderedDict
from functools import lru_cache
from pathlib import Path

from limiar.edge_app.bundle.manifest import MANIFEST, MANIFEST_LIMIT, Manifest, parse_manifest
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install.record import BUNDLES, SLOTS
from limiar.edge_app.page import drawer
from limiar.edge_app.page.drawer import Busy, Drawer
from limiar.edge_app.page.drawing import Draw, Drawn, Kind, Model
from limiar.edge_app.results.picture_file import places
from limiar.edge_app.store.reader import Entry
from limiar.edge_app.system.files import read_bounded

_DRAW_S, _MAP_S = 10.0, 30.0  # for one picture; for one map, whose model may have to be loaded first
_CACHE_BYTES = 4 << 20  # of thumbnails
_TRIES = 2  # of a picture that ends the process or takes too long
_REMEMBERED = 1000  # of these
_LOST = frozenset({"E-IMAGE-CRASH", "E-IMAGE-TIMEOUT"})
# Refused, although there is a picture; with another code it is sure not to be decoded.
_DECODED = frozenset(
    (
        *(f"E-IMAGE-{why}" for why in ("BLACK", "OUTSIDE", "SATURATED", "THIN", "UNASSESSABLE", "UNIFORM")),
        *(f"E-TILES-{why}" for why in ("MANY", "NONE", "SMALL")),
    )
)

_Key = tuple[str, bytes, int]  # sha256 of the bundle, which says how 16 bits become 8, and of the image; its frame


class NoPicture(Exception):
    """There is none. `key`: of the words that say why."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    @property
    def busy(self) -> bool:
        """Whether it may be there in a moment."""
        return self.key == "picture.busy"


class Pictures:
    """For all threads of the page. Use as a context manager: leaving ends the processes."""

    def __init__(self, state: Path, moved_to: tuple[str, ...]) -> None:
        """moved_to: names of the folders into which the service moves files."""
        self._state, self._moved_to = state, moved_to
        # Two, so that no thumbnail waits for a model.
        self._drawer, self._mapper = Drawer(_DRAW_S), Drawer(_MAP_S)
        self._lock = threading.Lock()  # of what follows
        self._thumbs: OrderedDict[_Key, bytes] = OrderedDict()
        self._thumb_bytes = 0
        self._lost: Counter[tuple[Kind, _Key]] = Counter()
        self._ended = threading.Event()
        self._idle = threading.Thread(target=self._end_when_idle, name="pictures", daemon=True)

    def __enter__(self) -> "Pictures":
        self._idle.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._drawer.end()
        self._mapper.end()

    def png(self, entry: Entry, kind: Kind, current: str = "") -> bytes:
        """A PNG file. current: the folder of the bundle that answers now, if it is none of the slots. Raises NoPicture."""
        key = (entry.bundle, _sha256(entry), entry.frame or 0)
        if kind == "thumb" and (found := self._thumb(key)):
            return found
        if why := self.missing(entry) or (self.map_missing(entry, current) if kind == "map" else None):
            raise NoPicture(why)
        if self._lost[kind, key] >= _TRIES:
            raise NoPicture("picture.broken")
        drawn = self._draw(entry, kind, self._bundle_of(entry, current))
        if drawn.code in _LOST:
            self._count(kind, key)
        if not drawn.png:
            raise NoPicture(_why(drawn.code))
        if kind == "thumb":
            self._keep_thumb(key, drawn.png)
        return drawn.png

    def warm(self) -> None:
        """Starts the process for all but maps, while a browser still reads the page that will ask for pictures."""
        self._drawer.warm()

    def missing(self, entry: Entry) -> str | None:
        """Why there is no picture, as a key of words; None if a file is there. Its bytes are looked at when it is drawn."""
        if entry.kind == "frame" and entry.kept is None:
            return "picture.not-kept"
        if not _sha256(entry) or (entry.code and entry.code not in _DECODED):
            return "picture.broken"
        return None if self._places(entry) else "picture.moved"

    def map_missing(self, entry: Entry, current: str = "") -> str | None:
        """Why there is no map, as a key of words; None if there is one. current: as for `png`."""
        if entry.tiles:
            return None
        if (found := self._bundle_of(entry, current)) is None:
            return "picture.bundle-gone"
        file = found[1].models.get(entry.file)
        return None if file and file.model and file.model.class_map else "picture.no-map"

    def _bundle_of(self, entry: Entry, current: str) -> tuple[Path, Manifest] | None:
        """The bundle that answered; None if it is gone."""
        slots = [self._state / BUNDLES / slot for slot in SLOTS]
        for folder in (*([Path(current)] if current else []), *slots):
            if manifest := _manifest(folder, entry.bundle):
                return folder, manifest
        return None

    def _places(self, entry: Entry) -> tuple[bytes, ...]:
        return tuple(os.fsencode(path) for path in places(self._state, entry, self._moved_to) if os.path.isfile(path))

    def _draw(self, entry: Entry, kind: Kind, bundle: tuple[Path, Manifest] | None) -> Drawn:
        model = None
        tiles = entry.tiles if kind == "map" else None
        if kind == "map" and bundle and not tiles:
            model = Model(str(bundle[0]), entry.bundle, entry.file, entry.runtime.partition(" ")[0], entry.label or "")
        spec = bundle[1].input if bundle else None
        drawn = Drawn(b"", "E-IMAGE-MISSING")
        try:
            for _ in range(2):  # in between, the service may have moved it
                frame = (entry.frame or 1) - 1
                asked = Draw(kind, self._places(entry), _sha256(entry), spec, model, frame, tiles, entry.peaks or ())
                drawn = (self._mapper if model else self._drawer).draw(asked)
                if drawn.code != "E-IMAGE-MISSING":
                    break
        except Busy:
            raise NoPicture("picture.busy") from None
        return drawn

    def _thumb(self, key: _Key) -> bytes | None:
        with self._lock:
            if found := self._thumbs.get(key):
                self._thumbs.move_to_end(key)
            return found

    def _keep_thumb(self, key: _Key, png: bytes) -> None:
        with self._lock:
            if key not in self._thumbs:
                self._thumbs[key] = png
                self._thumb_bytes += len(png)
            while self._thumb_bytes > _CACHE_BYTES:
                self._thumb_bytes -= len(self._thumbs.popitem(last=False)[1])

    def _count(self, kind: Kind, key: _Key) -> None:
        with self._lock:
            if len(self._lost) >= _REMEMBERED:
                self._lost.clear()
            self._lost[kind, key] += 1

    def _end_when_idle(self) -> None:
        while not self._ended.wait(drawer.IDLE_S / 4):
            self._drawer.end_if_idle()
            self._mapper.end_if_idle()


def _why(code: str) -> str:
    if code == "E-IMAGE-MISSING":
        return "picture.moved"
    if code == "E-BUNDLE-MAP":
        return "picture.no-map"
    return "picture.broken" if code.startswith("E-IMAGE-") else "picture.map-failed"


def _sha256(entry: Entry) -> bytes:
    return entry.image_sha256 or entry.kept_sha256 or b""


def _manifest(folder: Path, sha256: str) -> Manifest | None:
    """Of a bundle's folder, if it has this sha256."""
    try:
        raw = read_bounded(folder / MANIFEST, MANIFEST_LIMIT)
    except OSError:
        return None
    return _parsed(raw) if hashlib.sha256(raw).hexdigest() == sha256 else None


@lru_cache(2)
def _parsed(raw: bytes) -> Manifest | None:
    try:
        return parse_manifest(raw, where=MANIFEST)
    except LimiarError:
        return None
