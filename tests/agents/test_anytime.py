"""With a deadline or a budget the best answer so far comes back in time, with the reason; or a clear failure."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.endpoint import Endpoint, Json, chunk, says, serving, stream
from agents.scripted import Asked, ScriptedModel, Turn, tool_call
from agents.test_run import QUESTION, finished, happen, of
from polymnia.agents import events
from polymnia.agents.budget import LEAST_ROOM, Limits, Prices, prompt_bound
from polymnia.agents.events import Event
from polymnia.agents.models import open_model
from polymnia.agents.run import answer
from polymnia.agents.team import TeamConfig
from polymnia.data.chat import message
from polymnia.errors import InputError, RunError

VOTE = TeamConfig(rounds=1, aggregate=False)
TEXT = [message("user", "How many?")]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as one:
        yield one


def gather(endpoint: Endpoint, **settings: Any) -> tuple[list[Event], float]:
    """The events of a run on the endpoint until its end, which may be an error, and its seconds."""
    happened: list[Event] = []

    async def collect() -> float:
        model = open_model(f"{endpoint.url}#m")
        start = time.monotonic()
        try:
            with suppress(RunError):
                async for event in answer(TEXT, model=model, **settings):
                    happened.append(event)
        finally:
            seconds = time.monotonic() - start
            await model.aclose()
        await nothing_left()
        return seconds

    return happened, asyncio.run(collect())


async def nothing_left() -> None:
    """No task but this one, after the loop had its turn to close generators that an HTTP client has dropped."""
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) == 1


# --- the deadline


def test_an_endpoint_that_hangs_does_not_hold_up_the_answer(endpoint: Endpoint) -> None:
    """One agent of four has answered; the others' streams are closed at the deadline."""
    endpoint.reply = lambda body, number: (
        stream(says("7")) if number == 1 else endpoint.hanging(chunk({"content": "I"}))
    )
    happened, seconds = gather(endpoint, level="quick", limits=Limits(seconds=1))
    done = finished(happened)
    assert (done.answer, done.reason) == ("7", "deadline")
    assert seconds < 1 + 1
    assert endpoint.hung_up.wait(2)
    (warning,) = of(events.BudgetWarning, happened)
    assert warning.resource == "seconds"
    assert 0.8 <= warning.spent < 1
    assert len(of(events.AgentCancelled, happened)) == 3


def test_without_any_word_the_run_fails_in_time_and_says_why(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: endpoint.hanging()
    happened, seconds = gather(endpoint, limits=Limits(seconds=0.5))
    (failed,) = of(events.RunFailed, happened)
    assert failed.error == "no agent had an answer after 0.5 s: allow more time"
    assert seconds < 0.5 + 1


def test_a_text_that_was_cut_off_counts_if_it_states_an_answer() -> None:
    cut = [Turn("The answer is 7", hangs=True), Turn("Well, 8 or", hangs=True), Turn("", hangs=True)]
    done = finished(happen(ScriptedModel.saying(*cut), team=VOTE, agents=3, limits=Limits(seconds=0.2)))
    assert (done.answer, done.reason) == ("The answer is 7", "deadline")
    assert [side.agents for side in done.votes] == [(0,)]


def test_any_text_is_better_than_none() -> None:
    cut = [Turn("", hangs=True), Turn("Well, 8 or", hangs=True)]
    done = finished(happen(ScriptedModel.saying(*cut), team=VOTE, agents=2, limits=Limits(seconds=0.2)))
    assert (done.answer, done.winner) == ("Well, 8 or", 1)


def test_a_refinement_that_hangs_leaves_the_drafts() -> None:
    model = ScriptedModel(lambda number, _: Turn(str(number), hangs=number >= 8))
    happened = happen(model, team=TeamConfig(aggregate=False), limits=Limits(seconds=0.3))
    done = finished(happened)
    assert (done.reason, done.answer) == ("deadline", "0")
    assert sum(len(side.agents) for side in done.votes) == 8


def test_the_final_agent_gets_the_last_part_of_the_time() -> None:
    def script(number: int, asked: Asked) -> Turn:
        if "give the final answer" in asked.messages[-1].text:
            return Turn("together")
        return Turn(str(number), hangs=number >= 4)

    happened = happen(ScriptedModel(script), level="normal", limits=Limits(seconds=0.6))
    done = finished(happened)
    assert (done.answer, done.reason) == ("together", "deadline")
    assert done.seconds < 0.6 + 1


def test_a_final_agent_that_hangs_leaves_it_to_the_vote() -> None:
    model = ScriptedModel(lambda number, _: Turn(str(number % 3), hangs=number >= 4))
    done = finished(happen(model, level="quick", limits=Limits(seconds=0.3)))
    assert (done.answer, done.reason) == ("0", "deadline")


def test_late_agents_are_told_to_submit_and_get_no_more_tools() -> None:
    compute = tool_call("python", '{"code": "3+4"}')
    model = ScriptedModel(lambda number, asked: Turn("7") if not asked.tools else Turn(calls=(compute,), seconds=0.05))
    done = finished(happen(model, mode="thinking", max_steps=100, limits=Limits(seconds=1)))
    assert done.answer == "7"
    told = model.asked[-1]
    assert told.messages[-1].role == "tool"
    assert told.messages[-1].text.endswith("Time is almost up. Give your final answer now.")
    assert told.sampling.max_tokens is not None
    assert all("Time is almost up" not in one.text for asked in model.asked[:-1] for one in asked.messages)


@settings(max_examples=8, deadline=None)
@given(waits=st.lists(st.sampled_from([0.0, 0.05, 0.3, 9.0]), min_size=1, max_size=8), words=st.booleans())
def test_it_is_on_time_whatever_the_agents_do(waits: list[float], words: bool) -> None:
    def script(number: int, asked: Asked) -> Turn:
        wait = waits[number % len(waits)]
        return Turn("7" if words else str(number), seconds=wait)

    model = ScriptedModel(script)
    start = time.monotonic()
    run = partial(happen, model, level="deep", limits=Limits(seconds=0.25))
    if min(waits[:4]) > 0.25:
        with pytest.raises(RunError, match="allow more time"):
            run()
    else:
        assert finished(run()).answer
    assert time.monotonic() - start < 1.25
    assert model.running == 0


# --- tokens, tool calls, agents, money


class Priced(ScriptedModel):
    prices = Prices(prompt=1.0, completion=4.0)


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(100, 6_000), used=st.integers(1, 400), seed=st.integers(0, 9))
def test_a_token_budget_is_kept_and_still_gives_an_answer(tokens: int, used: int, seed: int) -> None:
    def script(number: int, asked: Asked) -> Turn:
        assert asked.sampling.max_tokens is not None
        return Turn(str((number * 7 + seed) % 5), tokens=min(used, asked.sampling.max_tokens))

    model = ScriptedModel(script)
    run = partial(happen, model, TEXT, level="deep", tools=(), limits=Limits(tokens=tokens))
    if tokens < prompt_bound(TEXT, ()) + LEAST_ROOM:
        with pytest.raises(RunError, match="too little is left of the budget"):
            run()
        assert not model.asked
        return
    done = finished(run())
    assert done.usage.total_tokens <= tokens
    assert done.answer
    assert done.reason in ("budget", "rounds", "consensus")


