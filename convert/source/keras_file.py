"""A .keras or .h5 file, checked before Keras sees it: nothing in it may run, read other files or fill the memory.

The bytes are read once; the same ones are checked, hashed and loaded.
"""

import io
import json
import lzma
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras2 import in_keras_3, read_h5_config, with_h5_config
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.stderr import captured_stderr
from limiar.train.record.network_size import BYTES_LIMIT, CONFIG_LIMIT, VALUE_LIMIT, asked, bounded_memory

CONFIG, METADATA, WEIGHTS = MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
H5 = b"\x89HDF\r\n\x1a\n"
SAVE = "save the model with model.save('NAME.keras') and give that file"
_RUNS_CODE = ("Lambda", "TFSMLayer", "__lambda__")
_KERAS_2 = ("TFOpLambda", "SlicingOpLambda")
_OTHER_FLOATS = {"float16", "bfloat16", "float64"}  # float16, mixed_float16, …: Keras's dtype policies
_FLOAT_POLICIES = ("DTypePolicy", "FloatDTypePolicy", "DTypePolicyMap")
_NAMED = 3  # members in a message


def read_model_file(path: Path) -> bytes:
    """The bytes of a model file. Raises ConvertError."""
    where = printable(str(path))
    if path.is_dir():
        met = f"{where} is a folder" + (", a SavedModel" if (path / "saved_model.pb").exists() else "")
        raise ConvertError("E-CONVERT-FORMAT", f"{met}, not a .keras file: {SAVE}")
    if path.exists() and not path.is_file():
        raise ConvertError("E-CONVERT-FORMAT", f"{where} is a FIFO, socket or device, not a .keras file: {SAVE}")
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_LIMIT + 1)
    except OSError as error:
        raise ConvertError("E-CONVERT-MODEL-FILE", f"{where}: {error.strerror}: check the path") from None
    if len(data) > BYTES_LIMIT:
        raise _too_large(f"{where} has")
    return data


def load_model(data: bytes, where: str) -> Any:
    """The Keras model in the bytes of a .keras or .h5 file of Keras 2 or 3. where: of the file, printable, for messages.

    Raises ConvertError.
    """
    if data.startswith(H5):
        suffix, config, data = _looked_through_h5(data, where)
    else:
        suffix, config, data = _looked_through(data, where)
    with tempfile.TemporaryDirectory(prefix="limiar-") as folder:  # Keras loads only from a path; no one else can write here
        path = Path(folder) / f"model{suffix}"
        path.write_bytes(data)
        try:
            with captured_stderr():
                _check_counted(config, where)
            with captured_stderr(), bounded_memory():
                return _in_float32(keras.saving.load_model(path, safe_mode=True, compile=False))
        except ConvertError:
            raise
        except Exception as error:  # Keras raises whatever the content provokes: ValueError, TypeError, KeyError, OSError
            raise _unreadable(where, error, "Keras does not load it") from None


def _looked_through(data: bytes, where: str) -> tuple[str, Any, bytes]:
    """Suffix, configuration and bytes of a .keras file, the last two in Keras 3's words."""
    members = _members(data, where)
    if len(members[CONFIG]) > CONFIG_LIMIT:
        raise ConvertError("E-CONVERT-SIZE", f"{CONFIG} of {where} is over {CONFIG_LIMIT >> 20} MiB: {SAVE}")
    try:
        config = json.loads(members[CONFIG])
        if (saved_with(data) or "").startswith("2."):
            config = in_keras_3(config)
            members[CONFIG] = json.dumps(config).encode()
            data = _packed(members)
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise _unreadable(where, error, f"its {CONFIG} is not valid JSON") from None
    _check_config(config, where)
    _check_weights(members[WEIGHTS], where)
    return ".keras", config, data


