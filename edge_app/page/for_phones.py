"""How the page for phones is sent: what it may load, and the media types of its parts. Without Flask, for what writes it."""

from pathlib import PurePath

POLICY = "; ".join(
    (
        "default-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # WebAssembly is compiled; nothing else is evaluated
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",  # the service worker; the other one, made of the very bytes that were checked
        "manifest-src 'self'",
    )
)
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}


def media_type(name: str) -> str:
    """Of a part. One that is stored as .gz is sent as it is: the page unpacks it."""
    return _TYPES.get(PurePath(name).suffix, "application/octet-stream")
