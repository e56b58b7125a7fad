"""The latency of models that are not in a bundle yet, measured in this process: convert writes it beside the bundle."""

import functools
from collections.abc import Mapping
from random import Random

from limiar.edge_app.bench.loops import by_stage, closed_loop, unit, warm_up
from limiar.edge_app.bench.sample import sample_png
from limiar.edge_app.bench.timing import Latency, latency
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.runtimes import open_runtime


def measure_invoke(
    models: Mapping[str, tuple[bytes, str]], spec: InputSpec, threads: int = 1, count: int = 1000, seed: int = 0
) -> dict[str, Latency]:
    """The latency of inference alone: name -> (bytes, runtime) gives name -> latency, interleaved.

        measure_invoke({"tflite_int8": (model, "litert")}, manifest.input)

    Raises RuntimeUnavailable, and ModelUnfit: a runtime refuses a model.
    """
    tensor = model_input(decode(sample_png()), spec)
    opened = {name: open_runtime(runtime, model, threads) for name, (model, runtime) in models.items()}
    units = {name: unit(functools.partial(runtime.invoker, tensor)) for name, runtime in opened.items()}
    warm_up(units)
    rounds = closed_loop(units, count, Random(seed))  # noqa: S311  # an order, not a secret
    return {name: latency([by_stage(found, ["invoke"])["invoke"]]) for name, found in rounds.items()}
