"""What a person says about an answer: kept beside it, by the service if one runs, by this process if none does."""

from pathlib import Path

from limiar.edge_app.control import AskReview, AskUndo, ask
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.results.lines import reviewed_label
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.writer import Store, no_review


def review(db: Path, number: int, label: str | None, by: str, why: str) -> str:
    """Confirms the answer with this ID (label: None), or gives it another label; returns its label now.

    Raises StoreError E-RESULT-MISSING; LimiarError E-RESULT-LABEL: not one of the model's labels, or already its answer.
    """
    with Reader(db) as reader:
        entry = reader.entry(number)
    if entry.probabilities is None or entry.label is None:
        raise LimiarError("E-RESULT-MISSING", f"{number} is a file without an answer ({entry.code}): nothing to review")
    if label is not None and label not in entry.probabilities:
        labels = ", ".join(map(printable, entry.probabilities))
        raise LimiarError("E-RESULT-LABEL", f"{printable(label)} is not a label of this model: give one of {labels}")
    if label == entry.label:
        raise LimiarError("E-RESULT-LABEL", f"{printable(label)} is what the model said: `limiar results confirm {number}`")
    keep_review(db, AskReview(number, label, by, why))
    return label or entry.label


def undo(db: Path, number: int, by: str, review: int | None = None) -> str | None:
    """Takes back the review that holds; returns the label that a person gave before it, None if nobody did.

    review: the one that is meant. Raises StoreError E-RESULT-REVIEW: there is none, or another one holds.
    """
    with Reader(db) as reader:
        entry = reader.entry(number)
    if entry.review is None:
        raise no_review(number)
    if ask(db.parent, AskUndo(number, by, review)) is None:
        with Store(db, "results") as store:
            store.take_back(number, by, review)
            store.audit("review-undo", {"entry": str(number), "by": by})
    with Reader(db) as reader:
        return reviewed_label(reader.entry(number))


def keep_review(db: Path, asked: AskReview) -> None:
    """Has the writer of the store keep a review. Raises LimiarError."""
    if ask(db.parent, asked) is not None:
        return
    with Store(db, "results") as store:
        store.review(asked.entry, asked.label, asked.by, asked.why)
        store.audit("review", {"entry": str(asked.entry), "label": asked.label or "", "by": asked.by})
