"""`limiar verify`: does this bundle give the recorded answers on this machine?"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import click
import msgspec
from msgspec import Meta, Struct

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import BundleFile, Decision, Sha256
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import BundleError, RuntimeUnavailable
from limiar.edge_app.inference.child import START_S, ChildLost, end, receive
from limiar.edge_app.inference.golden import GOLDEN, GoldenTensors, check_golden, golden_tensors
from limiar.edge_app.inference.model import Failed
from limiar.edge_app.inference.model_check import check_model
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes, open_runtime
from limiar.edge_app.system.channel import WorkerEnd
from limiar.edge_app.system.children import fork_child
from limiar.edge_app.system.machine import machine
from limiar.edge_app.text import counted

SIGNATURE_NOT_CHECKED = "not checked"
SIGNATURE_REFUSED = "refused"
_GOLDEN_S = 300.0  # some hundred golden images on the slowest board
_OUTCOMES = {True: click.style("pass", fg="green"), False: click.style("FAIL", fg="red")}
# One line of plain text that a page, a Markdown table and a terminal may show: `convert --verified` reads it from elsewhere.
Plain = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f<>|`\\]{1,200}\Z")]


class Check(Struct, frozen=True, forbid_unknown_fields=True):
    """One model file on one runtime."""

    file: str
    runtime: Plain
    version: Plain | None  # None: the runtime is not installed
    passed: bool | None  # None: not checked
    images: int
    largest_difference: float | None  # of a logit
    tolerance: float | None
    tensors_differing: tuple[str, ...]
    decisions_differing: tuple[str, ...]
    message: str  # why it did not pass
    sha256: Sha256  # of the model file
    decision: Decision  # by which decisions were compared


Pair = tuple[BundleFile, str]  # a model file and a runtime


class Checked(Struct, frozen=True, array_like=True, tag=True):
    """What the child says of a pair, once its model file has run."""

    check: Check


_REPLIES: msgspec.msgpack.Decoder[Checked | Failed | None] = msgspec.msgpack.Decoder(Checked | Failed | None)


class Verification(Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome, as `--json` prints it and `limiar convert --verified` reads it."""

    bundle: str  # sha256 of the manifest, empty if the bundle could not be opened
    name: str
    version: str
    files: int  # with the size and sha256 of the manifest
    signature: str  # "not checked", "signed by " and 12 digits of the key's fingerprint, or "refused"
    checks: tuple[Check, ...]
    error: str  # why the bundle could not be opened, or empty
    passed: bool
    golden: str  # sha256 of golden.json; empty if the bundle could not be opened
    app: Plain  # "limiar 0.1.0"
    machine: Plain  # as platform.machine(): "aarch64"
    cpu: Plain  # "Cortex-A72"
    python: Plain


def verify(path: Path, keys: Keys | None = None) -> Verification:
    """Signature, sizes and hashes, then every golden image through every model file and every runtime installed here.

    keys: whose signature is asked for; None: nobody's.
    """
    here = machine()
    where = (APP, here.architecture, here.cpu, here.python)
    try:
        bundle = open_bundle(path, keys)
        checks = _checks(bundle)
    except BundleError as error:
        signature = SIGNATURE_REFUSED if error.code.startswith("E-BUNDLE-SIGNATURE-") else SIGNATURE_NOT_CHECKED
        return Verification("", "", "", 0, signature, (), str(error), False, "", *where)
    manifest = bundle.manifest
    passed = all(check.passed is not False for check in checks) and any(check.passed for check in checks)
    signature = f"signed by {bundle.signed_by.fingerprint[:12]}" if bundle.signed_by else SIGNATURE_NOT_CHECKED
    opened = (bundle.sha256, manifest.name, manifest.version, len(manifest.files))
    golden = next(file.sha256 for file in manifest.files if file.path == GOLDEN)
    return Verification(*opened, signature, checks, "", passed, golden, *where)


