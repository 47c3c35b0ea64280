"""The answers, as the official client sees them."""

import asyncio
import base64
import io
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from PIL import Image

from polymnia.agents.model import Delta, Usage
from polymnia.agents.remote import RemoteModel
from polymnia.agents.run import answer, outcome
from polymnia.data.chat import ToolCall, all_images, message
from server.conftest import Serve, Served
from server.scripted import FINGERPRINT, Call, ScriptedModel, calls_then_says, says

QUESTION: Any = [{"role": "user", "content": "How many?"}]
ADD: Any = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}


def chunks(served: Served, **fields: Any) -> list[ChatCompletionChunk]:
    request: dict[str, Any] = {"model": "nano", "messages": QUESTION, "stream": True} | fields
    with served.client.chat.completions.create(**request) as stream:
        return list(stream)


def text(received: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in received for choice in chunk.choices)


def picture_url(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_an_answer(serve: Serve) -> None:
    served = serve(ScriptedModel(says("There are ", "3.", reasoning="one, two, three")))
    raw = served.client.chat.completions.with_raw_response.create(model="nano", messages=QUESTION)
    answer = raw.parse()
    assert answer.choices[0].message.content == "There are 3."
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.model_extra == {"reasoning_content": "one, two, three"}
    assert answer.model == "nano"
    assert answer.system_fingerprint == FINGERPRINT
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 5, 15)
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert raw.headers["x-polymnia-weights"] == FINGERPRINT
    assert raw.headers["x-polymnia-run"].startswith("run_")


def test_a_streamed_answer_says_the_same(serve: Serve) -> None:
    served = serve(ScriptedModel(says("There are ", "3.", reasoning="one, two, three")))
    received = chunks(served, stream_options={"include_usage": True})
    assert received[0].choices[0].delta.role == "assistant"
    assert text(received) == "There are 3."
    thoughts = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "") for chunk in received[:-1]]
    assert "".join(thoughts) == "one, two, three"
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in received}) == 1
    assert received[-2].choices[0].finish_reason == "stop"
    assert received[-1].choices == []
    assert received[-1].usage is not None
    assert received[-1].usage.total_tokens == 15
    assert all(chunk.usage is None for chunk in received[:-1])


def test_a_stream_tells_usage_only_when_asked(serve: Serve) -> None:
    received = chunks(serve(ScriptedModel(says("3"))))
    assert all(chunk.usage is None for chunk in received)
    assert received[-1].choices[0].finish_reason == "stop"


def test_characters_that_some_clients_take_for_line_ends_survive(serve: Serve) -> None:
    answer = "a\u2028b\u2029c\x85d\re\nf \N{GRINNING FACE} {}"
    served = serve(ScriptedModel(says(answer)))
    assert text(chunks(served)) == answer


def test_the_asynchronous_client_works_too(serve: Serve) -> None:
    served = serve(ScriptedModel(says("3")))

    async def ask() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=served.url, api_key="none") as client:
            answer = await client.chat.completions.create(model="nano", messages=QUESTION)
            streamed = await client.chat.completions.create(model="nano", messages=QUESTION, stream=True)
            return answer.choices[0].message.content, text([chunk async for chunk in streamed])

    assert asyncio.run(ask()) == ("3", "3")


def test_models_are_listed_and_found(serve: Serve) -> None:
    served = serve(ScriptedModel(says("3")))
    names = [model.id for model in served.client.models.list()]
    assert names == ["nano", "nano:contemplating", "nano:contemplating-quick", "nano:contemplating-deep"]
    assert served.client.models.retrieve("nano:contemplating").id == "nano:contemplating"
    with pytest.raises(openai.NotFoundError):
        served.client.models.retrieve("other")


def test_health(serve: Serve) -> None:
    health = serve(ScriptedModel(says("3"))).http.get("/health").json()
    assert health["status"] == "ok"
    assert health["model"] == "nano"
    assert health["weights"] == FINGERPRINT
    assert health["agents"] == {"busy": 0, "limit": 64}
    assert health["sandbox"] == {"backend": "monty", "setting": "monty", "why": ""}


def test_a_picture_reaches_the_model(serve: Serve) -> None:
    model = ScriptedModel(says("red"))
    content = [
        {"type": "text", "text": "Which colour?"},
        {"type": "image_url", "image_url": {"url": picture_url(40, 30), "detail": "auto"}},
    ]
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    serve(model).client.chat.completions.create(model="nano", messages=messages)
    system, user = model.calls[0].messages
    assert (system.role, system.text) == ("system", "Be brief.")
    assert user.text == "Which colour?"
    assert [image.size for image in user.images] == [(40, 30)]


