"""A device for Home Assistant: one retained message that says what its status has to show.

Home Assistant's MQTT discovery of whole devices, from 2024.11 on:
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from typing import Any

import msgspec

from limiar.edge_app import APP
from limiar.edge_app.fleet.topics import up

_ORIGIN = {"name": "limiar", "sw_version": APP.removeprefix("limiar ")}


def topic(name: str) -> str:
    """Where Home Assistant looks for it."""
    return f"homeassistant/device/{name}/config"


def discovery(name: str, root: str) -> bytes:
    """The message of a device. root: of the topics."""
    status = up(name, "status", root)
    components = {
        "answers": _sensor("Answers", "status.totals.answered", state_class="total_increasing", icon="mdi:image-check"),
        "refer_rate": _sensor(
            "Refer rate", "status.totals.refer_rate_window", "* 100", unit_of_measurement="%", state_class="measurement"
        ),
        "waiting": _sensor("Rows waiting", "fleet.waiting", state_class="measurement", entity_category="diagnostic"),
        "disk_free": _sensor(
            "Disk free",
            "status.disk.free_bytes",
            "/ 1000000000",
            device_class="data_size",
            unit_of_measurement="GB",
            state_class="measurement",
            entity_category="diagnostic",
        ),
        "bundle": _sensor("Bundle", "status.bundle.version", entity_category="diagnostic"),
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.status.problems else 'OFF' }}",
        },
    }
    for key, component in components.items():
        component |= {"unique_id": f"limiar_{name}_{key}", "state_topic": status}
    availability = {"topic": up(name, "online", root), "payload_available": "true", "payload_not_available": "false"}
    device = {"identifiers": [f"limiar_{name}"], "name": name, "manufacturer": "limiar", "sw_version": _ORIGIN["sw_version"]}
    return msgspec.json.encode(
        {"device": device, "origin": _ORIGIN, "availability": [availability], "components": components, "qos": 1}
    )


def _sensor(name: str, field: str, scale: str = "", **more: str) -> dict[str, Any]:
    """field: of a status; it, or what it is a field of, may be null there. Home Assistant takes None for "unknown"."""
    value = f"value_json.{field}"
    known = f"{value.rpartition('.')[0]} and {value} is not none"
    shown = f"({value} {scale}) | round(1)" if scale else value
    return {"platform": "sensor", "name": name, "value_template": f"{{{{ {shown} if {known} else none }}}}", **more}
