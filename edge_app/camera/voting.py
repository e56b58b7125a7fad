"""K of N: several frames of one scene must agree before there is a decision."""

import statistics
from collections import Counter, deque

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.camera.messages import FRAME_S


class Vote(Struct, frozen=True):
    """What the frames of one scene agree on."""

    decision: str  # a label, or "refer"
    label: str  # of the agreeing frames
    confidence: float  # the median of its probability over the agreeing frames, 0..1
    frames: int  # that were looked at
    agreeing: int  # of them, with this decision
    spread: float  # the label's largest probability less its smallest, over all of the frames, 0..1
    first: int  # sequence number of the first frame
    last: int  # of the last one


class _Seen(Struct, frozen=True):
    answer: Answer
    sequence: int


class Voting:
    """The last answers of a camera, and what they agree on.

        voting = Voting(agree=3, of=5)
        vote = voting.add(answer, frame.sequence, time.monotonic())

    A frame that is referred agrees with no label: `agree` referred frames give the decision to refer.
    """

    def __init__(self, agree: int, of: int, apart_s: float = FRAME_S) -> None:
        """agree <= of. apart_s: answers further apart belong to two scenes."""
        if not 1 <= agree <= of:
            raise ValueError(f"{agree} of {of} frames cannot agree")
        self._agree = agree
        self._apart_s = apart_s
        self._seen: deque[_Seen] = deque(maxlen=of)
        self._at_s = float("-inf")  # of the last one
        self._decision: str | None = None

    def add(self, answer: Answer, sequence: int, at_s: float) -> Vote | None:
        """What the last frames agree on, with this one; None if too few agree. at_s: by a clock that does not jump.

        Once the decision changes, the frames before the new scene no longer count.
        """
        if at_s - self._at_s > self._apart_s:
            self.gap()
        self._at_s = at_s
        self._seen.append(_Seen(answer, sequence))
        decision = self._agreed()
        if decision is None:
            return None
        if self._decision not in (None, decision):
            while self._seen[0].answer.decision != decision:
                self._seen.popleft()
        self._decision = decision
        return self._vote(decision)

    def gap(self) -> None:
        """Forgets all frames: what follows may be another scene."""
        self._seen.clear()
        self._decision = None

    def _agreed(self) -> str | None:
        """The decision of enough frames; if there are two, which a small `agree` allows, the newer one."""
        count = Counter(seen.answer.decision for seen in self._seen)
        return next((one.answer.decision for one in reversed(self._seen) if count[one.answer.decision] >= self._agree), None)

    def _vote(self, decision: str) -> Vote:
        agreeing = [seen.answer for seen in self._seen if seen.answer.decision == decision]
        # Frames that are referred may differ in their label.
        label, _ = Counter(answer.label for answer in reversed(agreeing)).most_common(1)[0]
        shares = [seen.answer.probabilities[label] for seen in self._seen]
        return Vote(
            decision=decision,
            label=label,
            confidence=statistics.median(answer.probabilities[label] for answer in agreeing),
            frames=len(self._seen),
            agreeing=len(agreeing),
            spread=max(shares) - min(shares),
            first=self._seen[0].sequence,
            last=self._seen[-1].sequence,
        )