def test_what_was_said_before_reaches_the_model_extras_ignored(serve: Serve) -> None:
    model = ScriptedModel(says("2"))
    messages: Any = [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "3", "reasoning_content": "1, 2, 3", "refusal": None, "annotations": []},
        {"role": "user", "content": "And how many are red?", "name": "ann"},
    ]
    serve(model).client.chat.completions.create(model="nano", messages=messages)
    heard = [(message.role, message.text, message.reasoning) for message in model.calls[0].messages]
    assert heard == [
        ("user", "How many?", ""),
        ("assistant", "3", "1, 2, 3"),
        ("user", "And how many are red?", ""),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_the_clients_own_tools_are_the_clients_to_run(serve: Serve, stream: bool) -> None:
    model = ScriptedModel(calls_then_says(ToolCall("call_1", "add", '{"a": 1, "b": 2}'), "3"))
    served = serve(model)
    if stream:
        received = chunks(served, tools=[ADD])
        parts = [part for chunk in received for part in chunk.choices[0].delta.tool_calls or []]
        assert [part.index for part in parts] == [0, 0]
        assert parts[0].id == "call_1"
        functions = [part.function for part in parts if part.function is not None]
        assert functions[0].name == "add"
        arguments = "".join(function.arguments or "" for function in functions)
        assert received[-1].choices[0].finish_reason == "tool_calls"
    else:
        answer = served.client.chat.completions.create(model="nano", messages=QUESTION, tools=[ADD])
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.content is None
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.id, call.function.name) == ("call_1", "add")
        arguments = call.function.arguments
    assert arguments == '{"a": 1, "b": 2}'
    assert [tool.name for tool in model.calls[0].tools] == ["add"]

    asked = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    turn: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    ]
    for tools, offered in (([ADD], 1), (openai.omit, 0)):
        final = served.client.chat.completions.create(model="nano", messages=turn, tools=tools)
        assert final.choices[0].message.content == "3"
        assert len(model.calls[-1].tools) == offered
    assistant, result = model.calls[-1].messages[1:]
    assert assistant.tool_calls == (ToolCall("call_1", "add", '{"a": 1, "b": 2}'),)
    assert (result.role, result.tool_call_id, result.name, result.text) == ("tool", "call_1", "add", "3")


def test_our_own_tools_run_in_the_server(serve: Serve) -> None:
    model = ScriptedModel(calls_then_says(ToolCall("1", "python", '{"code": "print(6 * 7)"}'), "42"))
    answer = serve(model).client.chat.completions.create(model="nano", messages=QUESTION)
    assert answer.choices[0].message.content == "42"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    assert "42" in model.calls[1].messages[-1].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 10


def test_two_pictures_are_two_and_a_tools_picture_is_the_third(serve: Serve) -> None:
    second = ToolCall("call_1", "crop", '{"image": 2, "x0": 0, "y0": 0, "x1": 500, "y1": 1000}')
    model = ScriptedModel(calls_then_says(second, "7"))
    content = [
        {"type": "image_url", "image_url": {"url": picture_url(40, 20)}},
        {"type": "text", "text": "This or"},
        {"type": "image_url", "image_url": {"url": picture_url(60, 30)}},
        {"type": "text", "text": "that?"},
    ]
    ask: Any = [{"role": "user", "content": content}]
    answer = serve(model).client.chat.completions.create(model="nano", messages=ask)
    assert answer.choices[0].message.content == "7"
    seen = [image.size for image in all_images(model.calls[-1].messages)]
    assert seen == [(40, 20), (60, 30), (30, 30)]
    assert model.calls[0].messages[0].text == "This orthat?"


class Trained(ScriptedModel):
    async def known_tools(self) -> tuple[str, ...]:
        return ("crop", "python")


@pytest.mark.parametrize(("name", "agents"), [("nano", 1), ("nano:contemplating-quick", 4)])
def test_a_model_is_offered_the_tools_that_it_knows(serve: Serve, name: str, agents: int) -> None:
    model, trained = ScriptedModel(says("7")), Trained(says("7"))
    for one, tools in ((model, ["crop", "mark", "measure", "rotate", "python"]), (trained, ["crop", "python"])):
        serve(one).client.chat.completions.create(model=name, messages=[{"role": "user", "content": "How many?"}])
        assert [[spec.name for spec in call.tools] for call in one.calls] == [tools] * agents


def test_our_agents_elsewhere_offer_it_no_others_either(serve: Serve) -> None:
    trained = Trained(says("7"))
    served = serve(trained)

    async def ask() -> str:
        model = RemoteModel(served.url, "nano")
        try:
            return (await outcome(answer([message("user", "How many?")], model=model, mode="thinking"))).answer
        finally:
            await model.aclose()

    assert asyncio.run(ask()) == "7"
    assert [spec.name for spec in trained.calls[0].tools] == ["crop", "python"]
    assert served.client.models.retrieve("nano").model_dump()["known_tools"] == ["crop", "python"]


def test_tool_choice_none_is_the_model_by_itself(serve: Serve) -> None:
    model = ScriptedModel(calls_then_says(ToolCall("1", "python", "{}"), "42"))
    answer = serve(model).client.chat.completions.create(
        model="nano", messages=QUESTION, tools=[ADD], tool_choice="none", n=1
    )
    assert len(model.calls) == 1
    assert model.calls[0].tools == ()
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_several_samples(serve: Serve, stream: bool) -> None:
    served = serve(ScriptedModel(says("3")))
    if stream:
        received = chunks(served, n=2, tool_choice="none")
        texts = ["".join(c.delta.content or "" for r in received for c in r.choices if c.index == i) for i in (0, 1)]
        endings = [c.index for r in received for c in r.choices if c.finish_reason == "stop"]
        assert (texts, endings) == (["3", "3"], [0, 1])
    else:
        answer = served.client.chat.completions.create(model="nano", messages=QUESTION, n=2, tool_choice="none")
        assert [choice.message.content for choice in answer.choices] == ["3", "3"]
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 10)


