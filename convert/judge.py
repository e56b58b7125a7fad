"""Answers -> a verdict on each model file, with its golden logits and how far a device's may lie from them."""

from collections.abc import Mapping

import msgspec
import numpy as np

from convert.dataset import Split
from convert.evaluate import Answers, Comparison, RuntimeFailure, RuntimeResult, compare, significant
from convert.gate import Gate, faults
from convert.golden_images import GoldenFile
from convert.recipes import Recipe
from convert.report import FileReport, rounded_up
from edge_app.bundle import Decision, Sha256, Tolerance
from edge_app.frame import Pixels

GOLDEN_DECIMALS = 3  # of a float file's golden logits: a grid that is coarse beside the last bits that processors differ in
TOLERANCE_FLOOR = 2e-3  # of a float file: above what rounding to GOLDEN_DECIMALS costs

Outcomes = Mapping[str, Answers | RuntimeFailure]  # runtime -> what it gave


class Images(msgspec.Struct, frozen=True):
    """Everything that Keras and each model file answer."""

    val: Split
    test: Split
    golden: list[GoldenFile]

    @property
    def tensors(self) -> Pixels:
        """uint8 [N, H, W, C]: val, test, golden."""
        return np.concatenate([self.val.tensors, self.test.tensors, *(file.tensor for file in self.golden)])

    def parts(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """[N, K], as `tensors` is ordered -> the rows of "val", "test" and "golden"."""
        val, test, golden = np.split(logits, np.cumsum([len(self.val.labels), len(self.test.labels)]))
        return {"val": val, "test": test, "golden": golden}


class Judge:
    """Compares with one Keras model, on one set of images."""

    def __init__(self, images: Images, keras: np.ndarray, labels: tuple[str, ...], positive: str | None, gate: Gate) -> None:
        """keras: float32 [N, K], the Keras model's logits for `images.tensors`; labels: the K names."""
        self._images = images
        self._keras = images.parts(keras)
        self._labels = labels
        self._positive = positive
        self._gate = gate
        self._largest_logit = float(np.abs(keras).max())
        self.decision = Decision()
        self.keras = {part: self._compare(part, self._keras[part]) for part in ("val", "test")}

    def left_out(self, recipe: Recipe, reason: str) -> FileReport:
        """A file that could not be made."""
        return FileReport(recipe.name, recipe.format, recipe.precision, self._required(recipe), passed=False, faults=(reason,))

    def verdict(self, recipe: Recipe, data: bytes, sha256: Sha256, outcomes: Outcomes) -> FileReport:
        """A file that was made, by what every runtime gave for it."""
        own = outcomes.get(recipe.runtime)
        golden = self._images.parts(own.logits)["golden"] if isinstance(own, Answers) else None
        results = tuple(self._result(runtime, outcome, golden) for runtime, outcome in outcomes.items())
        found = faults(self._gate, recipe, self.keras["test"], results)
        return FileReport(
            name=recipe.name,
            format=recipe.format,
            precision=recipe.precision,
            required=self._required(recipe),
            passed=not found,
            faults=tuple(found),
            bytes=len(data),
            sha256=sha256,
            tolerance=self._tolerance(recipe, results),
            expected_runtime=recipe.runtime,
            runtimes=results,
        )

    def golden_logits(self, recipe: Recipe, outcomes: Outcomes) -> np.ndarray | None:
        """float64 [images, K] from the file's own runtime; exact for an integer file. None where it gave nothing finite."""
        outcome = outcomes.get(recipe.runtime)
        if not isinstance(outcome, Answers):
            return None
        golden = self._images.parts(outcome.logits)["golden"].astype(np.float64)
        if not np.isfinite(golden).all():
            return None
        return golden if recipe.same_runtime == 0 else golden.round(GOLDEN_DECIMALS)

    def _result(self, runtime: str, outcome: Answers | RuntimeFailure, golden: np.ndarray | None) -> RuntimeResult:
        if isinstance(outcome, RuntimeFailure):
            return RuntimeResult(runtime, error=str(outcome))
        parts = self._images.parts(outcome.logits)
        difference = None if golden is None else float(np.abs(parts["golden"] - golden).max())
        return RuntimeResult(
            runtime=runtime,
            version=outcome.seen.version,
            machine=outcome.seen.machine,
            val=self._compare("val", parts["val"]),
            test=self._compare("test", parts["test"]),
            golden_difference=None if difference is None or not np.isfinite(difference) else significant(difference),
        )

    def _compare(self, part: str, logits: np.ndarray) -> Comparison:
        split = self._images.val if part == "val" else self._images.test
        return compare(logits, self._keras[part], split.labels, self._labels, self._positive, self.decision)

    def _tolerance(self, recipe: Recipe, results: tuple[RuntimeResult, ...]) -> Tolerance:
        """The recipe's shares of the largest logit; for another runtime at least twice what was seen between those here."""
        floor = 0.0 if recipe.same_runtime == 0 else TOLERANCE_FLOOR
        same = max(recipe.same_runtime * self._largest_logit, floor)
        seen = max((result.golden_difference or 0.0 for result in results), default=0.0)
        other = max(recipe.other_runtime * self._largest_logit, same, 2 * seen)
        return Tolerance(rounded_up(same), rounded_up(other))

    def _required(self, recipe: Recipe) -> bool:
        return recipe.name in self._gate.required
