"""`limiar convert --verified FILE.json`: what `limiar verify BUNDLE --json` found on another machine goes into the manifest.

A result counts only if it was checked there with this bundle's own model file, golden images, logits, tolerance and decision.
The file itself is not signed: whoever signs the bundle answers for it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from limiar.convert.gate.file_report import FileReport
from limiar.convert.report.release_report import ReleaseReport
from limiar.edge_app.bundle.manifest import Verified
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.inference.check import Check
from limiar.edge_app.inference.verify import Verification
from limiar.edge_app.runtimes import RUNTIMES
from limiar.edge_app.system.files import read_bounded

_LIMIT = 4 << 20  # bytes: ten times what 1,000 checks take


class Elsewhere(msgspec.Struct, frozen=True):
    """What another machine found."""

    path: str  # printable
    found: Verification


def read_verified(path: Path) -> Elsewhere:
    """Raises ConvertError: it cannot be read, is not what `limiar verify --json` prints, or says that a check failed."""
    where = printable(str(path))
    try:
        found = msgspec.json.decode(read_bounded(path, _LIMIT, follow=True), type=Verification)
        unknown = [check.runtime for check in found.checks if check.runtime not in RUNTIMES]
        if unknown:
            raise ValueError(f"{unknown[0]} is not a runtime")
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else printable(str(error))[:200]
        cure = "give what `limiar verify BUNDLE --json` of this limiar printed there"
        raise ConvertError("E-CONVERT-VERIFIED-FILE", f"{where}: {reason}: {cure}") from None
    failed = [f"{check.file} on {check.runtime}" for check in found.checks if check.passed is False]
    if failed or not found.passed:
        met = f"{where}: {printable((failed or [found.error or 'verification'])[0])[:200]} did not pass there"
        raise ConvertError("E-CONVERT-VERIFIED-FAILED", f"{met}: find out why before this is released")
    return Elsewhere(where, found)


def with_verified(report: ReleaseReport, golden: bytes, elsewhere: Iterable[Elsewhere]) -> ReleaseReport:
    """The report with the results that fit its files. golden: golden.json. Raises ConvertError if none of a machine's does."""
    sha256 = hashlib.sha256(golden).hexdigest()
    for one in elsewhere:
        if one.found.golden != sha256:
            raise _other(one, "its golden images or their logits are different")
        files = tuple(_extended(file, one.found) for file in report.files)
        if not any(_fits(file, check) for file in report.files for check in one.found.checks):
            raise _other(one, "its model files, tolerances or decisions are different")
        report = msgspec.structs.replace(report, files=files)
    return report


def _extended(file: FileReport, found: Verification) -> FileReport:
    seen = [
        Verified(check.runtime, check.version, found.machine, cpu=found.cpu)
        for check in found.checks
        if _fits(file, check) and check.version is not None
    ]
    return msgspec.structs.replace(file, elsewhere=tuple(dict.fromkeys((*file.elsewhere, *seen))))


def _fits(file: FileReport, check: Check) -> bool:
    """Whether this very file was checked there, within this bundle's tolerance."""
    if not (file.passed and file.tolerance and check.passed) or check.largest_difference is None:
        return False
    tolerance = file.tolerance.same_runtime if check.runtime == file.expected_runtime else file.tolerance.other_runtime
    same: tuple[Any, ...] = (file.name, file.sha256, file.decision)
    return same == (check.file, check.sha256, check.decision) and check.largest_difference <= tolerance


def _other(one: Elsewhere, why: str) -> ConvertError:
    met = f"{one.path}: it says nothing about this bundle: {why}"
    cure = "convert without --verified, verify that bundle there, convert again"
    return ConvertError("E-CONVERT-VERIFIED-OTHER", f"{met}: {cure}")
