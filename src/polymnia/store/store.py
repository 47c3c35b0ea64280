"""The store: runs, their journals and their pictures in one database that several processes may share.

    store = await open_store()                  # applies migrations
    run = await store.create_run(question="...", request={...})
    log = await store.acquire(run)              # see log.py
    async for event in store.read_from(run): ...

A run that its process no longer works on is `interrupted`, whatever the row says; anyone may acquire it.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, get_args

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from polymnia.errors import InputError
from polymnia.store.database import Database, database_url, make_folder, seconds
from polymnia.store.errors import RunInUseError, StaleRunError
from polymnia.store.integrity import find_faults
from polymnia.store.log import Call, OnMiss, RunLog
from polymnia.store.migrate import migrate
from polymnia.store.owner import is_dead, this_process
from polymnia.store.schema import blob_uses, blobs, calls, events, runs
from polymnia.store.writer import Blob, Entry, Hold, State, Writer, event_row, write_blobs

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
POLL_SECONDS = 0.1
"""How often a reader looks for events that another process writes."""
PAGE = 1000
"""Events read at a time."""
PRUNE_BATCH = 100

log = logging.getLogger(__name__)

AnyRow = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Run:
    run: str
    state: State
    question: str
    request: Any
    """What the run was created with, for starting it again."""
    created: float
    updated: float
    deadline: float | None
    events: int
    """How many are stored; `seq` counts from 0 below this."""


async def open_store(url: str | None = None) -> "Store":
    """The store at `url`, or in `POLYMNIA_HOME`, with this version's tables. Raises `InputError`."""
    parsed = database_url(url)
    make_folder(parsed)
    await migrate(parsed)
    return Store(Database(parsed))


