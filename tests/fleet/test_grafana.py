"""Every question of the dashboard in docs, asked of PostgreSQL as Grafana would ask it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from limiar.edge_app.collect.database import FleetDatabase
from limiar.edge_app.collect.receiver import Message, Receiver
from postgres import Postgres
from senders import line, row, rows, said, status

# What Grafana puts in: https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax
MACROS = {
    "${__from:date:iso}": "2026-01-01T00:00:00.000Z",
    "${__to:date:iso}": "2126-01-01T00:00:00.000Z",
    "$__interval_ms": "60000",
    "${device:sqlstring}": "'one','two'",
}
EMPTY = {"Roll-outs"}


def dashboard(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "docs/fleet/grafana.json").read_text())
    return found


@pytest.fixture(scope="module")
def fleet(server: Postgres) -> Iterator[Connection]:
    """Two devices with answers, a review and statuses."""
    sent = [
        rows(*(row(number, line=line(number, decision="refer" if number % 2 else "pos")) for number in range(1, 9))),
        rows(said(9, 1, "neg"), said(10, 2, None)),
        rows(row(1), name="two"),
        Message("limiar/one/up/status", json.dumps(status()).encode()),
    ]
    with FleetDatabase(server.database(), make=True) as database, database.held() as connection:
        with connection.begin():
            for message in sent:
                Receiver().take(connection, message)
        yield connection


def asked(connection: Connection, sql: str) -> list[dict[str, Any]]:
    for macro, value in MACROS.items():
        sql = sql.replace(macro, value)
    assert "$" not in sql
    with connection.begin():
        return [dict(one) for one in connection.exec_driver_sql(sql.replace("%", "%%")).mappings()]


def test_every_panel_finds_what_it_shows(project: Path, fleet: Connection) -> None:
    found = {}
    for panel in dashboard(project)["panels"]:
        (target,) = panel["targets"]
        answer = asked(fleet, target["rawSql"])
        assert answer or panel["title"] in EMPTY, panel["title"]
        if target["format"] == "time_series":  # Grafana wants these names
            assert set(answer[0]) == {"time", "metric", "value"}, panel["title"]
        found[panel["title"], panel["type"]] = answer
    assert found["Devices", "stat"] == [{"devices": 2}]
    assert [one["device"] for one in found["Devices", "table"]] == ["one", "two"]
    assert found["What people said", "table"] == [
        {"decision": "pos", "reviewed": 1, "agree": 1, "overruled": 0},
        {"decision": "refer", "reviewed": 1, "agree": 0, "overruled": 1},
    ]


def test_the_dashboard_asks_for_its_database_and_lists_the_devices(project: Path, fleet: Connection) -> None:
    database, device = dashboard(project)["templating"]["list"]
    assert [one["name"] for one in asked(fleet, device["query"])] == ["one", "two"]
    used = set(re.findall(r'"uid": "(.*?)"', json.dumps(dashboard(project))))
    assert used == {"${database}", "limiar-fleet"}
    assert database["type"] == "datasource"
