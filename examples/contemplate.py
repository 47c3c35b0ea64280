"""Contemplating from Python: one question about a picture drawn here, asked twice.

    python examples/contemplate.py

First only for the answer, then as events with a deadline. In a notebook, `await` works as well as `result()`.
"""

from polymnia import contemplate
from polymnia.agents.budget import Limits
from polymnia.agents.events import AgentFinished, RunFinished
from polymnia.tasks import FAMILIES, sample

PROBLEM = sample(next(iter(FAMILIES.values())), tier=0, split="test", seed=1, index=0)


def only_the_answer() -> str:
    return contemplate(PROBLEM.question, images=[PROBLEM.images[0]], level="quick").result().answer


async def every_event() -> None:
    async for event in contemplate(PROBLEM.question, images=[PROBLEM.images[0]], limits=Limits(seconds=30)):
        match event:
            case AgentFinished():
                print(f"Agent {(event.agent or 0) + 1} answers {event.answer}")
            case RunFinished():
                print(f"Answer    {event.answer}  ({event.reason}, {event.usage.total_tokens} tokens)")


if __name__ == "__main__":
    import asyncio

    print(f"Question  {PROBLEM.question}")
    print(f"Answer    {only_the_answer()}  (the truth is {PROBLEM.answer})")
    asyncio.run(every_event())
