"""Ask nano about a picture that it has never seen, in Contemplating mode, and check the answer.

    python examples/ask_sample.py --seed 3

The picture is problem `seed` of the test split (training cannot have held it); the exit code is 1 when the
answer is wrong. It is also the shortest example of the library: `answer` yields events, a view shows them.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from polymnia.agents.events import RunFinished
from polymnia.agents.models import open_model
from polymnia.agents.run import answer
from polymnia.cli.view import open_view
from polymnia.errors import EndpointError, InputError, PolymniaError
from polymnia.tasks import FAMILIES, Problem, sample, verify

VISUAL = [family for family in FAMILIES.values() if family.visual]
SAMPLE_SEED = 1
"""Of the stream of problems; not the one that benchmarks/nano.py measures."""


async def ask(problem: Problem, model_name: str, agents: int, plain: bool) -> str:
    model = open_model(model_name)
    reply = ""
    try:
        with open_view(plain=plain, silent=False) as view:
            async for event in answer(problem.messages(), model=model, mode="contemplating", agents=agents):
                view.show(event)
                if isinstance(event, RunFinished):
                    reply = event.answer
    finally:
        await model.aclose()
    return reply


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask nano about a held-out picture.")
    parser.add_argument("--seed", type=int, default=0, help="which picture")
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--model", default="nano", help="nano, a checkpoint folder, or http://host:port/v1#name")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder that gets the picture")
    parser.add_argument("--plain", action="store_true", help="plain lines in place of the live view")
    arguments = parser.parse_args()

    family = VISUAL[arguments.seed % len(VISUAL)]
    problem = sample(family, tier=0, split="test", seed=SAMPLE_SEED, index=arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"Problem   {problem.id}")
    for place, image in enumerate(problem.images):
        picture = arguments.out / f"sample-{arguments.seed}-{place}.png"
        image.save(picture)
        print(f"Picture   {picture} ({image.width} x {image.height})")
    print(f"Question  {problem.question}")
    reply = asyncio.run(ask(problem, arguments.model, arguments.agents, arguments.plain))
    right = verify(problem, reply)
    print(f"Answer    {reply}  ({'right' if right else f'wrong: the truth is {problem.answer}'})")
    return 0 if right else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except PolymniaError as error:
        print(f"ask_sample: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError | EndpointError) else 1) from None
