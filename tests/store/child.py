"""A process that works on a run, for tests that kill it: agents whose every call depends on the one before.

A repeated or mixed-up call changes the answer; what was really called is written down, line by line.
"""

import asyncio
import hashlib
import os
import random
import sys
from pathlib import Path

from polymnia.store import CallResult, StaleRunError, open_store

AGENTS = 6
STEPS = 8


def think(agent: int, step: int, before: str) -> str:
    return hashlib.sha256(f"{agent}/{step}/{before}".encode()).hexdigest()


def expected() -> list[str]:
    answers = []
    for agent in range(AGENTS):
        said = ""
        for step in range(STEPS):
            said = think(agent, step, said)
        answers.append(said)
    return answers


async def work(url: str, run: str, called: str, seconds: float) -> None:
    """Go on with the run to its end; each call takes up to `seconds`."""
    async with await open_store(url) as store:
        log = await store.acquire(run)
        out = os.open(called, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        async def agent(number: int) -> str:
            path = f"/a{number}"
            log.emit({"type": "agent_started", "agent": number}, once=f"{path}/started")
            said = ""
            for step in range(STEPS):

                async def do(key: str, step: int = step, said: str = said) -> CallResult:
                    os.write(out, f"{key}\n".encode())
                    await asyncio.sleep(random.uniform(0, seconds))
                    log.emit({"type": "delta", "agent": number, "step": step})
                    return CallResult(think(number, step, said), usage={"tokens": 1})

                said = await log.call(path, "model", {"step": step, "before": said}, do)
                log.emit({"type": "said", "agent": number, "step": step}, once=f"{path}/said/{step}")
            return said

        answers = await asyncio.gather(*(agent(number) for number in range(AGENTS)))
        await log.emit({"type": "run_finished", "answers": answers}, once="finished")
        await log.finish("finished")
        os.close(out)


def main(url: str, run: str, called: str, seconds: float) -> None:
    asyncio.run(work(url, run, called, seconds))


FENCED = 3
"""The exit code of a process that was refused because another one has its run."""


def hold(url: str, run: str, ready: str) -> None:
    """Acquire the run, say so in the file `ready`, and do nothing until asked to stop, or killed."""

    async def forever() -> None:
        async with await open_store(url) as store:
            log = await store.acquire(run)
            await log.emit({"type": "held"})
            await asyncio.to_thread(Path(ready).write_text, str(log.epoch))
            await log.stop.wait()
            await log.emit({"type": "run_cancelled"})
            await log.finish("cancelled")

    try:
        asyncio.run(forever())
    except StaleRunError:
        sys.exit(FENCED)


def write_events(url: str, run: str, count: int) -> None:
    async def write() -> None:
        async with await open_store(url) as store:
            log = await store.acquire(run)
            for number in range(count):
                await log.emit({"type": "delta", "number": number})
                await asyncio.sleep(0.002)
            await log.finish("finished")

    asyncio.run(write())


def open_and_close(url: str) -> None:
    async def once() -> None:
        async with await open_store(url):
            pass

    asyncio.run(once())
