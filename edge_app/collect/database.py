"""The database of a fleet: opened, made, and held by one collector at a time."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, Engine, event, func, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from limiar.edge_app.collect.schema import ABOUT, METADATA, SCHEMA
from limiar.edge_app.errors import StoreError, printable

_WAIT_S = 5.0  # for another process that writes
_READS = "limiar_reads"  # an execution option of ours
_LOCK = int.from_bytes(b"limiar", "big")  # of PostgreSQL's advisory locks, which are numbers


class FleetDatabase:
    """`engine` for transactions; use as a context manager."""

    def __init__(self, url: str, *, make: bool = False) -> None:
        """url: of SQLAlchemy, "sqlite:///FILE" or "postgresql+psycopg://USER@HOST/NAME". make: whether to make the tables.

        Raises StoreError: E-COLLECT-DATABASE, E-COLLECT-MISSING, E-COLLECT-SCHEMA.
        """
        self.where = printable(shown(url))
        self.engine = _engine(url, self.where, make)
        try:
            self._check(make)
        except BaseException:
            self.engine.dispose()
            raise

    def __enter__(self) -> "FleetDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    def _check(self, make: bool) -> None:
        with errors_named(self.where), self.engine.begin() as connection:
            if make:
                _make(connection)
            found = _schema(connection)
        if found is None:
            met = f"{self.where} has no tables of a fleet"
            raise StoreError("E-COLLECT-MISSING", f"{met}: check `url`, or start `limiar collect`, which makes them")
        if found != SCHEMA:
            met = f"{self.where} has schema {found}, this limiar knows {SCHEMA}"
            raise StoreError("E-COLLECT-SCHEMA", f"{met}: use the limiar that wrote it, or another database")

    @contextlib.contextmanager
    def held(self) -> Iterator[Connection]:
        """A connection for all writing; no other collector has one meanwhile. Raises StoreError: also E-COLLECT-BUSY.

        The lock lives and dies with the connection: whoever lost the one has lost the other.
        """
        lock = _server_lock if self.engine.dialect.name == "postgresql" else _file_lock
        with errors_named(self.where), self.engine.connect() as connection, lock(connection) as locked:
            if not locked:
                met = f"another `limiar collect` fills {self.where}"
                raise StoreError("E-COLLECT-BUSY", f"{met}: stop it first, or give this one another `url`")
            yield connection


@contextlib.contextmanager
def reading(database: FleetDatabase) -> Iterator[Connection]:
    """A connection that only reads, and sees one moment. Raises StoreError E-COLLECT-DATABASE."""
    with errors_named(database.where), database.engine.connect() as connection:
        options = {} if database.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        yield connection.execution_options(**{_READS: True}, **options)


def shown(url: str) -> str:
    """An address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the database"


@contextlib.contextmanager
def errors_named(where: str) -> Iterator[None]:
    """What a database says, as StoreError E-COLLECT-DATABASE."""
    try:
        yield
    except SQLAlchemyError as error:
        said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        met = f"{where}: {printable(' '.join(said.split()))[:400]}"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: check `url`, that the server runs, and its disk") from None


def _engine(url: str, where: str, make: bool) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ArgumentError("neither sqlite nor postgresql")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, where, make)
        arguments = {"connect_timeout": int(_WAIT_S)}
        return sqlalchemy.create_engine(parsed, pool_pre_ping=True, pool_size=1, max_overflow=2, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        met = f"{where} is not the address of a database ({printable(str(error))[:100]})"
        cure = "give one such as sqlite:///fleet.db or postgresql+psycopg://limiar@localhost/fleet"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: {cure}") from None


def _sqlite(url: URL, where: str, make: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ArgumentError("it names no file")
    if not make and not Path(url.database).is_file():
        raise StoreError("E-COLLECT-MISSING", f"there is no {where}: check `url`, or start `limiar collect`, which makes it")
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _WAIT_S, "isolation_level": None})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, record: object) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Of SQLite, whose module begins a transaction only at its first change, when what was read before may be old."""
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextlib.contextmanager
def _server_lock(connection: Connection) -> Iterator[bool]:
    with connection.begin():
        locked = bool(connection.scalar(select(func.pg_try_advisory_lock(_LOCK))))
    try:
        yield locked
    finally:
        connection.invalidate()  # its locks go with it


@contextlib.contextmanager
def _file_lock(connection: Connection) -> Iterator[bool]:
    path = connection.engine.url.database
    assert path  # see _sqlite
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        met = f"{printable(path)}.lock cannot be opened ({error.strerror})"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: let this user write in its folder") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked = False
    else:
        locked = True
    try:
        yield locked
    finally:
        os.close(descriptor)


def _make(connection: Connection) -> None:
    METADATA.create_all(connection)
    if connection.scalar(select(func.count()).select_from(ABOUT)) == 0:
        connection.execute(insert(ABOUT).values(id=1, schema=SCHEMA))


def _schema(connection: Connection) -> int | None:
    if not inspect(connection).has_table(ABOUT.name):
        return None
    return connection.scalar(select(ABOUT.c.schema))
