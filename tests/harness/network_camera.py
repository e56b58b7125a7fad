"""A network camera that sends JPEGs over HTTP, as a real one does; it can freeze, fall silent, send rubbish and be gone.

Each picture shows its own number, so that one can tell from an answered frame when it was taken.
"""

import contextlib
import http.server
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Does = Literal[
    "live", "frozen", "alternating", "silent", "truncated", "black", "other size", "late", "closed", "hanging up", "hanging"
]

BLOCK_PX = 8  # a bit of the number, in the first row of blocks: it survives JPEG
BITS = 16
_HANGS_S = 60.0


def noise(number: int, height: int = 96, width: int = 160) -> Pixels:
    """What a sensor gives: no two pictures are equal."""
    return np.random.default_rng(number).integers(96, 160, (height, width, 3), np.uint8)


def dark(number: int) -> Pixels:
    """What a sensor behind a closed lens gives: black, and a little light."""
    seen = noise(number) // 64
    seen[40:50, 70:80] += 60
    return seen


def smaller(number: int) -> Pixels:
    return noise(number, 64, 136)


def numbered(pixels: Pixels, number: int) -> Pixels:
    """A picture with its number in its first rows, of at least BITS * BLOCK_PX pixels."""
    seen = pixels.copy()
    for bit in range(BITS):
        seen[:BLOCK_PX, bit * BLOCK_PX : (bit + 1) * BLOCK_PX] = 255 if number >> bit & 1 else 0
    return seen


def number_of(pixels: Pixels) -> int:
    """The number that a picture shows."""
    middle = BLOCK_PX // 2
    return sum(int(pixels[middle, bit * BLOCK_PX + middle].mean() > 127) << bit for bit in range(BITS))


def jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


class NetworkCamera:
    """A server on a port of its own; `does` says how it behaves from now on. Use as a context manager.

    picture: number -> what the camera sees then. stamped: it says when it took each picture, as mjpg-streamer does.
    """

    def __init__(self, picture: Callable[[int], Pixels] = noise, rate_hz: float = 20.0, stamped: bool = False) -> None:
        self.does: Does = "live"
        self.number = 0  # of the last picture
        self.taken: dict[int, float] = {}  # number of a picture -> when it was taken, seconds since 1970
        self._picture = picture
        self._interval_s = 1 / rate_hz
        self._stamped = stamped
        self._last: list[bytes] = []  # pictures that were sent, the newest last
        self._lock = threading.Lock()
        self._ended = False
        handler = type("Handler", (_Handler,), {"camera": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/video"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._server.shutdown()
        self._server.server_close()

    def _take(self, picture: Callable[[int], Pixels] | None = None) -> bytes:
        with self._lock:
            self.number += 1
            number = self.number
            self.taken[number] = time.time()
        return jpeg(numbered((picture or self._picture)(number), number))

    def _stream(self) -> Iterator[tuple[float, bytes]]:
        """Pictures, each with the camera's time of it, until the connection is to be closed."""
        held: list[tuple[float, bytes]] = []  # in the network, and not there yet
        turn = 0
        while not self._ended and self.does not in ("closed", "hanging up"):
            time.sleep(self._interval_s)
            turn += 1
            match self.does:
                case "live":
                    yield from held
                    held.clear()
                    taken = self._take()
                    self._last = [*self._last[-3:], taken]
                    yield time.time(), taken
                case "frozen" if self._last:
                    yield time.time(), self._last[-1]
                case "alternating" if self._last:
                    yield time.time(), self._last[turn % len(self._last)]
                case "truncated":
                    whole = self._take()
                    yield time.time(), whole[: len(whole) // 2] + b"\xff\xd9"
                case "black":
                    yield time.time(), jpeg(dark(turn))
                case "other size":
                    yield time.time(), self._take(smaller)
                case "late":
                    held.append((time.time(), self._take()))
                case _:
                    pass  # silent

    def answer(self, to: http.server.BaseHTTPRequestHandler) -> None:
        match self.does:
            case "closed":
                to.send_response(503)
                return to.end_headers()
            case "hanging up":
                return None
            case "hanging":
                return time.sleep(_HANGS_S)  # even if the camera is back meanwhile
        to.send_response(200)
        to.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        to.end_headers()
        for taken_s, body in self._stream():
            stamp = f"X-Timestamp: {taken_s:.6f}\r\n" if self._stamped else ""
            to.wfile.write(f"--frame\r\nContent-Length: {len(body)}\r\n{stamp}\r\n".encode() + body + b"\r\n")
            to.wfile.flush()
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    camera: NetworkCamera

    def do_GET(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.camera.answer(self)

    def log_message(self, format: str, *_: Any) -> None:  # its name there
        pass
