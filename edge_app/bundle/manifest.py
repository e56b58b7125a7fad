"""The bundle contract: what convert publishes and a device opens.

A bundle is a directory: `manifest.json`, model files, `golden/`, reports and the model card. The manifest lists every other
file with its size and sha256; a bundle with a file that is not listed, or differs from its entry, is refused. The types below
are the only schema.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.bundle.strict_json import strictly_parsed, unseen
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.runtimes import title
from limiar.edge_app.text import is_plain

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
GOLDEN = "golden/golden.json"  # inference/golden.py
PROVEN = "PASS"  # the verdict of a bundle whose model files are all proven
CHANCE = "chance"  # in provenance.run if the model was not shown to be better than chance, and that was allowed
REFER = "refer"  # the decision to leave it to a person; no label may have this name
REFUSED = "refused"  # in place of a decision, for an image that was refused
DECODE_RULE = "pillow-v1"  # image/read.py
RESIZE_RULE = "stretch-v1"  # image/resize.py
MANIFEST_LIMIT = 4 << 20  # bytes; ten times what 1,000 labels and 1,000 files take
TOTAL_LIMIT = 1 << 30  # bytes of all files: more than any model for a device, less than an SD card
_DEPTH_LIMIT = 16  # nesting of the manifest's JSON; the types below need 7

Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Side = Annotated[int, Meta(ge=1, le=4096)]  # px
GreyMax = Annotated[int, Meta(ge=256, le=65_535)]
Count = Annotated[int, Meta(ge=0)]
Size = Annotated[float, Meta(ge=0.0)]
Step = Annotated[float, Meta(gt=0.0)]
Level = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]  # in modality units
Width = Annotated[int, Meta(ge=1, lt=1 << 31)]


class Value(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in a manifest: immutable, and without undeclared keys."""


class Window(Value, frozen=True, forbid_unknown_fields=True):
    """Which values of a DICOM picture become black and white, in modality units (HU for CT): centre and width, PS3.3 C.11.2."""

    centre: Level
    width: Width


DicomWindow = tuple[int, int] | Literal["file"]  # as callers give it: centre and width, or each file's own


class DicomSpec(Value, frozen=True, forbid_unknown_fields=True):
    """How a DICOM picture becomes 8 bits: a device without the rule refuses the bundle, since it does not know the key."""

    rule: Literal["dicom-v1"] = "dicom-v1"
    window: Window | None = None  # None: each file's own, the first if it has several

    @classmethod
    def given(cls, window: DicomWindow | None) -> "DicomSpec | msgspec.UnsetType":
        """As a caller gives it. Raises ValueError: no window has such numbers."""
        if window is None:
            return msgspec.UNSET
        if window == "file":
            return cls()
        return cls(window=msgspec.convert({"centre": window[0], "width": window[1]}, Window))

    @property
    def option(self) -> str:
        """As --dicom-window takes it."""
        return f"{self.window.centre},{self.window.width}" if self.window else "file"

    @property
    def line(self) -> str:
        """For a person: "dicom-v1 with window -600,1500"."""
        return f"{self.rule} with {f'window {self.option}' if self.window else 'the window of each file'}"


class TileSpec(Value, frozen=True, forbid_unknown_fields=True):
    """Into which tiles a picture is cut, each of them answered as an image of its own (inference/)."""

    size: Side  # px of the picture, both ways
    stride: Side  # px from one tile to the next, both ways
    sought: Text  # the label that tiles are searched for


class InputSpec(Value, frozen=True, forbid_unknown_fields=True):
    """A model's input, and the image rules that make it: a device with other rules refuses the bundle."""

    height: Side
    width: Side
    channels: Literal[1, 3]
    decode: str = DECODE_RULE
    resize: str = RESIZE_RULE
    grey_max: GreyMax | msgspec.UnsetType = msgspec.UNSET  # largest 16-bit value if images declare none: image/depth.py
    dicom: DicomSpec | msgspec.UnsetType = msgspec.UNSET  # not in the file: DICOM is refused

    @property
    def line(self) -> str:
        """For a person: "40x40x3, rules pillow-v1, stretch-v1, 16-bit grey up to 4095"."""
        grey = "" if self.grey_max is msgspec.UNSET else f", 16-bit grey up to {self.grey_max}"
        dicom = f", {self.dicom.line}" if self.dicom else ""
        return f"{self.height}x{self.width}x{self.channels}, rules {self.decode}, {self.resize}{grey}{dicom}"