def test_a_budget_that_ends_is_the_reason() -> None:
    model = ScriptedModel(lambda number, _: Turn(str(number), tokens=200))
    happened = happen(model, TEXT, team=VOTE, tools=(), limits=Limits(tokens=2_000))
    done = finished(happened)
    assert done.reason == "budget"
    assert done.usage.total_tokens <= 2_000
    assert [one.resource for one in of(events.BudgetWarning, happened)] == ["tokens"]
    assert len(model.asked) < 8


def test_money_is_counted_and_kept() -> None:
    model = Priced(lambda number, _: Turn(str(number), tokens=100))
    done = finished(happen(model, TEXT, team=VOTE, agents=4, tools=()))
    assert done.cost == pytest.approx(4 * (100 * 1 + 100 * 4) / 1e6)
    poor = Priced(lambda number, _: Turn(str(number), tokens=100))
    done = finished(happen(poor, TEXT, team=VOTE, tools=(), limits=Limits(cost=0.002)))
    assert done.cost is not None
    assert done.cost <= 0.002
    assert done.reason == "budget"
    assert finished(happen(ScriptedModel.saying("7"), level="quick")).cost is None


def test_a_limit_in_dollars_needs_prices() -> None:
    with pytest.raises(InputError, match="nobody knows what scripted costs"):
        happen(ScriptedModel.saying("7"), limits=Limits(cost=1))


def test_tool_calls_beyond_the_budget_are_refused_to_the_model() -> None:
    compute = tool_call("python", '{"code": "3+4"}')
    model = ScriptedModel.saying(Turn(calls=(compute, compute, compute)), "7")
    happened = happen(model, mode="thinking", limits=Limits(tool_calls=2))
    assert [one.failed for one in of(events.ToolResult, happened)] == [False, False, True]
    assert "no more tool calls; answer now" in of(events.ToolResult, happened)[-1].text
    assert model.asked[1].tools == ()
    assert finished(happened).tool_calls == 2


def test_no_more_agents_start_than_allowed() -> None:
    model = ScriptedModel(lambda number, _: Turn(str(number)))
    happened = happen(model, level="deep", limits=Limits(agents=5))
    assert len(of(events.AgentStarted, happened)) == 5
    assert finished(happened).reason == "budget"


# --- cancelling, at any moment


@settings(max_examples=15, deadline=None)
@given(after=st.integers(0, 60))
def test_closing_after_any_event_leaves_no_task(after: int) -> None:
    compute = tool_call("python", '{"code": "3+4"}')

    def script(number: int, asked: Asked) -> Turn:
        if number % 3 == 0 and asked.tools:
            return Turn(calls=(compute,))
        return Turn(f"some words about {number}", seconds=0.001)

    model = ScriptedModel(script)

    async def leave() -> None:
        seen = 0
        async with aclosing(answer(QUESTION, model=model, level="normal")) as happened:
            async for _ in happened:
                seen += 1
                if seen > after:
                    break
        assert model.running == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(leave())


def test_requests_of_every_role_end_with_the_run(endpoint: Endpoint) -> None:
    """Here in the refinement: its streams hang when the reader leaves."""

    def reply(body: Json, number: int) -> Any:
        refining = "give your own answer" in json_text(body)
        return endpoint.hanging(chunk({"content": "I"})) if refining else stream(says(str(number)))

    endpoint.reply = reply

    async def leave() -> None:
        model = open_model(f"{endpoint.url}#m")
        async with aclosing(answer(TEXT, model=model, level="normal")) as happened:
            async for event in happened:
                if event.type == "text_delta" and event.round == 2:
                    break
        await model.aclose()
        await nothing_left()

    asyncio.run(leave())
    assert endpoint.hung_up.wait(2)


def json_text(body: Json) -> str:
    return str(body["messages"][-1]["content"])
