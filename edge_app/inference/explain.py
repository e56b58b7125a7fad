"""`limiar explain`: an image's answer, and where in the image the model finds it."""

import hashlib
import os
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limiar.edge_app.answer import Timing
from limiar.edge_app.arrays import ClassMap, Pixels
from limiar.edge_app.bundle.manifest import InputSpec, MapGrid
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, OutputError, printable
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.inference.job import job_of
from limiar.edge_app.inference.verified import ensure_verified
from limiar.edge_app.output.lines import path_fields
from limiar.edge_app.runtimes import Runtime, open_preferred
from limiar.edge_app.scan.pool import try_model
from limiar.edge_app.system.files import write_whole

_GAP_PX = 8  # between the image and its map
_SCALE_PX, _BAR_PX, _BAR_HIGH_PX = 36, 160, 12  # below both: the whole height, the bar's width and height
_HEAT = 0.4  # share of the colours; the image keeps the rest


class Explanation(msgspec.Struct, frozen=True):
    """What `--json` prints: the answer as a line of `limiar scan` has it, and the map of the label."""

    path: str
    path_base64: str | UnsetType
    sha256: str
    decision: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str
    ms: Timing
    class_map: list[list[float]]  # [h][w]: its mean is the label's logit
    peak: tuple[int, int]  # x, y in pixels of the image: the middle of the map's largest cell
    outside: tuple[str, ...] | None  # statistics in which it is unlike the training images; None: the bundle has no envelope
    trailing: str | UnsetType  # what follows the picture in its file, if anything does


def explain(
    bundle: Bundle, file: str | None, runtime: str | None, refer_below: float | None, path: str, out: Path
) -> Explanation:
    """Answers an image and writes it with its map to `out`, as PNG. Raises LimiarError: no map, no image, no such runtime."""
    model, data = bundle.model(file)
    if model.class_map is None:
        met = f"{model.name} of {printable(str(bundle.path))} has no class activation map"
        raise BundleError("E-BUNDLE-MAP", f"{met}: convert the model again with `limiar convert --cam`")
    _check_out(out, path)
    started = time.perf_counter()
    content = read_file(os.fsencode(path))
    picture = decode(content, path, bundle.manifest.input.grey_max)
    decode_s = time.perf_counter() - started
    try_model(job_of(bundle.manifest, model, data, runtime))
    loaded = open_preferred(model.format, data, runtime)
    verified = ensure_verified(bundle, model, loaded.name, loaded.version)
    manifest = bundle.manifest
    decision = model.decision.referring(refer_below)
    answer = Classifier(loaded, manifest.labels, manifest.input, decision, manifest.envelope, "ignore").answer(
        picture, decode_s
    )
    tensor = model_input(picture, manifest.input)
    own = _class_map(loaded, model.name, model.class_map, tensor, len(manifest.labels))
    own = own[..., manifest.labels.index(answer.label)]
    image = np.asarray(enlarged(picture.pixels()))
    shown = beside(image, overlaid(image, own, model.class_map, manifest.input), own, answer.label)
    try:
        write_whole(out, png(shown, answer))
    except OSError as error:
        where = printable(str(out))
        raise OutputError(
            "E-EXPLAIN-OUT", f"{where}: {error.strerror}: give --out a file in a folder that can be written"
        ) from None
    return Explanation(
        *path_fields(os.fsencode(path)),
        sha256=hashlib.sha256(content).hexdigest(),
        decision=answer.decision,
        label=answer.label,
        confidence=answer.confidence,
        probabilities=answer.probabilities,
        bundle=bundle.sha256,
        file=model.name,
        runtime=f"{loaded.name} {loaded.version}",
        verified=verified,
        app=answer.app,
        time=answer.time,
        ms=answer.ms,
        class_map=own.tolist(),
        peak=_peak(own, model.class_map, manifest.input, picture.shape),
        outside=answer.outside,
        trailing=answer.trailing or UNSET,
    )


def _check_out(out: Path, path: str) -> None:
    """Raises OutputError: the image would be overwritten, or be no PNG by its name."""
    where = printable(str(out))
    if out.suffix.lower() != ".png":
        raise OutputError("E-EXPLAIN-OUT", f"{where}: the picture is a PNG: give --out a name that ends in .png")
    if os.path.realpath(out) == os.path.realpath(path):
        raise OutputError("E-EXPLAIN-OUT", f"{where} is the image itself: give --out another name")


