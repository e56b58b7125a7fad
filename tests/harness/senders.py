"""Messages as devices send them to a collector, for its tests."""

import json

from limiar.edge_app.collect.receiver import Message

STORE = "a" * 32


def key(number: int, copy: int = 0) -> str:
    """Of an entry; copy: of a store that was put back and grew again."""
    return f"{copy:08x}{number:08x}"


def line(number: int, **more: object) -> dict[str, object]:
    """As a device sends it."""
    fields = {
        "id": number,
        "kind": "file",
        "path": f"{number}.png",
        "decision": "pos",
        "label": "pos",
        "confidence": 0.9,
        "time": "2026-11-28T05:00:00.000Z",
        "bundle": "c" * 64,
        "name": "lung",
        "version": "1",
        "file": "onnx",
        "runtime": "r",
        "app": "limiar 1",
    }
    return fields | more


def row(number: int, copy: int = 0, **more: object) -> dict[str, object]:
    """An entry of the outbox, with what its line says."""
    shown = {
        "sequence": number,
        "mark": key(number, copy),
        "key": key(number, copy),
        "kind": "file",
        "entry": number,
        "line": line(number),
    }
    return shown | more


def rows(*given: dict[str, object], store: str = STORE, name: str = "one", **more: object) -> Message:
    """A message of rows."""
    return Message(f"limiar/{name}/up/rows", json.dumps({"schema": 1, "store": store, "rows": given, **more}).encode())


def said(number: int, of: int, label: str | None, takes_back: int | None = None) -> dict[str, object]:
    """What a person says about an entry; None: the model's label is right. takes_back: the review that it takes back."""
    review = {"of": key(of), "label": label, "by": "Ana", "why": "w", "time": "2026-11-28T06:00:00.000Z"}
    back = None if takes_back is None else key(takes_back)
    return row(number, kind="review", line=None, review=review | {"takes_back": back})


def status(**more: object) -> dict[str, object]:
    """What a device says about itself."""
    told = {"running": True, "app": "limiar 1", "clock": {"trusted": True, "why": ""}, "totals": {"refer_rate_window": 0.25}}
    fleet = {"store": STORE, "waiting": 7, "groups": ["north"]}
    return {"schema": 1, "sent": "2026-11-28T05:00:00.000Z", "status": told | more, "fleet": fleet}
