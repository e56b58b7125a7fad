"""A .keras file that a RUN or an unfinished run holds, loaded within bounds: it may come from a stranger."""

import contextlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import keras

from limiar.edge_app.errors import TrainError, printable
from limiar.train.record.network_size import BYTES_LIMIT, CONFIG_LIMIT, asked, bounded_memory

CONFIG = "config.json"
CHECKPOINT_LIMIT = 1 << 34  # bytes of a file with the optimizer's state: more than a desktop trains
_SMALL = 1 << 24  # bytes of weights that are always allowed
_PRECISIONS = 4  # weights are counted as float32 and may be stored in 8 bits
_COPIES = 4  # of what a file holds while Keras loads it: the file, what it unpacks to, the network, and as much again
_BESIDE = 1 << 30  # bytes of address space that Keras takes while it loads a small network


def load_network(data: bytes, where: str, code: str, cure: str, compiled: bool = False) -> keras.Model:
    """The network in the bytes of a .keras file; compiled: with its optimizer. Raises TrainError(code, "WHERE …: cure")."""
    try:
        unpacked = _checked(data, CHECKPOINT_LIMIT if compiled else BYTES_LIMIT)
        with tempfile.NamedTemporaryFile(suffix=".keras") as file, _bounded(unpacked):  # Keras loads by path alone
            Path(file.name).write_bytes(data)
            return keras.saving.load_model(file.name, compile=compiled, safe_mode=True)
    except Exception as error:  # Keras raises whatever the content provokes: ValueError, TypeError, KeyError, OSError
        reason = printable(" ".join(str(error).split()))[:200] or type(error).__name__
        raise TrainError(code, f"{where} cannot be loaded ({reason}): {cure}") from None


def _checked(data: bytes, limit: int) -> int:
    """How many bytes it unpacks to, checked before anything is made. Raises ValueError, and what zipfile and Keras raise."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > limit or archive.getinfo(CONFIG).file_size > CONFIG_LIMIT:
            raise ValueError(f"it unpacks to over {limit >> 20} MiB, or its {CONFIG} to over {CONFIG_LIMIT >> 20}")
        counted = asked(keras, json.loads(archive.read(CONFIG)))
    if counted and counted.weights > max(_SMALL, _PRECISIONS * unpacked):
        raise ValueError(f"it asks for {counted.weights >> 20} MiB of weights but holds {unpacked >> 20}")
    return unpacked


def _bounded(unpacked: int) -> contextlib.AbstractContextManager[None]:
    """Limits memory on a CPU. A GPU's driver maps as much address space as it likes, so there only `_checked` limits."""
    on_cpu = all(device.startswith("cpu") for device in keras.distribution.list_devices())
    return bounded_memory(_COPIES * unpacked + _BESIDE) if on_cpu else contextlib.nullcontext()
