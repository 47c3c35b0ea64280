"""The journal's tables. The migrations create them; a test holds both against each other.

Times are seconds since 1970, JSON is text (it comes back as it was written, on any database).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""SQLite's batch migrations can only change constraints that have names."""

metadata = MetaData(naming_convention=NAMING)


def _of_run() -> Column[str]:
    return Column("run", Text, ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True)


runs = Table(
    "runs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("request", Text, nullable=False),  # JSON: all that is needed to start it again
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("deadline", Double),  # wall clock, so that a restart does not extend it
    Column("owner", Text, nullable=False),  # of the store that works on it, new at each start
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_start", Text, nullable=False),
    Column("epoch", Integer, nullable=False),  # +1 at each change of hands; commits of an older one are refused
    Column("lease", Double, nullable=False),  # until when the owner is taken to be alive
    Column("next_seq", BigInteger, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Index(None, "created"),
)

calls = Table(
    "calls",
    metadata,
    _of_run(),
    Column("path", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("arguments_hash", Text, primary_key=True),
    Column("result", Text, nullable=False),  # JSON
    Column("usage", Text, nullable=False),  # JSON
    Column("finished", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    _of_run(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("once", Text),
    Column("event", Text, nullable=False),  # JSON
    UniqueConstraint("run", "once"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

blob_uses = Table(
    "blob_uses",
    metadata,
    _of_run(),
    Column("digest", Text, ForeignKey("blobs.digest"), primary_key=True),
    Index(None, "digest"),
)
