"""A Keras model -> the file of each recipe, or the reason why there is none. The integer file gets a second try."""

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from limiar.convert.anatomy.inventory import Inventory, inventory
from limiar.convert.anatomy.layers import LAYER_IMAGES, LayerNoise, layer_noise, too_noisy
from limiar.convert.export.recipes import RECIPES
from limiar.convert.export.retry import choose_float_layers
from limiar.convert.export.to_onnx import convert_onnx, onnx_model
from limiar.convert.export.to_tflite import calibrated, convert_tflite, keep_in_float
from limiar.convert.source.blame import blamed, one_line
from limiar.convert.source.keras_model import REPLACE, export_saved_model
from limiar.convert.source.portable import exportable
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError

REFERENCE, INTEGER = "tflite_fp32", "tflite_int8"

Files = dict[str, "Made | ConvertError"]


class Note(Protocol):
    """Is told the next step."""

    def __call__(self, text: str, *files: str) -> None:
        """text: for a person; files: that are left out if the step ends the process."""


class Made(msgspec.Struct, frozen=True):
    """A model file."""

    data: bytes
    inventory: Inventory
    layers: tuple[LayerNoise, ...] = ()  # of a quantized TFLite file
    float_layers: tuple[str, ...] = ()  # that a second try keeps in float


class Ground(msgspec.Struct, frozen=True):
    """What files are made with, and what says whether the integer file needs a second try: nothing of the test split."""

    calibration: Pixels  # uint8 [N, H, W, C]
    val: Pixels  # uint8 [M, H, W, C]
    floor_db: float  # of a layer's own noise; minus infinity: none
    # An integer file and the step of its logits -> whether it lost too much of the validation split.
    loses: Callable[[bytes, float | None], bool]
    ended: Mapping[str, str] = {}  # file -> how its making has ended the process: it is left out


def make_files(model: Any, spec: InputSpec, ground: Ground, note: Note) -> Files:
    """Recipe name -> its file, in the order of RECIPES. model: of logits alone, or `class_map.mapped`."""
    made: Files = {}
    note("exporting the model")
    with one_line("E-CONVERT-KERAS", "Keras cannot rebuild the model for the converters", REPLACE, model):
        exported = exportable(model)

    @functools.cache
    def graph() -> Any:  # all ONNX files start from it
        note("making the ONNX graph", *(recipe.name for recipe in RECIPES if recipe.format == "onnx"))
        return onnx_model(exported, spec)

    with tempfile.TemporaryDirectory(prefix="limiar-") as folder:
        saved_model = Path(folder) / "saved_model"
        export_saved_model(exported, spec, saved_model)
        for recipe in RECIPES:
            if how := ground.ended.get(recipe.name):
                met = f"a library ended the process that made it ({how})"
                made[recipe.name] = blamed(model, ConvertError("E-CONVERT-CRASH", f"{met}: use another file"))
                continue
            try:
                start = graph() if recipe.format == "onnx" else None
                note(f"making {recipe.name}", recipe.name)
                if start is not None:
                    made[recipe.name] = _described("onnx", convert_onnx(start, recipe.precision, ground.calibration))
                    continue
                data = convert_tflite(saved_model, recipe.precision, ground.calibration)
                reference = made.get(REFERENCE)
                if recipe.name == REFERENCE or not isinstance(reference, Made):
                    made[recipe.name] = _described("tflite", data)
                elif recipe.name == INTEGER:
                    note(f"measuring the layers of {recipe.name}", recipe.name)
                    made[recipe.name] = _second_try(model, saved_model, reference.data, data, ground)
                else:
                    made[recipe.name] = _with_layers(model, reference.data, data, ground)
            except ConvertError as error:
                made[recipe.name] = blamed(model, error)
    return made


def _second_try(model: Any, saved_model: Path, reference: bytes, data: bytes, ground: Ground) -> Made:
    """The integer file; if that loses on validation, one with its worst layers in float that does not."""
    first = _with_layers(model, reference, data, ground)
    ranges = functools.cache(lambda: calibrated(saved_model, ground.calibration))

    def loses(candidate: bytes) -> bool:
        noise = first.layers if candidate is data else layer_noise(model, reference, candidate, ground.val[:LAYER_IMAGES])
        return bool(too_noisy(noise, ground.floor_db)) or ground.loses(
            candidate, inventory("tflite", candidate).outputs[0].scale
        )

    chosen, kept = choose_float_layers(data, first.layers, reference, lambda layers: keep_in_float(ranges(), layers), loses)
    if not kept:
        return first
    again = _with_layers(model, reference, chosen, ground)
    return msgspec.structs.replace(again, float_layers=tuple(layer.layer for layer in kept))


def _with_layers(model: Any, reference: bytes, data: bytes, ground: Ground) -> Made:
    with one_line("E-CONVERT-LAYERS", "the noise of its layers cannot be measured", "use another file", model):
        noise = layer_noise(model, reference, data, ground.val[:LAYER_IMAGES])
    return msgspec.structs.replace(_described("tflite", data), layers=noise)


def _described(model_format: str, data: bytes) -> Made:
    return Made(data, inventory(model_format, data))
