"""Makes tests/edge_app/data/blocks: two TFLite files of tiles of 20 px, and those of 3x4 tiles with the same weights.

    .venv/bin/python tests/edge_app/make_block_models.py

Needs the desktop install; the tests that use the files do not. The weights are random. Run again, it gives the same bytes.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

from limiar.convert.export.tiled import tiled
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.run.dataset import full_range
from limiar.convert.source.keras_model import export_saved_model
from limiar.edge_app.bundle.manifest import InputSpec

OUT = Path(__file__).parent / "data" / "blocks"
SPEC = InputSpec(height=20, width=20, channels=3)


def main() -> None:
    keras.utils.set_random_seed(2)
    layers = keras.layers
    stack = [*(layers.Conv2D(6, 3, 2, activation="relu") for _ in range(2)), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    model = keras.Sequential([keras.Input((SPEC.height, SPEC.width, SPEC.channels)), *stack])
    images = np.random.default_rng(0).integers(0, 256, (20, SPEC.height, SPEC.width, SPEC.channels), np.uint8)
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(model, SPEC, Path(folder, "model"))
        for precision in ("fp32", "int8"):
            data = convert_tflite(Path(folder, "model"), precision, np.concatenate([images, full_range(images[:1])]))
            for name, made in ((f"tflite_{precision}", data), (f"tiled_{precision}", tiled(data, 4, 3, 4).data)):
                (OUT / f"{name}.tflite").write_bytes(made)
                print(f"{len(made):7d}  {name}")


if __name__ == "__main__":
    main()