def _looked_through_h5(data: bytes, where: str) -> tuple[str, Any, bytes]:
    """The same for an .h5 file, which is checked like the weights of a .keras file before its configuration is read."""
    _check_weights(data, where)
    try:
        config = read_h5_config(data)
        changed = data if config is None else with_h5_config(data, config)
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, ValueError for damaged files
        raise _unreadable(where, error, "it is a damaged HDF5 file") from None
    if config is None:
        met = f"{where} is an HDF5 file (.h5) of weights alone, without the model"
        raise ConvertError("E-CONVERT-FORMAT", f"{met}: build the model, model.load_weights(…), then {SAVE}")
    _check_config(config, where)
    return ".h5", config, changed


def _packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _check_counted(config: Any, where: str) -> None:
    """Counts the weights that a configuration asks for, and the largest value of a layer, before any is made."""
    counted = asked(keras, config)
    if counted and counted.weights > BYTES_LIMIT:
        raise _too_large(f"the weights that {where} asks for take")
    if counted and counted.value > VALUE_LIMIT:
        raise _too_large(f"a layer of {where} gives for one image", VALUE_LIMIT)


def _in_float32(model: Any) -> Any:
    """The model, computing in float32 throughout: TFLite has few kernels for other floats."""
    config = model.get_config()
    objects = list(_objects(config))
    policies = [value["config"] for value in objects if value["class_name"] == "DTypePolicy"]
    if all(_OTHER_FLOATS.isdisjoint(policy["name"].split("_")) for policy in policies):
        return model
    for policy in policies:
        policy["name"] = "float32"
    for value in objects:
        if value["class_name"] == "InputLayer":
            value["config"]["dtype"] = "float32"
    again = type(model).from_config(config)
    again.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    return again


def saved_with(data: bytes) -> str | None:
    """The version of Keras that wrote the file, as far as its metadata says one."""
    try:
        version = json.loads(zipfile.ZipFile(io.BytesIO(data)).read(METADATA))["keras_version"]
    except (ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile):  # also for an .h5 file
        return None
    return printable(version)[:32] if isinstance(version, str) and version else None


