"""The pool: nothing is spent beyond it, whatever the calls do."""

import asyncio
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agents.scripted import ScriptedModel, Turn
from polymnia.agents.budget import LEAST_ROOM, Budget, BudgetError, Limits, Prices, prompt_bound
from polymnia.agents.events import Resource
from polymnia.agents.model import Sampling, Usage
from polymnia.agents.prompted import conversation
from polymnia.data.chat import Message, ToolCall, message
from polymnia.errors import InputError
from polymnia.tools import default_tools

QUESTION = [message("user", "How many?")]
PRICES = Prices(prompt=2.0, completion=10.0)


class Priced(ScriptedModel):
    """Costs 2 dollars a million tokens read and 10 a million written."""

    prices = PRICES


CALLS = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans(), st.none() | st.integers(1, 2_000)), max_size=12
)


@settings(deadline=None)
@given(calls=CALLS, tokens=st.integers(1, 5_000), cents=st.none() | st.floats(0.01, 5), together=st.integers(1, 4))
def test_tokens_and_money_are_never_exceeded(
    calls: list[tuple[float, float, bool, int | None]], tokens: int, cents: float | None, together: int
) -> None:
    """Calls use any part of what they were granted, some are cut off, several go on at a time."""
    limits = Limits(tokens=tokens, cost=cents and cents / 100)
    model = Priced(lambda *_: Turn("7"))
    bound = prompt_bound(QUESTION, ())

    async def spend() -> Budget:
        budget = Budget(limits, started=0.0)
        budget.waiting = together
        places = asyncio.Semaphore(together)

        async def one(read: float, written: float, cut: bool, most: int | None) -> None:
            async with places:
                try:
                    reserved = await budget.reserve(model, QUESTION, (), Sampling(max_tokens=most))
                except BudgetError:
                    return
                assert reserved.max_tokens is not None
                assert most is None or reserved.max_tokens <= most
                await asyncio.sleep(0)
                used = int(written * reserved.max_tokens)
                if cut:
                    budget.cancel(reserved, model, "x" * used)
                else:
                    budget.settle(reserved, model, Usage(int(read * bound), used), 0.1)

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(one(*call))
        return budget

    budget = asyncio.run(spend())
    budget.check_integrity()
    assert budget.tokens <= tokens
    assert limits.cost is None or budget.cost <= limits.cost + 1e-12


def test_what_is_held_back_is_for_the_aggregation() -> None:
    async def spend() -> None:
        budget = Budget(Limits(tokens=2_000), started=0.0)
        budget.waiting = 1
        model = ScriptedModel.saying("7")
        first = await budget.reserve(model, QUESTION, (), Sampling())
        budget.settle(first, model, Usage(200, 1_450))
        with pytest.raises(BudgetError, match="too little is left of the budget of 2000 tokens"):
            await budget.reserve(model, QUESTION, (), Sampling())
        assert budget.refused == "tokens"
        last = await budget.reserve(model, QUESTION, (), Sampling(), from_held_back=True)
        assert last.max_tokens is not None
        assert last.max_tokens >= LEAST_ROOM

    asyncio.run(spend())


def test_a_call_waits_for_what_others_give_back() -> None:
    async def spend() -> None:
        budget = Budget(Limits(tokens=1_000), started=0.0)
        budget.waiting = 1
        model = ScriptedModel.saying("7")
        first = await budget.reserve(model, QUESTION, (), Sampling())
        second = asyncio.create_task(budget.reserve(model, QUESTION, (), Sampling()))
        await asyncio.sleep(0.01)
        assert not second.done()
        budget.settle(first, model, Usage(20, 5))
        assert (await second).max_tokens is not None

    asyncio.run(spend())


def test_one_warning_a_resource_at_eighty_percent() -> None:
    warned: list[tuple[Resource, float, float]] = []

    async def spend() -> None:
        limits = Limits(tokens=1_000_000, tool_calls=5, agents=1, seconds=1_000)
        started = asyncio.get_running_loop().time()
        budget = Budget(limits, started=started, warn=lambda *what: warned.append(what))
        assert [budget.take_tool_call() for _ in range(6)] == [True] * 5 + [False]
        assert budget.closing
        assert [budget.start_agent() for _ in range(2)] == [True, False]

    asyncio.run(spend())
    assert warned == [("tool_calls", 4, 5), ("agents", 1, 1)]


def test_calls_are_shorter_once_agents_are_told_to_submit() -> None:
    async def spend() -> list[int | None]:
        loop = asyncio.get_running_loop()
        model = ScriptedModel.saying("7")
        granted = []
        for gone in (0.0, 90.0):
            budget = Budget(Limits(seconds=100), started=loop.time() - gone)
            call = await budget.reserve(model, QUESTION, (), Sampling(max_tokens=10_000))
            budget.settle(call, model, Usage(20, 500), seconds=50)
            again = await budget.reserve(model, QUESTION, (), Sampling(max_tokens=10_000))
            granted += [call.max_tokens, again.max_tokens]
        return granted

    first, second, hurried, at_known_pace = asyncio.run(spend())
    assert (first, second, hurried) == (10_000, 10_000, 512)
    assert at_known_pace is not None
    assert 95 <= at_known_pace <= 100  # ten tokens a second, ten seconds left


def test_a_prompts_bound_counts_all_that_is_sent() -> None:
    tools = default_tools().specs
    plain = prompt_bound(QUESTION, ())
    assert plain > len("How many?")
    assert prompt_bound(QUESTION, tools) > plain + sum(len(one.description) for one in tools)
    assert prompt_bound([message("user", Image.new("RGB", (1000, 1000)), "How many?")], ()) > plain + 3_000
    assert prompt_bound([message("user", "\N{GREEK SMALL LETTER ALPHA}" * 100)], ()) >= 200


TEXTS = st.text(max_size=40)
TURNS = st.lists(
    st.builds(
        lambda text, code, result: [
            message("assistant", text, tool_calls=(ToolCall("c", "python", json.dumps({"code": code})),)),
            message("tool", result, tool_call_id="c", name="python"),
        ],
        TEXTS,
        TEXTS,
        TEXTS,
    ),
    max_size=5,
)


@given(question=TEXTS, turns=TURNS)
def test_the_bound_holds_where_tools_are_told_in_plain_text(question: str, turns: list[list[Message]]) -> None:
    tools = default_tools().specs
    history = [message("user", question), *(one for turn in turns for one in turn)]
    sent = conversation(history, tools)
    assert sum(len(one.text.encode(errors="replace")) + 8 for one in sent) <= prompt_bound(history, tools)


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"seconds": math.nan}, {"tokens": 0}, {"cost": -1}, {"agents": 0}, {"tool_calls": -1}]
)
def test_a_budget_of_nothing_is_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name} allows nothing"):
        Limits(**wrong)  # type: ignore[arg-type]
