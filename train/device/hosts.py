"""Several processes, on as many machines, that train one model: JAX's own collective runtime, and what they must agree on.

What they exchange is neither encrypted nor authenticated.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils

from limiar.edge_app.errors import TrainError, printable
from limiar.train.config import Hosts

JOIN_S = 600  # how long to wait for the others: they may read their images more slowly


def join(hosts: Hosts) -> None:
    """Waits for the others. Must come before anything is computed. Raises TrainError."""
    try:
        jax.distributed.initialize(
            hosts.coordinator,
            hosts.count,
            hosts.own,
            initialization_timeout=JOIN_S,
            coordinator_bind_address=hosts.coordinator,  # JAX would listen on every interface
        )
    except RuntimeError as error:
        met = str(error).splitlines()[0]
        raise TrainError(
            "E-TRAIN-HOSTS", f"{hosts.coordinator}: {printable(met)}: start all hosts, with the same --coordinator"
        ) from None


def check_same(what: str, digest: bytes) -> None:
    """Every host calls it. Raises TrainError on all of them if one has another digest."""
    digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    if other := [k for k, line in enumerate(digests) if not np.array_equal(line, digests[0])]:
        met = f"host {', '.join(map(str, other))} has other {what} than host 0"
        raise TrainError("E-TRAIN-HOSTS", f"{met}: give every host the same images and options, and the same release of limiar")


def leave() -> None:
    """Ends the common part; from here on this host computes alone."""
    jax.distributed.shutdown()  # type: ignore[no-untyped-call]


def told(data: bytes) -> bytes:
    """Returns what host 0 passes, on every host. Every host calls it."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    own = np.frombuffer(data, np.uint8) if jax.process_index() == 0 else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own), np.uint8).tobytes()