def overlaid(image: Pixels, heat: NDArray[np.float32], grid: MapGrid, spec: InputSpec) -> Pixels:
    """uint8 RGB [H, W, 3] under the colours of a map [h, w], blue where it is least, red where most; a flat one is blue."""
    low, high = float(heat.min()), float(heat.max())
    levels = (heat - low) * (255.0 / (high - low)) if high > low else np.zeros_like(heat)
    height, width = image.shape[:2]
    (top, left), (down, right) = grid.first, grid.step
    y_px, x_px = spec.height / height, spec.width / width  # of the model's input, a pixel of the image
    cells = np.array([[x_px / right, 0, (x_px / 2 - 0.5 - left) / right], [0, y_px / down, (y_px / 2 - 0.5 - top) / down]])
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    smooth = cv2.warpAffine(levels.astype(np.float32), cells, (width, height), flags=way, borderMode=cv2.BORDER_REPLICATE)
    colours = _coloured(np.asarray(smooth).round().astype(np.uint8))
    return np.asarray(cv2.addWeighted(image, 1 - _HEAT, colours, _HEAT, 0), np.uint8)


def beside(image: Pixels, heat: Pixels, own: NDArray[np.float32], label: str) -> Image.Image:
    """The image, the same under its map, and below them what the colours stand for: shares of the label's logit."""
    height, width = image.shape[:2]
    shown = Image.new("RGB", (2 * width + _GAP_PX, height + _SCALE_PX), "white")
    shown.paste(Image.fromarray(image), (0, 0))
    shown.paste(Image.fromarray(heat), (width + _GAP_PX, 0))
    bar = np.tile(np.arange(_BAR_PX) * 255 // (_BAR_PX - 1), (_BAR_HIGH_PX, 1)).astype(np.uint8)
    at, top = (shown.width - _BAR_PX) // 2, height + (_SCALE_PX - _BAR_HIGH_PX) // 2
    shown.paste(Image.fromarray(_coloured(bar)), (at, top))
    draw, font = ImageDraw.Draw(shown), ImageFont.load_default(14)
    middle = top + _BAR_HIGH_PX // 2
    draw.text((at - 8, middle), f"{own.min():.1f}", fill="black", font=font, anchor="rm")
    draw.text((at + _BAR_PX + 8, middle), f"{own.max():.1f} for {label}", fill="black", font=font, anchor="lm")
    return shown


def _coloured(levels: Pixels) -> Pixels:
    """uint8 [H, W] -> RGB [H, W, 3]: blue for 0, red for 255."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB), np.uint8)


def _class_map(runtime: Runtime, name: str, grid: MapGrid, tensor: Pixels, labels: int) -> ClassMap:
    """float32 [h, w, K], as the manifest says it. Raises BundleError."""
    found = runtime.class_map(tensor)
    wanted = (grid.height, grid.width, labels)
    if found is None or found.shape != wanted or not np.isfinite(found).all():
        met = f"{name} gives a map of {None if found is None else found.shape}, the manifest says {wanted}, of numbers"
        raise BundleError("E-BUNDLE-MAP", f"{met}: convert the model again")
    return found


def _peak(own: NDArray[np.float32], grid: MapGrid, spec: InputSpec, shape: tuple[int, ...]) -> tuple[int, int]:
    row, column = np.unravel_index(int(own.argmax()), own.shape)
    y = (grid.first[0] + row * grid.step[0] + 0.5) * shape[0] / spec.height
    x = (grid.first[1] + column * grid.step[1] + 0.5) * shape[1] / spec.width
    return int(min(max(x, 0), shape[1] - 1)), int(min(max(y, 0), shape[0] - 1))


def describe(found: Explanation, out: Path) -> str:
    """The explanation for a person."""
    (x, y), size = found.peak, f"{len(found.class_map[0])}x{len(found.class_map)}"
    lines = [
        f"{found.decision}: {found.label} {found.confidence:.1%}, {found.file} on {found.runtime}",
        f"strongest evidence for {found.label} at x={x}, y={y} (map of {size}): {printable(str(out))}",
    ]
    if found.outside:
        lines.append(f"unlike the training images: {', '.join(found.outside)}")
    if found.trailing:
        lines.append(f"the picture in the file is followed by {found.trailing}")
    return "\n".join(lines)