def _members(data: bytes, where: str) -> dict[str, bytes]:
    """The three files in it, unpacked."""
    if not data.startswith(b"PK"):
        raise ConvertError("E-CONVERT-FORMAT", f"{where} is {_kind(data)}, not a .keras file: {SAVE}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
            _check_names([info.filename for info in listed], where)
            if sum(info.file_size for info in listed) > BYTES_LIMIT:
                raise _too_large(f"{where} unpacks to")
            # A member that is larger than it declares is cut off there, and then has another CRC.
            return {info.filename: archive.read(info) for info in listed}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(where, error, "its ZIP container is broken or encrypted") from None


def _kind(data: bytes) -> str:
    if data.startswith(b"\x80"):
        return "a pickle"
    return "something else" if data else "empty"


def _check_names(names: list[str], where: str) -> None:
    if names and all(name.endswith(".npy") for name in names):
        raise ConvertError("E-CONVERT-FORMAT", f"{where} is an .npz file, not a .keras file: {SAVE}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    extra = sorted(set(names) - set(MEMBERS))
    missing = [name for name in MEMBERS if name not in names]
    for wrong, has, word in (
        (twice, "has", " more than once"),
        (extra, "has", ", which does not belong there"),
        (missing, "lacks", ""),
    ):
        if wrong:
            named = printable(", ".join(wrong[:_NAMED]))[:200]
            raise ConvertError("E-CONVERT-MEMBERS", f"{where} {has} {named}{word}: {SAVE}")


def _check_config(config: Any, where: str) -> None:
    """Refuses whatever would run code. Keras's safe mode does so too, but without naming it, and not in every version."""
    for part in _objects(config):
        _check_float(part, where)
        name, module, registered = part["class_name"], part.get("module"), part.get("registered_name")
        if name in _KERAS_2:
            inner = part.get("config")
            what = printable(f"{name} {inner.get('name') if isinstance(inner, dict) else ''}".strip())[:100]
            met = f"{where} has {what}, an operation of Keras 2 that Keras 3 has no layer for"
            cure = "save the part after it as a model; say what it does to pixels with --scale, --mean, --std and --bgr"
            raise ConvertError("E-CONVERT-MODEL", f"{met}: {cure}")
        # Keras's own are of a module keras; __keras_tensor__ and the like are of none; functions are of builtins.
        known = module == "builtins" or str(module).partition(".")[0] == "keras" or (module is None and str(name)[:2] == "__")
        if name in _RUNS_CODE or not known or ">" in str(registered):
            inner = part.get("config")
            called = inner.get("name") if isinstance(inner, dict) else None
            what = printable(f"{name} {called or ''}".strip())[:100]
            met = f"{where} has {what}, which is code of its own"
            cure = "limiar never runs code from a file: build that part from Keras's own layers and save the model again"
            raise ConvertError("E-CONVERT-MODEL", f"{met}: {cure}")


def _check_float(part: dict[str, Any], where: str) -> None:
    """Refuses a layer of model.quantize(): TFLite cannot express its arithmetic, and its files may answer differently."""
    inner = part.get("config")
    policy = inner.get("dtype") if isinstance(inner, dict) else None
    kind = str(policy.get("class_name")) if isinstance(policy, dict) else str(policy)
    quantized = kind.endswith("DTypePolicy") and kind not in _FLOAT_POLICIES
    if isinstance(inner, dict) and (quantized or "_from_" in kind or inner.get("quantization_config")):
        layer = printable(f"{inner.get('name')} ({part['class_name']})")[:100]
        met = f"{where} was quantized: layer {layer} computes by {printable(kind)[:40]}"
        raise ConvertError(
            "E-CONVERT-QUANTIZED", f"{met}: give the model as it was before model.quantize(), limiar makes int8 itself"
        )


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object except what the model was compiled with, which is not loaded."""
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if "class_name" in part:
                yield part
            stack.extend(value for key, value in part.items() if key != "compile_config")
        elif isinstance(part, list):
            stack.extend(part)


def _check_weights(data: bytes, where: str) -> None:
    """Refuses HDF5 that reads other files or other places, and what is too large once unpacked."""
    size, seen = 0, set()
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            stack: list[Any] = [file]
            while stack:
                group = stack.pop()
                for name in group:
                    link = group.get(name, getlink=True)
                    if not isinstance(link, h5py.HardLink):
                        raise _reaches_out(where, f"{type(link).__name__} {group.name}/{name}")
                    item = group[name]
                    address = h5py.h5o.get_info(item.id).addr
                    if isinstance(item, h5py.Dataset):
                        if item.external or item.is_virtual:
                            raise _reaches_out(where, f"external or virtual data set {item.name}")
                        size += item.nbytes
                    elif isinstance(item, h5py.Group) and address not in seen:  # hard links may run in a circle
                        stack.append(item)
                    seen.add(address)
    except ConvertError:
        raise
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, ValueError for damaged files
        raise _unreadable(where, error, f"its {WEIGHTS} is damaged") from None
    if size > BYTES_LIMIT:
        raise _too_large(f"the weights of {where} take")


def _reaches_out(where: str, what: str) -> ConvertError:
    met = f"{WEIGHTS} of {where} has the {printable(what)[:200]}, which leads elsewhere"
    return ConvertError("E-CONVERT-LINK", f"{met}: {SAVE}")


def _too_large(what: str, limit: int | None = None) -> ConvertError:
    over = (BYTES_LIMIT if limit is None else limit) >> 20
    return ConvertError("E-CONVERT-SIZE", f"{what} more than {over} MiB: give a model that a device can hold")


def _unreadable(where: str, error: Exception, what: str) -> ConvertError:
    reason = printable(" ".join(str(error).split()))[:200]
    return ConvertError("E-CONVERT-MODEL", f"{where}: {what} ({reason}): {SAVE}")