class Threshold(Value, frozen=True, forbid_unknown_fields=True):
    """With two labels, this one wins if its probability is at least `at_least`."""

    label: Text
    at_least: Share


class Decision(Value, frozen=True, forbid_unknown_fields=True):
    """The label by the threshold, or with the largest probability; an image below `refer_below` is referred to a person."""

    refer_below: Share = 0.95  # the course's rule: over 95 % or "not detected"
    threshold: Threshold | None = None

    def label(self, probabilities: dict[str, float]) -> str:
        """The label of an image, referred or not; the first of those with equal probabilities."""
        if self.threshold is None:
            return max(probabilities, key=probabilities.__getitem__)
        wins = probabilities[self.threshold.label] >= self.threshold.at_least
        return next(label for label in probabilities if (label == self.threshold.label) == wins)

    def referring(self, below: float | None) -> "Decision":
        """The same with another `refer_below`; None: unchanged."""
        return self if below is None else msgspec.structs.replace(self, refer_below=below)

    def decide(self, label: str, confidence: float) -> str:
        """The label, or REFER."""
        return label if confidence >= self.refer_below else REFER


class Metric(Value, frozen=True, forbid_unknown_fields=True):
    """A measured figure with its two-sided 95 % interval, over `n` images."""

    value: float
    low: float
    high: float
    n: Count


class Tolerance(Value, frozen=True, forbid_unknown_fields=True):
    """How far logits may be from the expected ones, as an absolute difference."""

    same_runtime: Size
    other_runtime: Size


class Verified(Value, frozen=True, forbid_unknown_fields=True):
    """A runtime and machine on which a model file gave the expected answers."""

    runtime: Text  # "litert"
    version: Text
    machine: Text  # as platform.machine(): "x86_64", "aarch64"
    options: str = ""  # empty: as a device runs it by default; otherwise "4 threads", "without XNNPACK"
    cpu: Text | None = None  # only if another machine reported it: "Cortex-A72"

    @property
    def line(self) -> str:
        """For a person: "aarch64, Cortex-A72, litert 2.3.0, 4 threads"."""
        where = f"{self.machine}, {self.cpu}" if self.cpu else self.machine
        return f"{where}, {title(f'{self.runtime} {self.version}', self.options)}"


class OperatingPoint(Value, frozen=True, forbid_unknown_fields=True):
    """A decision other than the one that ships, and what it is good for; chosen on validation, never on test."""

    name: Name  # "sensitivity-0.95"
    aim: Text  # for a person
    decision: Decision
    val: dict[str, Metric]  # sensitivity and specificity; with more than two labels refer_rate and accuracy_decided
    test: dict[str, Metric]


class MapGrid(Value, frozen=True, forbid_unknown_fields=True):
    """A class activation map and its cells: cell i of an axis is centred on first + i * step, px of the model's input."""

    height: Side
    width: Side
    first: tuple[float, float]  # y, x: the middle of what the first cell sees; 0 is the middle of the first pixel
    step: tuple[Step, Step]  # y, x


class ModelFile(Value, frozen=True, forbid_unknown_fields=True):
    """One model file: how to run it, how it decides, and what was measured on the test split."""

    name: Name  # "tflite_int8", what `--file` takes
    format: Literal["tflite", "onnx"]
    precision: Name
    decision: Decision
    expected_runtime: Text  # the runtime that gave the golden logits
    tolerance: Tolerance
    metrics: dict[str, Metric]
    verified: tuple[Verified, ...]
    operating_points: tuple[OperatingPoint, ...] = ()  # devices do not decide by them yet
    class_map: MapGrid | None = None  # of its second output, the class activation map


class TiledFile(Value, frozen=True, forbid_unknown_fields=True):
    """A model file's weights for a larger input, which answers many overlapping tiles at once (inference/)."""

    of: Name  # the model file
    height: Side  # of its input, px
    width: Side
    step: Side  # px of the input from one answer to the next, both ways
    tolerance: Size  # how far its logits may be from those of single tiles, as an absolute difference


