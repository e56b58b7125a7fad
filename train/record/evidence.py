"""What a test split can decide, said before and after training: `limiar convert` asks it whether a file lost too much.

A refusal at the very end is too late to learn that 34 images are missing.
"""

from collections.abc import Mapping

import msgspec

from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted
from limiar.train.record.metrics import images_for_margin, smallest_margin

MARGIN_LIMIT = 0.5  # what convert's --margin must be below
MARGIN, ALPHA = 0.05, 0.05  # what convert's gate asks for unless told otherwise (gate.toml; a test compares)


class Evidence(msgspec.Struct, frozen=True):
    """The class that the test split says least about."""

    label: str  # printable
    images: int  # of it, in the test split
    smallest_margin: float  # the smallest loss of this class that they can rule out, 0..1
    margin: float = MARGIN  # what the gate asks for
    needed: int = images_for_margin(MARGIN, ALPHA)  # images of each class that decide it

    @property
    def enough(self) -> bool:
        """Whether a file that answers as Keras does can pass the gate as it is."""
        return self.images >= self.needed

    def text(self) -> str:
        """One line: what was found, and what to do."""
        asked = f"{100 * self.margin:g} points"
        if self.enough:
            return f"the test split has {self.images} images or more of each class: convert's gate ({asked}) can decide"
        images = f"{counted(self.images, 'image')} of {self.label}"
        found = f"the test split can only decide {100 * self.smallest_margin:.1f} points ({images})"
        gate = f"convert asks for {asked}, {self.needed} of each class, for all files but full-precision copies"
        lax = _rounded_up(self.smallest_margin)
        ways = f"--margin {lax:g}, or with --allow-undecided" if lax < MARGIN_LIMIT else "--allow-undecided"
        return f"{found}; {gate}: add test images, or convert with {ways}, which says what is not proven"


def evidence(counts: Mapping[str, int]) -> Evidence | None:
    """counts: label -> test images. None if a class has none, which is refused elsewhere."""
    if not counts or min(counts.values()) < 1:
        return None
    label = min(counts, key=counts.__getitem__)
    return Evidence(printable(label), counts[label], round(smallest_margin(counts[label], ALPHA), 6))


def _rounded_up(margin: float) -> float:
    """To the next hundredth above it: a loss must be below the margin."""
    return (int(margin * 100 + 1e-9) + 1) / 100
