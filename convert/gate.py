"""The first gate: a model file passes when it lost no more than gate.toml allows, on every runtime."""

from pathlib import Path

import msgspec

from convert.evaluate import Comparison, RuntimeResult
from convert.recipes import RECIPES, Recipe
from edge_app.bundle import Share, Size, Value
from edge_app.errors import ConvertError, printable

DEFAULT = Path(__file__).with_name("gate.toml")


class Margins(Value, frozen=True, forbid_unknown_fields=True):
    """The largest loss against Keras on the test split, 0..1."""

    accuracy: Share
    recall: Share  # sensitivity and specificity, or each label's recall
    auc: Share


class Limits(Value, frozen=True, forbid_unknown_fields=True):
    """What holds whatever Keras scored."""

    agreement: Share  # smallest share of images with Keras's label
    fp32_logit_difference: Size  # largest difference of a logit in a file of full precision


class Gate(Value, frozen=True, forbid_unknown_fields=True):
    """gate.toml"""

    required: tuple[str, ...]
    margins: Margins
    limits: Limits


def read_gate(path: Path = DEFAULT) -> Gate:
    """gate.toml, every key of it. Raises ConvertError: unreadable, an unknown or missing key, an unknown file name."""
    where = printable(str(path))
    try:
        gate = msgspec.toml.decode(path.read_bytes(), type=Gate)
    except OSError as error:
        raise ConvertError(
            "E-CONVERT-GATE-FILE", f"{where}: {error.strerror}: give --gate a file like docs/gate.md shows"
        ) from None
    except msgspec.MsgspecError as error:
        raise _invalid(where, printable(str(error))[:200]) from None
    known = {recipe.name for recipe in RECIPES}
    if unknown := sorted(set(gate.required) - known):
        raise _invalid(where, f"required has {printable(unknown[0])[:64]}, which is none of {', '.join(sorted(known))}")
    return gate


def _invalid(where: str, met: str) -> ConvertError:
    return ConvertError("E-CONVERT-GATE", f"{where}: {met}: docs/gate.md lists what may stand there")


def faults(gate: Gate, recipe: Recipe, keras: Comparison, results: tuple[RuntimeResult, ...]) -> list[str]:
    """Why a file does not pass, one line a fault; empty when it passes. keras: the Keras model on the test split."""
    if not results:
        return [f"no runtime for {recipe.format} files is installed here"]
    return [f"{result.runtime}: {fault}" for result in results for fault in _faults(gate, recipe, keras, result)]


def _faults(gate: Gate, recipe: Recipe, keras: Comparison, result: RuntimeResult) -> list[str]:
    if result.test is None or result.val is None:
        return [result.error or "no answer"]
    if not (result.test.finite and result.val.finite):
        return ["NaN or infinity among the logits"]
    found = []
    for name, margin in _margins(gate.margins, result.test).items():
        before, after = keras.metrics[name].value, result.test.metrics[name].value
        if round(before - after, 6) > margin:  # a loss of the margin itself passes
            found.append(f"{name} {after:.3f}, Keras {before:.3f}: the margin is {margin:g}")
    agreement = result.test.metrics["agreement"].value
    if agreement < gate.limits.agreement:
        found.append(f"{agreement:.3f} of the images get Keras's label, the limit is {gate.limits.agreement:g}")
    difference = result.test.largest_difference
    limit = gate.limits.fp32_logit_difference
    if recipe.precision == "fp32" and difference is not None and difference > limit:
        found.append(f"a logit differs by {difference:g} from Keras's, the limit is {limit:g}")
    return found


def _margins(margins: Margins, comparison: Comparison) -> dict[str, float]:
    """Metric -> its margin, for the metrics that the gate looks at."""
    by_name = {}
    for name in comparison.metrics:
        if name in ("sensitivity", "specificity") or name.startswith("recall_"):
            by_name[name] = margins.recall
        elif name in ("accuracy", "auc"):
            by_name[name] = {"accuracy": margins.accuracy, "auc": margins.auc}[name]
    return by_name
