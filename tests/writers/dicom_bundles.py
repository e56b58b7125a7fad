"""Bundles that read DICOM files, for tests: another bundle with the rule in its manifest."""

from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import DicomSpec, Window
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.write import write_bundle

REFERENCE = Path(__file__).resolve().parents[2] / "models" / "lung-nodule"


def dicom_bundle(path: Path, window: Window | None = None, source: Path = REFERENCE) -> Path:
    """A copy of the bundle `source` at `path`, unsigned, that reads DICOM by `window`; None: by each file's own."""
    bundle = open_bundle(source)
    replace = msgspec.structs.replace
    spec = replace(bundle.manifest.input, dicom=DicomSpec(window=window))
    contents = {file.path: bundle.read(file.path) for file in bundle.manifest.files}
    write_bundle(path, replace(bundle.manifest, input=spec), contents)
    return path