def _checks(bundle: Bundle) -> tuple[Check, ...]:
    """Every model file on every runtime that reads it. Raises BundleError if the golden images cannot be used."""
    installed = {found.name for found in installed_runtimes()}
    pairs = [
        (file, runtime)
        for file in bundle.manifest.models.values()
        for runtime, kind in RUNTIMES.items()
        if file.model and kind.format == file.model.format
    ]
    run = [pair for pair in pairs if pair[1] in installed]
    found: list[Check] = []
    while len(found) < len(run):  # even a child that is lost has given one check
        found += _in_child(bundle, run[len(found) :])
    checks = iter(found)
    return tuple(
        next(checks) if runtime in installed else _unchecked(file, runtime, None, f"not installed: {RUNTIMES[runtime].install}")
        for file, runtime in pairs
    )


def _in_child(bundle: Bundle, pairs: list[Pair]) -> Iterator[Check]:
    """The checks, as far as one process gets: a model file that crashes or hangs it fails. Raises BundleError."""
    process, connection = fork_child(lambda parent: _serve(parent, bundle, pairs))
    try:
        for file, runtime in pairs:
            try:
                started = _REPLIES.decode(receive(process, connection, START_S))
                reply = started or _REPLIES.decode(receive(process, connection, _GOLDEN_S))
            except ChildLost as lost:
                met = f"E-RUNTIME-START: it {lost}: convert the model again, or choose another runtime"
                yield _unchecked(file, runtime, False, met)
                return
            if isinstance(reply, Failed):
                raise BundleError(reply.code, reply.message)
            assert reply
            yield reply.check
    finally:
        end(process, connection)


def _serve(parent: WorkerEnd, bundle: Bundle, pairs: list[Pair]) -> None:
    """The child: of each pair None once the model file has run, then its Check."""

    def send(reply: Checked | Failed | None) -> None:
        parent.send(msgspec.msgpack.encode(reply))

    try:
        tensors = golden_tensors(bundle)
        for file, runtime in pairs:
            send(Checked(_check(bundle, file, runtime, tensors, started=lambda: send(None))))
    except BundleError as error:
        send(Failed(error.code, error.message))


def _check(bundle: Bundle, file: BundleFile, runtime: str, tensors: GoldenTensors, started: Callable[[], None]) -> Check:
    assert file.model
    model, manifest = file.model, bundle.manifest
    try:
        opened = open_runtime(runtime, bundle.model(model.name)[1])
        check_model(opened, len(manifest.labels), manifest.input)
        started()
        result = check_golden(tensors, manifest.labels, model, opened)
    except (BundleError, RuntimeUnavailable) as error:
        return _unchecked(file, runtime, False, str(error))
    return Check(
        model.name,
        runtime,
        result.version,
        result.passed,
        result.images,
        result.largest_difference,
        result.tolerance,
        result.tensors_differing,
        result.decisions_differing,
        result.met,
        file.sha256,
        model.decision,
    )


def _unchecked(file: BundleFile, runtime: str, passed: bool | None, message: str) -> Check:
    assert file.model
    version = next((found.version for found in installed_runtimes(file.model.format) if found.name == runtime), None)
    return Check(file.model.name, runtime, version, passed, 0, None, None, (), (), message, file.sha256, file.model.decision)


def print_table(found: Verification) -> None:
    """The outcome for a person."""
    if found.error:
        click.echo(found.error, err=True)
        return
    click.echo(f"{found.name} {found.version}, manifest sha256 {found.bundle[:12]}")
    click.echo(f"{counted(found.files, 'file')}: size and sha256 as in the manifest; signature: {found.signature}")
    click.echo(f"\n{'model file':<17} {'runtime':<22} {'images':>6} {'largest difference':>18}  outcome")
    for check in found.checks:
        if check.passed is None:
            continue
        apart = "" if check.largest_difference is None else f"{check.largest_difference:.3g} of {check.tolerance:.3g}"
        runtime = f"{check.runtime} {check.version or ''}"
        click.echo(f"{check.file:<17} {runtime:<22} {check.images or '':>6} {apart:>18}  {_OUTCOMES[check.passed]}")
        if check.message:
            click.echo(f"    {check.message}")
    for missing in dict.fromkeys(f"{one.runtime} is {one.message}" for one in found.checks if one.passed is None):
        click.echo(f"not checked: {missing}")
    click.echo("\n" + (click.style("PASS", fg="green") if found.passed else click.style("FAIL", fg="red")))
