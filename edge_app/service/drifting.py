"""Drift in a service: the new answers of its folders are compared with the bundle's reference.

A camera's are not: frames of one scene are alike, so that their number says nothing.
"""

from limiar.edge_app.answer import Answer
from limiar.edge_app.drift.monitor import Monitor
from limiar.edge_app.drift.reference import Reference
from limiar.edge_app.health.log import Log
from limiar.edge_app.health.meters import Meters
from limiar.edge_app.store.writer import Store


class Drifting:
    """Says when what comes begins to differ from the reference, and when that is over."""

    def __init__(self, reference: Reference | None, store: Store, meters: Meters, log: Log) -> None:
        """reference: None if the bundle has none."""
        self._monitor = Monitor(reference) if reference else None
        self._store = store
        self._meters = meters
        self._log = log
        self._shown: dict[str, str] = {}  # statistic -> message
        meters.drift(self._shown)
        if reference is None:
            log.info("I-DRIFT", "the bundle has no reference.json, so drift is not watched: convert the model again for that")

    def answered(self, decision: str, answer: Answer) -> None:
        """A new answer. Raises StoreError."""
        if self._monitor is None or answer.statistics is None:
            return
        for found in self._monitor.add(decision, answer.confidence, answer.statistics):
            self._log.warning("W-DRIFT", found.message)
            self._store.audit(
                "drift",
                {
                    "statistic": found.statistic,
                    "direction": found.direction,
                    "first": str(found.first),
                    "last": str(found.last),
                    "psi": f"{found.psi:.3f}",
                    "p": f"{found.p:.1e}",
                },
            )
        lasting = {one.statistic: one.message for one in self._monitor.state().lasting}
        if lasting != self._shown:
            for over in self._shown.keys() - lasting.keys():
                self._log.info("I-DRIFT", f"{over} is again as in the bundle's reference")
            self._shown = lasting
            self._meters.drift(lasting)