class Store:
    """Close it, or use it as a context manager: runs still held are then `interrupted`."""

    def __init__(self, database: Database) -> None:
        self.owner = this_process()
        self._database = database
        self._writer = Writer(database, self._publish)
        self._holds: dict[str, Hold] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._renewer = asyncio.create_task(self._renew())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Commit what is queued and give back the runs."""
        for hold in self._holds.values():
            if hold.error is None:
                self._writer.submit(Entry(hold, state="interrupted"))
        await self._writer.close()
        self._renewer.cancel()
        await asyncio.wait([self._renewer])
        await self._database.close()

    async def create_run(
        self,
        *,
        question: str,
        request: Any = None,
        deadline: float | None = None,
        run: str | None = None,
        blobs: Mapping[str, Blob] | None = None,
    ) -> str:
        """A new run's id. `request`: JSON to start it again, naming pictures by the digests of `blobs`.

        `deadline`: seconds since 1970. Acquire the run next: until then it is held for this process.
        """
        name = run or f"run_{uuid.uuid4().hex}"
        now = time.time()
        row = {
            "run": name,
            "state": "running",
            "question": _storable(question),
            "request": json.dumps(request),
            "created": now,
            "updated": now,
            "deadline": deadline,
            "epoch": 0,
            "next_seq": 0,
            "cancel_requested": False,
        }
        async with self._database.writing() as connection:
            if await _row(connection, name) is not None:
                raise InputError(f"there is a run {name} already: choose another name")
            await connection.execute(insert(runs).values(**row, **self._lease(await seconds(connection))))
            await write_blobs(connection, [(name, blobs or {})])
        self._holds[name] = Hold(name, 0)
        return name

    async def acquire(self, run: str, *, on_miss: OnMiss | None = None) -> RunLog:
        """The journal of a run that nobody else works on; from now on only this process writes it.

        Raises `InputError` if there is no such run or it has ended, `RunInUseError` if somebody works on it.
        """
        async with self._database.writing() as connection:
            row = _found(await _row(connection, run, lock=True), run)
            now = await seconds(connection)
            if row.state not in ("running", "interrupted"):
                raise InputError(f"run {run} is {row.state}: there is nothing left to do")
            if row.state == "running" and not self._is_free_here(row) and not _abandoned(row, now):
                raise RunInUseError(f"another process works on run {run}: cancel it there, or wait for its end")
            changes = {"state": "running", "epoch": row.epoch + 1, **self._lease(now)}
            await connection.execute(update(runs).where(runs.c.run == run).values(**changes))
            recorded = await _calls(connection, run)
            emitted = await connection.execute(
                select(events.c.once, events.c.seq).where(events.c.run == run, events.c.once.is_not(None))
            )
            names = {one.once: one.seq for one in emitted}
        hold = Hold(run, row.epoch + 1)
        if row.cancel_requested:
            hold.stop.set()
        self._holds[run] = hold
        return RunLog(hold, self._writer, recorded, names, row.deadline, on_miss)

    async def read_from(self, run: str, after: int = -1) -> AsyncGenerator[dict[str, Any], None]:
        """The events with `seq` above `after`, then live ones, until the run is no longer worked on.

        Closes after the last event of a run that has ended or is interrupted. Raises `InputError` if there is
        no such run.
        """
        while True:
            changed = self._changed.setdefault(run, asyncio.Event())
            async with self._database.reading() as connection:
                # The state first: what is written after it was read cannot be missed below.
                row = _found(await _row(connection, run), run)
                state = _state(row, await seconds(connection))
                query = select(events.c.event).where(events.c.run == run, events.c.seq > after)
                found = (await connection.execute(query.order_by(events.c.seq).limit(PAGE))).scalars().all()
            for one in found:
                event: dict[str, Any] = json.loads(one)
                after = event["seq"]
                yield event
            if found:
                continue
            if state != "running":
                return
            # Events of this process are announced; those of another one are looked for.
            wait = RENEW_SECONDS if run in self._holds else POLL_SECONDS
            try:
                async with asyncio.timeout(wait):
                    await changed.wait()
            except TimeoutError:
                continue

    async def get_run(self, run: str) -> Run:
        async with self._database.reading() as connection:
            row = _found(await _row(connection, run), run)
            return _run(row, await seconds(connection))

    async def list_runs(self, *, limit: int | None = None) -> list[Run]:
        """Newest first."""
        async with self._database.reading() as connection:
            now = await seconds(connection)
            found = await connection.execute(select(runs).order_by(runs.c.created.desc(), runs.c.run).limit(limit))
            return [_run(row, now) for row in found]

    async def load(self, run: str) -> list[Call]:
        """The finished calls of any run, by path and ordinal."""
        async with self._database.reading() as connection:
            _found(await _row(connection, run), run)
            return await _calls(connection, run)

    async def blob(self, digest: str) -> Blob:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(blobs).where(blobs.c.digest == digest))).one_or_none()
        if row is None:
            raise InputError(f"there is no picture {digest} in the store")
        return Blob(row.media_type, row.data)

    async def cancel(self, run: str, event: Mapping[str, Any] | None = None) -> State:
        """Cancel a run; its state afterwards, as far as it is known.

        `running`: its process has been asked (`RunLog.stop`) and ends it within seconds. A run that nobody
        works on is cancelled here and gets `event` as its last one. One that has ended stays as it is.
        """
        async with self._database.writing() as connection:
            row = _found(await _row(connection, run, lock=True), run)
            state = _state(row, await seconds(connection))
            if state == "running":
                changes: dict[str, Any] = {"cancel_requested": True}
                if run in self._holds:
                    self._holds[run].stop.set()
            elif state == "interrupted":
                state = "cancelled"
                changes = {"state": state, "epoch": row.epoch + 1, "updated": time.time(), "lease": 0.0}
                if event is not None:
                    changes["next_seq"] = row.next_seq + 1
                    await connection.execute(insert(events), [event_row(run, row.next_seq, event, None)])
            else:
                return state
            await connection.execute(update(runs).where(runs.c.run == run).values(**changes))
        self._publish([run])
        return state

    async def prune(self, older_than: float) -> int:
        """Delete runs last changed more than `older_than` seconds ago that nobody works on; how many."""
        count = 0
        while True:
            async with self._database.writing() as connection:
                now = await seconds(connection)
                old = runs.c.updated < time.time() - older_than
                # The lease alone, since one of another host cannot be asked after.
                idle = (runs.c.state != "running") | (runs.c.lease < now)
                chosen = select(runs.c.run).where(old & idle).limit(PRUNE_BATCH).with_for_update()
                names = (await connection.execute(chosen)).scalars().all()
                await connection.execute(delete(runs).where(runs.c.run.in_(names)))
            count += len(names)
            if len(names) < PRUNE_BATCH:
                break
        await self._prune_blobs()
        return count

    async def check_integrity(self) -> list[str]:
        """What is wrong with the stored data, one line each; empty if nothing is."""
        async with self._database.reading() as connection:
            return await find_faults(connection)

    async def _prune_blobs(self) -> None:
        used = select(blob_uses.c.digest).where(blob_uses.c.digest == blobs.c.digest).exists()
        # What another process is just about to use is locked by it, or refused by the foreign key.
        unused = select(blobs.c.digest).where(~used).with_for_update(skip_locked=True)
        try:
            async with self._database.writing() as connection:
                await connection.execute(delete(blobs).where(blobs.c.digest.in_(unused)))
        except IntegrityError:
            log.info("a picture found a use while it was to be deleted: the next prune deletes the others")

    def _is_free_here(self, row: AnyRow) -> bool:
        """Of a run that this store owns: nobody has acquired it yet, or who did could not go on writing."""
        hold = self._holds.get(row.run)
        return row.owner == self.owner.id and (hold is None or hold.epoch == 0 or hold.error is not None)

    def _lease(self, now: float) -> dict[str, Any]:
        owner = self.owner
        return {
            "owner": owner.id,
            "host": owner.host,
            "pid": owner.pid,
            "process_start": owner.process_start,
            "lease": now + LEASE_SECONDS,
        }

    def _publish(self, changed: Iterable[str]) -> None:
        for run in changed:
            if (waiting := self._changed.pop(run, None)) is not None:
                waiting.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew_once()
            except Exception as error:  # the next commit meets it as well, and tells the run
                log.warning("leases could not be renewed: %s", error)

    async def _renew_once(self) -> None:
        """Renew what is held; forget what has ended or was lost, and hear of cancellations."""
        live = [run for run, hold in self._holds.items() if hold.error is None]
        if not live:
            return
        async with self._database.writing() as connection:
            ours = (runs.c.owner == self.owner.id) & (runs.c.state == "running") & runs.c.run.in_(live)
            lease = await seconds(connection) + LEASE_SECONDS
            await connection.execute(update(runs).where(ours).values(lease=lease))
            columns = (runs.c.run, runs.c.epoch, runs.c.state, runs.c.owner, runs.c.cancel_requested)
            found = await connection.execute(select(*columns).where(runs.c.run.in_(live)))
            rows = {row.run: row for row in found}
        for run in live:
            hold, row = self._holds[run], rows.get(run)
            if row is None or row.epoch != hold.epoch:
                hold.lose(StaleRunError(f"run {run} was taken over or deleted: nothing more is written here"))
            elif row.cancel_requested:
                hold.stop.set()
            if hold.error is not None or row is None or row.state != "running":
                del self._holds[run]


async def _row(connection: AsyncConnection, run: str, *, lock: bool = False) -> AnyRow | None:
    query = select(runs).where(runs.c.run == _storable(run))
    return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()


def _found(row: AnyRow | None, run: str) -> AnyRow:
    if row is None:
        raise InputError(f"there is no run {run}: `polymnia runs list` names those there are")
    return row


async def _calls(connection: AsyncConnection, run: str) -> list[Call]:
    order = (calls.c.path, calls.c.ordinal, calls.c.finished)
    found = await connection.execute(select(calls).where(calls.c.run == run).order_by(*order))
    return [
        Call(
            one.path,
            one.ordinal,
            one.name,
            one.arguments_hash,
            json.loads(one.result),
            json.loads(one.usage),
            one.finished,
        )
        for one in found
    ]


def _abandoned(row: AnyRow, now: float) -> bool:
    return row.lease < now or is_dead(row.host, row.pid, row.process_start)


def _state(row: AnyRow, now: float) -> State:
    if row.state == "running" and _abandoned(row, now):
        return "interrupted"
    assert row.state in get_args(State)
    state: State = row.state
    return state


def _run(row: AnyRow, now: float) -> Run:
    return Run(
        row.run,
        _state(row, now),
        row.question,
        json.loads(row.request),
        row.created,
        row.updated,
        row.deadline,
        row.next_seq,
    )


def _storable(text: str) -> str:
    """Without the two things that a database's text cannot hold: NUL and halves of surrogate pairs."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
