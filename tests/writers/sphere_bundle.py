"""A bundle that finds the spheres of `limiar phantoms --series`, for tests; made as its manifest's `provenance` says."""

import hashlib
import platform
from pathlib import Path

from msgspec import UNSET

from limiar.edge_app.bundle.manifest import (
    BundleFile,
    Decision,
    DicomSpec,
    InputSpec,
    Manifest,
    ModelFile,
    Provenance,
    TileSpec,
    Tolerance,
    Verified,
    Window,
)
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.runtimes import installed_runtimes

MODEL = Path(__file__).parent / "spheres" / "tflite_int8.tflite"
MADE = {
    "images": "limiar phantoms patches --count 12000 --seed 300 --from-series",
    "training": "limiar train patches --out run --dicom-window -300,1400 --channels 1 --recipe limiar --set epochs=40"
    " --set shift_px=0 --seed 1",
    "conversion": "limiar convert run --out bundle --tiles 40,8",
}
TILES = TileSpec(size=40, stride=8, sought="pos")
INTENDED_USE = "Finds spheres in phantoms. For the tests of limiar, not for diagnosis."


def sphere_bundle(path: Path, tiles: TileSpec | None = TILES) -> Path:
    """Writes it at `path`. tiles: None for a bundle without."""
    data = MODEL.read_bytes()
    model = ModelFile(
        name="tflite_int8",
        format="tflite",
        precision="int8",
        decision=Decision(refer_below=0.5),
        expected_runtime="litert",
        tolerance=Tolerance(same_runtime=0.0, other_runtime=0.5),
        metrics={},
        verified=tuple(Verified(found.name, found.version, platform.machine()) for found in installed_runtimes("tflite")),
    )
    manifest = Manifest(
        name="spheres",
        version="1.0.0",
        release_counter=1,
        licence="Apache-2.0",
        intended_use=INTENDED_USE,
        labels=("neg", "pos"),
        positive="pos",
        input=InputSpec(height=40, width=40, channels=1, dicom=DicomSpec(window=Window(-300, 1400))),
        default_file="tflite_int8",
        files=(BundleFile(MODEL.name, len(data), hashlib.sha256(data).hexdigest(), model),),
        provenance=Provenance(run=MADE, data={}, tools={}, seeds={}),
        tiles=UNSET if tiles is None else tiles,
    )
    write_bundle(path, manifest, {MODEL.name: data})
    return path
