"""What must be true of the stored data at any time, checked by reading it.

Not covered: whether a JSON value names a picture that it was not stored with.
"""

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from polymnia.store.schema import blob_uses, blobs, calls, events, runs


async def find_faults(connection: AsyncConnection) -> list[str]:
    """One line each: gaps in `seq`, a call recorded twice, pictures that are not there, a damaged file."""
    faults = await _gaps(connection)
    key = (calls.c.run, calls.c.path, calls.c.ordinal, calls.c.name, calls.c.arguments_hash)
    twice = await connection.execute(select(*key).group_by(*key).having(func.count() > 1))
    faults += [f"run {one.run}: call {one.path}/{one.name}.{one.ordinal} is recorded twice" for one in twice]
    joined = blob_uses.outerjoin(blobs, blobs.c.digest == blob_uses.c.digest)
    missing = select(blob_uses.c.run, blob_uses.c.digest).select_from(joined).where(blobs.c.digest.is_(None))
    faults += [f"run {one.run}: picture {one.digest} is not there" for one in await connection.execute(missing)]
    if connection.dialect.name == "sqlite":
        for (line,) in await connection.execute(text("PRAGMA integrity_check")):
            if line != "ok":
                faults.append(f"the file is damaged: {line}")
        for table, row, parent, _ in await connection.execute(text("PRAGMA foreign_key_check")):
            faults.append(f"row {row} of {table} belongs to something that is not in {parent}")
    return faults


async def _gaps(connection: AsyncConnection) -> list[str]:
    """`seq` counts from 0 without gaps up to the run's `next_seq`."""
    query = (
        select(runs.c.run, runs.c.next_seq, func.count(events.c.seq), func.min(events.c.seq), func.max(events.c.seq))
        .select_from(runs.outerjoin(events, events.c.run == runs.c.run))
        .group_by(runs.c.run, runs.c.next_seq)
    )
    faults = []
    for run, next_seq, count, first, last in await connection.execute(query):
        expected = (next_seq, 0, next_seq - 1) if next_seq else (0, None, None)
        if (count, first, last) != expected:
            faults.append(f"run {run}: {count} events from {first} to {last}, expected {next_seq} from 0")
    return faults
