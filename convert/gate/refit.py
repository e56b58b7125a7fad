"""Does the manifest have the decision that each file's answers for the validation split give?

A threshold is one number among thousands. If it changed by mistake between fit and manifest, borderline images would be decided
differently, and no other check would notice: the logits stay the same.
"""

from collections.abc import Iterable

from limiar.convert.gate.decision_rule import DecisionRule, fit, in_words
from limiar.convert.gate.file_report import FileReport
from limiar.convert.run.predictions import AnswerTable
from limiar.edge_app.bundle.manifest import Manifest
from limiar.edge_app.errors import ConvertError
from limiar.train.record.operating_points import Scores


def check_decisions(manifest: Manifest, files: Iterable[FileReport], rule: DecisionRule, answers: AnswerTable) -> None:
    """Fits every file's decision again. Raises ConvertError if the manifest has another, or other labels.

    answers: at least those for the validation split, of every file of the manifest.
    """
    validation = answers.part("val")
    inventories = {file.name: file.inventory for file in files}
    positive = None if manifest.positive is None else manifest.labels.index(manifest.positive)
    for name, model in manifest.models.items():
        probabilities, inventory = validation.probabilities(name), inventories[name]
        assert model.model is not None  # `models` has model files only
        assert probabilities is not None  # a file that passed gave numbers
        assert inventory is not None  # and was made
        scores = Scores(probabilities, validation.truth, positive, inventory.outputs[0].scale)
        fitted = fit(rule, scores, manifest.labels)
        if fitted != model.model.decision:
            met = f"{name}: the manifest decides by {in_words(model.model.decision)}, validation gives {in_words(fitted)}"
            raise ConvertError("E-CONVERT-DECISION", f"{met}: convert again, and report it if it happens twice")
