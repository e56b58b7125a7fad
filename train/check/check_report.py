"""What `check_data` returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import printable
from limiar.train.config import INPUT
from limiar.train.dataset.splits import Shares
from limiar.train.record.evidence import Evidence

Severity = Literal["fault", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")


class Case(msgspec.Struct, frozen=True):
    """One instance of a finding: the images that belong together, and what to say about them."""

    files: tuple[str, ...]  # as os.fsdecode gives them; CheckReport.as_json makes them printable
    text: str  # printable


class CheckFinding(msgspec.Struct, frozen=True):
    """All instances of one thing that was found."""

    kind: str  # stable; docs/check.md lists them
    severity: Severity
    text: str  # one line: what was met, what to do
    cases: tuple[Case, ...] = ()

    @property
    def count(self) -> int:
        """Of instances; a finding about the whole folder is one."""
        return max(1, len(self.cases))


class LabelCheck(msgspec.Struct, frozen=True):
    """How the labels were judged."""

    images: int
    accuracy: float  # of the trees, out of fold
    exchanged: float  # estimated share of wrong labels; 0 without evidence


@dataclass(frozen=True)
class CheckRequest:
    """What a person asked for."""

    folder: Path
    table: Path | None  # --csv
    shares: Shares  # of the split that training would draw
    input: InputSpec = INPUT  # of the model
    labels: bool = True  # whether labels are judged


class CheckReport(msgspec.Struct, frozen=True):
    """The outcome."""

    folder: str  # printable
    images: int  # found
    refused: int
    labels: tuple[str, ...]
    drawn: bool  # whether the split is the one that training would draw
    seed: int
    parts: dict[str, dict[str, int]]  # train, val, test -> label -> images
    judged: LabelCheck | None  # None if labels were not checked
    evidence: Evidence | None  # what the test split can decide; None if a class has no image there
    notes: tuple[str, ...]  # how images and splits were found; printable
    findings: tuple[CheckFinding, ...]  # faults first
    request: CheckRequest  # what was asked for; not in the JSON

    @property
    def passed(self) -> bool:
        """Whether there is no fault."""
        return not any(finding.severity == "fault" for finding in self.findings)

    def as_json(self) -> bytes:
        """For programs; file names are printable, with \\xNN for bytes that are not UTF-8."""
        findings = [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "count": finding.count,
                "text": finding.text,
                "cases": [{"files": [printable(file) for file in case.files], "text": case.text} for case in finding.cases],
            }
            for finding in self.findings
        ]
        body = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "request"}
        body |= {"passed": self.passed, "findings": findings}
        body["labels"] = [printable(label) for label in self.labels]
        body["parts"] = {part: {printable(k): n for k, n in own.items()} for part, own in self.parts.items()}
        return msgspec.json.format(msgspec.json.encode(body), indent=1)
