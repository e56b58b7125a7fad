"""The gate, and its findings about a file on one runtime. gate_file.py reads gate.toml."""

from typing import Annotated

from msgspec import Meta

from limiar.convert.anatomy.layers import LayerNoise, too_noisy
from limiar.convert.export.recipes import Recipe
from limiar.convert.gate.comparison import Comparison
from limiar.convert.gate.decision_rule import DecisionRule
from limiar.convert.gate.noninferiority import PairedLoss, Verdict, overall, worst
from limiar.edge_app.bundle.manifest import Count, Share, Size, Value
from limiar.edge_app.runtimes import title
from limiar.edge_app.text import counted

_NAMED = 3  # layers in a message
_SATURATED = 0.05  # share of the test images; a file that follows Keras has none, whatever its type
_MAP_ALIKE = 0.9  # cosine; of the reference model's files the worst has 0.999, a map with its sides exchanged about 0
_SWAPPED = -0.5  # a file that swaps red and blue has about -1, an undamaged one 0.98 and more, one that sees no colour about 0

LEVEL_LIMIT = 0.5
Level = Annotated[float, Meta(gt=0.0, lt=LEVEL_LIMIT)]


class NonInferiority(Value, frozen=True, forbid_unknown_fields=True):
    """How much sensitivity and specificity, or each label's recall, may lose."""

    margin: Level  # the smallest loss that is too much
    alpha: Level  # one-sided


class GateLimits(Value, frozen=True, forbid_unknown_fields=True):
    """Further limits. None: the figure is only reported."""

    fp32_logit_difference: Size | None = None  # largest, of a file of full precision, from Keras's
    logit_difference: Size | None = None  # largest, of any file
    layer_snr_db: float | None = None  # smallest signal-to-noise ratio of a layer of a quantized TFLite file
    flips: Share | None = None  # share of the images that are decided differently than with Keras
    accuracy_drop: Share | None = None
    auc_drop: Share | None = None
    nll_rise: Size | None = None
    brier_rise: Size | None = None
    ece: Share | None = None
    refer_rate_rise: Share | None = None
    group_drop: Share | None = None  # of the accuracy in the group that lost most


class Retry(Value, frozen=True, forbid_unknown_fields=True):
    """When the integer file is made again, with its worst layers in float. Decided on validation."""

    loss: Share  # of a label's recall; a layer below layer_snr_db is the other reason


class Gate(Value, frozen=True, forbid_unknown_fields=True):
    """gate.toml"""

    required_one_of: tuple[str, ...]  # empty: none is required
    required: tuple[str, ...]
    inconclusive_passes: bool  # undecided files are in the bundle, and the verdict says so
    noninferiority: NonInferiority
    decision: DecisionRule
    retry: Retry | None = None  # None: the integer file is judged as it is
    limits: GateLimits = GateLimits()


class RuntimeResult(Value, frozen=True, forbid_unknown_fields=True):
    """One model file on one runtime."""

    runtime: str
    version: str | None = None
    machine: str | None = None
    options: str = ""  # how it differs from what a device does by default: "4 threads"
    kernels: str | None = None  # what computed: "XNNPACK"
    val: Comparison | None = None
    test: Comparison | None = None
    own_difference: float | None = (
        None  # largest difference of a test image's logit from the file's own runtime, as on a device
    )
    first_layer: str | None = None  # the first whose value differs from there; "": none, beyond rounding; None: not looked for
    golden_difference: float | None = None  # largest difference of a golden image's logit from the file's own runtime
    golden_decisions: Count | None = None  # golden images decided differently than there
    golden_colours: float | None = None  # cosine between what swapped red and blue change in these logits and in Keras's
    class_map: float | None = None  # cosine between its class activation maps and Keras's; None: not asked for, or flat
    error: str | None = None  # why there is no answer at all

    @property
    def title(self) -> str:
        """As a column's head."""
        return title(self.runtime, self.options)

    @property
    def line(self) -> str:
        """With its version."""
        return title(f"{self.runtime} {self.version}" if self.version else self.runtime, self.options)


