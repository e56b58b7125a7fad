"""reference.json of a bundle: what validation images look like, and what each model file answers for them.

A device compares what comes with it (edge_app/drift/monitor.py). It has counts alone, and nothing of an image.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from limiar.convert.gate.decision_rule import decided, referred
from limiar.convert.gate.file_report import FileReport
from limiar.convert.run.predictions import AnswerTable
from limiar.edge_app.bundle.manifest import REFER, STATISTICS, Envelope
from limiar.edge_app.drift.reference import BundleReference, FileReference, compared, distribution
from limiar.edge_app.image.statistics import outside
from limiar.train.record.operating_points import labels_of

BINS = 20  # of each distribution: with more, the test of Kolmogorov and Smirnov found nothing earlier (docs/drift.md)


def bundle_reference(
    found: Sequence[dict[str, float]], answers: AnswerTable, envelope: Envelope, files: Sequence[FileReport]
) -> BundleReference:
    """found: the statistics of each image of `answers`, both of validation alone. files: those that the bundle has."""
    seen = np.array([compared([*values.values()], 0.0) for values in found])
    unlike = np.array([bool(outside(envelope, values)) for values in found])
    return BundleReference(
        schema=1,
        images=len(found),
        statistics={name: distribution(seen[:, k].tolist(), BINS) for k, name in enumerate(STATISTICS)},
        files={file.name: _file(file, answers, unlike) for file in files},
    )


def reference_json(reference: BundleReference) -> bytes:
    """The bytes of reference.json."""
    return msgspec.json.encode(reference) + b"\n"


def _file(file: FileReport, answers: AnswerTable, unlike: np.ndarray) -> FileReference:
    """As a device decides that is told nothing: what is unlike the training images is left to a person."""
    assert file.decision is not None  # a file that passed has one,
    probabilities = answers.probabilities(file.name)
    assert probabilities is not None  # and its answers are finite
    labels = labels_of(file.decision, probabilities, answers.labels)
    decisions = decided(labels, referred(file.decision, probabilities, labels) | unlike, answers.labels)
    confidences = [compared([0.0] * len(STATISTICS), one)[-1] for one in probabilities[np.arange(len(labels)), labels].tolist()]
    return FileReference(
        confidence=distribution(confidences, BINS),
        decisions={name: decisions.count(name) for name in (*answers.labels, REFER)},
    )
