"""limiar: from a Keras image classifier to proven answers on a device.

    import limiar

    with limiar.open_classifier("models/lung-nodule") as classify:
        answer = classify("patch.png")
        print(answer.decision, answer.label, answer.confidence)

Each name below is imported when it is first used, with only the modules that it needs: `import limiar` loads no numpy. For
research and education, not for diagnosis. See docs/api.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limiar.convert.anatomy.details import inspect as inspect
    from limiar.convert.compare.compare import compare as compare
    from limiar.convert.conversion import convert_model as convert_model
    from limiar.convert.dicom_export.export import export_dicom as export_dicom
    from limiar.convert.evaluate.evaluate import evaluate as evaluate
    from limiar.convert.publish.keys import keygen as keygen
    from limiar.edge_app import __version__ as __version__
    from limiar.edge_app.answer import Answer as Answer
    from limiar.edge_app.answer import Peak as Peak
    from limiar.edge_app.archive.compare import compare_archives as compare_archives
    from limiar.edge_app.archive.make_plan import plan_archive as plan_archive
    from limiar.edge_app.archive.merge import merge_archive as merge_archive
    from limiar.edge_app.archive.run import run_archive as run_archive
    from limiar.edge_app.bench.bench import bench as bench
    from limiar.edge_app.bundle.open import open_bundle as open_bundle
    from limiar.edge_app.bundle.signature import read_keys as read_keys
    from limiar.edge_app.camera.watch import camera as camera
    from limiar.edge_app.errors import LimiarError as LimiarError
    from limiar.edge_app.inference.explain import explain as explain
    from limiar.edge_app.inference.open_classifier import open_classifier as open_classifier
    from limiar.edge_app.inference.verify import verify as verify
    from limiar.edge_app.install.install import install_bundle as install_bundle
    from limiar.edge_app.output.lines import Line as Line
    from limiar.edge_app.phone.phone import phone as phone
    from limiar.edge_app.scan.scan import scan as scan
    from limiar.edge_app.series.series import series as series
    from limiar.edge_app.service.watch import watch as watch
    from limiar.train.check.check_data import check_data as check_data
    from limiar.train.data.phantom_folder import write_phantom_series as write_phantom_series
    from limiar.train.data.phantom_folder import write_phantoms as write_phantoms
    from limiar.train.run.train_model import train_model as train_model
    from limiar.train.sweep.sweep import sweep as sweep

_HOMES = {
    "__version__": "edge_app",
    "Answer": "edge_app.answer",
    "Peak": "edge_app.answer",
    "Line": "edge_app.output.lines",
    "LimiarError": "edge_app.errors",
    # Each of these needs the packages of `limiar[archive]`.
    "compare_archives": "edge_app.archive.compare",
    "merge_archive": "edge_app.archive.merge",
    "plan_archive": "edge_app.archive.make_plan",
    "run_archive": "edge_app.archive.run",
    "bench": "edge_app.bench.bench",
    "camera": "edge_app.camera.watch",
    "explain": "edge_app.inference.explain",
    "install_bundle": "edge_app.install.install",
    "open_bundle": "edge_app.bundle.open",
    "open_classifier": "edge_app.inference.open_classifier",
    "phone": "edge_app.phone.phone",
    "read_keys": "edge_app.bundle.signature",
    "scan": "edge_app.scan.scan",
    "series": "edge_app.series.series",
    "verify": "edge_app.inference.verify",
    "watch": "edge_app.service.watch",
    # On the desktop; on a device, using one of these raises an error that names the missing package.
    "check_data": "train.check.check_data",
    "compare": "convert.compare.compare",
    "convert_model": "convert.conversion",
    "evaluate": "convert.evaluate.evaluate",  # on a device too
    "export_dicom": "convert.dicom_export.export",
    "inspect": "convert.anatomy.details",
    "keygen": "convert.publish.keys",
    "sweep": "train.sweep.sweep",
    "train_model": "train.run.train_model",
    "write_phantom_series": "train.data.phantom_folder",
    "write_phantoms": "train.data.phantom_folder",
}
_EXTRAS = {  # where a name's home is -> the extra that installs what it needs
    "convert.dicom_export": "dicom-export",
    "convert": "convert",
    "train": "train",
    "edge_app.archive.run": "dask",
    "edge_app.archive": "archive",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'limiar' has no attribute {name!r}")
    home = _HOMES[name]
    try:
        found = globals()[name] = getattr(import_module(f"limiar.{home}"), name)
    except ModuleNotFoundError as error:
        extra = next((extra for part, extra in _EXTRAS.items() if home.startswith(part)), None)
        if extra is None or str(error.name).startswith("limiar"):
            raise
        cure = f"pip install 'limiar[{extra}]'"
        raise ImportError(f"limiar.{name} needs {error.name}, which is not installed: {cure}", name=error.name) from None
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
