"""`limiar convert --verified FILE.json`: what `limiar verify BUNDLE --json` found on another machine, taken into the manifest.

Believed is nothing but what was checked there with the very model file, golden images, logits, tolerance and decision that this
bundle has. The file itself is not signed: who hands it to convert answers for it, with the key that the bundle is signed with.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from limiar.convert.gate.file_report import FileReport
from limiar.convert.report.report import Report
from limiar.edge_app.bundle.manifest import Verified
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.inference.verify import Check, Verification
from limiar.edge_app.runtimes import RUNTIMES
from limiar.edge_app.system.files import read_bounded

_LIMIT = 4 << 20  # bytes; 1,000 checks fit ten times


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
            raise ValueError(f"{unknown[0]} is no runtime")
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else printable(str(error))[:200]
        cure = "give what `limiar verify BUNDLE --json` of this limiar printed there"
        raise ConvertError("E-CONVERT-VERIFIED-FILE", f"{where}: {reason}: {cure}") from None
    failed = [f"{check.file} on {check.runtime}" for check in found.checks if check.passed is False]
    if failed or not found.passed:
        met = f"{where}: {printable((failed or [found.error or 'verification'])[0])[:200]} did not pass there"
        raise ConvertError("E-CONVERT-VERIFIED-FAILED", f"{met}: find out why before this is released")
    return Elsewhere(where, found)


def with_verified(report: Report, golden: bytes, elsewhere: Iterable[Elsewhere]) -> Report:
    """The report with what fits its files. golden: golden.json. Raises ConvertError where nothing of a machine's does."""
    sha256 = hashlib.sha256(golden).hexdigest()
    for one in elsewhere:
        if one.found.golden != sha256:
            raise _other(one, "golden images or their logits are others")
        files = tuple(_extended(file, one.found) for file in report.files)
        if not any(_fits(file, check) for file in report.files for check in one.found.checks):
            raise _other(one, "the model files, tolerances or decisions are others")
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
    """Whether this file was checked there, with what it must hold here."""
    if not (file.passed and file.tolerance and check.passed) or check.largest_difference is None:
        return False
    tolerance = file.tolerance.same_runtime if check.runtime == file.expected_runtime else file.tolerance.other_runtime
    same: tuple[Any, ...] = (file.name, file.sha256, file.decision)
    return same == (check.file, check.sha256, check.decision) and check.largest_difference <= tolerance


def _other(one: Elsewhere, why: str) -> ConvertError:
    met = f"{one.path}: nothing in it was checked with what this bundle holds, {why}"
    cure = "convert without --verified, verify that bundle there, convert again"
    return ConvertError("E-CONVERT-VERIFIED-OTHER", f"{met}: {cure}")
