"""`answer`: waves, early stop, votes, failures, cancellation. The model is scripted, all else is real."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from agents.scripted import Asked, ScriptedModel, Turn, tool_call
from polymnia.agents import events
from polymnia.agents.contemplate import with_strategy
from polymnia.agents.events import Event, RunFinished
from polymnia.agents.run import answer, outcome
from polymnia.agents.team import TeamConfig
from polymnia.data.chat import Message, message
from polymnia.data.strategies import STRATEGIES
from polymnia.errors import EndpointError, InputError, RunError
from polymnia.tools import default_tools, measure

VOTE = TeamConfig(rounds=1, aggregate=False)
"""Only waves and a vote."""
QUESTION = [message("user", Image.new("RGB", (8, 8)), "How many?")]


def happen(model: ScriptedModel, messages: Sequence[Message] = QUESTION, **settings: Any) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in answer(messages, model=model, **settings)]

    return asyncio.run(collect())


def finished(happened: list[Event]) -> RunFinished:
    last = happened[-1]
    assert isinstance(last, RunFinished)
    assert [event.seq for event in happened] == list(range(len(happened)))
    assert len({event.run for event in happened}) == 1
    return last


def of(kind: type[Event], happened: list[Event]) -> list[Any]:
    return [event for event in happened if isinstance(event, kind)]


# --- one agent


def test_thinking_is_one_agent() -> None:
    happened = happen(ScriptedModel.saying(Turn("7", reasoning="hm")), mode="thinking")
    assert [event.type for event in happened] == [
        "run_started",
        "image",
        "round_started",
        "agent_started",
        "reasoning_delta",
        "reasoning_delta",
        "text_delta",
        "usage",
        "agent_finished",
        "round_finished",
        "answer_delta",
        "run_finished",
    ]
    done = finished(happened)
    assert (done.answer, done.reason, done.winner) == ("7", "rounds", 0)
    assert (done.usage.completion_tokens, done.critical_path_tokens) == (10, 10)


@pytest.mark.parametrize(
    ("mode", "effort"), [("instant", "minimal"), ("thinking", "medium"), ("contemplating", "medium")]
)
def test_the_mode_decides_the_effort_unless_told(mode: Any, effort: str) -> None:
    model = ScriptedModel.saying("7")
    happen(model, mode=mode)
    happen(model, mode=mode, effort="high")
    assert model.asked[0].sampling.effort == effort
    assert model.asked[-1].sampling.effort == "high"
    assert [spec.name for spec in model.asked[0].tools] == ["crop", "mark", "measure", "rotate", "python"]


class Warm(ScriptedModel):
    def default_temperature(self, *, parallel: bool) -> float | None:
        return 0.9 if parallel else None


def test_the_temperature_is_greedy_for_one_warm_for_many_and_the_models_or_the_callers_if_told() -> None:
    model, warm = ScriptedModel.saying("7"), Warm(lambda *_: Turn("7"))
    for mode in ("thinking", "contemplating"):
        for one in (model, warm):
            happen(one, mode=mode, agents=1)
        happen(warm, mode=mode, agents=1, temperature=0.3)
    assert [asked.sampling.temperature for asked in model.asked] == [0.0, 0.7]
    assert [asked.sampling.temperature for asked in warm.asked] == [None, 0.3, 0.9, 0.3]


# --- many agents


def test_four_that_agree_are_enough() -> None:
    model = ScriptedModel.saying("7")
    happened = happen(model, agents=8)
    assert len(model.asked) == 4
    assert model.most == 4  # at the same time
    done = finished(happened)
    assert (done.answer, done.reason) == ("7", "consensus")
    (consensus,) = of(events.Consensus, happened)
    assert (consensus.count, consensus.second, consensus.posterior) == (4, 0, 31 / 32)
    assert not of(events.Disagreement, happened)


def test_three_to_one_is_not_and_six_to_one_is() -> None:
    # The last agent of the second wave is slow: 6-1 settles the vote before it ends.
    turns: list[Turn | str] = ["7", "8", "7", "7", "7", "7", "7", Turn("7", hangs=True)]
    model = ScriptedModel.saying(*turns)
    happened = happen(model, agents=8)
    assert len(model.asked) == 8
    assert model.cancelled == 1
    (consensus,) = of(events.Consensus, happened)
    assert (consensus.count, consensus.second) == (6, 1)
    assert [event.agent for event in of(events.AgentCancelled, happened)] == [7]
    done = finished(happened)
    assert (done.reason, done.answer, done.winner) == ("consensus", "7", 0)
    assert done.critical_path_tokens == 20  # two waves of 10
    assert done.usage.completion_tokens == 70


def test_waves_grow_four_eight_sixteen_and_end_at_the_number_asked_for() -> None:
    model = ScriptedModel(lambda number, _: Turn(str(number)))
    happened = happen(model, team=replace(VOTE, agents=11))
    waves = [event.wave for event in of(events.AgentStarted, happened)]
    assert waves == [1] * 4 + [2] * 4 + [3] * 3
    assert model.most == 4
    done = finished(happened)
    assert (done.reason, done.answer, done.critical_path_tokens) == ("rounds", "0", 30)
    assert of(events.RoundFinished, happened)[0].distinct == 11


def test_three_agents_cannot_be_a_consensus() -> None:
    assert finished(happen(ScriptedModel.saying("7"), agents=3)).reason == "rounds"


def test_who_differs_is_told() -> None:
    happened = happen(ScriptedModel.saying("8", "7", "7", "7.0"), level="quick")
    (event,) = of(events.Disagreement, happened)
    assert event.claim == "How many?"
    assert [(one.answer, one.agents, one.weight) for one in event.sides] == [("7", (1, 2, 3), 3.0), ("8", (0,), 1.0)]
    assert event.images == tuple(one.digest for one in of(events.ImageShown, happened))
    assert finished(happened).votes == event.sides


def test_votes_weigh_what_the_model_thinks_of_them() -> None:
    sure, unsure = math.log(0.9), math.log(0.2)
    turns = [Turn("3", logprob=unsure), Turn("5", logprob=sure), Turn("3", logprob=unsure), Turn("4", logprob=unsure)]
    done = finished(happen(ScriptedModel.saying(*turns), team=replace(VOTE, agents=4)))
    assert (done.answer, done.winner) == ("5", 1)


def test_each_agent_has_its_own_seed_and_strategy() -> None:
    model = ScriptedModel(lambda number, _: Turn(str(number)))
    happen(model, team=replace(VOTE, agents=6), seed=3)
    assert len({asked.sampling.seed for asked in model.asked}) == 6
    systems = [asked.messages[0].text if asked.messages[0].role == "system" else "" for asked in model.asked]
    assert systems == [STRATEGIES[agent % len(STRATEGIES)] for agent in range(6)]
    again = ScriptedModel(lambda number, _: Turn(str(number)))
    happen(again, team=replace(VOTE, agents=6), seed=3)
    assert [one.sampling for one in again.asked] == [one.sampling for one in model.asked]


def test_the_strategy_joins_a_system_message() -> None:
    with_system = [message("system", "Be brief."), *QUESTION]
    assert with_strategy(with_system, "")[0].text == "Be brief."
    assert with_strategy(with_system, "Look twice.")[0].text == "Be brief.\n\nLook twice."
    assert [one.role for one in with_strategy(QUESTION, "Look twice.")] == ["system", "user"]


# --- failures


def test_an_agent_that_fails_takes_nobody_along() -> None:
    happened = happen(ScriptedModel.saying("7", Turn(error=EndpointError("gone")), "7", Turn("")), level="quick")
    assert finished(happened).answer == "7"
    failed = {event.agent: event.error for event in of(events.AgentFailed, happened)}
    assert failed == {1: "gone", 3: "no answer: the model's turn was empty"}


def test_a_bug_in_one_agent_is_told_and_takes_nobody_along(caplog: pytest.LogCaptureFixture) -> None:
    happened = happen(ScriptedModel.saying("7", Turn(error=KeyError("x")), "7", "7"), level="quick")
    assert finished(happened).answer == "7"
    assert [event.error for event in of(events.AgentFailed, happened)] == [
        "internal error (KeyError); the log says why"
    ]
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("error", "kind"),
    [(EndpointError("gone"), EndpointError), (InputError("too long"), InputError), (KeyError("secret"), RunError)],
)
def test_a_run_fails_when_all_agents_do_and_starts_no_second_wave(error: Exception, kind: type[Exception]) -> None:
    model = ScriptedModel.saying(Turn(error=error))
    happened: list[Event] = []

    async def collect() -> None:
        async for event in answer(QUESTION, model=model, agents=8):
            happened.append(event)

    said = "KeyError" if isinstance(error, KeyError) else str(error.args[0])
    with pytest.raises(kind, match=said) as raised:
        asyncio.run(collect())
    assert "secret" not in str(raised.value)  # what a bug says goes to the log, not to a client
    assert len(model.asked) == 4
    assert happened[-1].type == "run_failed"


def test_a_surer_run_asks_on_where_four_would_do() -> None:
    """The deep level's 0.99 wants 6-0; 4-0 is enough for 0.95."""
    for sure, asked in ((0.95, 4), (0.99, 8)):
        model = ScriptedModel.saying("7")
        happened: list[Event] = []

        async def collect(model: ScriptedModel = model, sure: float = sure, found: list[Event] = happened) -> None:
            found.extend([event async for event in answer(QUESTION, model=model, team=replace(VOTE, sure=sure))])

        asyncio.run(collect())
        assert len(model.asked) == asked
        assert finished(happened).reason == "consensus"


