"""A bundle as the parts of a page: files of web/ and vendor/, those of the bundle, and page.json, which proves them all.

index.html names page.json by its sha256, page.json every part by its own. So what the page shows is proven by what the browser
opened, and neither a proxy nor a half-copied folder can mix two versions.
"""

import gzip
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from limiar.edge_app import __version__
from limiar.edge_app.bundle.manifest import GOLDEN, MANIFEST, SIGNATURE, Manifest, ModelFile
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.bundle.signature import PublicKey
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.page.for_phones import media_type
from limiar.edge_app.phone.join import join
from limiar.edge_app.phone.model import PageModel, page_model
from limiar.edge_app.phone.words import FILE as WORDS_FILE
from limiar.edge_app.phone.words import words_json

ROOM = Path(__file__).parent
WEB, VENDOR = ROOM / "web", ROOM / "vendor"
ICON = ROOM.parent / "page" / "static" / "icon.svg"
CARD = "MODEL_CARD.md"
LICENCES = "LICENSES.txt"  # what the licences of vendor/ ask for goes wherever their code goes
BELOW = "bundle/"  # where the bundle's files are among the parts
PAGE, APP_MANIFEST = "page.json", "manifest.webmanifest"
_LEVEL = 9  # of gzip: 2.83 MB of LiteRT's 9.33, in a second


class Part(Struct, frozen=True):
    """A part of the page, as it is stored."""

    name: str  # "vendor/litert.wasm.gz"
    data: bytes

    @property
    def type(self) -> str:
        """Its media type."""
        return media_type(self.name)

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


class Listed(Struct, frozen=True):
    """What page.json says of a part."""

    bytes: int
    sha256: str


class PageJson(Struct, frozen=True, kw_only=True):
    """page.json, schema 1."""

    schema: Literal[1] = 1
    app: str  # "limiar 0.1.0"
    bundle: str  # sha256 of manifest.json
    file: str  # the model file that answers
    runtime: str  # "litert-wasm 2.5.3"
    model: PageModel
    keys: tuple[str, ...]  # raw Ed25519 keys, hexadecimal, of which one must have signed the bundle; none: nothing is asked
    parts: dict[str, Listed]


class Page(Struct, frozen=True):
    """A page that can be written, as a folder or as one file."""

    manifest: Manifest
    json: PageJson
    parts: tuple[Part, ...]  # all but page.json and what depends on the form

    @property
    def listing(self) -> Part:
        """page.json."""
        return Part(PAGE, msgspec.json.format(msgspec.json.encode(self.json), indent=1) + b"\n")

    def part(self, name: str) -> Part:
        """Raises KeyError."""
        return {part.name: part for part in self.parts}[name]


def build(bundle: Bundle, file: str | None = None, keys: Sequence[PublicKey] = ()) -> Page:
    """Puts a page together. file: the model file that answers; None: the bundle's default. Raises BundleError."""
    manifest = bundle.manifest
    if manifest.input.dicom or manifest.tiles:
        what = "reads DICOM" if manifest.input.dicom else "answers pictures by tiles"
        met = f"{printable(str(bundle.path))} {what}, which the page of a phone does not"
        raise BundleError("E-PHONE-BUNDLE", f"{met}: answer with `limiar scan`, or give another bundle")
    model, data = bundle.model(file)
    details = page_model(model, data, manifest.input, len(manifest.labels))
    parts = (*_code(), *_assets(manifest), *_vendored(), *_of_bundle(bundle, model))
    page = PageJson(
        app=f"limiar {__version__}",
        bundle=bundle.sha256,
        file=model.name,
        runtime=f"litert-wasm {_litert()}",
        model=details,
        keys=tuple(key.raw.hex() for key in keys),
        parts={part.name: Listed(len(part.data), part.sha256) for part in parts},
    )
    return Page(manifest, page, parts)


def _code() -> Iterator[Part]:
    yield Part("app.js", join(WEB / "app.js", WEB).encode())
    # The vendored scripts set globals; in an importScripts of their own each would be one request more.
    vendored = [path.read_text(encoding="utf-8") for path in sorted(VENDOR.glob("*.js"))]
    yield Part("worker.js", "\n;\n".join([*vendored, join(WEB / "worker.js", WEB)]).encode())


def _assets(manifest: Manifest) -> Iterator[Part]:
    yield Part("app.css", (WEB / "app.css").read_bytes())
    yield Part(ICON.name, ICON.read_bytes())
    icons = [Part(path.name, path.read_bytes()) for path in sorted(WEB.glob("icon-*.png"))]
    yield from icons
    yield Part(APP_MANIFEST, msgspec.json.format(msgspec.json.encode(_app_manifest(manifest, icons)), indent=1) + b"\n")
    yield Part(WORDS_FILE, words_json())


def _app_manifest(manifest: Manifest, icons: Sequence[Part]) -> dict[str, object]:
    """What a phone shows of an installed page. icons: PNG files called icon-SIDE.png and icon-maskable-SIDE.png."""
    return {
        "name": f"limiar: {manifest.name}",
        "short_name": manifest.name,
        "description": manifest.intended_use,
        "id": "./",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#0b6e69",  # of icon.svg
        "icons": [
            {
                "src": icon.name,
                "type": icon.type,
                "sizes": "{0}x{0}".format(Path(icon.name).stem.rpartition("-")[2]),
                "purpose": "maskable" if "maskable" in icon.name else "any",
            }
            for icon in icons
        ],
    }


def _vendored() -> Iterator[Part]:
    for path in sorted(VENDOR.glob("*.wasm")):
        yield Part(f"vendor/{path.name}.gz", gzip.compress(path.read_bytes(), _LEVEL, mtime=0))
    texts = [path.read_text(encoding="utf-8") for path in sorted((VENDOR / "LICENSES").glob("*.txt"))]
    yield Part(LICENCES, "\n\n".join(texts).encode())


def _of_bundle(bundle: Bundle, model: ModelFile) -> Iterator[Part]:
    """What the phone reads of it. Raises BundleError."""
    raw, signature = bundle.head()
    yield Part(BELOW + MANIFEST, raw)
    if signature is not None:
        yield Part(BELOW + SIGNATURE, signature)
    golden = Path(GOLDEN).parent.as_posix() + "/"
    for file in bundle.manifest.files:
        if file.path == CARD or file.path.startswith(golden) or (file.model and file.model.name == model.name):
            yield Part(BELOW + file.path, bundle.read(file.path))


class _Package(Struct, frozen=True):
    name: str
    version: str


class _Vendored(Struct, frozen=True):
    """vendor.json, as far as a page needs it."""

    packages: tuple[_Package, ...]


def _litert() -> str:
    vendored = msgspec.json.decode((VENDOR / "vendor.json").read_bytes(), type=_Vendored)
    return next(package.version for package in vendored.packages if package.name == "@litertjs/core")
