"""The single agent: sample, tools, results back, until an answer."""

import asyncio
from collections.abc import Sequence

import pytest
from PIL import Image

from agents.scripted import ScriptedModel, Turn, tool_call
from polymnia.agents import events
from polymnia.agents.agent import AgentAnswer, AgentError, derive_seed, run_agent
from polymnia.agents.budget import Budget, Limits
from polymnia.agents.events import Event
from polymnia.agents.model import Sampling
from polymnia.agents.stream import EventStream, Voice
from polymnia.data.chat import Message, all_images, message
from polymnia.errors import InputError
from polymnia.tools import Toolbox, default_tools

PICTURE = Image.new("RGB", (200, 100), "red")
QUESTION = message("user", PICTURE, "How many?")
SUM = tool_call("python", '{"code": "7+3"}', "a")
ZOOM = tool_call("crop", '{"image": 1, "x0": 0, "y0": 0, "x1": 500, "y1": 500}', "b")


async def work(
    model: ScriptedModel, messages: Sequence[Message], tools: Toolbox, max_steps: int
) -> tuple[AgentAnswer, list[Event]]:
    stream = EventStream("run")
    voice = Voice(stream, agent=2)
    budget = Budget(Limits(), started=0.0)
    answer = await run_agent(
        messages, model=model, tools=tools, sampling=Sampling(seed=5), voice=voice, budget=budget, max_steps=max_steps
    )
    budget.check_integrity()
    stream.close()
    return answer, [event async for event in stream]


def ask(
    *turns: Turn | str, tools: Toolbox | None = None, max_steps: int = 8
) -> tuple[AgentAnswer, list[Event], ScriptedModel]:
    model = ScriptedModel.saying(*turns)
    answer, happened = asyncio.run(work(model, [QUESTION], tools or default_tools(), max_steps))
    return answer, happened, model


def test_an_answer_at_once() -> None:
    answer, happened, model = ask(Turn("  7\n", reasoning="hm", logprob=-0.5))
    assert (answer.text, answer.steps, answer.mean_logprob) == ("7", 1, -0.5)
    assert answer.messages == (message("assistant", "  7\n", reasoning="hm"),)
    assert sorted({event.type for event in happened}) == ["reasoning_delta", "text_delta", "usage"]
    assert [spec.name for spec in model.asked[0].tools] == ["crop", "mark", "measure", "rotate", "python"]


def test_tools_run_and_their_results_go_back() -> None:
    answer, happened, model = ask(Turn(reasoning="add", calls=(SUM,)), "10")
    assert answer.text == "10"
    assert answer.steps == 2
    call, result = model.asked[1].messages[1:]
    assert (call.role, call.reasoning, call.tool_calls) == ("assistant", "add", (SUM,))
    assert result == message("tool", "10", tool_call_id="a", name="python")
    shown = [event for event in happened if isinstance(event, events.ToolResult)]
    assert [(one.call, one.name, one.text, one.failed) for one in shown] == [("a", "python", "10", False)]


def test_pictures_of_tools_enter_the_context_and_count_on() -> None:
    # The second crop names picture 2, which exists only because the first one returned it.
    again = tool_call("crop", '{"image": 2, "x0": 0, "y0": 0, "x1": 500, "y1": 1000}', "c")
    answer, happened, model = ask(Turn(calls=(ZOOM,)), Turn(calls=(again,)), "7")
    assert answer.text == "7"
    assert [image.size for one in model.asked[2].messages for image in one.images] == [(200, 100), (100, 50), (50, 50)]
    shown = [event for event in happened if isinstance(event, events.ImageShown)]
    assert [(one.index, one.width, one.height, one.call) for one in shown] == [(2, 100, 50, "b"), (3, 50, 50, "c")]
    results = [event for event in happened if isinstance(event, events.ToolResult)]
    assert [one.images for one in results] == [(one.digest,) for one in shown]


def test_two_pictures_of_the_question_then_those_of_tools_in_the_order_of_the_calls() -> None:
    other = Image.new("RGB", (400, 100), "blue")
    calls = (
        tool_call("crop", '{"image": 2, "x0": 0, "y0": 0, "x1": 500, "y1": 1000}', "a"),
        tool_call("measure", '{"image": 2, "x0": 0, "y0": 0, "x1": 500, "y1": 0}', "b"),
        tool_call("rotate", '{"image": 1, "degrees": 90}', "c"),
    )
    third = tool_call("mark", '{"image": 4, "x0": 0, "y0": 0, "x1": 500, "y1": 500, "label": "here"}', "d")
    model = ScriptedModel.saying(Turn(calls=calls), Turn(calls=(third,)), "7")
    asked = message("user", "Compare", PICTURE, "and", other, ".")
    _, happened = asyncio.run(work(model, [asked], default_tools(), 8))
    sizes = [(200, 100), (400, 100), (200, 100), (100, 200), (100, 200)]
    assert [image.size for image in all_images(model.asked[2].messages)] == sizes
    shown = [event for event in happened if isinstance(event, events.ImageShown)]
    assert [(one.index, (one.width, one.height), one.call) for one in shown] == [
        (3, sizes[2], "a"),
        (4, sizes[3], "c"),
        (5, sizes[4], "d"),
    ]
    measured = next(one for one in model.asked[1].messages if one.tool_call_id == "b")
    assert measured.text.startswith("distance 200 px, dx 200, dy 0, angle 0 deg, colours blue")


