"""What a video file is, by its first bytes, and whether it is complete; checked before FFmpeg sees it.

FFmpeg judges by content alone, and also plays lists that name other files and addresses. So it only gets files that are known
here as videos.
"""

import os
import re
import struct
import time
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from limiar.edge_app.camera.structure import fault
from limiar.edge_app.errors import SourceError

_HEAD_BYTES = 4096
_BLOCK_BYTES = 1 << 20
_READ_S = 2.0  # less than the parent's patience
_INDEX_LIMIT_BYTES = 64 << 20  # of an MP4's moov; an hour has less than 2 MB
_TRACKS_BYTES = 1 << 20  # in which a Matroska file names its tracks

# Types of the boxes that an MP4, MOV or 3GP may begin with: ISO/IEC 14496-12, and Apple's QuickTime File Format.
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"wide", b"free", b"skip", b"pnot")
_STARTS = {
    "Matroska or WebM": re.compile(rb"\x1a\x45\xdf\xa3"),
    "AVI": re.compile(rb"RIFF....AVI[ X\x19]", re.DOTALL),
    "MP4": re.compile(rb"....(?:%s)" % b"|".join(_BOXES), re.DOTALL),
    "MPEG transport stream": re.compile(rb"(?:.{4})?\x47(?:.{187}|.{191}|.{203})\x47", re.DOTALL),
    "MPEG": re.compile(rb"\x00\x00\x01[\xba\xb3\xb0]"),
    "H.264, H.265 or MPEG-4": re.compile(rb"\x00?\x00\x00\x01"),
    "FLV": re.compile(rb"FLV\x01"),
    "ASF": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    "Ogg": re.compile(rb"OggS"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "IVF": re.compile(rb"DKIF"),
    "YUV4MPEG": re.compile(rb"YUV4MPEG2 "),
    "MXF": re.compile(rb"\x06\x0e\x2b\x34"),
}
_LISTS = {  # FFmpeg and other players would follow them to other files and addresses
    "an M3U playlist": re.compile(rb"#EXT|#M3U", re.IGNORECASE),
    "a list of files for FFmpeg": re.compile(rb"ffconcat|(?:file|stream|duration|inpoint)\s", re.IGNORECASE),
    "a PLS playlist": re.compile(rb"\[playlist\]", re.IGNORECASE),
    "a session description (SDP)": re.compile(rb"v=0\s"),
    "an XML or HTML page, such as a DASH, ASX or SMIL playlist": re.compile(rb"<[?!a-z]", re.IGNORECASE),
    "a playlist of addresses": re.compile(rb"(?:https?|rtsps?|rtmp|file|ftp)://", re.IGNORECASE),
}
_IMAGES = re.compile(rb"\x89PNG|BM|II\*\x00|MM\x00\*|RIFF....WEBP|P[1-6]\s", re.DOTALL)


class VideoContainer:
    """A video file, before it is decoded. Raises SourceError for what FFmpeg must not play."""

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self.missing_bytes = 0  # how much longer the file says it is
        self.fault: str | None = None  # in words, what is missing by its own blocks, packets or pages
        if not os.path.isfile(path):  # FFmpeg would also take a URL or a list of files
            raise SourceError("E-SOURCE-OPEN", f"{name} is not a file: check the path")
        try:
            path.encode()
        except UnicodeEncodeError:  # it would crash OpenCV
            raise SourceError("E-SOURCE-OPEN", f"{name} has a name that is not UTF-8: rename the file") from None
        try:
            with open(path, "rb") as file:
                head = file.read(_HEAD_BYTES)
                self.kind = self._kind(head)
                self._check(file)
                self.fault = fault(file, self.kind)
        except OSError as error:
            cure = "check its permissions" if isinstance(error, PermissionError) else "copy the file again"
            raise SourceError("E-SOURCE-OPEN", f"{name}: {error.strerror}: {cure}") from None

    @property
    def timed(self) -> bool:
        """Whether the file has a time for each frame; an AVI does not, so its frames are counted."""
        return self.kind != "AVI"

    @property
    def measured(self) -> bool:
        """Whether the file says how long it is."""
        return self.kind in ("MP4", "AVI", "Matroska or WebM")

    def read_error(self) -> str | None:
        """In words, where reading the file from its disk fails; None if all that is read within 2 seconds is fine."""
        at, until_s = 0, time.monotonic() + _READ_S
        try:
            with open(self._path, "rb", buffering=0) as file:
                while time.monotonic() < until_s and (block := file.read(_BLOCK_BYTES)):
                    at += len(block)
        except OSError as error:
            return f"the file cannot be read from byte {at} on ({error.strerror})"
        return None

    def unreadable(self) -> SourceError:
        """The error to raise if FFmpeg does not open it."""
        if self._silent():
            return SourceError("E-SOURCE-OPEN", f"{self._name} has no video track, only sound: give a video")
        met = f"{self._name} begins like {self.kind}, but does not open"
        return SourceError("E-SOURCE-OPEN", f"{met}: copy the file again, and check that FFmpeg plays it")

    def without_frames(self, loss: str | None) -> SourceError:
        """The error to raise if no frame could be read."""
        if loss is None:
            return SourceError("E-SOURCE-OPEN", f"{self._name} has no frame: record it again")
        cure = "copy the file again; if another player shows it, convert it with ffmpeg -i FILE -c:v libx264 video.mkv"
        return SourceError("E-SOURCE-DAMAGED", f"{self._name}: {loss}: {cure}")

    def _kind(self, head: bytes) -> str:
        if not head:
            raise SourceError("E-SOURCE-OPEN", f"{self._name} is empty: copy the file again")
        for kind, start in _STARTS.items():
            if start.match(head):
                return kind
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        for what, start in _LISTS.items():
            if start.match(text):
                met = f"{self._name} is {what}, which names other files and addresses"
                raise SourceError("E-SOURCE-PLAYLIST", f"{met}: give the video itself")
        if _IMAGES.match(head):
            raise SourceError("E-SOURCE-OPEN", f"{self._name} is an image: answer it with limiar scan")
        met = f"{self._name} does not begin like a video that limiar knows"
        known = "MP4, MOV, Matroska, WebM, AVI, MPEG, FLV, ASF, Ogg or GIF"
        raise SourceError("E-SOURCE-OPEN", f"{met} ({known}): copy the file again, or convert it with ffmpeg -i FILE video.mkv")

    def _check(self, file: BinaryIO) -> None:
        match self.kind:
            case "MP4":
                parts = list(_boxes(file))
                if not {part.name for part in parts if not part.missing_bytes} & {b"moov", b"moof"}:
                    met = f"{self._name} has no index (moov), which is written last: recording or copying was cut off"
                    cure = "copy the file again, or repair it with a tool such as untrunc"
                    raise SourceError("E-SOURCE-DAMAGED", f"{met}: {cure}")
            case "AVI":
                parts = list(_riffs(file))
            case "Matroska or WebM":
                parts = list(_segments(file))
            case "MPEG transport stream":
                parts = list(_last_packet(file))
            case _:
                return  # a stream does not say how long it is
        self.missing_bytes = max((part.missing_bytes for part in parts), default=0)

    def _silent(self) -> bool:
        """Whether it has a sound track and no picture track."""
        with open(self._path, "rb") as file:
            if self.kind == "MP4":
                index = next((part for part in _boxes(file) if part.name == b"moov"), None)
                file.seek(index.start if index else 0)
                tracks = file.read(min(index.end - index.start, _INDEX_LIMIT_BYTES) if index else 0)
                return b"soun" in tracks and b"vide" not in tracks
            tracks = file.read(_TRACKS_BYTES)
            return self.kind == "Matroska or WebM" and b"A_" in tracks and b"V_" not in tracks


class _Part(Struct, frozen=True):
    """A part of a container, which says how long it is."""

    name: bytes
    start: int
    end: int
    missing_bytes: int  # beyond the end of the file


def _boxes(file: BinaryIO) -> Iterator[_Part]:
    """The outermost boxes of an MP4 (ISO/IEC 14496-12, section 4.2)."""
    start, size = 0, _size(file)
    while start + 8 <= size:
        file.seek(start)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
        end = start + length if length else size  # 0: to the end of the file
        if end < start + 8:
            return  # damaged: where the next one starts is not known
        yield _Part(name, start, end, max(0, end - size))
        start = end


def _riffs(file: BinaryIO) -> Iterator[_Part]:
    """An AVI's RIFF chunks: one, or one for each GB (OpenDML AVI extensions, 1996)."""
    start, size = 0, _size(file)
    while start + 12 <= size:
        file.seek(start)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or not 4 <= length < 0xFFFFFFF0:  # the length was not known while it was recorded
            return
        end = start + 8 + length
        yield _Part(name, start, end, max(0, end - size))
        start = end + length % 2


def _segments(file: BinaryIO) -> Iterator[_Part]:
    """The outermost elements of a Matroska file (RFC 9559): its header, and the segment that holds the rest."""
    start, size = 0, _size(file)
    while start + 12 <= size:
        file.seek(start)
        head = file.read(12)
        first = 9 - head[4].bit_length()  # bytes of the length: one more than there are leading zeros
        if head[:4] not in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67") or first > 8:
            return
        length = int.from_bytes(head[4 : 4 + first]) & ((1 << 7 * first) - 1)
        if length == (1 << 7 * first) - 1:
            return  # the length was not known while it was recorded
        end = start + 4 + first + length
        yield _Part(head[:4], start, end, max(0, end - size))
        start = end


def _last_packet(file: BinaryIO) -> Iterator[_Part]:
    """The last packet of an MPEG transport stream (ISO/IEC 13818-1): all have one length, perhaps with a time or checksum."""
    file.seek(0)
    head, size = file.read(_HEAD_BYTES), _size(file)
    for length, sync in ((188, 0), (192, 4), (204, 0)):
        if head[sync : sync + 1] == head[sync + length : sync + length + 1] == b"\x47":
            start = size // length * length
            yield _Part(b"", start, start + length, -size % length)
            return


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
