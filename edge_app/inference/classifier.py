"""Model input -> Prediction: logits from a runtime, softmax in float64, the bundle's decision rule."""

import math
import time
from collections.abc import Callable, Sequence

from limiar.edge_app import APP
from limiar.edge_app.answer import Answer, Prediction, Timing
from limiar.edge_app.arrays import ClassMap, Logits, Pixels
from limiar.edge_app.bundle.manifest import Assessable, Decision, Envelope, InputSpec
from limiar.edge_app.errors import RuntimeUnavailable
from limiar.edge_app.image.assessable import assessed, check_limits
from limiar.edge_app.image.resize import Rows, check_assessable, model_input
from limiar.edge_app.image.statistics import outside, statistics
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.model_check import open_checked, run_model, run_with_map
from limiar.edge_app.inference.rule import OutsideRule, Rule
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
        self._labels = labels
        self._input = spec
        self._envelope = envelope
        self._rule = Rule(decision, outside)
        self._measure = measure
        self._limits = limits

    def answer(self, picture: Rows, decode_s: float = 0.0) -> Answer:
        """Resizes, refuses what is not assessable, infers, decides. Raises ImageError and RuntimeUnavailable."""
        return self._answer(picture, decode_s, lambda tensor: (run_model(self.runtime, tensor), None))[0]

    def explain(self, picture: Rows, decode_s: float = 0.0) -> tuple[Answer, ClassMap | None]:
        """The answer and the class activation map of the same inference; None if the file has no map. Raises as `answer`."""
        return self._answer(picture, decode_s, lambda tensor: run_with_map(self.runtime, tensor))

    def _answer(
        self, picture: Rows, decode_s: float, run: Callable[[Pixels], tuple[Logits, ClassMap | None]]
    ) -> tuple[Answer, ClassMap | None]:
        started = time.perf_counter()
        tensor = model_input(picture, self._input)
        check_assessable(picture, tensor)
        grey = len(picture.shape) == 2  # then all channels are equal, and one is enough
        seen = tensor[..., :1] if grey else tensor
        found = statistics(seen) if self._envelope or self._measure or self._limits else {}
        if self._limits:
            check_limits(self._limits, assessed(self._limits, found, seen))
        unlike = outside(self._envelope, found) if self._envelope else None
        self._rule.check(unlike)  # before inference, which a refusal saves
        resized = time.perf_counter()
        logits, class_map = run(tensor)
        inferred = time.perf_counter()
        prediction = decide(logits, self._labels, self._rule.decision)
        answer = Answer(
            decision=self._rule.decide(prediction.label, prediction.confidence, unlike),
            label=prediction.label,
            confidence=prediction.confidence,
            probabilities=prediction.probabilities,
            ms=Timing(_ms(decode_s), _ms(resized - started), _ms(inferred - resized)),
            time=utc_now(),
            app=APP,
            outside=unlike,
            trailing=getattr(picture, "trailing", ""),
            statistics=tuple(found.values()) if self._measure else None,
        )
        return answer, class_map


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def load(model: Model) -> Classifier:
    """Loads a model file into this process and tries it once. Raises RuntimeUnavailable, and ModelUnfit."""
    rule = model.rule
    runtime = open_checked(model)
    told = (model.envelope, rule.outside, model.measure, model.limits)
    return Classifier(runtime, model.labels, model.input, rule.decision, *told)
