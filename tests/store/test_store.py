"""`Store`: runs and their states, readers, leases, cancelling, pruning, integrity."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from polymnia.errors import InputError
from polymnia.store import Blob, CallResult, RunInUseError, Store, home, open_store
from polymnia.store import store as store_module
from polymnia.store.schema import blob_uses, events, runs


def using(url: str, use: Callable[[Store], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await open_store(url) as store:
            await use(store)

    asyncio.run(run())


async def change(store: Store, run: str, **values: Any) -> None:
    async with store._database.writing() as connection:
        await connection.execute(update(runs).where(runs.c.run == run).values(**values))


def test_runs_are_listed_newest_first_with_their_states(url: str) -> None:
    async def use(store: Store) -> None:
        names = {}
        for state in ("finished", "failed", "cancelled", "interrupted"):
            names[state] = await store.create_run(question=f"{state}?", request={"state": state})
            await (await store.acquire(names[state])).finish(state)
        names["running"] = await store.create_run(question="now?", deadline=time.time() + 60)
        listed = await store.list_runs()
        assert [run.run for run in listed] == list(reversed(names.values()))
        assert [run.state for run in listed] == list(reversed(names))
        assert listed[1].request == {"state": "interrupted"}
        assert [run.question for run in await store.list_runs(limit=2)] == ["now?", "interrupted?"]

    using(url, use)


def test_a_run_left_by_a_closed_store_is_interrupted_and_goes_on(url: str) -> None:
    deadline = time.time() + 100

    async def leave(store: Store) -> None:
        await store.create_run(question="never begun", run="waiting")
        await store.create_run(question="begun", run="begun", deadline=deadline)
        log = await store.acquire("begun")
        log.emit({"type": "queued when it closes"})

    async def resume(store: Store) -> None:
        assert {run.run: (run.state, run.events) for run in await store.list_runs()} == {
            "waiting": ("interrupted", 0),
            "begun": ("interrupted", 1),
        }
        log = await store.acquire("begun")
        assert log.deadline == deadline
        assert not log.stop.is_set()
        await store.acquire("waiting")

    using(url, leave)
    using(url, resume)


def test_a_run_is_worked_on_by_one(url: str) -> None:
    async def use(store: Store) -> None:
        run = await store.create_run(question="?")
        async with await open_store(url) as other:
            with pytest.raises(RunInUseError, match="another process works on run"):
                await other.acquire(run)
            await store.acquire(run)
            with pytest.raises(RunInUseError):
                await store.acquire(run)
        with pytest.raises(InputError, match="there is a run twice already"):
            await store.create_run(question="?", run=await store.create_run(question="?", run="twice"))
        for call in (store.acquire("nobody"), store.get_run("nobody"), store.cancel("nobody\0"), store.load("nobody")):
            with pytest.raises(InputError, match="there is no run nobody"):
                await call

    using(url, use)


def test_another_host_is_waited_for_until_its_lease_ends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(store: Store) -> None:
        run = await store.create_run(question="?")
        await store.acquire(run)
        await change(store, run, host="elsewhere", pid=1, owner="somebody")
        async with await open_store(url) as other:
            with pytest.raises(RunInUseError):
                await other.acquire(run)
            await change(store, run, lease=time.time() - 1)
            assert (await other.get_run(run)).state == "interrupted"
            assert (await other.acquire(run)).epoch == 2

    using(url, use)


def test_leases_are_renewed_and_a_lost_run_is_noticed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(store_module, "RENEW_SECONDS", 0.05)

    async def use(store: Store) -> None:
        run = await store.create_run(question="?")
        log = await store.acquire(run)
        await asyncio.sleep(0.8)
        assert (await store.get_run(run)).state == "running"
        await change(store, run, epoch=9, owner="another")
        async with asyncio.timeout(10):
            await log.stop.wait()

    using(url, use)


def test_readers_get_stored_events_then_live_ones(url: str) -> None:
    async def use(store: Store) -> None:
        run = await store.create_run(question="?")
        log = await store.acquire(run)
        for number in range(5):
            await log.emit({"number": number})

        async def read(after: int) -> list[int]:
            return [event["number"] async for event in store.read_from(run, after)]

        readers = [asyncio.create_task(read(after)) for after in (-1, -1, 3, 100)]
        for number in range(5, 50):
            await log.emit({"number": number})
            await asyncio.sleep(0)
        await log.finish("finished")
        first, second, late, beyond = await asyncio.gather(*readers)
        assert first == second == list(range(50))
        assert late == list(range(4, 50))
        assert beyond == []

    using(url, use)


def test_events_are_stored_before_anyone_reads_them(sqlite_url: str) -> None:
    async def use(store: Store) -> None:
        run = await store.create_run(question="?")
        log = await store.acquire(run)
        log.emit({"number": 0})
        async for event in store.read_from(run):
            async with await open_store(sqlite_url) as other:
                assert (await other.get_run(run)).events == event["seq"] + 1
            if event["number"] < 3:
                log.emit({"number": event["number"] + 1})
            else:
                await log.finish("finished")

    using(sqlite_url, use)


def test_cancelling(url: str) -> None:
    async def use(store: Store) -> None:
        idle = await store.create_run(question="?")
        await (await store.acquire(idle)).finish("interrupted")
        assert await store.cancel(idle, {"type": "run_cancelled"}) == "cancelled"
        assert [event["type"] async for event in store.read_from(idle)] == ["run_cancelled"]
        assert await store.cancel(idle, {"type": "run_cancelled"}) == "cancelled"
        assert (await store.get_run(idle)).events == 1

        busy = await store.create_run(question="?")
        log = await store.acquire(busy)
        assert await store.cancel(busy) == "running"
        assert log.stop.is_set()
        await log.emit({"type": "run_cancelled"})  # its own process writes the end
        await log.finish("cancelled")
        assert (await store.get_run(busy)).state == "cancelled"

        from_elsewhere = await store.create_run(question="?")
        log = await store.acquire(from_elsewhere)
        async with await open_store(url) as other:
            assert await other.cancel(from_elsewhere) == "running"
        await log.emit({"type": "delta"})
        assert log.stop.is_set()  # heard of with the next commit

    using(url, use)


def test_pruning_deletes_old_runs_and_pictures_that_nobody_shows(url: str) -> None:
    async def use(store: Store) -> None:
        def picture(name: str) -> dict[str, Blob]:
            return {name: Blob("image/png", name.encode())}

        old = await store.create_run(question="old", blobs=picture("old") | picture("shared"))
        log = await store.acquire(old)

        async def do(key: str) -> CallResult:
            return CallResult(1)

        await log.call("/a0", "model", None, do)
        await log.emit({"type": "delta"})
        await log.finish("finished")
        new = await store.create_run(question="new", blobs=picture("shared"))
        await (await store.acquire(new)).finish("finished")
        running = await store.create_run(question="running")
        for run in (old, running):
            await change(store, run, updated=time.time() - 1000)
        assert await store.prune(older_than=500) == 1
        assert {run.run for run in await store.list_runs()} == {new, running}
        assert (await store.blob("shared")).data == b"shared"
        with pytest.raises(InputError):
            await store.blob("old")
        with pytest.raises(InputError):
            await store.load(old)
        assert await store.check_integrity() == []

    using(url, use)


def test_pruning_in_batches(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PRUNE_BATCH", 3)

    async def use(store: Store) -> None:
        for _ in range(7):
            await (await store.acquire(await store.create_run(question="?"))).finish("finished")
        assert await store.prune(older_than=-1) == 7
        assert await store.list_runs() == []

    using(sqlite_url, use)


def test_integrity_names_what_is_wrong(sqlite_url: str) -> None:
    async def use(store: Store) -> None:
        run = await store.create_run(question="?", blobs={"d": Blob("image/png", b"")})
        log = await store.acquire(run)
        for _ in range(4):
            await log.emit({"type": "delta"})
        assert await store.check_integrity() == []
        async with store._database.writing() as connection:
            await connection.execute(delete(events).where(events.c.run == run, events.c.seq == 2))
        assert await store.check_integrity() == [f"run {run}: 3 events from 0 to 3, expected 4 from 0"]
        async with store._database.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            await raw.execute("PRAGMA foreign_keys=OFF")
            await raw.execute("delete from blobs")
            await raw.execute("PRAGMA foreign_keys=ON")
        assert f"run {run}: picture d is not there" in await store.check_integrity()
        async with store._database.writing() as connection:
            await connection.execute(delete(blob_uses))
            await connection.execute(text("update runs set next_seq = 3"))
        assert await store.check_integrity() == [f"run {run}: 3 events from 0 to 3, expected 3 from 0"]

    using(sqlite_url, use)


def test_state_lives_under_polymnia_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "home"
    monkeypatch.setenv("POLYMNIA_HOME", str(folder))

    async def use() -> None:
        async with await open_store() as store:
            await store.create_run(question="?")

    asyncio.run(use())
    assert (folder / "polymnia.db").exists()
    assert folder.stat().st_mode & 0o077 == 0
    (folder / "config.toml").write_text(f'database_url = "sqlite:///{tmp_path}/elsewhere.db"')
    asyncio.run(use())
    assert (tmp_path / "elsewhere.db").exists()
    for wrong, message in (("database_url = 7", "database_url is no text"), ("= 3", "is not TOML")):
        (folder / "config.toml").write_text(wrong)
        with pytest.raises(InputError, match=message):
            asyncio.run(use())
    monkeypatch.delenv("POLYMNIA_HOME")
    assert home().name == "polymnia"


def test_cancelled_callers_leave_the_store_usable(url: str) -> None:
    """Cancelled at any moment of a transaction; warnings are errors here."""

    async def use(store: Store) -> None:
        rng = random.Random(0)

        async def one(number: int) -> None:
            run = await store.create_run(question="?", run=f"run{number}")
            log = await store.acquire(run)
            await log.emit({"number": number})
            await store.list_runs()
            async for _ in store.read_from(run):
                await log.finish("finished")

        tasks = [asyncio.create_task(one(number)) for number in range(60)]
        for task in rng.sample(tasks, 40):
            await asyncio.sleep(rng.uniform(0, 0.01))
            task.cancel()
        await asyncio.wait(tasks)
        assert sum(not task.cancelled() for task in tasks) >= 20
        for task in tasks:
            assert task.cancelled() or task.exception() is None
        run = await store.create_run(question="?")
        assert await (await store.acquire(run)).emit({}) == 0
        assert await store.check_integrity() == []

    using(url, use)
