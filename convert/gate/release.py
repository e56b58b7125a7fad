"""Which of the judged files make a bundle: what is required, which one a device takes, and what is in it without proof."""

from collections.abc import Sequence

import msgspec

from limiar.convert.export.recipes import PREFERRED
from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import Gate
from limiar.edge_app.bundle.manifest import NotProven
from limiar.edge_app.text import visible

_MESSAGE = 1000  # letters of a reason in the manifest


def required(gate: Gate, files: tuple[FileReport, ...]) -> tuple[FileReport, ...]:
    """If none of `required_one_of` passed, all of them are required: the bundle is missing because each of them failed."""
    one_of = [file for file in files if file.name in gate.required_one_of]
    if any(file.passed for file in one_of):
        return files
    return tuple(msgspec.structs.replace(file, required=True) if file in one_of else file for file in files)


def default_file(files: Sequence[FileReport]) -> str | None:
    """The smallest and quickest of the files that are proven; if none is, of those that are allowed."""
    for names in ({file.name for file in files if file.proven}, {file.name for file in files if file.passed}):
        if names:
            return next(name for name in PREFERRED if name in names)
    return None


def preferred_to(name: str, files: Sequence[FileReport]) -> list[FileReport]:
    """The files that a device would rather take than this one, if they were proven; the best first."""
    by_name = {file.name: file for file in files}
    return [by_name[better] for better in PREFERRED[: PREFERRED.index(name)] if better in by_name]


def not_proven(files: Sequence[FileReport], allowed_by: str) -> NotProven | None:
    """The files that are undecided and allowed, with the reason; None if there are none."""
    found = {file.name: visible(file.faults[0])[:_MESSAGE] for file in files if file.allowed}
    return NotProven(allowed_by, found) if found else None
