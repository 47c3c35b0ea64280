"""The one writer of a process: group commit of finished calls, events and ends of runs.

Whatever waits (up to 512) goes into one transaction, which checks each run's epoch and gives out `seq`;
callers are answered after the commit. A transaction that fails because of a row is tried again entry by
entry, so that only the bad one fails; if the database itself fails, the runs concerned are stopped there.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from polymnia.errors import PolymniaError, RunError
from polymnia.store.database import Database, insert_or_ignore
from polymnia.store.errors import StaleRunError, StorageError
from polymnia.store.schema import blob_uses, blobs, calls, events, runs

MAX_BATCH = 512

State = Literal["running", "interrupted", "finished", "failed", "cancelled"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Blob:
    media_type: str
    data: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Hold:
    """This process's right to write a run, as long as nobody else has taken it over."""

    run: str
    epoch: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when work on the run must end: somebody asked to cancel it, or `error` says why."""
    error: PolymniaError | None = None
    """Why nothing more can be written; each further write fails with it."""

    def lose(self, error: PolymniaError) -> None:
        self.error = self.error or error
        self.stop.set()


@dataclass(slots=True, eq=False)
class Entry:
    """What is committed together or not at all."""

    hold: Hold
    call: Mapping[str, Any] | None = None
    event: Mapping[str, Any] | None = None
    once: str | None = None
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    state: State | None = None
    done: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """The event's `seq`; without an event, the number that the next one gets."""


class Writer:
    def __init__(self, database: Database, committed: Callable[[Iterable[str]], None]) -> None:
        """`committed` is told the runs that each commit has changed."""
        self._database = database
        self._committed = committed
        self._queue: asyncio.Queue[Entry | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._work())

    def submit(self, entry: Entry) -> "asyncio.Future[int]":
        """Entries are committed in the order in which they are submitted."""
        entry.done.add_done_callback(_seen)
        if self._task.done():
            entry.done.set_exception(StorageError("the store has been closed"))
        else:
            self._queue.put_nowait(entry)
        return entry.done

    async def close(self) -> None:
        """Commits what was submitted, then ends."""
        self._queue.put_nowait(None)
        await asyncio.wait([self._task])

    async def _work(self) -> None:
        open_still = True
        while open_still:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            entries = [entry for entry in batch if entry is not None]
            open_still = len(entries) == len(batch)
            await self._commit(entries)

    async def _commit(self, entries: Sequence[Entry]) -> None:
        writable = [entry for entry in entries if not _refused(entry)]
        if not writable:
            return
        try:
            async with self._database.writing() as connection:
                results = await write(connection, writable)
        except StorageError as error:
            for entry in writable:
                entry.hold.lose(error)
                _fail(entry, error)
        except Exception as error:  # the fault of a row; which one is found out by trying
            if len(writable) > 1:
                for entry in writable:
                    await self._commit([entry])
                return
            log.exception("an entry of run %s cannot be stored", writable[0].hold.run)
            _fail(writable[0], RunError(f"the journal cannot store this entry ({type(error).__name__}: {error})"))
        else:
            self._committed({entry.hold.run for entry in writable})
            for entry, result in zip(writable, results, strict=True):
                if isinstance(result, int):
                    if not entry.done.done():
                        entry.done.set_result(result)
                else:
                    entry.hold.lose(result)
                    _fail(entry, result)


async def write(connection: AsyncConnection, entries: Sequence[Entry]) -> list[int | StaleRunError]:
    """Write the entries whose hold still counts; for the others, the error that tells why not."""
    now = time.time()
    names = sorted({entry.hold.run for entry in entries})
    columns = (runs.c.run, runs.c.epoch, runs.c.state, runs.c.next_seq, runs.c.cancel_requested)
    # In the order of names, so that two processes never wait for each other's rows.
    query = select(*columns).where(runs.c.run.in_(names)).order_by(runs.c.run).with_for_update()
    found = {row.run: row for row in await connection.execute(query)}
    changed = {run: {"next_seq": row.next_seq, "updated": now} for run, row in found.items()}
    results: list[int | StaleRunError] = []
    written = []
    event_rows = []
    for entry in entries:
        run = entry.hold.run
        error = _stale(entry.hold, found.get(run), changed.get(run, {}))
        if error is not None:
            results.append(error)
            continue
        if found[run].cancel_requested:
            entry.hold.stop.set()
        seq = changed[run]["next_seq"]
        results.append(seq)
        written.append(entry)
        if entry.event is not None:
            event_rows.append(event_row(run, seq, entry.event, entry.once))
            changed[run]["next_seq"] = seq + 1
        if entry.state is not None:
            changed[run] |= {"state": entry.state, "lease": 0.0}
    await write_blobs(connection, [(entry.hold.run, entry.blobs) for entry in written])
    if call_rows := [{"run": entry.hold.run, "finished": now, **entry.call} for entry in written if entry.call]:
        await connection.execute(insert_or_ignore(connection, calls), call_rows)
    if event_rows:
        await connection.execute(insert(events), event_rows)
    for run in sorted({entry.hold.run for entry in written}):
        await connection.execute(update(runs).where(runs.c.run == run).values(**changed[run]))
    return results


def event_row(run: str, seq: int, event: Mapping[str, Any], once: str | None) -> dict[str, Any]:
    text = json.dumps({**event, "run": run, "seq": seq}, allow_nan=False)
    return {"run": run, "seq": seq, "once": once, "event": text}


async def write_blobs(connection: AsyncConnection, given: Sequence[tuple[str, Mapping[str, Blob]]]) -> None:
    """Pictures are stored once, however many runs show them."""
    uses = sorted({(run, digest) for run, of_run in given for digest in of_run})
    if not uses:
        return
    all_blobs = {digest: blob for _, of_run in given for digest, blob in of_run.items()}
    rows = [{"digest": digest, "media_type": one.media_type, "data": one.data} for digest, one in all_blobs.items()]
    await connection.execute(insert_or_ignore(connection, blobs), rows)
    await connection.execute(insert_or_ignore(connection, blob_uses), [{"run": r, "digest": d} for r, d in uses])


def _stale(hold: Hold, row: Row[*tuple[Any, ...]] | None, changed: Mapping[str, Any]) -> StaleRunError | None:
    if row is None:
        return StaleRunError(f"run {hold.run} has been deleted")
    if row.epoch != hold.epoch:
        return StaleRunError(f"run {hold.run} was taken over by another process: nothing more is written here")
    state = changed.get("state", row.state)
    return None if state == "running" else StaleRunError(f"run {hold.run} is {state}: nothing more is written")


def _refused(entry: Entry) -> bool:
    if entry.hold.error is not None:
        _fail(entry, entry.hold.error)
    return entry.hold.error is not None


def _fail(entry: Entry, error: Exception) -> None:
    if not entry.done.done():
        entry.done.set_exception(error)


def _seen(done: "asyncio.Future[int]") -> None:
    """An error that nobody waits for is also in `Hold.error`; asyncio need not complain."""
    if not done.cancelled():
        done.exception()