class GateFinding(Value, frozen=True, forbid_unknown_fields=True):
    """The result of one required check of a file on one runtime."""

    check: str  # "runs", "finite", "golden images", "sensitivity", …
    runtime: str  # "" if the check is of the file itself
    verdict: Verdict
    message: str  # one line: what was met

    @property
    def line(self) -> str:
        """For a person."""
        return f"{self.runtime}: {self.message}" if self.runtime else self.message


def findings(gate: Gate, recipe: Recipe, keras: Comparison, result: RuntimeResult) -> list[GateFinding]:
    """Every required check of a file on one runtime. keras: the Keras model on the test split."""
    runtime = result.title
    if result.test is None or result.val is None:
        return [GateFinding("runs", runtime, "FAIL", result.error or "no answer")]
    if not (result.test.finite and result.val.finite):
        return [GateFinding("finite", runtime, "FAIL", "NaN or infinity among the logits")]
    found = [
        GateFinding("finite", runtime, "PASS", "all logits are numbers"),
        _golden(result),
        *_colours(result),
        *_class_map(result),
    ]
    found += _recalls(result.test.losses, gate.noninferiority, runtime)
    # A limit that is not checked would be a broken promise.
    if gate.limits.auc_drop is not None and "auc" not in result.test.metrics:
        found.append(_unknown("auc_drop", runtime, "more than two labels have no AUC"))
    if gate.limits.group_drop is not None and result.test.worst_group is None:
        found.append(_unknown("group_drop", runtime, "no image of the test split has a group"))
    return found + [
        GateFinding(name, runtime, "PASS" if value <= limit else "FAIL", f"{name} is {value:.4g}, the limit is {limit:g}")
        for name, value, limit in _limited(gate.limits, recipe, keras, result.test)
    ]


def _unknown(limit: str, runtime: str, why: str) -> GateFinding:
    return GateFinding(limit, runtime, "FAIL", f"{limit} has a limit, and {why}: leave it out of gate.toml")


def noise_findings(gate: Gate, layers: tuple[LayerNoise, ...]) -> list[GateFinding]:
    """The finding about a file whose layers were compared with the fp32 file's: which are below the floor of gate.toml."""
    floor = gate.limits.layer_snr_db
    if floor is None or not layers:
        return []
    noisy = too_noisy(layers, floor)
    if not noisy:
        return [GateFinding("layer noise", "", "PASS", f"every layer is above {floor:g} dB")]
    named = ", ".join(f"{layer.layer} ({layer.snr_db:g} dB)" for layer in noisy[:_NAMED])
    return [
        GateFinding("layer noise", "", "FAIL", f"{counted(len(noisy), 'layer is', 'layers are')} below {floor:g} dB: {named}")
    ]


def saturation_finding(share: float) -> GateFinding:
    """share: of the test images with a Keras logit well outside the file's range: its output is cut off there."""
    met = f"{100 * share:.1f} % of the test images have a Keras logit beyond the largest or smallest that the file gives"
    return GateFinding("saturation", "", "FAIL" if share > _SATURATED else "PASS", met)


def verdict(found: list[GateFinding]) -> Verdict:
    """A file's verdict: every required check on every runtime counts."""
    return overall(finding.verdict for finding in found)


def describe(loss: PairedLoss, rule: NonInferiority) -> str:
    """One sentence: the loss in points, its bounds, and what would decide."""
    points, low, high = (f"{100 * value + 0.0:.1f}" for value in (loss.loss, loss.low, loss.high))
    margin = f"{100 * rule.margin:g}"
    if loss.proof == "copy":
        return f"{loss.name} lost {points} points of {loss.n} images; a copy, which loses at most {high} (margin {margin})"
    text = f"{loss.name} lost {points} points of {counted(loss.n, 'image')} (bounds {low} and {high}, margin {margin})"
    if loss.verdict != "INCONCLUSIVE":
        return text
    if loss.more_images is None:
        return f"{text}: too close to the margin for any number of images"
    return f"{text}: about {loss.more_images} more images of this class would decide"


