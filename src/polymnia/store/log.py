"""One run's journal in the hands of the process that works on it: `call`, `emit`, `load`, `finish`.

A call that has finished once is never made again: replayed with the same path, ordinal and arguments it
gives what was recorded. Calls are at least once (one that was in flight when the process died is repeated);
`key` is the same each time. Whatever crosses agents (who finished first, clock, random numbers) must itself
be a `call`, or a replay takes another way.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polymnia.store.writer import Blob, Entry, Hold, State, Writer


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call brought. `value` and `usage` are JSON values; `blobs` the pictures that they name, by digest."""

    value: Any
    usage: Any = None
    blobs: Mapping[str, Blob] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A finished call as it stands in the journal."""

    path: str
    ordinal: int
    """0-based, within the path."""
    name: str
    arguments_hash: str
    value: Any
    usage: Any
    finished: float


@dataclass(frozen=True, slots=True)
class Miss:
    """A replay that went another way: something else was recorded at this place, so the call is made again."""

    path: str
    ordinal: int
    name: str
    recorded: tuple[str, ...]
    """The names of what was recorded here, under other arguments or names."""


Do = Callable[[str], Awaitable[CallResult]]
"""Makes the call; gets its key, for services that know idempotency keys."""
OnMiss = Callable[[Miss], None]


class RunLog:
    """What `Store.acquire` gives. Paths name agents ("/a17"); calls on one path start one after the other."""

    def __init__(
        self,
        hold: Hold,
        writer: Writer,
        recorded: Iterable[Call],
        emitted: Mapping[str, int],
        deadline: float | None,
        on_miss: OnMiss | None,
    ) -> None:
        self.run = hold.run
        self.epoch = hold.epoch
        self.deadline = deadline
        """Seconds since 1970; it is the same after a restart."""
        self.misses: list[Miss] = []
        self._hold = hold
        self._writer = writer
        self._on_miss = on_miss
        self._ordinals: dict[str, int] = {}
        self._recorded: dict[tuple[str, int], list[Call]] = {}
        for one in recorded:
            self._recorded.setdefault((one.path, one.ordinal), []).append(one)
        self._emitted: dict[str, asyncio.Future[int]] = {once: _done(seq) for once, seq in emitted.items()}

    @property
    def stop(self) -> asyncio.Event:
        """Set when work must end here: the run is to be cancelled, was taken over, or cannot be written."""
        return self._hold.stop

    def load(self) -> list[Call]:
        """The calls that were finished when the run was acquired, by path and ordinal."""
        return [one for place in sorted(self._recorded) for one in self._recorded[place]]

    async def call(self, path: str, name: str, arguments: Any, do: Do) -> Any:
        """The recorded value if this call has finished before, else that of `do`, once it is stored.

        `arguments`: any JSON value. What `do` raises is raised and not recorded. A call that is cancelled after
        it has brought its result is recorded all the same. Raises `StaleRunError` and `StorageError`.
        """
        ordinal = self._ordinals.get(path, 0)
        self._ordinals[path] = ordinal + 1
        digest = hashlib.sha256(_canonical(arguments).encode()).hexdigest()
        others = self._recorded.get((path, ordinal), [])
        for one in others:
            if (one.name, one.arguments_hash) == (name, digest):
                return one.value
        self._check()
        if others:
            self._missed(Miss(path, ordinal, name, tuple(one.name for one in others)))
        place = {"path": path, "ordinal": ordinal, "name": name, "arguments_hash": digest}

        def record(result: CallResult) -> tuple[str, asyncio.Future[int]]:
            value = json.dumps(result.value)
            row = {**place, "result": value, "usage": json.dumps(result.usage)}
            return value, self._writer.submit(Entry(self._hold, call=row, blobs=result.blobs))

        work = asyncio.ensure_future(do(f"{self.run}{path}/{name}.{ordinal}#{digest[:16]}"))
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            if not work.cancelled() and work.exception() is None:
                record(work.result())
            raise
        value, stored = record(work.result())
        await asyncio.shield(stored)
        return json.loads(value)  # what a replay will see

    def emit(
        self, event: Mapping[str, Any], *, once: str | None = None, blobs: Mapping[str, Blob] | None = None
    ) -> "asyncio.Future[int]":
        """Store an event (a JSON object) and tell the readers; the future is its `seq`, done after the commit.

        Queued at once, so that events keep the order of these calls even if nobody waits. `once`: a name for
        the event; a second one of that name (a replay's) is not stored, and gets the first one's `seq`.
        """
        known = self._emitted.get(once) if once is not None else None
        if known is not None and not (known.done() and known.exception()):
            return known
        done = self._writer.submit(Entry(self._hold, event=dict(event), once=once, blobs=dict(blobs or {})))
        if once is not None:
            self._emitted[once] = done
        return done

    async def finish(self, state: State) -> None:
        """End the work here: `interrupted` can be acquired again, the other states are final."""
        await asyncio.shield(self._writer.submit(Entry(self._hold, state=state)))

    def _check(self) -> None:
        if self._hold.error is not None:
            raise self._hold.error

    def _missed(self, miss: Miss) -> None:
        self.misses.append(miss)
        if self._on_miss is not None:
            self._on_miss(miss)


def _canonical(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"))


def _done(seq: int) -> "asyncio.Future[int]":
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    done.set_result(seq)
    return done
