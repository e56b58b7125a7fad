"""Runs the golden images of a bundle through one model file on one runtime, in a separate process.

    python -m limiar.edge_app.inference.trial BUNDLE SHA256 FILE RUNTIME PARENT

A device runs it before it uses a runtime that the bundle was not verified on (verified.py), and before it installs a bundle.
SHA256 is of the manifest that the device opened; RUNTIME may be empty, for the first that is installed; PARENT is the process
that asks, and this one ends with it. Exit status 0: all pass, and stdout names the runtime; otherwise the last line of stderr
says why not.
"""

import sys

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.inference.golden import check_golden, golden_tensors
from limiar.edge_app.inference.model_check import check_model
from limiar.edge_app.runtimes import open_preferred
from limiar.edge_app.system.children import end_with_parent
from limiar.edge_app.system.limits import limit_met


def main(path: str, sha256: str, file: str, runtime: str, parent: str) -> None:
    end_with_parent(int(parent))
    bundle = open_bundle(path)
    if bundle.sha256 != sha256:
        sys.exit("another bundle is there now")
    model, data = bundle.model(file)
    opened = open_preferred(model.format, data, runtime or None)
    check_model(opened, len(bundle.manifest.labels), bundle.manifest.input)
    result = check_golden(golden_tensors(bundle), bundle.manifest.labels, model, opened)
    if not result.passed:
        sys.exit(result.met)
    print(opened.name, opened.version)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if not (limit := limit_met(error)):
            raise
        sys.exit(str(limit))
