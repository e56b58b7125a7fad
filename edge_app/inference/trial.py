"""Runs the golden images of a bundle through one model file on one runtime, in a separate process.

    python -m limiar.edge_app.inference.trial BUNDLE SHA256 FILE RUNTIME

A device runs it before it uses a runtime that the bundle was not verified on (verified.py). SHA256 is of the manifest
that the device opened. Exit status 0: all pass; otherwise the last line of stderr says why not.
"""

import sys

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.inference.golden import check_golden, golden_tensors
from limiar.edge_app.runtimes import open_runtime


def main(path: str, sha256: str, file: str, runtime: str) -> None:
    bundle = open_bundle(path)
    if bundle.sha256 != sha256:
        sys.exit("another bundle is there now")
    model, data = bundle.model(file)
    result = check_golden(golden_tensors(bundle), bundle.manifest.labels, model, open_runtime(runtime, data))
    if not result.passed:
        sys.exit(result.met)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
