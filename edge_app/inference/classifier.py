"""Model input -> Prediction: logits from a runtime, softmax in float64, the bundle's decision rule."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from limiar.edge_app import APP
from limiar.edge_app.answer import Answer, Prediction, Timing
from limiar.edge_app.arrays import ClassMap, Logits, Pixels
from limiar.edge_app.bundle.manifest import Assessable, Decision, Envelope, InputSpec
from limiar.edge_app.errors import RuntimeUnavailable
from limiar.edge_app.image.assessable import assessed, check_limits
from limiar.edge_app.image.measured import Measured, outside_of, within
from limiar.edge_app.image.resize import Rows, check_assessable, model_input
from limiar.edge_app.image.statistics import outside, statistics
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.model_check import open_checked, run_model, run_with_map
from limiar.edge_app.inference.rule import Outside, OutsideRule, Rule
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.runtimes import Runtime
from limiar.edge_app.system.clock import utc_now


def decide(logits: Logits, labels: Sequence[str], decision: Decision) -> Prediction:
    """The label by the decision rule, and its probability. Raises RuntimeUnavailable for NaN or infinity."""
    probabilities = dict(zip(labels, softmax(logits).tolist(), strict=True))
    if not math.isfinite(sum(probabilities.values())):
        met = f"the model gave logits {logits.tolist()[:4]}"
        raise RuntimeUnavailable("E-RUNTIME-FINITE", f"{met}: choose another --file or --runtime")
    label = decision.label(probabilities)
    confidence = probabilities[label]
    return Prediction(decision.decide(label, confidence), label, confidence, probabilities)


class Seen(NamedTuple):
    """What is known of a picture before inference."""

    tensor: Pixels  # the model's input
    unlike: Outside
    statistics: tuple[float, ...] | None  # in the order of STATISTICS; None: they are not asked for


class Classifier:
    """A loaded model file and the rules around it: picture -> answer.

    With the bundle's envelope, each answer lists the statistics in which the picture is outside; the argument `outside` says
    what happens then.
    """

    def __init__(
        self,
        runtime: Runtime,
        labels: Sequence[str],
        spec: InputSpec,
        decision: Decision,
        envelope: Envelope | None = None,
        outside: OutsideRule = "refer",
        measure: bool = False,
        limits: Assessable | None = None,
    ) -> None:
        """measure: each answer has the statistics of its picture. limits: beyond them a picture is refused."""
        self.runtime = runtime
        self.labels = labels
        self.input = spec
        self._envelope = envelope
        self.rule = Rule(decision, outside)
        self._measure = measure
        self._limits = limits

    def answer(self, picture: Rows, decode_s: float = 0.0) -> Answer:
        """Resizes, refuses what is not assessable, infers, decides. Raises ImageError and RuntimeUnavailable."""
        return self._answer(picture, decode_s, lambda tensor: (self.infer(tensor), None))[0]

    def explain(self, picture: Rows, decode_s: float = 0.0) -> tuple[Answer, ClassMap | None]:
        """The answer and the class activation map of the same inference; None if the file has no map. Raises as `answer`."""
        return self._answer(picture, decode_s, lambda tensor: run_with_map(self.runtime, tensor))

    def look(self, picture: Rows) -> Seen:
        """The model's input, and what the rules find in it. Raises ImageError as `assess`."""
        tensor = model_input(picture, self.input)
        seen = tensor[..., :1] if len(picture.shape) == 2 else tensor  # of a grey picture all channels are equal: one is enough
        found = statistics(seen) if self.measures else {}
        unlike = self.assess(picture, seen, found)
        return Seen(tensor, unlike, tuple(found.values()) if self._measure else None)

    @property
    def needs(self) -> dict[str, bool]:
        """What `assess_many` needs of many pictures: arguments of image/measured.py."""
        return {
            "measure": bool(self._envelope or self._limits),
            "noisy": "noise" in self._limits.limits if self._limits else False,
        }

    def assess_many(self, found: Measured) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of N pictures `assess` takes, and which of these are unlike the training images."""
        taken, unlike = found.shows, np.zeros(len(found.shows), bool)
        if self._limits:
            taken = taken & within(self._limits, found.values)
        if self._envelope:
            unlike = outside_of(self._envelope, found.values)
            if self.rule.outside == "refuse":
                taken = taken & ~unlike
        return taken, taken & unlike

    @property
    def measures(self) -> bool:
        """Whether the rules need the statistics of a picture."""
        return bool(self._envelope or self._measure or self._limits)

    def assess(self, picture: Rows, seen: Pixels, found: Mapping[str, float]) -> Outside:
        """In what a picture is unlike the training images. Raises ImageError: not assessable, or refused by `outside`.

        seen: its model input, one channel if it is grey. found: its statistics, empty if nothing `measures`.
        """
        check_assessable(picture, seen)
        if self._limits:
            check_limits(self._limits, assessed(self._limits, found, seen))
        unlike = outside(self._envelope, found) if self._envelope else None
        self.rule.check(unlike)  # before inference, which a refusal saves
        return unlike

    def infer(self, tensor: Pixels) -> Logits:
        """The logits of an input. Raises ModelUnfit."""
        return run_model(self.runtime, tensor)

    def decide(self, logits: Logits, unlike: Outside) -> Prediction:
        """Raises RuntimeUnavailable for NaN or infinity, and ImageError as `look`."""
        found = decide(logits, self.labels, self.rule.decision)
        decision = self.rule.decide(found.label, found.confidence, unlike)
        return found if decision == found.decision else replace(found, decision=decision)

    def _answer(
        self, picture: Rows, decode_s: float, run: Callable[[Pixels], tuple[Logits, ClassMap | None]]
    ) -> tuple[Answer, ClassMap | None]:
        started = time.perf_counter()
        seen = self.look(picture)
        resized = time.perf_counter()
        logits, class_map = run(seen.tensor)
        ms = timing(decode_s, resized - started, time.perf_counter() - resized)
        return answer_of(self.decide(logits, seen.unlike), seen, picture, ms), class_map


def answer_of(prediction: Prediction, seen: Seen, picture: Rows, ms: Timing) -> Answer:
    """What the store keeps of a prediction. seen: of the picture, or of the tile that the prediction is of."""
    return Answer(
        decision=prediction.decision,
        label=prediction.label,
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        ms=ms,
        time=utc_now(),
        app=APP,
        outside=seen.unlike,
        trailing=getattr(picture, "trailing", ""),
        statistics=seen.statistics,
        place=getattr(picture, "place", None),
        frame=getattr(picture, "frame", None),
    )


def timing(decode_s: float, resize_s: float, infer_s: float) -> Timing:
    """Seconds -> milliseconds."""
    return Timing(_ms(decode_s), _ms(resize_s), _ms(infer_s))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def load(model: Model) -> Classifier:
    """Loads a model file into this process and tries it once. Raises RuntimeUnavailable, and ModelUnfit."""
    rule = model.rule
    runtime = open_checked(model)
    told = (model.envelope, rule.outside, model.measure, model.limits)
    return Classifier(runtime, model.labels, model.input, rule.decision, *told)
