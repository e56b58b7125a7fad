"""Brings the tables of a results database up to this limiar."""

import hashlib

import msgspec

from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.store.database import Database
from limiar.edge_app.store.schema import BROUGHT, KEYS, KEYS_SINCE, MIGRATIONS

_KEY_BYTES = 8


def migrate(database: Database) -> None:
    """Adds what the tables lack, all of it or nothing. Raises StoreError, with E-STORE-NEWER if a newer limiar made them."""
    version = database.execute("PRAGMA user_version")[0][0]
    assert isinstance(version, int)
    if version > len(MIGRATIONS):
        met = f"{printable(str(database.path))} has schema {version}, this limiar knows {len(MIGRATIONS)}"
        raise StoreError("E-STORE-NEWER", f"{met}: use a newer limiar, or another --db")
    if version == len(MIGRATIONS):
        return
    seen = version or _brought(database)
    scripts = "".join(MIGRATIONS[seen:])
    if seen < KEYS_SINCE:
        database.add_function("limiar_key", _key)
        scripts += KEYS
    database.execute_script(f"BEGIN IMMEDIATE; {scripts} PRAGMA user_version = {len(MIGRATIONS)}; COMMIT;")


def _key(*about: bytes | str | int | None) -> bytes:
    """What an entry is about, as its key."""
    return hashlib.blake2b(msgspec.msgpack.encode(about), digest_size=_KEY_BYTES).digest()


def _brought(database: Database) -> int:
    """How many migrations the tables have seen, by their columns."""
    tables = {column.partition(".")[0] for column in BROUGHT}
    has = {f"{table}.{row[1]}" for table in tables for row in database.execute(f"PRAGMA table_info({table})")}
    return sum(column in has for column in BROUGHT)
