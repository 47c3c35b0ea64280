"""The arithmetic behind nano's table, and that one lost run does not lose the benchmark."""

import asyncio
import importlib.util
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from polymnia.agents.agent import AgentError
from polymnia.agents.events import Event, RunFailed
from polymnia.agents.model import Usage
from polymnia.errors import RunError
from polymnia.tasks import FAMILIES, sample

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load() -> ModuleType:
    path = BENCHMARKS / "nano.py"
    spec = importlib.util.spec_from_file_location("benchmarks_nano", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nano = load()


def test_wilson_against_the_textbook() -> None:
    low, high = nano.wilson(50, 100)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)
    low, high = nano.wilson(0, 10)
    assert round(low, 6) == 0
    assert 0.2 < high < 0.35


def outcomes(passed: list[bool]) -> object:
    return nano.Outcomes(passed, [""] * len(passed), [1] * len(passed), [1] * len(passed))


def test_the_paired_interval_knows_that_the_problems_are_the_same() -> None:
    rng = random.Random(0)
    before = [rng.random() < 0.5 for _ in range(400)]
    assert nano.paired(outcomes(before), outcomes(before)) == (0, 0)
    after = [one or place % 10 == 0 for place, one in enumerate(before)]
    low, high = nano.paired(outcomes(before), outcomes(after))
    gain = 100 * (sum(after) - sum(before)) / 400
    assert 0 < low < gain < high < 10


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.95, 0.9, 0.75, 0.5, 0.1, 0.0, 0.0, 0.0], 2),
        ([0.75, 0.7, 0.5, 0.3, 0.1, 0.0, 0.0, 0.0], 1),
        ([0.99, 0.95, 0.9, 0.85, 0.3, 0.0, 0.0, 0.0], 3),
    ],
)
def test_middle_is_the_first_tier_solved_in_40_to_80_percent(rates: list[float], expected: int) -> None:
    assert nano._middle(rates) == expected


def ending(error: Exception) -> AsyncIterator[Event]:
    async def run() -> AsyncIterator[Event]:
        yield RunFailed(run="r", seq=0, time=0.0, error=str(error), usage=Usage(1, 2, 0), seconds=0.1)
        raise error

    return run()


def test_a_run_without_an_answer_is_a_failed_question() -> None:
    last = asyncio.run(nano._end(ending(AgentError("no answer after 12 steps"))))
    assert isinstance(last, RunFailed)


def test_a_broken_engine_ends_the_benchmark() -> None:
    with pytest.raises(RunError, match="engine stopped"):
        asyncio.run(nano._end(ending(RunError("The engine stopped"))))


def test_every_kind_of_base_question_has_hand_written_wordings_that_training_lacks() -> None:
    written = json.loads((BENCHMARKS / "wordings.json").read_text(encoding="utf-8"))
    assert list(written) == list(FAMILIES)
    for name, family in FAMILIES.items():
        for index in range(60):
            problem = sample(family, tier=0, split="test", seed=nano.TEST_SEED, index=index)
            text = nano._reworded(problem, written, index)
            assert "{" not in text
        known = {way.casefold() for ways in (family.wordings, family.follow_ups) for way in sum(ways.values(), ())}
        assert not known & {way.casefold() for ways in written[name].values() for way in ways}