class BundleFile(Value, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle; `path` is relative, with forward slashes."""

    path: Text
    bytes: Count
    sha256: Sha256
    model: ModelFile | None = None
    tiled: TiledFile | msgspec.UnsetType = msgspec.UNSET


Statistic = Literal[
    "mean", "deviation", "low", "high", "sharpness", "clipped", "colour"
]  # see limiar.edge_app.image.statistics
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
GREY = 2.0  # of `colour`: a codec's rounding gives a video of grey pictures up to 1.15, which is invisible


class Range(Value, frozen=True, forbid_unknown_fields=True):
    """One statistic over the training images: two quantiles, and the smallest and largest value."""

    low: float
    high: float
    least: float
    most: float


class Envelope(Value, frozen=True, forbid_unknown_fields=True):
    """What the training images look like, as model inputs. For an image outside, see inference/rule.py."""

    images: Count
    quantiles: tuple[Share, Share]  # of low and high
    ranges: dict[Statistic, Range]


Assessed = Literal[Statistic, "noise"]  # what a limit is about; noise: see image/statistics.py


class Limit(Value, frozen=True, forbid_unknown_fields=True):
    """The smallest and the largest value of an image that can be assessed."""

    at_least: float | msgspec.UnsetType = msgspec.UNSET
    at_most: float | msgspec.UnsetType = msgspec.UNSET


class Assessable(Value, frozen=True, forbid_unknown_fields=True):
    """Limits beyond which an image is refused before inference: image/assessable.py."""

    share: Share  # of the validation images, that are beyond a limit at most
    limits: Annotated[dict[Assessed, Limit], Meta(min_length=1)]


class Provenance(Value, frozen=True, forbid_unknown_fields=True):
    """Where the model came from. Nothing here depends on when convert ran."""

    run: dict[str, str]  # model, recipe, commit, model_sha256, …
    data: dict[str, str]  # the training data, and its hash
    tools: dict[str, str]  # tool -> version
    seeds: dict[str, int]


class NotProven(Value, frozen=True, forbid_unknown_fields=True):
    """Model files that the test split could not decide about, but that were allowed into the bundle."""

    allowed_by: Text  # "gate.toml", "--allow-undecided"
    files: Annotated[dict[Name, Text], Meta(min_length=1)]  # model file -> what is unknown about it

    @property
    def verdict(self) -> str:
        """The bundle's verdict: "PASS, 2 files undecided, allowed by gate.toml"."""
        count = len(self.files)
        return f"{PROVEN}, {count} {'file' if count == 1 else 'files'} undecided, allowed by {self.allowed_by}"


def verdict(not_proven: NotProven | None, run: Mapping[str, str]) -> str:
    """A bundle's verdict in short: PASS, then what was not proven. run: as in `Provenance`."""
    said = not_proven.verdict if not_proven else PROVEN
    return f"{said}, not shown to be better than chance on validation, allowed by --allow-chance" if CHANCE in run else said


class Manifest(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """manifest.json, schema 1."""

    schema: Literal[1] = 1
    name: Name
    version: Name
    release_counter: Count  # raised for each release: says which of two bundles is newer
    licence: Text
    intended_use: Text
    labels: Annotated[tuple[Text, ...], Meta(min_length=2, max_length=1000)]
    positive: Text | None = None  # with two labels, the one that sensitivity counts
    input: InputSpec
    default_file: Name
    files: Annotated[tuple[BundleFile, ...], Meta(min_length=1, max_length=10_000)]
    provenance: Provenance
    envelope: Envelope | None = None
    assessable: Assessable | msgspec.UnsetType = msgspec.UNSET  # not in the file: no limits
    not_proven: NotProven | msgspec.UnsetType = msgspec.UNSET  # not in the file if every model file is proven
    tiles: TileSpec | msgspec.UnsetType = msgspec.UNSET  # not in the file: a picture is answered as one image

    @property
    def verdict(self) -> str:
        """PASS, and what was not proven, in short."""
        return verdict(self.not_proven or None, self.provenance.run)

    @property
    def models(self) -> dict[str, BundleFile]:
        """Model file name -> file."""
        return {file.model.name: file for file in self.files if file.model}


def parse_manifest(raw: bytes, where: str) -> Manifest:
    """JSON bytes -> Manifest. Refuses unknown and duplicate keys, NaN, deep nesting and contradictions with BundleError."""
    try:
        fields = strictly_parsed(raw, _DEPTH_LIMIT)
        schema = fields.get("schema") if isinstance(fields, dict) else None
        if schema != 1 or isinstance(schema, bool):
            raise BundleError(
                "E-BUNDLE-SCHEMA",
                f"{where}: schema {printable(str(schema))[:40]}, this app reads 1: install the limiar version that made it",
            )
        manifest = msgspec.convert(fields, Manifest)
        _check_consistent(manifest)
        if (odd := unseen(fields)) is not None:
            raise ValueError(f"{odd!r} has a character that acts on a terminal or page instead of being seen")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # json.JSONDecodeError is a ValueError
        reason = printable(str(error))[:200]
        raise BundleError(
            "E-BUNDLE-MANIFEST", f"{where}/{MANIFEST}: {reason}: copy the bundle again, or convert again"
        ) from None
    return manifest


def manifest_json(manifest: Manifest) -> bytes:
    """The bytes of manifest.json."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def _check_consistent(manifest: Manifest) -> None:
    """Checks what the types cannot say. Raises ValueError or BundleError."""
    paths = [file.path for file in manifest.files]
    for path in paths:
        _check_path(path)
    folded = [path.casefold() for path in paths]
    if len(set(folded)) != len(folded):
        twin = next(path for path in paths if folded.count(path.casefold()) > 1)
        raise BundleError("E-BUNDLE-PATH", f"{printable(twin)} differs from another file only in case: convert again")
    if sum(file.bytes for file in manifest.files) > TOTAL_LIMIT:
        raise BundleError("E-BUNDLE-SIZE", f"the files add up to over {TOTAL_LIMIT >> 20} MiB: leave model files out")
    names = [file.model.name for file in manifest.files if file.model]
    if len(set(names)) != len(names):
        raise ValueError("two model files have the same name")
    if manifest.default_file not in names:
        raise ValueError(f"default_file {manifest.default_file!r} is not among the model files")
    if manifest.tiles and manifest.tiles.sought not in manifest.labels:
        raise ValueError(f"tiles.sought {manifest.tiles.sought!r} is not among the labels")
    if unmade := [file.path for file in manifest.files if file.tiled and (file.model or file.tiled.of not in names)]:
        raise ValueError(f"{unmade[0]!r} is not the tiled file of a model file")
    if manifest.not_proven and (unknown := sorted(set(manifest.not_proven.files) - set(names))):
        raise ValueError(f"not_proven names {unknown[0]!r}, which is not among the model files")
    if len(set(manifest.labels)) != len(manifest.labels):
        raise ValueError("a label appears twice")
    if odd := next((label for label in manifest.labels if not is_plain(label)), None):
        raise ValueError(f"label {odd!r} is not one line of visible text")
    if {REFER, REFUSED} & set(manifest.labels):
        raise ValueError(f"a label is named {REFER} or {REFUSED}, which are decisions")
    if (manifest.positive is not None) != (len(manifest.labels) == 2):
        raise ValueError("two labels need a positive one, and more labels have none")
    if manifest.positive is not None and manifest.positive not in manifest.labels:
        raise ValueError(f"positive {manifest.positive!r} is not among the labels")
    for file in manifest.models.values():
        assert file.model  # `models` has only those
        decisions = [file.model.decision, *(point.decision for point in file.model.operating_points)]
        thresholds = [decision.threshold for decision in decisions if decision.threshold]
        if threshold := next((one for one in thresholds if one.label != manifest.positive), None):
            raise ValueError(f"a threshold is for {threshold.label!r}, which is not the positive label")


def _check_path(path: str) -> None:
    parts = path.split("/")
    escapes = any(part in ("", ".", "..") for part in parts)
    if escapes or path in (MANIFEST, SIGNATURE) or not re.fullmatch(r"[A-Za-z0-9_./ -]{1,240}", path):
        met = f"{printable(path)[:80]!r} is not a path inside a bundle"
        raise BundleError("E-BUNDLE-PATH", f"{met} (relative, letters, digits, . _ - and space, 240 bytes): convert again")