def test_pictures_of_tools_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polymnia.agents.agent.MAX_TOOL_PIXELS", 12_000)
    _, happened, model = ask(Turn(calls=(ZOOM, ZOOM, ZOOM)), Turn(calls=(SUM, ZOOM)), "7")
    results = [event for event in happened if isinstance(event, events.ToolResult)]
    assert [one.failed for one in results] == [False, False, True, False, True]
    assert "too large together; crop smaller boxes" in results[2].text
    assert len(all_images(model.asked[-1].messages)) == 3


def test_several_calls_of_one_turn_run_together_and_answer_in_order() -> None:
    _, happened, model = ask(Turn(calls=(ZOOM, SUM)), "10")
    assert [one.tool_call_id for one in model.asked[1].messages[2:]] == ["b", "a"]
    kinds = [event.type for event in happened if event.type != "usage"]
    assert kinds[:5] == ["tool_call", "tool_call", "image", "tool_result", "tool_result"]


def test_mistakes_go_back_to_the_model_as_results() -> None:
    _, happened, model = ask(Turn(calls=(tool_call("fly", "{}"), tool_call("python", "?"))), "10")
    unknown, broken = model.asked[1].messages[2:]
    assert "there is no tool 'fly'" in unknown.text
    assert "Invalid JSON" in broken.text
    assert [event.failed for event in happened if isinstance(event, events.ToolResult)] == [True, True]


def test_calls_without_tools_get_an_error_and_another_chance() -> None:
    answer, _, model = ask(Turn(calls=(SUM,)), "10", tools=Toolbox())
    assert answer.text == "10"
    assert "there is no tool 'python'; the tools are: none" in model.asked[1].messages[-1].text


def test_repeated_and_missing_call_ids_are_made_unique() -> None:
    twice = Turn(calls=(SUM, SUM, tool_call("python", '{"code": "1"}')))
    _, _, model = ask(twice, twice, "10")
    ids = [call.id for one in model.asked[2].messages for call in one.tool_calls]
    assert len(set(ids)) == len(ids) == 6
    assert [one.tool_call_id for one in model.asked[2].messages if one.role == "tool"] == ids


def test_the_last_step_offers_no_tools() -> None:
    answer, _, model = ask(Turn(calls=(SUM,)), Turn(calls=(SUM,)), Turn("10", calls=(SUM,)), max_steps=3)
    assert [len(asked.tools) for asked in model.asked] == [5, 5, 0]
    assert answer.text == "10"
    assert answer.messages[-1].tool_calls == ()


@pytest.mark.parametrize(
    ("turn", "part"),
    [
        (Turn(""), "the model's turn was empty"),
        (Turn(reasoning="hm", finish_reason="length", tokens=99), "cut off after 99 tokens"),
        (Turn(calls=(SUM,)), "no answer after 2 steps"),
    ],
)
def test_no_answer_is_an_error_of_this_agent(turn: Turn, part: str) -> None:
    with pytest.raises(AgentError, match=part):
        ask(turn, turn, max_steps=2)


def test_a_turn_that_is_cut_off_keeps_its_answer() -> None:
    assert ask(Turn("7 or so", finish_reason="length"))[0].text == "7 or so"


def test_too_many_calls_in_one_turn_are_not_run() -> None:
    many = tuple(tool_call("python", '{"code": "1"}', f"c{number}") for number in range(20))
    _, happened, _ = ask(Turn(calls=many), "1")
    failed = [event for event in happened if isinstance(event, events.ToolResult) and event.failed]
    assert [event.call for event in failed] == ["c16", "c17", "c18", "c19"]


def test_a_question_that_does_not_fit_is_the_persons_matter_and_a_crop_too_much_is_the_agents() -> None:
    with pytest.raises(InputError):
        ask(Turn(error=InputError("too long")))
    with pytest.raises(AgentError, match="too long"):
        ask(Turn(calls=(ZOOM,)), Turn(error=InputError("too long")))


def test_each_step_has_its_own_seed_which_repeats() -> None:
    _, _, first = ask(Turn(calls=(SUM,)), "10")
    _, _, again = ask(Turn(calls=(SUM,)), "10")
    seeds = [asked.sampling.seed for asked in first.asked]
    assert seeds == [derive_seed(5, "2", 0), derive_seed(5, "2", 1)]
    assert seeds == [asked.sampling.seed for asked in again.asked]
    assert len({derive_seed(5, path, step) for path in (*map(str, range(64)), "2/0") for step in range(8)}) == 520
    assert all(0 <= derive_seed(seed, "0", 0) < 2**31 for seed in range(-3, 100))


def test_usage_is_reported_and_added_up() -> None:
    _, happened, _ = ask(Turn(calls=(SUM,), tokens=20), Turn("10", tokens=5))
    assert [event.usage.completion_tokens for event in happened if isinstance(event, events.UsageReported)] == [20, 5]
