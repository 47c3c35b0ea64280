"""`RunLog`: calls recorded once, replays, what a cancellation keeps, events, fencing. All on real databases."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymnia.errors import InputError, RunError
from polymnia.store import Blob, CallResult, Miss, RunInUseError, RunLog, StaleRunError, Store, open_store

Use = Callable[[Store], Awaitable[None]]


def using(url: str, use: Use) -> None:
    async def run() -> None:
        async with await open_store(url) as store:
            await use(store)
            assert await store.check_integrity() == []

    asyncio.run(run())


async def begin(store: Store) -> tuple[str, RunLog]:
    run = await store.create_run(question="How many?")
    return run, await store.acquire(run)


async def again(store: Store, log: RunLog, **settings: Any) -> RunLog:
    """The same run as another start of the process finds it."""
    await log.finish("interrupted")
    return await store.acquire(log.run, **settings)


class Service:
    """What `do` calls: counts, and answers with how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __call__(self, key: str) -> CallResult:
        self.keys.append(key)
        return CallResult({"number": len(self.keys), "pair": (1, 2)}, usage={"tokens": 3})


def test_a_finished_call_is_not_made_again(url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        service = Service()
        first = await log.call("/a0", "model", {"seed": 1}, service)
        assert first == {"number": 1, "pair": [1, 2]}  # as JSON gives it back, at once and later
        log = await again(store, log)
        assert await log.call("/a0", "model", {"seed": 1}, service) == first
        assert await log.call("/a0", "model", {"seed": 1}, service) == {"number": 2, "pair": [1, 2]}
        assert len(service.keys) == 2
        assert service.keys[0].startswith(f"{run}/a0/model.0#")
        assert service.keys[1].startswith(f"{run}/a0/model.1#")
        recorded = log.load()
        assert [(one.path, one.ordinal, one.name, one.value, one.usage) for one in recorded] == [
            ("/a0", 0, "model", first, {"tokens": 3})
        ]
        assert len(await store.load(run)) == 2

    using(url, use)


def test_a_finished_group_of_calls_comes_back_whole(url: str) -> None:
    """A call whose work makes calls itself: replayed before its end, its parts come back; after it, nothing runs."""

    async def use(store: Store) -> None:
        _, log = await begin(store)
        service = Service()

        async def wave(key: str) -> CallResult:
            done = await asyncio.gather(*(log.call(f"/a{agent}", "model", None, service) for agent in range(3)))
            if len(service.keys) < 4:
                service.keys.append("interrupted here")
                raise RunError("interrupted")
            return CallResult([one["number"] for one in done])

        with pytest.raises(RunError, match="interrupted"):
            await log.call("/wave1", "wave", None, wave)
        log = await again(store, log)
        assert await log.call("/wave1", "wave", None, wave) == [1, 2, 3]
        log = await again(store, log)
        service.keys.clear()
        assert await log.call("/wave1", "wave", None, wave) == [1, 2, 3]
        assert service.keys == []

    using(url, use)


def test_a_failed_call_is_not_recorded(url: str) -> None:
    async def fail(key: str) -> CallResult:
        raise RunError("the endpoint is gone")

    async def use(store: Store) -> None:
        _, log = await begin(store)
        with pytest.raises(RunError, match="the endpoint is gone"):
            await log.call("/a0", "model", None, fail)
        log = await again(store, log)
        assert log.load() == []
        assert (await log.call("/a0", "model", None, Service()))["number"] == 1

    using(url, use)


def test_a_replay_that_goes_another_way_repeats_the_call_and_says_so(url: str) -> None:
    async def use(store: Store) -> None:
        _, log = await begin(store)
        service = Service()
        await log.call("/a0", "model", {"seed": 1}, service)
        await log.call("/a0", "crop", {"x": 1}, service)
        missed: list[Miss] = []
        log = await again(store, log, on_miss=missed.append)
        assert (await log.call("/a0", "model", {"seed": 2}, service))["number"] == 3
        assert (await log.call("/a0", "crop", {"x": 1}, service))["number"] == 2
        assert missed == log.misses == [Miss("/a0", 0, "model", ("model",))]
        log = await again(store, log)
        assert (await log.call("/a0", "model", {"seed": 2}, service))["number"] == 3
        assert log.misses == []

    using(url, use)


def test_a_cancelled_call_is_cancelled_and_not_recorded(url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        started, ended = asyncio.Event(), []

        async def endless(key: str) -> CallResult:
            started.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(key)
            raise AssertionError

        task = asyncio.create_task(log.call("/a0", "model", None, endless))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(ended) == 1
        assert await store.load(run) == []

    using(url, use)


@pytest.mark.parametrize("yields", range(6))
def test_a_call_that_has_brought_its_result_is_recorded_though_cancelled(sqlite_url: str, yields: int) -> None:
    """Cancelled at each of the first moments after the service has answered."""

    async def use(store: Store) -> None:
        run, log = await begin(store)
        answered = asyncio.Event()

        async def paid(key: str) -> CallResult:
            answered.set()
            return CallResult("worth money")

        task = asyncio.create_task(log.call("/a0", "model", None, paid))
        await answered.wait()
        for _ in range(yields):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await log.emit({"type": "behind it"})
        assert [one.value for one in await store.load(run)] == ["worth money"]

    using(sqlite_url, use)


def test_a_service_that_answers_when_cancelled_is_recorded(sqlite_url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        started = asyncio.Event()

        async def polite(key: str) -> CallResult:
            started.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return CallResult("cut short")
            raise AssertionError

        task = asyncio.create_task(log.call("/a0", "model", None, polite))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await log.emit({"type": "behind it"})
        assert [one.value for one in await store.load(run)] == ["cut short"]

    using(sqlite_url, use)


def test_events_are_numbered_without_gaps_in_the_order_of_emit(url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        futures = [log.emit({"type": "delta", "number": number}) for number in range(1500)]
        assert await asyncio.gather(*futures) == list(range(1500))
        log = await again(store, log)
        assert await log.emit({"type": "delta", "number": 1500}) == 1500
        await log.finish("finished")
        events = [event async for event in store.read_from(run)]
        assert [event["number"] for event in events] == list(range(1501))
        assert events[7] == {"type": "delta", "number": 7, "run": run, "seq": 7}
        assert [event["seq"] async for event in store.read_from(run, 1498)] == [1499, 1500]
        assert (await store.get_run(run)).events == 1501

    using(url, use)


def test_an_event_of_a_name_is_stored_once(url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        assert [await log.emit({"type": "started"}, once="/a0/started") for _ in range(2)] == [0, 0]
        log = await again(store, log)
        assert await log.emit({"type": "started"}, once="/a0/started") == 0
        assert await log.emit({"type": "started"}, once="/a1/started") == 1
        await log.finish("finished")
        assert len([event async for event in store.read_from(run)]) == 2

    using(url, use)


def test_an_entry_that_cannot_be_stored_fails_alone(url: str) -> None:
    """Text with half a surrogate pair is refused by both databases; the others are in the same batch."""

    async def use(store: Store) -> None:
        run, log = await begin(store)
        service = Service()
        results = await asyncio.gather(
            *(log.call(f"/a{number}", "bad \ud800" if number == 7 else "model", None, service) for number in range(20)),
            return_exceptions=True,
        )
        assert [number for number, one in enumerate(results) if isinstance(one, BaseException)] == [7]
        with pytest.raises(RunError, match="the journal cannot store this entry"):
            raise results[7]
        assert len(await store.load(run)) == 19
        assert await log.emit({"type": "still here"}) == 0

    using(url, use)


def test_a_stale_writer_is_fenced_out(url: str) -> None:
    async def use(store: Store) -> None:
        run, stale = await begin(store)
        await stale.emit({"type": "mine"})
        async with await open_store(url) as other:
            with pytest.raises(RunInUseError):
                await other.acquire(run)
            await expire(store, run)
            log = await other.acquire(run)
            assert log.epoch == stale.epoch + 1
            unmade = Service()
            with pytest.raises(StaleRunError, match="taken over by another process"):
                await stale.emit({"type": "late"})
            assert stale.stop.is_set()
            with pytest.raises(StaleRunError):
                await stale.call("/a0", "model", None, unmade)
            assert unmade.keys == []  # not even paid for
            with pytest.raises(StaleRunError):
                await stale.finish("failed")
            await log.emit({"type": "theirs"})
            await log.finish("finished")
        assert [event["type"] async for event in store.read_from(run)] == ["mine", "theirs"]

    using(url, use)


def test_a_call_in_flight_during_a_takeover_is_refused(url: str) -> None:
    async def use(store: Store) -> None:
        run, stale = await begin(store)
        go = asyncio.Event()

        async def slow(key: str) -> CallResult:
            await go.wait()
            return CallResult("late")

        task = asyncio.create_task(stale.call("/a0", "model", None, slow))
        await asyncio.sleep(0)
        async with await open_store(url) as other:
            await expire(store, run)
            log = await other.acquire(run)
            assert (await log.call("/a0", "model", None, Service()))["number"] == 1
            go.set()
            with pytest.raises(StaleRunError):
                await task
            assert [one.value["number"] for one in await other.load(run)] == [1]

    using(url, use)


def test_nothing_is_written_after_the_end(url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        await log.finish("finished")
        with pytest.raises(StaleRunError, match="is finished"):
            await log.emit({"type": "late"})
        with pytest.raises(InputError, match=f"run {run} is finished: there is nothing left to do"):
            await store.acquire(run)

    using(url, use)


def test_a_thousand_agents_call_at_once(url: str) -> None:
    async def use(store: Store) -> None:
        run, log = await begin(store)
        service = Service()

        async def agent(number: int) -> None:
            for step in range(3):
                await log.call(f"/a{number}", "model", {"step": step}, service)
                await log.emit({"type": "said", "agent": number, "step": step})

        await asyncio.gather(*(agent(number) for number in range(1000)))
        assert len(set(service.keys)) == 3000
        await log.finish("finished")
        events = [(event["agent"], event["step"]) async for event in store.read_from(run)]
        assert len(set(events)) == len(events) == 3000
        assert all(events.index((0, step)) < events.index((0, step + 1)) for step in range(2))

    using(url, use)


def test_pictures_are_stored_once_with_what_names_them(url: str) -> None:
    async def use(store: Store) -> None:
        picture = Blob("image/png", b"\x89PNG...")
        run = await store.create_run(question="?", request={"images": ["d0"]}, blobs={"d0": picture})
        log = await store.acquire(run)

        async def crop(key: str) -> CallResult:
            return CallResult({"image": "d1"}, blobs={"d0": picture, "d1": Blob("image/jpeg", b"JPEG")})

        await log.call("/a0", "crop", None, crop)
        await log.emit({"type": "image", "digest": "d1"}, blobs={"d1": Blob("image/jpeg", b"JPEG")})
        assert await store.blob("d0") == picture
        assert (await store.blob("d1")).data == b"JPEG"
        with pytest.raises(InputError, match="there is no picture d2"):
            await store.blob("d2")

    using(url, use)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_interleaving_and_any_interruption_give_the_same_answers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Agents in loops, each call depending on the one before, stopped and started again at random places."""
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4), label="calls of each agent")
    lives = data.draw(st.lists(st.integers(0, 8), max_size=3), label="calls before each interruption")
    waits = st.integers(0, 3)
    made: list[str] = []

    async def life(store: Store, run: str, most: int | None) -> list[int]:
        log = await store.acquire(run)
        left = asyncio.Semaphore(10_000 if most is None else most)

        async def agent(number: int) -> int:
            value = number
            for step in range(lengths[number]):

                async def do(key: str, step: int = step, value: int = value) -> CallResult:
                    await left.acquire()  # waits for ever when this life has made its calls
                    for _ in range(data.draw(waits)):
                        await asyncio.sleep(0)
                    made.append(key)
                    return CallResult(value * 10 + step)

                value = await log.call(f"/a{number}", "model", value, do)
                log.emit({"type": "said", "agent": number, "step": step}, once=f"/a{number}/{step}")
            return value

        tasks = [asyncio.create_task(agent(number)) for number in range(len(lengths))]
        done, unfinished = await asyncio.wait(tasks, timeout=None if most is None else 0.02)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        assert log.misses == []
        await log.finish("interrupted" if most is not None else "finished")
        return [task.result() for task in tasks if task in done]

    async def check() -> None:
        async with await open_store(f"sqlite:///{tmp_path_factory.mktemp('runs')}/polymnia.db") as store:
            run = await store.create_run(question="?")
            for most in lives:
                await life(store, run, most)
            answers = await life(store, run, None)
            expected = [int(f"{n}{''.join(map(str, range(length)))}") for n, length in enumerate(lengths)]
            assert answers == expected
            assert len(made) == len(set(made)) == sum(lengths), "each call was made once"
            events = [event async for event in store.read_from(run)]
            assert [event["seq"] for event in events] == list(range(sum(lengths)))
            assert await store.check_integrity() == []

    asyncio.run(check())


async def expire(store: Store, run: str) -> None:
    """As if the owner had not renewed its lease for a while."""
    from sqlalchemy import update

    from polymnia.store.schema import runs

    async with store._database.writing() as connection:
        await connection.execute(update(runs).where(runs.c.run == run).values(lease=0.0))
