"""How much a network asks for, before any of it is made, and a limit on what loading it may take.

A file of 200 kB can ask for 9 GB of weights. `train` and `convert` both load networks that strangers made; Keras is an
argument, since nothing here may import it.
"""

import copy
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from limiar.edge_app.system.limits import SIZE, taken_bytes

BYTES_LIMIT = 1 << 30  # of the file, of what it unpacks to, of the weights in memory: more than any model for a device
CONFIG_LIMIT = 1 << 25  # of config.json: a hundred times a large network's
VALUE_LIMIT = 1 << 28  # of a layer's output for one image: more than 4096x4096 pixels of 3 channels
LOADING_LIMIT = 4 * BYTES_LIMIT  # of address space while Keras loads: weights, their file, and as much again
_FLOAT_BYTES = 4
_WAITING = "uninitialized_variables"  # what Keras calls them; no public name reaches them


class Asked(NamedTuple):
    """What a network asks for, in bytes."""

    weights: int  # all of them
    value: int  # the largest output of a layer for one image


def asked(keras: Any, config: Any) -> Asked | None:
    """What a configuration (config.json of a .keras file) asks for; None if it cannot be counted.

    In a stateless scope Keras knows the shapes of its variables and makes none. Raises whatever Keras raises.
    """
    own = copy.deepcopy({key: value for key, value in config.items() if key != "compile_config"})  # Keras empties it
    state = keras.src.backend.common.global_state
    waiting = list(state.get_global_attribute(_WAITING) or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(own, safe_mode=True)
            weights = sum(math.prod(variable.shape) * _FLOAT_BYTES for variable in model.variables)
            values = [math.prod(side or 1 for side in made.shape) * _FLOAT_BYTES for made in _made(keras, model)]
    except ValueError:  # such a scope refuses a variable with a value of its own: bounded_memory has to do
        return None
    finally:
        # Keras notes the variables that it did not make, and makes all of them, be it 23 GB, when the next such scope ends.
        state.set_global_attribute(_WAITING, waiting)
    return Asked(weights, max(values, default=0))


@contextmanager
def bounded_memory(beyond: int = LOADING_LIMIT) -> Iterator[None]:
    """Limits the memory of what cannot be counted: the system refuses more than `beyond` bytes.

    Not for a GPU: its driver maps as much as the card holds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = taken_bytes(SIZE) + beyond
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _made(keras: Any, model: Any) -> Iterator[Any]:
    """The outputs of a model's operations, as far as they are known before it is called."""
    graph = getattr(model, "_functional", None) or model
    for operation in getattr(graph, "operations", ()):
        for node in operation._inbound_nodes:
            yield from node.outputs
        if isinstance(operation, keras.Model):
            yield from _made(keras, operation)