def test_several_samples_are_warm_unless_told_otherwise(serve: Serve) -> None:
    model = ScriptedModel(says("3"))
    client = serve(model).client
    client.chat.completions.create(model="nano", messages=QUESTION, n=2, tool_choice="none")
    client.chat.completions.create(model="nano", messages=QUESTION, n=2, tool_choice="none", temperature=0)
    client.chat.completions.create(model="nano", messages=QUESTION, tool_choice="none")
    assert [call.sampling.temperature for call in model.calls] == [0.7, 0, 0]


def test_sampling_is_passed_on(serve: Serve) -> None:
    model = ScriptedModel(says("3"))
    serve(model).client.chat.completions.create(
        model="nano",
        messages=QUESTION,
        tool_choice="none",
        temperature=0.5,
        top_p=0.9,
        seed=7,
        max_completion_tokens=100,
        stop=["\n", "END"],
        reasoning_effort="high",
    )
    sampling = model.calls[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.9, 7)
    assert (sampling.max_tokens, sampling.stop, sampling.effort) == (100, ("\n", "END"), "high")


def test_sampling_holds_for_agents_too(serve: Serve) -> None:
    model = ScriptedModel(calls_then_says(ToolCall("1", "python", '{"code": "1"}'), "3"))
    serve(model).client.chat.completions.create(
        model="nano",
        messages=QUESTION,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        max_tokens=100,
        stop="END",
        reasoning_effort="minimal",
    )
    first, second = (call.sampling for call in model.calls)
    assert (first.temperature, first.top_p, first.stop, first.effort) == (0.5, 0.9, ("END",), "minimal")
    assert first.max_tokens == 100
    assert second.max_tokens == 93, "the first call's 7 tokens count against the same limit"


def test_the_same_seed_is_the_same_for_agents(serve: Serve) -> None:
    model = ScriptedModel(says("3"))
    client = serve(model).client
    for seed in (7, 7, 8):
        client.chat.completions.create(model="nano", messages=QUESTION, seed=seed)
    one, same, other = (call.sampling.seed for call in model.calls)
    assert one == same != other


async def _cut_off(call: Call) -> Any:
    yield Delta(reasoning="one, two")
    yield Delta(usage=Usage(10, 4, 4), finish_reason="length")


@pytest.mark.parametrize("fields", [{}, {"tool_choice": "none"}, {"model": "nano:contemplating-quick"}])
def test_an_answer_cut_off_before_its_first_word_ends_with_length(serve: Serve, fields: dict[str, Any]) -> None:
    served = serve(ScriptedModel(_cut_off))
    request: dict[str, Any] = {"model": "nano", "messages": QUESTION, "max_tokens": 4} | fields
    answer = served.client.chat.completions.create(**request)
    assert answer.choices[0].finish_reason == "length"
    assert not answer.choices[0].message.content
    assert chunks(served, **request)[-1].choices[0].finish_reason == "length"


def test_contemplating_answers_with_several_agents(serve: Serve) -> None:
    model = ScriptedModel(says("There are 3."))
    served = serve(model)
    raw = served.client.chat.completions.with_raw_response.create(model="nano:contemplating", messages=QUESTION)
    answer = raw.parse()
    assert answer.choices[0].message.content == "There are 3."
    assert len(model.calls) == 4, "four agents of one mind are enough"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (20, 40)
    assert answer.usage.model_extra == {"critical_path_tokens": 5}
    assert raw.headers["x-polymnia-run"].startswith("run_")
    milestones = (answer.choices[0].message.model_extra or {})["reasoning_content"]
    assert "Agent 1: There are 3.\n" in milestones
    assert milestones.endswith("4 agents agree on: There are 3.\n")
    assert answer.model == "nano:contemplating"


def test_contemplating_streams(serve: Serve) -> None:
    received = chunks(serve(ScriptedModel(says("3"))), model="nano:contemplating-quick")
    assert text(received) == "3"
    assert received[-1].choices[0].finish_reason == "stop"


def test_a_model_that_knows_only_some_roles_gets_no_others_from_agents_elsewhere(serve: Serve) -> None:
    class Proposer(ScriptedModel):
        async def known_roles(self) -> tuple[str, ...]:
            return ("propose",)

    words = iter(f"word {number}" for number in range(99))
    proposer = Proposer(lambda call: says(next(words))(call))
    served = serve(proposer)
    assert served.client.models.retrieve("nano").model_dump()["known_roles"] == ["propose"]

    async def ask() -> str:
        model = RemoteModel(served.url, "nano")
        try:
            return (await outcome(answer([message("user", "How many?")], model=model, agents=3))).answer
        finally:
            await model.aclose()

    assert asyncio.run(ask()).startswith("word")
    assert len(proposer.calls) == 3
