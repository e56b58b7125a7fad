"""`limiar.verify`: does this bundle give the recorded answers on this machine? Without numpy: children run the models."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import GOLDEN
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import BundleError
from limiar.edge_app.inference.check import Check, Checked, Pair, Plain, ToCheck, unchecked
from limiar.edge_app.inference.child import START_S, ChildLost, end, receive
from limiar.edge_app.inference.model import Failed
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes
from limiar.edge_app.system.channel import WorkerEnd
from limiar.edge_app.system.children import start_child
from limiar.edge_app.system.machine import machine

SIGNATURE_NOT_CHECKED = "not checked"
SIGNATURE_REFUSED = "refused"
_GOLDEN_S = 300.0  # for a few hundred golden images on the slowest board


_REPLIES: msgspec.msgpack.Decoder[Checked | Failed | None] = msgspec.msgpack.Decoder(Checked | Failed | None)


class Verification(Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome, as `--json` prints it and `limiar convert --verified` reads it."""

    bundle: str  # sha256 of the manifest, empty if the bundle could not be opened
    name: str
    version: str
    files: int  # whose size and sha256 are as in the manifest
    signature: str  # "not checked", "signed by " and 12 digits of the key's fingerprint, or "refused"
    checks: tuple[Check, ...]
    error: str  # why the bundle could not be opened, or empty
    passed: bool
    golden: str  # sha256 of golden.json; empty if the bundle could not be opened
    app: Plain  # "limiar 0.1.0"
    machine: Plain  # as platform.machine(): "aarch64"
    cpu: Plain  # "Cortex-A72"
    python: Plain


def verify(bundle: Path | str, keys: Keys | None = None) -> Verification:
    """Check a bundle on this machine, as `limiar verify` does.

    Signature, sizes and hashes, then every golden image through every model file on every runtime that is installed here.

        proof = limiar.verify("models/lung-nodule")
        print(proof.passed, [(check.file, check.runtime, check.message) for check in proof.checks])

    keys: one of these must have signed the bundle; None: no signature is asked for. A check that does not pass is part of the
    result: nothing is raised for it.
    """
    here = machine()
    where = (APP, here.architecture, here.cpu, here.python)
    try:
        opened = open_bundle(bundle, keys)
        checks = _checks(opened)
    except BundleError as error:
        signature = SIGNATURE_REFUSED if error.code.startswith("E-BUNDLE-SIGNATURE-") else SIGNATURE_NOT_CHECKED
        return Verification("", "", "", 0, signature, (), str(error), False, "", *where)
    manifest = opened.manifest
    passed = all(check.passed is not False for check in checks) and any(check.passed for check in checks)
    signature = f"signed by {opened.signed_by.fingerprint[:12]}" if opened.signed_by else SIGNATURE_NOT_CHECKED
    identity = (opened.sha256, manifest.name, manifest.version, len(manifest.files))
    golden = next(file.sha256 for file in manifest.files if file.path == GOLDEN)
    return Verification(*identity, signature, checks, "", passed, golden, *where)


def _checks(bundle: Bundle) -> tuple[Check, ...]:
    """Every model file, and what answers blocks of tiles, on every runtime that reads it.

    Raises BundleError if the golden images cannot be used.
    """
    installed = {found.name for found in installed_runtimes()}
    pairs = [
        (file, runtime)
        for file in bundle.manifest.files
        for runtime, kind in RUNTIMES.items()
        if kind.format == (file.model.format if file.model else "tflite" if file.tiled else None)
    ]
    run = [pair for pair in pairs if pair[1] in installed]
    found: list[Check] = []
    while len(found) < len(run):  # each child, even a lost one, gives at least one check
        found += _in_child(bundle, run[len(found) :])
    checks = iter(found)
    return tuple(
        next(checks)
        if runtime in installed
        else unchecked(bundle.manifest, file, runtime, None, f"not installed: {RUNTIMES[runtime].install}")
        for file, runtime in pairs
    )


def _in_child(bundle: Bundle, pairs: list[Pair]) -> Iterator[Check]:
    """The checks that one process completes. A model file that crashes or hangs it fails, as the last. Raises BundleError."""
    process, connection = start_child(serve)
    try:
        names = tuple((file.path, runtime) for file, runtime in pairs)
        connection.send(msgspec.msgpack.encode(ToCheck(os.fsencode(bundle.path), bundle.manifest, bundle.sha256, names)))
        for file, runtime in pairs:
            try:
                started = _REPLIES.decode(receive(process, connection, START_S))
                reply = started or _REPLIES.decode(receive(process, connection, _GOLDEN_S))
            except ChildLost as lost:
                met = f"E-RUNTIME-START: it {lost}: convert the model again, or choose another runtime"
                yield unchecked(bundle.manifest, file, runtime, False, met)
                return
            if isinstance(reply, Failed):
                raise BundleError(reply.code, reply.message)
            assert reply
            yield reply.check
    finally:
        end(process, connection)


def serve(parent: WorkerEnd) -> None:
    """The child's life."""
    from limiar.edge_app.inference import checking  # numpy and the runtimes

    checking.serve(parent)
