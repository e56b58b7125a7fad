"""One variant alone in a process, which rests or infers when it is told to, for a meter that sees the whole board.

    python -m limiar.edge_app.bench.alone PARENT

PARENT is the process that started it, with which it ends. The first line of stdin is an Asked as JSON. It says READY once the
model is loaded and warm; then each line of stdin has it infer, and say with a Done how often. stderr says why it does not.
"""

import sys
import time

import msgspec
from msgspec import Struct

from limiar.edge_app.bench.loops import BLOCK
from limiar.edge_app.bench.result import Variant
from limiar.edge_app.bench.sample import sample_png
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.runtimes import open_runtime
from limiar.edge_app.system.children import end_with_parent

READY = b"ready\n"
_WARM_S = 0.2


class Asked(Struct, frozen=True):
    """What to infer with."""

    bundle: str  # its folder or file
    sha256: str  # of the manifest that the parent opened
    variant: Variant
    seconds: float  # at a time


class Done(Struct, frozen=True):
    """What was done."""

    calls: int
    seconds: float


def main(parent: str) -> None:
    end_with_parent(int(parent))
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Asked)
    bundle = open_bundle(asked.bundle)
    if bundle.sha256 != asked.sha256:
        sys.exit("another bundle is there now")
    variant = asked.variant
    runtime = open_runtime(variant.runtime, bundle.model(variant.file)[1], variant.threads)
    call = runtime.invoker(model_input(decode(sample_png()), bundle.manifest.input))

    def infer(seconds: float) -> Done:
        calls, began_s = 0, time.monotonic()
        while (taken_s := time.monotonic() - began_s) < seconds:
            for _ in range(BLOCK):
                call()
            calls += BLOCK
        return Done(calls, taken_s)

    infer(_WARM_S)
    _say(READY)
    while sys.stdin.buffer.readline():
        _say(msgspec.json.encode(infer(asked.seconds)) + b"\n")


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LimiarError as error:
        sys.exit(str(error))
