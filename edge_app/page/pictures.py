"""Pictures of kept answers for a browser: drawn by a process of their own, and thumbnails kept for a while."""

import hashlib
import os
import select
import threading
import time
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import MANIFEST, MANIFEST_LIMIT, Manifest, parse_manifest
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install.record import BUNDLES, SLOTS
from limiar.edge_app.page.drawing import DRAWN, Draw, Drawn, Kind
from limiar.edge_app.results.picture_file import picture_of, places
from limiar.edge_app.store.reader import Entry
from limiar.edge_app.system.channel import ParentEnd
from limiar.edge_app.system.children import Child, spawn_named
from limiar.edge_app.system.files import read_bounded

_DRAW_S = 30.0  # for one picture; a map may first have to run the golden images
_IDLE_S = 60.0  # after the last picture, the process ends
_CACHE_BYTES = 4 << 20  # of thumbnails
# Refused, although there is a picture; with another code it is sure not to be decoded.
_DECODED = frozenset(f"E-IMAGE-{why}" for why in ("BLACK", "OUTSIDE", "SATURATED", "THIN", "UNASSESSABLE", "UNIFORM"))
_CHILD = ("limiar.edge_app.page.picture_child", "main")


class NoPicture(Exception):
    """There is none. `key`: of the words that say why."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class Pictures:
    """For all threads of the page. Use as a context manager: leaving ends the process."""

    def __init__(self, state: Path, moved_to: tuple[str, ...]) -> None:
        """moved_to: names of the folders into which the service moves files."""
        self._state, self._moved_to = state, moved_to
        self._lock = threading.Lock()  # of the process
        self._child: tuple[Child, ParentEnd] | None = None
        self._used_at = 0.0
        self._thumbs: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._thumb_bytes = 0
        self._ended = threading.Event()
        self._idle = threading.Thread(target=self._end_when_idle, name="pictures", daemon=True)

    def __enter__(self) -> "Pictures":
        self._idle.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with self._lock:
            self._end()

    def png(self, entry: Entry, kind: Kind, bundle: Path | None = None) -> bytes:
        """A PNG file. bundle: the folder of the one that answered, for a map. Raises NoPicture."""
        key = (entry.id, (entry.image_sha256 or entry.kept_sha256 or b"").hex())
        if kind == "thumb" and (found := self._thumb(key)):
            return found
        if entry.kind == "frame" and entry.kept is None:
            raise NoPicture("picture.not-kept")
        try:
            content = picture_of(self._state, entry, self._moved_to)
        except OSError:
            content = None
        if content is None:
            raise NoPicture("picture.moved")
        about = (entry.label or "", str(bundle), entry.file, entry.runtime.partition(" ")[0]) if kind == "map" else ()
        drawn = self._draw(Draw(kind, content, *about))
        if not drawn.png:
            raise NoPicture("picture.no-map" if drawn.code == "E-BUNDLE-MAP" else "picture.broken")
        if kind == "thumb":
            self._keep_thumb(key, drawn.png)
        return drawn.png

    def warm(self) -> None:
        """Starts the process, while a browser still reads the page that will ask for pictures."""
        if self._lock.acquire(blocking=False):
            try:
                self._start()
            except OSError:
                pass  # the first picture says so
            finally:
                self._lock.release()

    def missing(self, entry: Entry) -> str | None:
        """Why there is no picture, as a key of words; None if a file is there. Its bytes are looked at when it is drawn."""
        if entry.kind == "frame" and entry.kept is None:
            return "picture.not-kept"
        if not (entry.image_sha256 or entry.kept_sha256) or (entry.code and entry.code not in _DECODED):
            return "picture.broken"
        return None if any(map(os.path.isfile, places(self._state, entry, self._moved_to))) else "picture.moved"

    def bundle_of(self, entry: Entry, folder: str = "") -> Path:
        """The folder of the bundle that answered, with a map. folder: of the one that answers now. Raises NoPicture."""
        slots = [self._state / BUNDLES / slot for slot in SLOTS]
        for path in (*([Path(folder)] if folder else []), *slots):
            manifest = _manifest(path, entry.bundle)
            if manifest is None:
                continue
            has_map = any(one.model and one.model.class_map for one in manifest.files if Path(one.path).stem == entry.file)
            if not has_map:
                raise NoPicture("picture.no-map")
            return path
        raise NoPicture("picture.bundle-gone")

    def _thumb(self, key: tuple[int, str]) -> bytes | None:
        with self._lock:
            if found := self._thumbs.get(key):
                self._thumbs.move_to_end(key)
            return found

    def _keep_thumb(self, key: tuple[int, str], png: bytes) -> None:
        with self._lock:
            if key not in self._thumbs:
                self._thumbs[key] = png
                self._thumb_bytes += len(png)
            while self._thumb_bytes > _CACHE_BYTES:
                self._thumb_bytes -= len(self._thumbs.popitem(last=False)[1])

    def _draw(self, draw: Draw) -> Drawn:
        with self._lock:
            try:
                end = self._start()
                end.send(msgspec.msgpack.encode(draw))
                answer = _answer(end, time.monotonic() + _DRAW_S)
                self._used_at = time.monotonic()
                return DRAWN.decode(answer)
            except (EOFError, TimeoutError, OSError, msgspec.MsgspecError):
                self._end()  # the image did that, or it takes too long: the next one gets a new process
                return Drawn(b"", "E-IMAGE-CRASH")

    def _start(self) -> ParentEnd:
        """Raises OSError."""
        self._used_at = time.monotonic()
        self._child = self._child or spawn_named(*_CHILD)
        return self._child[1]

    def _end(self) -> None:
        if self._child:
            child, end = self._child
            self._child = None
            end.close()
            child.kill()
            child.join()

    def _end_when_idle(self) -> None:
        while not self._ended.wait(_IDLE_S / 4):
            with self._lock:
                if self._child and time.monotonic() - self._used_at > _IDLE_S:
                    self._end()


def _answer(end: ParentEnd, until: float) -> bytes:
    """Sends what is left, and returns the answer. Raises EOFError and TimeoutError."""
    poll = select.poll()
    poll.register(end.fileno(), select.POLLOUT)
    while end.unsent:
        if not poll.poll(max(0.0, 1000 * (until - time.monotonic()))):
            raise TimeoutError
        end.flush()
    answer = end.next(max(0.0, until - time.monotonic()))
    if answer is None:
        raise TimeoutError
    return answer


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
