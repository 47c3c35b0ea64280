"""Several streams read at the same time as one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")


async def merged(streams: Sequence[AsyncIterator[T]]) -> AsyncGenerator[T, None]:
    """Items as they come, in order within each stream. The first error ends all streams; so does closing."""
    items: asyncio.Queue[T | None] = asyncio.Queue()

    async def pump(stream: AsyncIterator[T]) -> None:
        async for item in stream:
            items.put_nowait(item)

    async def pump_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for stream in streams:
                    group.create_task(pump(stream))
        finally:
            items.put_nowait(None)

    pumping = asyncio.create_task(pump_all())
    try:
        while (item := await items.get()) is not None:
            yield item
        try:
            await pumping
        except ExceptionGroup as group:  # the streams do the same work: the first error speaks for all
            raise group.exceptions[0] from None
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])
