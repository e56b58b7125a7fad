"""Every model file on every runtime that reads it, and how the class activation maps agree with Keras's."""

import concurrent.futures

import msgspec
import numpy as np

from limiar.convert.anatomy.layers import layer_names
from limiar.convert.export.make import REFERENCE, Files, Made, Note
from limiar.convert.export.recipes import Recipe, recipe
from limiar.convert.run.evaluate import Answers, Bench, Environment, Key, RuntimeFailure
from limiar.convert.run.first_layer import TfliteFile, first_layers
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.runtimes import RUNTIMES

_DECIMALS = 3  # of a cosine
_PROCESSES = 2  # files that are run at once; what they give does not depend on it

AllOutcomes = dict[str, dict[Key, Answers | RuntimeFailure]]  # of each model file; empty if it could not be made


def run_files(tensors: Pixels, made: Files, environments: list[Environment], note: Note) -> AllOutcomes:
    """What each file gave on each runtime, and which layer was the first to differ from the file's own runtime."""
    asked = {name: _environments_for(recipe(name), environments) for name in made}
    jobs = [(name, environment) for name in asked for environment in asked[name] if isinstance(made[name], Made)]
    outcomes: AllOutcomes = {name: {} for name in asked}
    layers = _layer_names(made)
    with Bench(tensors) as bench, concurrent.futures.ThreadPoolExecutor(_PROCESSES) as pool:

        def answer(job: tuple[str, Environment]) -> Answers | RuntimeFailure:
            name, environment = job
            note(f"running {name} on {environment.title}")
            file = made[name]
            assert isinstance(file, Made)
            try:
                return bench.answers(environment, name, file.data)
            except RuntimeFailure as failure:
                return failure

        for (name, environment), outcome in zip(jobs, pool.map(answer, jobs), strict=True):
            outcomes[name][environment.key] = outcome

        def look(file: TfliteFile) -> dict[Key, str]:
            note(f"finding the first layer where runtimes differ in {file.name}")
            return first_layers(bench, file, asked[file.name], outcomes[file.name])

        for file, found in zip(layers, pool.map(look, layers), strict=True):
            for key, layer in found.items():
                answers = outcomes[file.name][key]
                assert isinstance(answers, Answers)
                outcomes[file.name][key] = msgspec.structs.replace(answers, first_layer=layer)
    return outcomes


def with_maps(
    outcomes: AllOutcomes, keras: np.ndarray, tensors: Pixels, made: Files, environments: list[Environment]
) -> AllOutcomes:
    """The outcomes, with how well each answer's maps agree with those of Keras; a file that gives none has failed there.

    keras: its maps of `tensors`, [N, h, w, K].
    """
    answered = {one.key: one for one in environments}
    jobs = [(name, key) for name, own in outcomes.items() for key, found in own.items() if isinstance(found, Answers)]
    compared_all = {name: dict(own) for name, own in outcomes.items()}
    with Bench(tensors) as bench, concurrent.futures.ThreadPoolExecutor(_PROCESSES) as pool:

        def compared(job: tuple[str, Key]) -> Answers | RuntimeFailure:
            name, key = job
            file, found = made[name], outcomes[name][key]
            assert isinstance(file, Made)
            assert isinstance(found, Answers)
            try:
                maps = bench.maps(answered[key], name, file.data)
            except RuntimeFailure as failure:
                return failure
            return msgspec.structs.replace(found, class_map=map_cosine(maps, keras))

        for (name, key), outcome in zip(jobs, pool.map(compared, jobs), strict=True):
            compared_all[name][key] = outcome
    return compared_all


def map_cosine(maps: np.ndarray, keras: np.ndarray) -> float | None:
    """Cosine between two sets of maps [N, h, w, K], each map less its mean, which is the logit; None if either is flat.

    -1 if their shapes differ, or `maps` has NaN or infinity.
    """
    if maps.shape != keras.shape or not np.isfinite(maps).all():
        return -1.0
    a, b = (values - values.mean(axis=(1, 2), keepdims=True) for values in (maps.astype(np.float64), keras.astype(np.float64)))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return round(float((a * b).sum()) / norms, _DECIMALS) if norms > 0 else None


def _environments_for(recipe: Recipe, environments: list[Environment]) -> list[Environment]:
    """Those that read the file, its own first."""
    fitting = [one for one in environments if RUNTIMES[one.runtime].format == recipe.format]
    return sorted(fitting, key=lambda one: one.key != recipe.key)


def _layer_names(made: Files) -> list[TfliteFile]:
    """The TFLite files, with their values named as Keras names the layers."""
    reference = made[REFERENCE]
    files = {name: file for name, file in made.items() if isinstance(file, Made) and recipe(name).format == "tflite"}
    noise = [layer for file in files.values() for layer in file.layers]
    return [
        TfliteFile(name, file.data, layer_names(file.data, reference.data, noise) if isinstance(reference, Made) else {})
        for name, file in files.items()
    ]
