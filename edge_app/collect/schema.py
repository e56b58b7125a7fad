"""The tables of a fleet, once for SQLite and for PostgreSQL.

Times are text, ISO 8601 in UTC to the millisecond, so that they sort as they are: `received` and what ends in _seen by the
collector's clock, `time` by the device's. Hashes and keys are lower-case hex. What a device sent as JSON stays JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA = 1  # of the tables; a later limiar brings an older one up to date

METADATA = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only an INTEGER up by itself

ABOUT = Table("about", METADATA, Column("id", Integer, primary_key=True), Column("schema", Integer, nullable=False))

DEVICES = Table(
    "devices",
    METADATA,
    Column("name", Text, primary_key=True),  # of its certificate, and so of its topic
    Column("first_seen", Text, nullable=False),
    Column("last_seen", Text, nullable=False),  # its last message, whatever it was
    Column("online", Boolean, nullable=False),  # what the broker last said; a device that lost its network is false
    Column("groups", Text, nullable=False),  # JSON: a list of names
    Column("status", Text),  # JSON: `limiar status --json`; NULL before the first
    Column("fleet", Text),  # JSON: UplinkState
    Column("status_seen", Text),
    # From these two, for queries:
    Column("app", Text),
    Column("bundle", Text),  # sha256 of the manifest of the bundle that answers
    Column("bundle_name", Text),  # "lung 1.2"
    Column("counter", BigInteger),
    Column("on_trial", Boolean),
    Column("verified", Text),  # "bundle" or "device"
    Column("answered", BigInteger),  # since the service started
    Column("refer_rate", Double),  # 0..1, of the last answers
    Column("drift", Integer),  # statistics that drift
    Column("failures", Integer),  # problems of level "failed"
    Column("disk_free", BigInteger),  # bytes
    Column("clock_trusted", Boolean),
    Column("waiting", BigInteger),  # rows that the device still keeps for us
)

STORES = Table(
    "stores",
    METADATA,
    Column("device", Text, ForeignKey("devices.name"), primary_key=True),
    Column("store", Text, primary_key=True),
    Column("committed", BigInteger, nullable=False),  # the highest sequence without a gap below it
    Column("mark", Text, nullable=False),  # of that row
    Column("first_seen", Text, nullable=False),
    Column("last_seen", Text, nullable=False),  # its last message of rows, whether any was new or not
)

ROWS = Table(
    "rows",
    METADATA,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),  # the order in which they came
    Column("device", Text, ForeignKey("devices.name"), nullable=False),
    Column("store", Text, nullable=False),  # with which it came last
    Column("sequence", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),  # of the row of the outbox with which it came last
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),  # "file", "frame", "refusal" or "review"
    Column("entry", BigInteger),  # the ID on the device
    Column("time", Text, nullable=False),
    Column("received", Text, nullable=False),
    Column("decision", Text),  # a label, "refer" or "refused"; NULL for a review
    Column("label", Text),  # of a review: the one that a person gave; NULL: the model's is right
    Column("confidence", Double),
    Column("source", Text),
    Column("bundle", Text),
    Column("sha256", Text),  # of an image file
    Column("of", Text),  # of a review: the key of what was reviewed
    Column("takes_back", Text),  # of a review: the key of the review that it takes back
    Column("line", Text, nullable=False),  # JSON: the line of `limiar results --json`, or the review
    UniqueConstraint("device", "key"),
    UniqueConstraint("device", "store", "sequence"),
    Index("rows_received", "received"),
    Index("rows_of", "device", "of"),
    sqlite_autoincrement=True,
)

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("created", Text, nullable=False),
    Column("bundle", Text, nullable=False),  # sha256 of the manifest
    Column("archive", Text, nullable=False),  # sha256 of the .limiar file
    Column("bytes", BigInteger, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("group", Text),  # of which devices; with `device`: neither is all
    Column("device", Text),
    Column("shares", Text, nullable=False),  # JSON: percents, rising
    Column("soak_s", Double, nullable=False),
    Column("failures", Integer, nullable=False),  # that are allowed
    Column("drifting", Integer, nullable=False),
    Column("state", Text, nullable=False),  # "running", "halted", "done" or "back"
    Column("step", Integer, nullable=False),  # index of the present share
    Column("attempt", Integer, nullable=False),  # how often a person has resumed it, or rolled it back
    Column("good_since", Text),  # when all of the present share became good; NULL: not yet
    Column("why", Text, nullable=False),  # of its state, for a person
    sqlite_autoincrement=True,
)

ROLLOUT_DEVICES = Table(
    "rollout_devices",
    METADATA,
    Column("rollout", _NUMBER, ForeignKey("rollouts.id"), primary_key=True),
    Column("device", Text, ForeignKey("devices.name"), primary_key=True),
    Column("since", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
)
