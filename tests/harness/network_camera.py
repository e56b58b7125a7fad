"""A network camera that sends JPEGs over HTTP, as a real one does; it can freeze, fall silent, send rubbish and be gone.

Each picture shows its own number, so that one can tell from an answered frame when it was taken.
"""

import contextlib
import http.server
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Does = Literal["live", "frozen", "alternating", "silent", "truncated", "black", "other size", "late", "closed", "refusing"]

BLOCK_PX = 8  # a bit of the number, in the first row of blocks: it survives JPEG
BITS = 16


def noise(number: int, height: int = 96, width: int = 160) -> Pixels:
    """What a sensor gives: no two pictures are equal."""
    return np.random.default_rng(number).integers(96, 160, (height, width, 3), np.uint8)


def dark(number: int) -> Pixels:
    """What a sensor behind a closed lens gives: black, and a little light."""
    seen = noise(number) // 64
    seen[40:50, 70:80] += 60
    return seen


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

    picture: number -> what the camera sees then.
    """

    def __init__(self, picture: Callable[[int], Pixels] = noise, rate_hz: float = 20.0, stamped: bool = False) -> None:
        self.does: Does = "live"
        self.taken_s: dict[int, float] = {}  # number of a picture -> when it was taken, time.monotonic()
        self._picture = picture
        self._interval_s = 1 / rate_hz
        self._stamped = stamped
        self._number = 0
        self._last: list[bytes] = []  # pictures that were sent, the newest last
        self._held: list[tuple[float, bytes]] = []  # taken and not sent yet: the network is slow
        self._lock = threading.Lock()
        self._ended = False
        handler = type("Handler", (_Handler,), {"camera": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/video"

    def __enter__(self) -> "NetworkCamera":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._server.shutdown()
        self._server.server_close()

    def take(self) -> bytes:
        """A new picture."""
        with self._lock:
            self._number += 1
            number = self._number
            self.taken_s[number] = time.monotonic()
        taken = jpeg(numbered(self._picture(number), number))
        self._last = [*self._last[-3:], taken]
        return taken

    def stream(self) -> Iterator[tuple[float, bytes]]:
        """Pictures, each with the camera's time of it, until the connection is to be closed."""
        turn = 0
        while not self._ended and self.does != "closed":
            time.sleep(self._interval_s)
            turn += 1
            match self.does:
                case "live":
                    yield from self._held
                    self._held.clear()
                    yield time.time(), self.take()
                case "frozen" if self._last:
                    yield time.time(), self._last[-1]
                case "alternating" if self._last:
                    yield time.time(), self._last[-1 - turn % min(2, len(self._last))]
                case "truncated":
                    whole = self.take()
                    yield time.time(), whole[: len(whole) // 2] + b"\xff\xd9"
                case "black":
                    yield time.time(), jpeg(dark(turn))
                case "other size":
                    yield time.time(), jpeg(noise(turn, 64, 96))
                case "late":
                    self._held.append((time.time(), self.take()))
                case _:
                    pass  # silent

    def answer(self, to: http.server.BaseHTTPRequestHandler) -> None:
        if self.does in ("refusing", "closed"):
            to.send_response(503)
            to.end_headers()
            return
        to.send_response(200)
        to.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        to.end_headers()
        for taken_s, body in self.stream():
            stamp = f"X-Timestamp: {taken_s:.6f}\r\n" if self._stamped else ""
            to.wfile.write(f"--frame\r\nContent-Length: {len(body)}\r\n{stamp}\r\n".encode() + body + b"\r\n")
            to.wfile.flush()


class _Handler(http.server.BaseHTTPRequestHandler):
    camera: NetworkCamera

    def do_GET(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.camera.answer(self)

    def log_message(self, format: str, *_: Any) -> None:  # its name there
        pass
