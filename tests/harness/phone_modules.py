"""The phone page's JavaScript modules in Chromium, each by itself: a function is called from Python, with bytes both ways."""

import base64
import json
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

PHONE = Path(__file__).parents[2] / "edge_app" / "phone"
_BYTES, _ERROR = "$bytes", "$error"
# Python's values in JSON <-> JavaScript's: bytes are typed arrays, an object that was made there can be kept under a name.
_CALLER = """
async ({module, on, name, given, keep}) => {
  const made = value => {
    if (Array.isArray(value)) return value.map(made);
    if (value === null || typeof value !== "object") return value;
    if ("$bytes" in value) return Uint8Array.from(atob(value.$bytes), c => c.charCodeAt(0));
    if ("$kept" in value) return globalThis.kept[value.$kept];
    if ("$parts" in value) return async part => new Uint8Array(await (await fetch(value.$parts + part)).arrayBuffer());
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, made(inner)]));
  };
  const told = value => {
    if (value instanceof Error) return {$error: [value.code ?? null, value.message, value.constructor.name]};
    if (ArrayBuffer.isView(value)) {
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      let text = "";
      for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
      return {$bytes: btoa(text), type: value.constructor.name};
    }
    if (typeof value === "number" && !Number.isFinite(value)) return {$number: String(value)};
    if (Array.isArray(value)) return value.map(told);
    if (value instanceof Map) return told(Object.fromEntries(value));
    if (value === undefined || typeof value === "function") return null;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, told(inner)]));
  };
  const one = async args => {
    try {
      const owner = on === null ? await import(module) : globalThis.kept[on];
      const found = await (name === "" ? owner(...args.map(made)) : owner[name](...args.map(made)));
      if (keep) { (globalThis.kept ??= {})[keep] = found; return null; }
      return told(found);
    } catch (error) {
      return told(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const all = [];
  for (const args of given) all.push(await one(args));
  return all;
}
"""


class JsError(Exception):
    """What a function threw: code (None if it has none), message, and its class's name."""

    def __init__(self, code: str | None, message: str, kind: str) -> None:
        super().__init__(f"{kind} {code}: {message}")
        self.code, self.message, self.kind = code, message, kind


class Kept:
    """A value that stays in the browser: an argument of later calls."""

    def __init__(self, name: str) -> None:
        self.name = name


class Parts:
    """An argument: a `readPart` that reads below an address of this server, "/vendor/"."""

    def __init__(self, below: str = "/") -> None:
        self.below = below


class Modules:
    """A tab in which the vendored scripts are loaded, and every module of web/ can be imported as "/web/…"."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self._count = 0  # of what was kept
        page.goto(f"{url}/modules.html")

    def call(self, module: str, name: str, *args: Any) -> Any:
        """The result of a module's function, awaited. Raises JsError."""
        (found,) = self.each(module, name, [args])
        if isinstance(found, JsError):
            raise found
        return found

    def each(self, module: str, name: str, many: list[tuple[Any, ...]]) -> list[Any]:
        """One after the other, in one round trip: a JsError in place of a result that was not given."""
        given = [[_given(arg) for arg in args] for args in many]
        return [_found(value) for value in self._run(module, None, name, given, None)]

    def ask(self, kept: "Kept", name: str, *args: Any) -> Any:
        """The result of a method of what was kept; "": of the function that it is. Raises JsError."""
        (found,) = self.ask_each(kept, name, [args])
        if isinstance(found, JsError):
            raise found
        return found

    def ask_each(self, kept: "Kept", name: str, many: list[tuple[Any, ...]]) -> list[Any]:
        """As `ask`, many times in one round trip: a JsError in place of a result that was not given."""
        given = [[_given(arg) for arg in args] for args in many]
        return [_found(value) for value in self._run("", kept.name, name, given, None)]

    def keep(self, module: str, name: str, *args: Any) -> Kept:
        """Calls a function and leaves its result in the browser. Raises JsError."""
        self._count += 1
        kept = Kept(f"{module} {name} {self._count}")
        (error,) = self._run(module, None, name, [[_given(arg) for arg in args]], kept.name)
        if error is not None:
            raise _found(error)
        return kept

    def _run(self, module: str, on: str | None, name: str, given: list[Any], keep: str | None) -> list[Any]:
        asked = {"module": f"/web{module}", "on": on, "name": name, "given": given, "keep": keep}
        found: list[Any] = self.page.evaluate(_CALLER, asked)
        return found


def _given(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, Kept):
        return {"$kept": value.name}
    if isinstance(value, Parts):
        return {"$parts": value.below}
    if isinstance(value, dict):
        return {key: _given(inner) for key, inner in value.items()}
    return [_given(inner) for inner in value] if isinstance(value, list | tuple) else value


def _found(value: Any) -> Any:
    if isinstance(value, list):
        return [_found(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if _ERROR in value:
        return JsError(*value[_ERROR])
    if "$number" in value:
        return float(value["$number"].replace("Infinity", "inf"))
    if _BYTES in value:
        return base64.b64decode(value[_BYTES])
    return {key: _found(inner) for key, inner in value.items()}


@contextmanager
def served(*folders: tuple[str, Path]) -> Iterator[str]:
    """A server on a free port of this machine: `served(("/web/", web))`; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, folders=folders))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Files(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, folders: tuple[tuple[str, Path], ...]) -> None:
        self._folders = folders
        super().__init__(*args)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/modules.html":
            scripts = sorted((PHONE / "vendor").glob("*.js")) if (PHONE / "vendor").is_dir() else []
            tags = "".join(f'<script src="/vendor/{script.name}"></script>' for script in scripts)
            self._send(f"<!doctype html><meta charset=utf-8><title>modules</title>{tags}".encode(), "text/html")
            return
        for below, folder in self._folders:
            found = folder / path.removeprefix(below) if path.startswith(below) else None
            found = found / "index.html" if found and found.is_dir() else found
            if found and found.is_file() and found.resolve().is_relative_to(folder.resolve()):
                self._send(found.read_bytes(), mimetypes.guess_type(found.name)[0] or "application/octet-stream")
                return
        self.send_error(404, json.dumps(path))

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)
