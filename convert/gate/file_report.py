"""What the gate found about one model file: every figure in the report, and the verdict."""

from typing import Literal

from limiar.convert.anatomy.inventory import Inventory
from limiar.convert.anatomy.layers import LayerNoise
from limiar.convert.gate.comparison import Comparison
from limiar.convert.gate.gate import GateFinding, RuntimeResult
from limiar.edge_app.bundle.manifest import Count, Decision, Name, OperatingPoint, Sha256, Tolerance, Value, Verified


class FileReport(Value, frozen=True, forbid_unknown_fields=True):
    """A model file, even one that could not be made."""

    name: Name
    format: Literal["tflite", "onnx"]
    precision: str
    required: bool
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "LEFT OUT"]
    findings: tuple[GateFinding, ...]  # of every required check on every runtime
    allowed: bool = False  # INCONCLUSIVE, but in the bundle
    decision: Decision | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    inventory: Inventory | None = None
    layers: tuple[LayerNoise, ...] = ()  # of a quantized TFLite file
    float_layers: tuple[str, ...] = ()  # that a second try keeps in float
    bytes: Count | None = None
    sha256: Sha256 | None = None
    tolerance: Tolerance | None = None
    expected_runtime: str | None = None  # the one whose figures stand for the file
    runtimes: tuple[RuntimeResult, ...] = ()
    elsewhere: tuple[Verified, ...] = ()  # other machines on which it gave the expected answers

    @property
    def verified(self) -> tuple[Verified, ...]:
        """Where it gave the expected answers."""
        here = (
            Verified(result.runtime, result.version, result.machine, result.options)
            for result in self.runtimes
            if result.version is not None and result.machine is not None
        )
        return (*here, *self.elsewhere)

    @property
    def passed(self) -> bool:
        """Whether it is in the bundle."""
        return self.proven or self.allowed

    @property
    def proven(self) -> bool:
        """Whether every check passed on every runtime."""
        return self.verdict == "PASS"

    @property
    def faults(self) -> list[str]:
        """Why it is not proven: a line for each check, with its runtimes; undecided ones come last."""
        by_check: dict[tuple[str, str], list[GateFinding]] = {}
        for finding in self.findings:
            if finding.verdict != "PASS":
                by_check.setdefault((finding.verdict, finding.check), []).append(finding)
        everywhere = {result.title for result in self.runtimes}
        return [_fault(by_check[key], everywhere) for key in sorted(by_check, key=lambda key: key[0])]

    @property
    def would_decide(self) -> str:
        """How many images would decide about an undecided file; "" for any other."""
        if self.verdict != "INCONCLUSIVE":
            return ""
        losses = [loss for result in self.runtimes if result.test for loss in result.test.losses]
        undecided = [loss for loss in losses if loss.verdict == "INCONCLUSIVE"]
        if any(loss.more_images is None for loss in undecided):
            return "it lies too close to the margin for any number of images"
        most = max(undecided, key=lambda loss: loss.more_images or 0)
        labels = {"sensitivity": "the positive label", "specificity": "the other label"}
        whose = labels.get(most.name, most.name.removeprefix("recall_"))
        others = " and at most as many of each other label" if len({loss.name for loss in undecided}) > 1 else ""
        return f"about {most.more_images} more test images of {whose}{others} would decide"

    @property
    def test(self) -> Comparison | None:
        """The figures that stand for the file: the test split on its own runtime."""
        own = (result.test for result in self.runtimes if result.runtime == self.expected_runtime and not result.options)
        return next(own, None)


def _fault(findings: list[GateFinding], everywhere: set[str]) -> str:
    """One line for the same fault on several runtimes. everywhere: all runtimes of the file."""
    first, *others = findings
    if not others:
        return first.line
    if {finding.message for finding in findings} == {first.message} and {one.runtime for one in findings} == everywhere:
        return f"every runtime: {first.message}"
    return f"{first.runtime}, likewise {', '.join(finding.runtime for finding in others)}: {first.message}"