# --- cancelling


def hanging() -> ScriptedModel:
    return ScriptedModel.saying(Turn("thinking about it", hangs=True))


def test_closing_the_iterator_ends_every_agent_at_once() -> None:
    model = hanging()

    async def close_early() -> float:
        loop = asyncio.get_running_loop()
        async with aclosing(answer(QUESTION, model=model, agents=8)) as happened:
            async for event in happened:
                if event.type == "text_delta":
                    break
            start = loop.time()
        assert model.running == 0
        assert len(asyncio.all_tasks()) == 1
        return loop.time() - start

    assert asyncio.run(close_early()) < 2
    assert model.cancelled == 4


def test_closing_before_anything_began_leaves_nothing_behind() -> None:
    model = hanging()

    async def close_at_once() -> None:
        happened = answer(QUESTION, model=model, agents=8)
        assert (await anext(happened)).type == "run_started"
        await happened.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(close_at_once())
    assert model.running == 0


def test_cancelling_the_task_that_reads_ends_every_agent() -> None:
    model = hanging()

    async def cancel_reader() -> None:
        reader = asyncio.create_task(outcome(answer(QUESTION, model=model, agents=8)))
        await asyncio.sleep(0.05)
        assert model.running == 4
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert model.running == 0

    asyncio.run(cancel_reader())


