"""kill -9 at any time: no finished call is made again, `seq` has no gaps, the answer is right."""

import asyncio
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from polymnia.store import Call, RunInUseError, Store, open_store
from polymnia.store.store import LEASE_SECONDS
from store import child

# Processes are forked from a clean one that has imported the libraries: a start takes milliseconds.
processes = multiprocessing.get_context("forkserver")
DRIVERS = ["sqlalchemy.dialects.sqlite.aiosqlite", "sqlalchemy.dialects.postgresql.asyncpg", "aiosqlite", "asyncpg"]
processes.set_forkserver_preload([*DRIVERS, "sqlalchemy.ext.asyncio", "alembic.runtime.environment", "platformdirs"])


def finished_keys(run: str, calls: list[Call]) -> set[str]:
    return {f"{run}{one.path}/{one.name}.{one.ordinal}#{one.arguments_hash[:16]}" for one in calls}


async def create(url: str) -> str:
    async with await open_store(url) as store:
        return await store.create_run(question="what?")


async def state_of(store: Store, run: str) -> tuple[str, set[str]]:
    return (await store.get_run(run)).state, finished_keys(run, await store.load(run))


def check_kills(url: str, folder: Path, kills: int, seed: int, seconds: float) -> None:
    """Work on runs and kill each process at a random time, until there were enough kills."""
    rng = random.Random(seed)
    done = 0
    while done < kills:
        run = asyncio.run(create(url))
        called = folder / run
        called.touch()
        before: set[str] = set()
        state = "interrupted"
        while state == "interrupted":
            seen = len(called.read_text().split())
            process = processes.Process(target=child.main, args=(url, run, str(called), seconds))
            process.start()
            # Some die while they start, the others soon after a number of calls.
            calls = rng.randrange(0, 16)
            while process.is_alive() and len(called.read_text().split()) < seen + calls:
                time.sleep(0.002)
            process.join(rng.uniform(0.0, seconds if calls else 0.3))
            if process.is_alive():
                process.kill()
                done += 1
            process.join()
            state, after = asyncio.run(observe(url, run))
            again = set(called.read_text().split()[seen:])
            assert not again & before, "a finished call was made again"
            assert before <= after, "a finished call was lost"
            before = after
        assert state == "finished"
        asyncio.run(check_answer(url, run))


async def observe(url: str, run: str) -> tuple[str, set[str]]:
    async with await open_store(url) as store:
        assert await store.check_integrity() == []
        return await state_of(store, run)


async def check_answer(url: str, run: str) -> None:
    async with await open_store(url) as store:
        events = [event async for event in store.read_from(run)]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[-1]["answers"] == child.expected()
    once = [(event["type"], event.get("agent"), event.get("step")) for event in events if event["type"] != "delta"]
    assert len(once) == len(set(once)) == child.AGENTS * (child.STEPS + 1) + 1


def test_a_killed_run_goes_on_from_its_last_finished_call(sqlite_url: str, tmp_path: Path) -> None:
    check_kills(sqlite_url, tmp_path, kills=24, seed=0, seconds=0.06)


def test_a_killed_run_goes_on_in_postgres(postgres_url: str, tmp_path: Path) -> None:
    check_kills(postgres_url, tmp_path, kills=12, seed=1, seconds=0.06)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.2])
def test_many_kills(url: str, tmp_path: Path, seconds: float) -> None:
    check_kills(url, tmp_path, kills=100, seed=2, seconds=seconds)


def wait_for(path: Path) -> None:
    while not path.exists() or not path.read_text():
        time.sleep(0.01)


def test_a_dead_process_is_replaced_at_once_and_a_living_one_is_not(url: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with await open_store(url) as store:
            run = await store.create_run(question="what?")
        ready = tmp_path / "ready"
        process = processes.Process(target=child.hold, args=(url, run, str(ready)))
        process.start()
        await asyncio.to_thread(wait_for, ready)
        async with await open_store(url) as store:
            assert (await store.get_run(run)).state == "running"
            with pytest.raises(RunInUseError, match="another process works on run"):
                await store.acquire(run)
            process.kill()
            process.join()
            assert (await store.get_run(run)).state == "interrupted"
            log = await store.acquire(run)
            assert log.epoch == int(ready.read_text()) + 1
            assert await log.emit({"type": "resumed"}) == 1

    asyncio.run(check())


@pytest.mark.slow
def test_a_process_that_wakes_up_after_its_lease_can_write_nothing_more(url: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with await open_store(url) as store:
            run = await store.create_run(question="what?")
        ready = tmp_path / "ready"
        process = processes.Process(target=child.hold, args=(url, run, str(ready)))
        process.start()
        await asyncio.to_thread(wait_for, ready)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        async with await open_store(url) as store:
            with pytest.raises(RunInUseError):
                await store.acquire(run)
            await asyncio.sleep(LEASE_SECONDS)
            log = await store.acquire(run)
            os.kill(process.pid, signal.SIGCONT)
            await log.emit({"type": "taken over"})
            await asyncio.to_thread(process.join)
            assert process.exitcode == child.FENCED
            await log.finish("finished")
            assert [event["type"] async for event in store.read_from(run)] == ["held", "taken over"]
            assert await store.check_integrity() == []

    asyncio.run(check())


def test_another_process_hears_of_a_cancellation(url: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with await open_store(url) as store:
            run = await store.create_run(question="what?")
        ready = tmp_path / "ready"
        process = processes.Process(target=child.hold, args=(url, run, str(ready)))
        process.start()
        await asyncio.to_thread(wait_for, ready)
        async with await open_store(url) as store:
            assert await store.cancel(run) == "running"
            events = [event["type"] async for event in store.read_from(run)]
            assert events == ["held", "run_cancelled"]
            assert (await store.get_run(run)).state == "cancelled"
        process.join()

    asyncio.run(check())


def test_events_of_another_process_are_read_while_they_come(url: str) -> None:
    async def check() -> None:
        async with await open_store(url) as store:
            run = await store.create_run(question="what?")
        async with await open_store(url) as store:
            process = processes.Process(target=child.write_events, args=(url, run, 300))
            process.start()
            while (await store.get_run(run)).state != "running":  # noqa: ASYNC110 (another process's doing)
                await asyncio.sleep(0.01)

            async def read(after: int) -> list[int]:
                return [event["number"] async for event in store.read_from(run, after)]

            whole, rest = await asyncio.gather(read(-1), read(99))
            assert whole == list(range(300))
            assert rest == whole[100:]
        process.join()

    asyncio.run(check())


def test_many_processes_open_a_new_database_at_once(url: str) -> None:
    started = [processes.Process(target=child.open_and_close, args=(url,)) for _ in range(6)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * 6
