"""How a device decides: the model file's decision, and what happens to an image that is unlike the training images.

Without numpy: the parent process of a scan applies it to stored answers.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from limiar.edge_app.answer import Answer
from limiar.edge_app.bundle.manifest import REFER, Decision
from limiar.edge_app.errors import ImageError

OutsideRule = Literal["refer", "refuse", "ignore"]
Outside = tuple[str, ...] | None  # statistics of an image outside the bundle's envelope; None: it was not compared


class Rule(Struct, frozen=True):
    """Label, confidence, and the statistics outside the envelope -> decision."""

    decision: Decision
    outside: OutsideRule = "refer"  # a person looks at images unlike the training images

    def decide(self, label: str, confidence: float, outside: Outside) -> str:
        """The label, or REFER. Raises ImageError E-IMAGE-OUTSIDE, as `check` does."""
        self.check(outside)
        if outside and self.outside == "refer":
            return REFER
        return self.decision.decide(label, confidence)

    def decided(self, answer: Answer) -> Answer:
        """A stored answer, which another rule may have decided, and its peaks, by this rule. Raises ImageError as `check`."""
        peaks = answer.peaks and tuple(
            replace(peak, decision=self.decide(answer.tiles.sought, peak.score, peak.outside))
            for peak in answer.peaks
            if answer.tiles
        )
        return replace(answer, decision=self.decide(answer.label, answer.confidence, answer.outside), peaks=peaks)

    def check(self, outside: Outside) -> None:
        """Raises ImageError for an image outside the envelope, if the rule is to refuse it."""
        if outside and self.outside == "refuse":
            met = f"unlike the training images in {', '.join(outside)}"
            raise ImageError("E-IMAGE-OUTSIDE", f"{met}: give images of the model's kind, or --outside refer")
