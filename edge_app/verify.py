"""`limiar verify`: does this bundle give the recorded answers on this machine?"""

from pathlib import Path
from typing import Annotated

import click
from msgspec import Meta, Struct

from edge_app import APP
from edge_app.bundle import Bundle, Decision, ModelFile, Sha256, open_bundle
from edge_app.errors import BundleError, RuntimeUnavailable
from edge_app.golden import GOLDEN, GoldenTensors, check_golden, golden_tensors
from edge_app.machine import machine
from edge_app.runtimes import RUNTIMES, installed_runtimes, open_runtime
from edge_app.signature import Keys

SIGNATURE_NOT_CHECKED = "not checked"
SIGNATURE_REFUSED = "refused"
_OUTCOMES = {True: click.style("pass", fg="green"), False: click.style("FAIL", fg="red"), None: "not checked"}
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
    message: str  # what was met, where it did not pass
    sha256: Sha256  # of the model file
    decision: Decision  # by which decisions were compared


class Verification(Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome, as `--json` prints it and `limiar convert --verified` reads it."""

    bundle: str  # sha256 of the manifest, empty where the bundle could not be opened
    name: str
    version: str
    files: int  # with the size and sha256 of the manifest
    signature: str  # "not checked", "signed by " and 12 digits of the key's fingerprint, or "refused"
    checks: tuple[Check, ...]
    error: str  # why the bundle could not be opened, else empty
    passed: bool
    golden: str  # sha256 of golden.json; empty where the bundle could not be opened
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
        tensors = golden_tensors(bundle)
    except BundleError as error:
        signature = SIGNATURE_REFUSED if error.code.startswith("E-BUNDLE-SIGNATURE-") else SIGNATURE_NOT_CHECKED
        return Verification("", "", "", 0, signature, (), str(error), False, "", *where)
    checks = tuple(
        _check(bundle, file.model, file.sha256, runtime, tensors)
        for file in bundle.manifest.models.values()
        if file.model
        for runtime, kind in RUNTIMES.items()
        if kind.format == file.model.format
    )
    manifest = bundle.manifest
    passed = all(check.passed is not False for check in checks) and any(check.passed for check in checks)
    signature = f"signed by {bundle.signed_by.fingerprint[:12]}" if bundle.signed_by else SIGNATURE_NOT_CHECKED
    opened = (bundle.sha256, manifest.name, manifest.version, len(manifest.files))
    golden = next(file.sha256 for file in manifest.files if file.path == GOLDEN)
    return Verification(*opened, signature, checks, "", passed, golden, *where)


def _check(bundle: Bundle, model: ModelFile, sha256: str, runtime: str, tensors: GoldenTensors) -> Check:
    if runtime not in {found.name for found in installed_runtimes(model.format)}:
        return _unchecked(model, sha256, runtime, None, None, f"not installed: {RUNTIMES[runtime].install}")
    try:
        opened = open_runtime(runtime, bundle.model(model.name)[1])
        result = check_golden(tensors, bundle.manifest.labels, model, opened)
    except (BundleError, RuntimeUnavailable) as error:
        version = next(found.version for found in installed_runtimes(model.format) if found.name == runtime)
        return _unchecked(model, sha256, runtime, version, False, str(error))
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
        sha256,
        model.decision,
    )


def _unchecked(model: ModelFile, sha256: str, runtime: str, version: str | None, passed: bool | None, message: str) -> Check:
    return Check(model.name, runtime, version, passed, 0, None, None, (), (), message, sha256, model.decision)


def print_table(found: Verification) -> None:
    """The outcome for a person."""
    if found.error:
        click.echo(found.error, err=True)
        return
    click.echo(f"{found.name} {found.version}, manifest sha256 {found.bundle[:12]}")
    click.echo(f"{found.files} files: size and sha256 as in the manifest; signature: {found.signature}")
    click.echo(f"\n{'model file':<18} {'runtime':<24} {'images':>6} {'largest difference':>19} {'tolerance':>10}  outcome")
    for check in found.checks:
        outcome = _OUTCOMES[check.passed]
        runtime = f"{check.runtime} {check.version or ''}"
        numbers = " ".join(
            f"{'' if value is None else f'{value:.3g}':>{width}}"
            for value, width in ((check.largest_difference, 19), (check.tolerance, 10))
        )
        note = f"  {check.message}" if check.message else ""
        click.echo(f"{check.file:<18} {runtime:<24} {check.images or '':>6} {numbers}  {outcome}{note}")
    click.echo("\n" + (click.style("PASS", fg="green") if found.passed else click.style("FAIL", fg="red")))
