"""`limiar.phone`: a bundle as a page that answers by itself, offline, in a phone's browser."""

from pathlib import Path

from msgspec import Struct

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.phone.build import build
from limiar.edge_app.phone.folder import write_folder
from limiar.edge_app.phone.one_file import ENDINGS, write_file


class Written(Struct, frozen=True):
    """A page that was written."""

    out: str  # the folder, or the one file
    bytes: int
    name: str  # of the bundle, as the next three
    version: str
    bundle: str  # sha256 of its manifest
    file: str  # the model file that answers
    runtime: str
    page: str  # sha256 of page.json: of everything in the page

    @property
    def one_file(self) -> bool:
        """Whether it opens from a disk; a folder is served."""
        return Path(self.out).suffix.lower() in ENDINGS


def phone(bundle: Path | str, out: Path | str, *, file: str | None = None, keys: Keys | None = None) -> Written:
    """Write a bundle as a page for phones, as `limiar phone` does: what a browser opens answers there, without a network.

    written = limiar.phone("models/lung-nodule", "nodules.html")

    out: a name ending in .html or .htm is one file, which opens from a disk; any other is a folder, to be served over https or
    on localhost, from which a phone installs the page. An earlier page there is replaced. file: the model file that answers, of
    those in TFLite; None: the bundle's default. keys: the bundle must be signed by a trusted one, and the page asks for that
    at every start.

    Raises BundleError, also E-PHONE-BUNDLE and E-PHONE-FILE for what phones do not answer with, and OutputError E-PHONE-OUT.
    """
    opened = open_bundle(bundle, keys)
    page = build(opened, file, keys.trusted if keys else ())
    path = Path(out)
    size = write_file(page, path) if path.suffix.lower() in ENDINGS else write_folder(page, path)
    return Written(
        out=str(out),
        bytes=size,
        name=opened.manifest.name,
        version=opened.manifest.version,
        bundle=opened.sha256,
        file=page.json.file,
        runtime=page.json.runtime,
        page=page.listing.sha256,
    )