def test_the_cancel_event_ends_the_run_with_an_event() -> None:
    model = hanging()

    async def cancel_soon() -> list[Event]:
        cancel = asyncio.Event()
        happened = []
        async for event in answer(QUESTION, model=model, agents=8, cancel=cancel):
            happened.append(event)
            if event.type == "text_delta":
                cancel.set()
        return happened

    happened = asyncio.run(cancel_soon())
    assert happened[-1].type == "run_cancelled"
    assert len(of(events.AgentCancelled, happened)) == 4
    assert model.running == 0


def test_cancelling_kills_running_tools() -> None:
    endless = tool_call("python", '{"code": "while True: pass"}', "a")
    model = ScriptedModel.saying(Turn(calls=(endless,)))

    async def close_in_tool() -> float:
        loop = asyncio.get_running_loop()
        async with aclosing(answer(QUESTION, model=model, mode="thinking")) as happened:
            async for event in happened:
                if event.type == "tool_call":
                    break
            await asyncio.sleep(0.1)
            start = loop.time()
        return loop.time() - start

    assert asyncio.run(close_in_tool()) < 1.5


# --- bad input


@pytest.mark.parametrize(
    ("messages", "settings", "part"),
    [
        ([], {}, "there is no message"),
        ([message("user", "  ")], {}, "the question is empty"),
        ([message("user", Image.new("RGB", (8, 8)))], {}, "the question is empty"),
        ([*QUESTION, message("assistant", "7")], {}, "the last message is of role 'assistant'"),
        (QUESTION, {"agents": 0}, "0 agents cannot answer: choose a number from 1 to 64"),
        (QUESTION, {"agents": 65}, "65 agents"),
        (QUESTION, {"agents": 0, "mode": "thinking"}, "0 agents"),
        (QUESTION, {"mode": "dreaming"}, "unknown mode 'dreaming'"),
        (QUESTION, {"effort": "heroic"}, "unknown effort 'heroic'"),
        (QUESTION, {"temperature": -1}, "temperature -1 is out of range"),
        (QUESTION, {"temperature": math.nan}, "temperature nan is out of range"),
        (QUESTION, {"top_p": 0}, "top_p 0 is out of range"),
        (QUESTION, {"max_tokens": 0}, "at most 0 tokens"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_happens(
    messages: list[Message], settings: dict[str, Any], part: str
) -> None:
    model = ScriptedModel.saying("7")
    with pytest.raises(InputError, match=part) as caught:
        happen(model, messages, **settings)
    assert "\n" not in str(caught.value)
    assert model.asked == []


def test_outcome_waits_for_the_end() -> None:
    model = ScriptedModel.saying("7")
    done = asyncio.run(outcome(answer(QUESTION, model=model, tools=default_tools())))
    assert done.answer == "7"


class Trained(ScriptedModel):
    async def known_tools(self) -> tuple[str, ...]:
        return ("python", "crop", "fly")


def test_a_model_that_says_which_tools_it_knows_is_offered_no_others() -> None:
    model = Trained(lambda *_: Turn("7"))
    happened = happen(model, mode="thinking")
    assert [spec.name for spec in model.asked[0].tools] == ["crop", "python"]
    assert happened[0].tools == ("crop", "python")  # type: ignore[attr-defined]
    happen(model, mode="thinking", tools=[measure])
    assert [spec.name for spec in model.asked[1].tools] == ["measure"]


def test_no_tools_when_none_are_given() -> None:
    def script(number: int, asked: Asked) -> Turn:
        assert asked.tools == ()
        return Turn("7")

    assert finished(happen(ScriptedModel(script), mode="thinking", tools=())).answer == "7"
