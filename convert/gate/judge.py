"""Answers -> a verdict on each model file, with its decision, its golden logits and how far a device's may differ from them."""

import hashlib
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from limiar.convert.export.make import Made
from limiar.convert.export.recipes import Recipe
from limiar.convert.gate.comparison import Comparison, SplitAnswers, Terms, answered, compare, not_finite, significant
from limiar.convert.gate.decision_rule import fit, fitted
from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import Gate, GateFinding, RuntimeResult, findings, noise_findings, saturation_finding, verdict
from limiar.convert.run.dataset import Split
from limiar.convert.run.evaluate import Answers, Key, Outcomes, RuntimeFailure
from limiar.convert.run.model_inputs import Images, Part
from limiar.edge_app.bundle.manifest import Decision, OperatingPoint, Tolerance
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.inference.softmax import softmax
from limiar.train.record.operating_points import Scores, operating_points

GOLDEN_DECIMALS = 3  # of a float file's golden logits: a grid that is coarse beside the last bits that processors differ in
COSINE_DECIMALS = 3
BEYOND = 0.1  # of Keras's largest logit: a logit this far outside the file's range counts as cut off
TOLERANCE_FLOOR = 2e-3  # of a float file: above what rounding to GOLDEN_DECIMALS costs


class Judge:
    """Compares with one Keras model, on one set of images."""

    def __init__(
        self,
        images: Images,
        keras: np.ndarray,
        labels: tuple[str, ...],
        positive: str | None,
        gate: Gate,
    ) -> None:
        """keras: float32 [N, K], the Keras model's logits for `images.tensors`.

        Raises ConvertError if gate.toml's decision cannot be reached even by Keras.
        """
        self._images = images
        rule, copies = gate.noninferiority, gate.limits.fp32_logit_difference
        self._terms = Terms(labels, positive, rule.margin, rule.alpha, copies)
        self._gate = gate
        parts = images.parts(keras)
        # The tolerances in the bundle are a share of it, and must not depend on the test split.
        self._largest_logit = max(float(np.abs(logits).max(initial=0.0)) for part, logits in parts.items() if part != "test")
        self.decision = self._fit(parts["val"], step=None)
        self._keras_test = parts["test"]
        self._keras_colour_change = images.colour_change(keras)
        self._keras = {part: answered(logits, self.decision, labels) for part, logits in parts.items() if part != "swapped"}
        self.keras = {part: self._compare(part, self._keras[part]) for part in ("val", "test")}

    def left_out(self, recipe: Recipe, reason: str) -> FileReport:
        """A file that could not be made."""
        return FileReport(
            name=recipe.name,
            format=recipe.format,
            precision=recipe.precision,
            required=self._required(recipe),
            verdict="LEFT OUT",
            findings=(GateFinding("conversion", "", "FAIL", reason),),
        )

    def loses_on_validation(self, val: np.ndarray, step: float | None, limit: float) -> bool:
        """Whether a label's recall lost more than `limit`. val: float32 [N, K], a file's logits for the validation split."""
        if not np.isfinite(val).all():
            return True
        try:
            compared = self._compared("val", val, self._fit(val, step))
        except ConvertError:  # too coarse for a threshold
            return True
        return max(loss.loss for loss in compared.losses) > limit

    def verdict(self, recipe: Recipe, made: Made, outcomes: Outcomes) -> FileReport:
        """A file that was made: from its parts, and from its answers on every runtime."""
        own = outcomes.get(recipe.key)
        decision, found = self._decision(own, step=made.inventory.outputs[0].scale)
        found += noise_findings(self._gate, made.layers)
        if isinstance(own, Answers) and np.isfinite(own.logits).all():
            found.append(saturation_finding(self._saturated(own.logits)))
        reference = self._images.parts(own.logits) if isinstance(own, Answers) else {}
        results = tuple(self._result(key, outcome, reference, decision) for key, outcome in outcomes.items())
        for result in results:
            found += findings(self._gate, recipe, self.keras["test"], result)
        if not results:
            found.append(GateFinding("runs", "", "FAIL", f"no runtime for {recipe.format} files is installed here"))
        said = verdict(found)
        return FileReport(
            name=recipe.name,
            format=recipe.format,
            precision=recipe.precision,
            required=self._required(recipe),
            verdict=said,
            allowed=said == "INCONCLUSIVE" and self._gate.inconclusive_passes,
            findings=tuple(found),
            decision=decision,
            operating_points=self._operating_points(reference, made.inventory.outputs[0].scale) if decision else (),
            inventory=made.inventory,
            layers=made.layers,
            float_layers=made.float_layers,
            bytes=len(made.data),
            sha256=hashlib.sha256(made.data).hexdigest(),
            tolerance=self._tolerance(recipe, results),
            expected_runtime=recipe.runtime,
            runtimes=results,
        )

    def golden_logits(self, recipe: Recipe, outcomes: Outcomes) -> np.ndarray | None:
        """float64 [images, K] from the file's own runtime; exact for an integer file. None if it gave nothing finite."""
        outcome = outcomes.get(recipe.key)
        if not isinstance(outcome, Answers):
            return None
        golden = self._images.parts(outcome.logits)["golden"].astype(np.float64)
        if not np.isfinite(golden).all():
            return None
        return golden if recipe.same_runtime == 0 else golden.round(GOLDEN_DECIMALS)

    def _decision(self, own: Answers | RuntimeFailure | None, step: float | None) -> tuple[Decision | None, list[GateFinding]]:
        """The file's decision, fitted on validation, and the finding about it."""
        if not isinstance(own, Answers) or not np.isfinite(own.logits).all():
            return None, []
        try:
            decision = self._fit(self._images.parts(own.logits)["val"], step)
        except ConvertError as error:
            return None, [GateFinding("decision", "", "FAIL", str(error))]
        val = self._scores(self._images.parts(own.logits)["val"], self._images.val, step)
        said = fitted(self._gate.decision, decision, val, self._terms.names)
        return decision, [GateFinding("decision", "", "PASS", said)]

    def _fit(self, logits: np.ndarray, step: float | None) -> Decision:
        return fit(self._gate.decision, self._scores(logits, self._images.val, step), self._terms.names)

    def _operating_points(self, own: Mapping[Part, np.ndarray], step: float | None) -> tuple[OperatingPoint, ...]:
        """own: what the file's own runtime gave, finite."""
        val, test = (
            self._scores(own["val"], self._images.val, step),
            self._scores(own["test"], self._images.test, step),
        )
        return operating_points(val, test, self._terms.names)

    def _scores(self, logits: np.ndarray, split: Split, step: float | None) -> Scores:
        terms = self._terms
        positive = None if terms.positive is None else terms.names.index(terms.positive)
        return Scores(softmax(logits), split.labels, positive, step)

    def _result(
        self,
        key: Key,
        outcome: Answers | RuntimeFailure,
        own: Mapping[Part, np.ndarray],
        decision: Decision | None,
    ) -> RuntimeResult:
        """own: what the file's own runtime gave; empty if it gave nothing."""
        runtime, options = key
        if isinstance(outcome, RuntimeFailure):
            return RuntimeResult(runtime, options=options, error=str(outcome))
        parts = self._images.parts(outcome.logits)
        by = decision or self.decision
        return RuntimeResult(
            runtime=runtime,
            version=outcome.seen.verified.version,
            machine=outcome.seen.verified.machine,
            options=options,
            kernels=outcome.seen.kernels,
            val=self._compared("val", parts["val"], by),
            test=self._compared("test", parts["test"], by),
            own_difference=_largest_difference(parts["test"], own.get("test")),
            first_layer=outcome.first_layer,
            golden_difference=_largest_difference(parts["golden"], own.get("golden")),
            golden_decisions=self._golden_decisions(parts["golden"], own.get("golden"), by),
            golden_colours=self._colours(outcome.logits),
            class_map=outcome.class_map,
        )

    def _saturated(self, logits: np.ndarray) -> float:
        """Share of the test images with a Keras logit well outside the range of all that the file gave."""
        beyond = BEYOND * self._largest_logit
        outside = (self._keras_test > logits.max() + beyond) | (self._keras_test < logits.min() - beyond)
        return float(outside.any(axis=1).mean())

    def _colours(self, logits: np.ndarray) -> float | None:
        """Cosine between what swapped colours change in these logits and in Keras's. None if they change nothing.

        A direction, not a distance: golden images are unlike the calibration images, and an integer file may saturate on them.
        """
        here, keras = self._images.colour_change(logits), self._keras_colour_change
        norms = float(np.linalg.norm(here) * np.linalg.norm(keras))
        return round(float((here * keras).sum()) / norms, COSINE_DECIMALS) if np.isfinite(norms) and norms > 0 else None

    def _golden_decisions(self, found: np.ndarray, golden: np.ndarray | None, decision: Decision) -> int | None:
        """Golden images that are decided differently than on the file's own runtime, and referred on neither."""
        if golden is None or not np.isfinite(found).all() or not np.isfinite(golden).all():
            return None
        here, there = (answered(logits, decision, self._terms.names) for logits in (found, golden))
        return int(((here.labels != there.labels) & ~here.referred & ~there.referred).sum())

    def _compared(self, part: Literal["val", "test"], logits: np.ndarray, decision: Decision) -> Comparison:
        if not np.isfinite(logits).all():
            return not_finite(len(logits))
        return self._compare(part, answered(logits, decision, self._terms.names))

    def _compare(self, part: Literal["val", "test"], found: SplitAnswers) -> Comparison:
        split = self._images.val if part == "val" else self._images.test
        return compare(found, self._keras[part], split, self._terms)

    def _tolerance(self, recipe: Recipe, results: tuple[RuntimeResult, ...]) -> Tolerance:
        """The recipe's shares of the largest logit; for another runtime at least twice what was seen between those here."""
        floor = 0.0 if recipe.same_runtime == 0 else TOLERANCE_FLOOR
        same = max(recipe.same_runtime * self._largest_logit, floor)
        seen = max((result.golden_difference or 0.0 for result in results), default=0.0)
        other = max(recipe.other_runtime * self._largest_logit, same, 2 * seen)
        return Tolerance(rounded_up(same), rounded_up(other))

    def _required(self, recipe: Recipe) -> bool:
        return recipe.name in self._gate.required


def _largest_difference(found: np.ndarray, own: np.ndarray | None) -> float | None:
    """The largest of a logit, [N, K]; None if there is nothing to compare with, or NaN or infinity."""
    difference = np.nan if own is None else float(np.abs(found - own).max())
    return significant(difference) if np.isfinite(difference) else None


def rounded_up(value: float) -> float:
    """Two significant digits, never below the value: a tolerance that can be read."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.2g}")
