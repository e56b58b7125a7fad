"""The tiny bundle as other machines would have verified it, for tests of what a device then does."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from limiar.edge_app.bundle.manifest import GOLDEN, BundleFile, Verified
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.bundle.write import write_bundle

Change = Callable[[Any], None]


def written(path: Path, tiny: Bundle, seen: tuple[Verified, ...], change: Change = lambda golden: None) -> Path:
    """The tiny bundle at `path`, whose model files were verified on `seen`, with other golden answers."""
    contents = {file.path: tiny.read(file.path) for file in tiny.manifest.files}
    golden = json.loads(contents[GOLDEN])
    change(golden)
    contents[GOLDEN] = json.dumps(golden).encode()

    def listed(file: BundleFile) -> BundleFile:
        data = contents[file.path]
        model = file.model and msgspec.structs.replace(file.model, verified=seen)
        return msgspec.structs.replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), model=model)

    files = tuple(map(listed, tiny.manifest.files))
    write_bundle(path, msgspec.structs.replace(tiny.manifest, files=files), contents)
    return path
