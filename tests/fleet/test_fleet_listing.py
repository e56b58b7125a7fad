"""`limiar results --fleet` and `limiar status --fleet`, from databases of both kinds."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from limiar.edge_app.cli import limiar
from limiar.edge_app.collect.database import FleetDatabase
from limiar.edge_app.collect.receiver import Message, Receiver
from limiar.edge_app.system.clock import utc_now
from senders import STORE, line, row, rows, said, status

Run = Callable[..., Result]


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    """`run("results", "--json")` with --fleet, over the rows of two devices and their statuses."""
    refused = line(3, decision="refused", label=None, confidence=None, code="E-IMAGE-TRUNCATED", message="m")
    sent = [
        rows(row(1), row(2, line=line(2, decision="refer", confidence=0.6, source="bench", path="=1+1.png"))),
        rows(row(1), row(2, line=line(2, time="2026-11-29T00:00:00.000Z")), name="two"),
        rows(row(3, kind="refusal", line=refused), said(4, 1, "neg"), said(5, 2, "neg"), said(6, 2, None, takes_back=5)),
        rows(said(7, 1, None), said(8, 1, "pos"), said(9, 1, None, takes_back=8)),
        Message("limiar/one/up/online", b"true"),
        Message("limiar/one/up/status", json.dumps(status()).encode()),
    ]
    config = tmp_path / "collect.toml"
    config.write_text(f'[broker]\naddress = "localhost:1"\n[database]\nurl = "{url}"\n')
    with FleetDatabase(url, make=True) as database, database.held() as connection, connection.begin():
        for message in sent:
            Receiver().take(connection, message)

    def called(command: str, *more: str, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(limiar, [command, "--fleet", str(config), *more], standalone_mode=False)
        assert (result.exception, result.return_value) == (None, exit_code), result.output
        return result

    return called


def listed(run: Run, *which: str) -> list[tuple[object, ...]]:
    found = [json.loads(text) for text in run("results", "--json", *which).stdout.splitlines()]
    return [(one["device"], one["entry"], one["decision"], one.get("reviewed")) for one in found]


def test_results_of_all_devices_are_listed_with_the_filters_of_one(run: Run) -> None:
    every = [("one", 1, "pos", "pos"), ("one", 2, "refer", None), ("two", 1, "pos", None), ("two", 2, "pos", None)]
    every += [("one", 3, "refused", None)]
    assert listed(run) == every
    assert listed(run, "--limit", "2") == every[-2:]
    assert listed(run, "--device", "two") == every[2:4]
    assert listed(run, "--decision", "refused") == every[4:]
    assert listed(run, "--reviewed") == every[:1]  # as the one before said what was taken back
    assert listed(run, "--not-reviewed", "--label", "pos") == every[1:4]
    assert listed(run, "--source", "bench") == listed(run, "--confidence", "0.5..0.7") == every[1:2]
    assert listed(run, "--since", "2026-11-29") == every[3:4]
    number = json.loads(run("results", "--json").stdout.splitlines()[2])["id"]
    assert listed(run, "--after", str(number)) == every[3:]


def test_a_review_is_the_last_one_that_holds(run: Run) -> None:
    first = json.loads(run("results", "--json").stdout.splitlines()[0])
    assert first["review"] == {"label": None, "by": "Ana", "why": "w", "time": "2026-11-28T06:00:00.000Z"}


def test_a_table_and_a_spreadsheet_name_the_device(run: Run, tmp_path: Path) -> None:
    table = run("results", "--limit", "1").stdout.splitlines()
    assert table[0].split()[:4] == ["id", "time", "(UTC)", "device"]
    assert "truncated" in table[1]
    run("results", "--csv", str(tmp_path / "all.csv"))
    cells = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert [(one["device"], one["entry"]) for one in cells][:2] == [("one", "1"), ("one", "2")]
    assert cells[1]["path"] == "'=1+1.png"


@pytest.mark.parametrize("given", [["--device", "one"], ["--fleet", "x.toml", "--db", "y"], ["--fleet", "x.toml", "show", "1"]])
def test_options_that_do_not_go_together_are_refused(given: list[str]) -> None:
    assert CliRunner().invoke(limiar, ["results", *given]).exit_code == 2


def test_status_says_how_each_device_is_and_fails_for_a_silent_one(run: Run, url: str) -> None:
    found = json.loads(run("status", "--json").stdout)["devices"]
    shown = [(one["name"], one["state"], one["online"], one["refer_rate"], one["waiting"]) for one in found]
    assert shown == [("one", "ok", True, 0.25, 7), ("two", "ok", False, None, None)]
    assert (found[0]["status"]["app"], found[0]["fleet"]["store"], found[1]["status"]) == ("limiar 1", STORE, None)
    table = run("status").stdout
    assert "25.0%" in table
    assert table.endswith("2 devices\n")
    with FleetDatabase(url) as database, database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE devices SET last_seen = '2026-01-01T00:00:00.000Z' WHERE name = 'two'")
        connection.exec_driver_sql("UPDATE devices SET failures = 1 WHERE name = 'one'")
    assert "2 devices: 1 failed, 1 silent" in run("status", exit_code=3).stdout


def test_a_device_that_is_out_of_service_is_gone_and_no_failure_until_it_is_heard_again(
    run: Run, url: str, tmp_path: Path
) -> None:
    with (tmp_path / "collect.toml").open("a") as config:
        config.write('[status]\ngone = ["one", "two", "never seen"]\n')
    with FleetDatabase(url) as database, database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE devices SET last_seen = '2026-01-01T00:00:00.000Z', failures = 1 WHERE name = 'two'")
    shown = run("status").stdout.splitlines()
    assert [text.split()[:2] for text in shown[1:3]] == [["one", "ok"], ["two", "gone"]]
    assert shown[3:] == ["2 devices: 1 gone"]
    with FleetDatabase(url) as database, database.held() as connection, connection.begin():
        Receiver().take(connection, rows(row(3), name="two"))
    assert "2 devices: 1 failed" in run("status", exit_code=3).stdout


def test_status_says_why_a_device_has_failed(run: Run, url: str) -> None:
    problems = [
        ("failed", "E-UPDATE-NONE", "no bundle\n"),
        ("failed", "E-WATCH-MOVE", ""),
        ("warning", "W-DRIFT", "share"),
    ]
    told = status(problems=[dict(zip(("level", "code", "message"), problem, strict=True)) for problem in problems])
    with FleetDatabase(url) as database, database.held() as connection, connection.begin():
        Receiver().take(connection, Message("limiar/two/up/status", json.dumps(told).encode()))
    shown = run("status", exit_code=3).stdout.splitlines()
    assert shown[-3:] == ["2 devices: 1 failed", "two: no bundle\\x0a (E-UPDATE-NONE)", "two: E-WATCH-MOVE"]


@pytest.mark.parametrize("how", [[], ["--csv", "-"]])
def test_what_is_wrong_with_a_database_is_said_without_the_head_of_a_table(tmp_path: Path, how: list[str]) -> None:
    config = tmp_path / "collect.toml"
    config.write_text("")
    for given in (["--fleet", str(config)], ["--db", str(tmp_path / "results.db")]):
        result = CliRunner().invoke(limiar, ["results", *given, *how])
        assert result.exception
        assert result.stdout == ""


def test_what_a_collector_has_not_made_is_named(tmp_path: Path) -> None:
    config = tmp_path / "collect.toml"
    config.write_text(f"# made {utc_now()}\n")
    result = CliRunner().invoke(limiar, ["status", "--fleet", str(config)])
    assert "E-COLLECT-MISSING" in str(result.exception)