def _recalls(losses: tuple[PairedLoss, ...], rule: NonInferiority, runtime: str) -> list[GateFinding]:
    """Sensitivity and specificity; with more than two labels one finding, which names the worst."""
    if len(losses) == 2:
        return [GateFinding(loss.name, runtime, loss.verdict, describe(loss, rule)) for loss in losses]
    named = worst(losses)
    others = sum(loss.verdict == named.verdict for loss in losses) - 1
    message = describe(named, rule) + (f"; {others} more labels are {named.verdict}" if others else "")
    return [GateFinding("recall", runtime, overall(loss.verdict for loss in losses), message)]


def _golden(result: RuntimeResult) -> GateFinding:
    """The golden images' decisions, if neither is referred. How far logits differ is recorded as the tolerance."""
    differing = result.golden_decisions or 0
    message = "every golden image is decided as on the file's own runtime"
    if differing:
        message = f"{counted(differing, 'golden image')} decided otherwise than on the file's own runtime"
    return GateFinding("golden images", result.title, "FAIL" if differing else "PASS", message)


def _colours(result: RuntimeResult) -> list[GateFinding]:
    """Only coloured images show swapped channels, and a test split may have none. Empty if the golden images have none."""
    cosine = result.golden_colours
    if cosine is None:
        return []
    met = f"red and blue in each other's place change the golden images' logits as in Keras, cosine {cosine:g}"
    if cosine <= _SWAPPED:
        met = f"red and blue are swapped: the coloured golden images' logits change as if they were, cosine {cosine:g}"
    return [GateFinding("golden colours", result.title, "FAIL" if cosine <= _SWAPPED else "PASS", met)]


def _class_map(result: RuntimeResult) -> list[GateFinding]:
    """A map that points elsewhere would mislead anyone who looks at it, and no logit would show it."""
    cosine = result.class_map
    if cosine is None:
        return []
    met = f"the class activation map points where Keras's does, cosine {cosine:g}"
    if cosine < _MAP_ALIKE:
        met = f"the class activation map points elsewhere than Keras's, cosine {cosine:g}, {_MAP_ALIKE:g} is needed"
    return [GateFinding("class map", result.title, "PASS" if cosine >= _MAP_ALIKE else "FAIL", met)]


def _limited(limits: GateLimits, recipe: Recipe, keras: Comparison, test: Comparison) -> list[tuple[str, float, float]]:
    """Name, value and limit of everything that gate.toml limits."""
    figures: dict[str, float | None] = {
        "fp32_logit_difference": test.largest_difference if recipe.precision == "fp32" else None,
        "logit_difference": test.largest_difference,
        "flips": test.flips.value if test.flips else None,
        "accuracy_drop": _drop(keras, test, "accuracy"),
        "auc_drop": _drop(keras, test, "auc"),
        "nll_rise": _rise(keras, test, "nll"),
        "brier_rise": _rise(keras, test, "brier"),
        "ece": test.calibration.get("ece"),
        "refer_rate_rise": -(_drop(keras, test, "refer_rate") or 0.0),
        "group_drop": test.worst_group.loss if test.worst_group else None,
    }
    limited = ((name, value, getattr(limits, name)) for name, value in figures.items())
    return [(name, round(value, 6), limit) for name, value, limit in limited if value is not None and limit is not None]


def _drop(keras: Comparison, test: Comparison, name: str) -> float | None:
    if name not in keras.metrics or name not in test.metrics:
        return None
    return keras.metrics[name].value - test.metrics[name].value


def _rise(keras: Comparison, test: Comparison, name: str) -> float | None:
    if name not in keras.calibration or name not in test.calibration:
        return None
    return test.calibration[name] - keras.calibration[name]
