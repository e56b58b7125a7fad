"""gate.toml: the default gate, a file with what differs from it, and the resulting gate as TOML."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from limiar.convert.export.recipes import RECIPES
from limiar.convert.gate.decision_rule import DecisionRule
from limiar.convert.gate.gate import Gate
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.files import read_bounded

DEFAULT = Path(__file__).with_name("gate.toml")
_LIMIT = 64 << 10  # bytes; the default with its comments has under 4 KiB
_ALIKE = 0.7  # of difflib: how near a wrong key must be to one that is known
_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "a section",
}
_KIND = re.compile(r"`(\w+)(?: \| null)?`")
_WHOLE = ("decision",)  # sections that a file replaces whole: one rule, not one beside the other
_CAN_BE_OFF = ("retry", "limits")  # sections that `false` may replace, or in which it removes a default


def read_gate(path: Path | None = None) -> Gate:
    """The default gate with the changes of the file. Raises ConvertError: unreadable, an unknown key or model file."""
    default = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    if path is None:
        return _checked(msgspec.convert(default, Gate), str(DEFAULT))
    where = printable(str(path))
    try:
        own = tomllib.loads(read_bounded(path, _LIMIT, follow=True).decode("utf-8"))
        gate = msgspec.convert(_merged(default, own), Gate)
    except OSError as error:
        cure = "give --gate a file with the values to change, as docs/gate.md shows"
        raise ConvertError("E-CONVERT-GATE-FILE", f"{where}: {error.strerror}: {cure}") from None
    except (ValueError, RecursionError) as error:  # msgspec's and tomllib's errors are ValueErrors
        raise _invalid(where, printable(_in_words(str(error), default))[:200]) from None
    return _checked(gate, where)


def with_options(gate: Gate, require: Iterable[str], margin: float | None, refer_below: float | None, undecided: bool) -> Gate:
    """The gate with the changes of the command line. Raises ConvertError: an unknown model file."""
    required = tuple(dict.fromkeys((*gate.required, *require)))
    gate = msgspec.structs.replace(gate, required=required, inconclusive_passes=gate.inconclusive_passes or undecided)
    if margin is not None:
        gate = msgspec.structs.replace(gate, noninferiority=msgspec.structs.replace(gate.noninferiority, margin=margin))
    if refer_below is not None:
        gate = msgspec.structs.replace(gate, decision=DecisionRule(confidence=refer_below))
    return _checked(gate, "--require")


def gate_toml(gate: Gate) -> str:
    """A file from which `read_gate` makes this gate; that of the default gate has its comments."""
    if gate == read_gate():
        return DEFAULT.read_text(encoding="utf-8")
    top, tables = [], []
    for name, value in _plain(gate).items():
        if isinstance(value, Mapping):
            tables += ["", f"[{name}]", *(f"{key} = {json.dumps(one)}" for key, one in value.items())]
        else:
            top.append(f"{name} = {json.dumps(value)}")
    return "\n".join([*top, *tables, ""])


def differences(gate: Gate) -> str:
    """What differs from the default, one line: "noninferiority.margin = 0.1; limits.flips = 0.2"; "" if nothing does."""
    default, own = _flat(_plain(read_gate())), _flat(_plain(gate))
    return "; ".join(f"{name} = {json.dumps(value)}" for name, value in own.items() if default.get(name) != value)


def _in_words(met: str, default: Mapping[str, Any]) -> str:
    """msgspec's error in the words of the file: the key with its section, and the one that was probably meant."""
    met = re.sub(r"`\$\.?([^`]*)`", r"\1", met)
    if unknown := re.fullmatch(r"Object contains unknown field `([^`]*)`(?: - at (.*))?", met):
        key = ".".join(filter(None, (unknown[2], unknown[1])))
        known = _flat(default).keys() | default.keys()
        last = {name.rpartition(".")[2]: name for name in known}
        meant = difflib.get_close_matches(key, known, 1, _ALIKE) or difflib.get_close_matches(unknown[1], last, 1, _ALIKE)
        return f"there is no {key}" + (f"; did you mean {last.get(meant[0], meant[0])}?" if meant else "")
    if wrong := re.fullmatch(r"Expected (.*?)(?:, got (.*))? - at (.*)", met):
        what, got = (_KIND.sub(lambda kind: _TYPES.get(kind[1], kind[1]), text or "") for text in wrong.groups()[:2])
        return f"{wrong[3]} must be {what}" + (f", and is {got}" if got else "")
    return met


def _merged(default: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(default)
    for name, value in own.items():
        before = default.get(name)
        if name in _CAN_BE_OFF and value is False:
            merged[name] = {} if name == "limits" else None
        elif isinstance(before, dict) and isinstance(value, dict) and name not in _WHOLE:
            off = {key: None for key, one in value.items() if one is False and name in _CAN_BE_OFF}
            merged[name] = {**before, **value, **off}
        else:
            merged[name] = value
    return merged


def _plain(gate: Gate) -> dict[str, Any]:
    """As a file would have it: without figures that have no limit, or with `false` if they have one by default."""
    fields: dict[str, Any] = msgspec.to_builtins(gate)
    usual = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))["limits"]
    fields["decision"] = {name: value for name, value in fields["decision"].items() if value is not None}
    limits = fields["limits"].items()
    fields["limits"] = {name: False if value is None else value for name, value in limits if value is not None or name in usual}
    fields["retry"] = fields["retry"] or False
    return fields


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def _checked(gate: Gate, where: str) -> Gate:
    known = [recipe.name for recipe in RECIPES]
    for key in ("required", "required_one_of"):
        if unknown := sorted(set(getattr(gate, key)) - set(known)):
            raise _invalid(where, f"{key} has {printable(unknown[0])[:64]}, which is not one of {', '.join(sorted(known))}")
    return gate


def _invalid(where: str, met: str) -> ConvertError:
    return ConvertError("E-CONVERT-GATE", f"{where}: {met}: docs/gate.md lists the keys, their values and the model files")
