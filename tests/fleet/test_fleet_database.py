"""The database of a fleet: which addresses are taken, what is not touched, and what a reader needs."""

import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, select

from limiar.edge_app.collect.check import check_config
from limiar.edge_app.collect.database import FleetDatabase, reading
from limiar.edge_app.collect.receiver import Receiver
from limiar.edge_app.collect.schema import ABOUT, ROWS
from limiar.edge_app.errors import LimiarError, StoreError
from postgres import Postgres
from senders import line, row, rows


@pytest.mark.parametrize(
    "url",
    [
        "fleet",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///.",
        "sqlite:///nowhere/fleet.db",
        "mysql://localhost/fleet",
        "postgresql+psycopg://localhost:port/fleet",
        "postgresql+psycopg://limiar@[::1/fleet",
        "postgresql+nothing://localhost/fleet",
    ],
)
def test_an_address_that_cannot_be_used_is_named_by_the_check_too(url: str, tmp_path: Path) -> None:
    config = tmp_path / "collect.toml"
    config.write_text(f'[database]\nurl = "{url}"\n')
    with pytest.raises(LimiarError) as caught:
        check_config(config)
    assert caught.value.code == "E-COLLECT-DATABASE"


@pytest.mark.parametrize("name", ["results", "about"])
def test_a_database_of_something_else_gets_no_tables(name: str, url: str) -> None:
    with create_engine(url).begin() as other:
        other.exec_driver_sql(f"CREATE TABLE {name} (x INTEGER)")
    for make in (True, False):
        with pytest.raises(StoreError, match=r"E-COLLECT-SCHEMA.*empty database"):
            FleetDatabase(url, make=make)
    with create_engine(url).connect() as other:
        assert inspect(other).get_table_names() == [name]


def test_reading_waits_for_nobody_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    url = f"sqlite:///{path}"
    with FleetDatabase(url, make=True):
        pass
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with FleetDatabase(url) as database, reading(database) as connection:
        assert connection.scalar(ABOUT.select().with_only_columns(ABOUT.c.schema)) == 1
    writer.close()


def test_one_database_by_two_names_is_held_once(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to("fleet.db")
    with (
        FleetDatabase(f"sqlite:///{tmp_path}/fleet.db", make=True) as database,
        FleetDatabase(f"sqlite:///{link}") as other,
        database.held(),
        pytest.raises(StoreError, match="E-COLLECT-BUSY"),
        other.held(),
    ):
        pass


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_server_with_another_encoding_keeps_every_name_or_is_refused(encoding: str, server: Postgres) -> None:
    made = server.database()
    name = re.findall(r"/(fleet\d+)", made)[0]
    server.sql(f"CREATE DATABASE {encoding}_{name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'", "postgres")
    url = made.replace(name, f"{encoding}_{name}".lower())
    if encoding == "LATIN1":
        with pytest.raises(StoreError, match=r"E-COLLECT-DATABASE.*encoding LATIN1.*createdb"):
            FleetDatabase(url, make=True)
        return
    with FleetDatabase(url, make=True) as database, database.held() as connection, connection.begin():
        Receiver().take(connection, rows(row(1, line=line(1, source="\u65e5\u672c"))))
        assert connection.scalar(select(ROWS.c.source)) == "\u65e5\u672c"
