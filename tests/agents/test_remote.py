"""RemoteModel against a real server on loopback, with the habits and faults that endpoints have."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest
from PIL import Image
from starlette.responses import Response, StreamingResponse

from agents.endpoint import Endpoint, Json, chunk, error, raw, says, serving, sse, stream, usage
from polymnia.agents import quirks
from polymnia.agents.model import Delta, Sampling, Usage
from polymnia.agents.remote import RemoteModel
from polymnia.agents.run import answer, outcome
from polymnia.data.chat import Message, ToolCall, ToolSpec, message
from polymnia.data.images import from_data_url
from polymnia.errors import EndpointError, InputError
from polymnia.tools import default_tools

PICTURE = Image.new("RGB", (40, 30), "red")
QUESTION = [message("user", PICTURE, "How many?")]
TOOLS = default_tools().specs


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serving() as one:
        yield one


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.bodies.clear()
    server.headers.clear()
    server.times.clear()
    server.hung_up.clear()
    server.reply = lambda body, number: stream(says("7"))
    quirks.forget()
    return server


def ask(
    endpoint: Endpoint,
    messages: Sequence[Message] = QUESTION,
    sampling: Sampling | None = None,
    *,
    tools: Sequence[ToolSpec] = TOOLS,
    times: int = 1,
    n: int = 1,
    **settings: Any,
) -> list[Delta]:
    """The deltas of the last of as many calls with one client."""

    async def call() -> list[Delta]:
        model = RemoteModel(endpoint.url, "m", **settings)
        try:
            for _ in range(times):
                given = sampling or Sampling(seed=1)
                deltas = [delta async for delta in model.stream(messages, tools=tools, sampling=given, n=n)]
        finally:
            await model.aclose()
        return deltas

    return asyncio.run(call())


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


# --- what is sent


def test_the_request_holds_what_was_asked(endpoint: Endpoint) -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=50, seed=3, stop=("X",), effort="high")
    assert text(ask(endpoint, sampling=sampling)) == "7"
    (body,) = endpoint.bodies
    (sent,) = body.pop("messages")
    tools = body.pop("tools")
    assert body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 3,
        "stop": ["X"],
        "reasoning_effort": "high",
    }
    assert sent["role"] == "user"
    assert sent["content"][1] == {"type": "text", "text": "How many?"}
    assert from_data_url(sent["content"][0]["image_url"]["url"]).tobytes() == PICTURE.tobytes()
    assert [(tool["type"], tool["function"]["name"]) for tool in tools] == [
        ("function", name) for name in ("crop", "mark", "measure", "rotate", "python")
    ]


def test_no_temperature_is_sent_where_the_endpoint_decides(endpoint: Endpoint) -> None:
    ask(endpoint, sampling=Sampling(temperature=None))
    assert not {"temperature", "top_p", "seed", "max_tokens", "stop", "n"} & set(endpoint.bodies[0])


CALL = ToolCall("c1", "crop", '{"image": 1}')
TURN = [
    message("system", "Be brief."),
    message("user", "Old?"),
    message("assistant", "Old.", reasoning="old thoughts"),
    *QUESTION,
    message("assistant", reasoning="look", tool_calls=(CALL,)),
    message("tool", PICTURE, tool_call_id="c1", name="crop"),
]


def test_a_conversation_with_tools_and_their_pictures(endpoint: Endpoint) -> None:
    ask(endpoint, TURN)
    sent = endpoint.bodies[0]["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "user", "assistant", "tool", "user"]
    assert "reasoning_content" not in sent[2]  # of an earlier turn
    assert sent[4]["reasoning_content"] == "look"
    assert sent[4]["tool_calls"][0]["function"] == {"name": "crop", "arguments": '{"image": 1}'}
    assert (sent[5]["tool_call_id"], sent[5]["content"]) == ("c1", "See picture 2 below.")
    assert [part["type"] for part in sent[6]["content"]] == ["text", "image_url"]


def test_the_key_goes_along_and_the_environments_keys_do_not(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "secret-of-another-host")
    ask(endpoint)
    ask(endpoint, api_key="mine")
    assert not any("secret-of-another-host" in value for headers in endpoint.headers for value in headers.values())
    assert endpoint.headers[1]["authorization"] == "Bearer mine"


# --- what comes back


def test_reasoning_text_and_usage_under_both_names_for_reasoning(endpoint: Endpoint) -> None:
    for name in ("reasoning_content", "reasoning"):
        parts = [chunk({name: "let me "}), chunk({name: "see"}), chunk({"content": "7"}), chunk({}, finish="stop")]
        endpoint.reply = lambda body, number, parts=parts: stream([*parts, usage(9, 5, 3)])  # type: ignore[misc]
        deltas = ask(endpoint)
        assert "".join(delta.reasoning for delta in deltas) == "let me see"
        assert text(deltas) == "7"
        assert deltas[-1] == Delta(usage=Usage(9, 5, 3), finish_reason="stop")


def piece(index: int | None, **fields: Any) -> Json:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return chunk({"tool_calls": [{"index": index, **fields, "function": function}]})


def test_tool_calls_are_put_together_from_their_pieces(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: stream(
        [
            piece(0, id="a", name="python", arguments=""),
            piece(0, arguments='{"code": '),
            piece(1, id="b", name="crop", arguments='{"image"'),
            piece(0, arguments='"1+1"}'),
            piece(1, arguments=": 1}"),
            chunk({}, finish="tool_calls"),
        ]
    )
    deltas = ask(endpoint)
    calls = [delta.tool_call for delta in deltas if delta.tool_call]
    assert calls == [ToolCall("a", "python", '{"code": "1+1"}'), ToolCall("b", "crop", '{"image": 1}')]
    assert deltas[-1].finish_reason == "tool_calls"


def test_whole_calls_without_ids_and_with_a_wrong_finish_reason(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: stream([piece(0, name="python", arguments="{}"), chunk({}, finish="stop")])
    *_, called, last = ask(endpoint)
    assert called.tool_call == ToolCall("call_0", "python", "{}")
    assert last.finish_reason == "tool_calls"


def test_an_endpoint_that_reports_no_usage_is_estimated(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: stream([chunk({"content": "x" * 40}), chunk({}, finish="length")])
    last = ask(endpoint)[-1]
    assert last.finish_reason == "length"
    assert last.usage == Usage(3, 10, 0, estimated=True)


def test_chunks_without_choices_delta_or_content_are_skipped(endpoint: Endpoint) -> None:
    odd = [chunk(), chunk({}), chunk({"content": None}), {**chunk(), "choices": None}]
    bare = {**chunk(), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}
    endpoint.reply = lambda body, number: stream([*odd, chunk({"content": "7"}), bare])
    deltas = ask(endpoint)
    assert text(deltas) == "7"
    assert deltas[-1].finish_reason == "stop"


def test_several_samples_of_one_request(endpoint: Endpoint) -> None:
    parts = [chunk({"content": letter}, index=index) for letter in "ab" for index in (0, 1)]
    ends = [chunk({}, index=index, finish="stop") for index in (0, 1)]
    endpoint.reply = lambda body, number: stream([*parts, *ends, usage(3, 4)])
    deltas = ask(endpoint, n=2)
    assert endpoint.bodies[0]["n"] == 2
    assert [text([delta for delta in deltas if delta.index == index]) for index in (0, 1)] == ["ab", "ab"]
    assert [delta.index for delta in deltas if delta.finish_reason] == [0, 1]
    assert sum(delta.usage.completion_tokens for delta in deltas if delta.usage) == 4


def test_half_a_surrogate_pair_does_not_get_in(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: stream(says("\ud800 7"))
    assert text(ask(endpoint)).encode().decode() == "\N{REPLACEMENT CHARACTER} 7"


# --- endpoints that refuse a field


def refusing(*fields: str) -> Callable[[Json, int], Response]:
    def reply(body: Json, number: int) -> Response:
        wrong = [name for name in fields if name in body]
        return error(400, f"unknown field {wrong[0]}") if wrong else stream(says("7"))

    return reply


@pytest.mark.parametrize("fields", [("reasoning_effort",), ("stream_options",), ("seed", "reasoning_effort")])
def test_a_refused_field_is_left_out_from_then_on(endpoint: Endpoint, fields: tuple[str, ...]) -> None:
    endpoint.reply = refusing(*fields)
    assert text(ask(endpoint, times=2)) == "7"
    assert not set(fields) & set(endpoint.bodies[-1])
    refused = len(endpoint.bodies) - 2
    assert 1 <= refused <= 6  # and the second call was not refused again


def test_without_tools_an_endpoint_is_told_to_use_none_of_its_own(endpoint: Endpoint) -> None:
    """Our own server runs crop and python by itself unless told not to; OpenAI's refuses the field without tools."""
    ask(endpoint, tools=())
    assert endpoint.bodies[-1]["tool_choice"] == "none"
    endpoint.reply = refusing("tool_choice")
    ask(endpoint, tools=())
    assert "tool_choice" not in endpoint.bodies[-1]


def test_only_what_is_refused_is_left_out(endpoint: Endpoint) -> None:
    """An endpoint without stream_options must still be told how much to think."""
    endpoint.reply = refusing("stream_options")
    ask(endpoint)
    assert "reasoning_effort" in endpoint.bodies[-1]
    assert "seed" in endpoint.bodies[-1]
    endpoint.reply = refusing("temperature")
    ask(endpoint, sampling=Sampling(temperature=0.7, seed=1))
    assert "temperature" not in endpoint.bodies[-1]
    assert "reasoning_effort" in endpoint.bodies[-1]


def test_a_stream_without_an_end_is_no_answer(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: raw(sse(chunk({"content": "There are 1"})))
    with pytest.raises(EndpointError, match="broke off"):
        ask(endpoint)


def test_an_endpoint_that_wants_the_newer_name_of_the_token_limit(endpoint: Endpoint) -> None:
    endpoint.reply = refusing("max_tokens")
    ask(endpoint, sampling=Sampling(max_tokens=50))
    assert endpoint.bodies[-1]["max_completion_tokens"] == 50


def test_pictures_of_tools_come_from_the_user_after_all_results_of_their_turn(endpoint: Endpoint) -> None:
    """Chat's tool messages carry text; some endpoints refuse a picture in them, others drop it without a word."""
    other = message("tool", "20", tool_call_id="c2", name="python")
    assert text(ask(endpoint, [*TURN, other])) == "7"
    (body,) = endpoint.bodies
    tool, computed, user = body["messages"][-3:]
    assert (tool["tool_call_id"], computed["content"]) == ("c1", "20")
    assert isinstance(tool["content"], str)
    assert user["role"] == "user"
    assert user["content"][0]["text"] == "Picture 2, from a tool:"
    assert user["content"][1]["type"] == "image_url"


def test_our_own_server_gets_them_in_the_tools_message(endpoint: Endpoint) -> None:
    """Its models are trained that way; it is known by its header from the first answer on."""

    def reply(body: Json, number: int) -> Response:
        response = stream(says("7"))
        response.headers["x-polymnia-weights"] = "f0" * 32
        return response

    endpoint.reply = reply
    ask(endpoint, TURN, times=2)
    first, second = (body["messages"][-1]["role"] for body in endpoint.bodies)
    assert (first, second) == ("user", "tool")
    assert endpoint.bodies[1]["messages"][-1]["content"][0]["type"] == "image_url"


def test_earlier_calls_are_sent_as_strict_endpoints_want_them(endpoint: Endpoint) -> None:
    written = ['{"image": 1}', "", "not json", "[1]", '{"x0": NaN}', '{"a": "\\ud800"}']
    calls = tuple(ToolCall(f"c{place}", "zoom in!", one) for place, one in enumerate(written))
    results = [message("tool", "Error", tool_call_id=call.id) for call in calls]
    ask(endpoint, [*QUESTION, message("assistant", tool_calls=calls), *results])
    sent = [call["function"] for call in endpoint.bodies[0]["messages"][1]["tool_calls"]]
    assert {one["name"] for one in sent} == {"zoom_in_"}
    assert [one["arguments"] for one in sent[:2]] == ['{"image": 1}', "{}"]
    assert [json.loads(one["arguments"]) for one in sent[2:]] == [{"malformed_call": one} for one in written[2:]]


@pytest.mark.parametrize(("size", "sent"), [((1, 1), (28, 28)), ((10, 300), (30, 900)), ((5000, 2), (5000, 50))])
def test_pictures_that_engines_refuse_are_enlarged(
    endpoint: Endpoint, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    ask(endpoint, [message("user", Image.new("RGB", size), "How many?")])
    url = endpoint.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert from_data_url(url).size == sent


def test_a_request_that_is_wrong_in_itself_fails_with_the_first_reason(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: error(400, "bad things" if number == 0 else "later reason")
    with pytest.raises(EndpointError, match="status 400: bad things"):
        ask(endpoint)


def test_a_conversation_too_long_is_the_persons_matter_and_asked_once(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: error(400, "9000 tokens, limit 8192", "context_length_exceeded")
    with pytest.raises(InputError, match="9000 tokens, limit 8192"):
        ask(endpoint)
    assert len(endpoint.bodies) == 1


# --- faults


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.reply = lambda body, number: error(status, "hiccup") if number == 0 else stream(says("7"))
    assert text(ask(endpoint)) == "7"
    assert len(endpoint.bodies) == 2


def test_a_rate_limit_is_waited_out_as_long_as_the_endpoint_says(endpoint: Endpoint) -> None:
    headers = {"retry-after": "1"}
    endpoint.reply = lambda body, number: error(429, "slow", **headers) if number == 0 else stream(says("7"))
    assert text(ask(endpoint)) == "7"
    first, second = endpoint.times
    assert second - first >= 1


@pytest.mark.parametrize(
    ("status", "part"),
    [
        (401, "refuses the key: set POLYMNIA_API_KEY"),
        (403, "refuses the key"),
        (404, "has no model 'm'"),
        (429, "over its rate limit"),
        (500, "status 500: it broke"),
    ],
)
def test_what_cannot_be_mended_is_one_line_with_a_remedy(endpoint: Endpoint, status: int, part: str) -> None:
    endpoint.reply = lambda body, number: error(status, "it\nbroke")
    with pytest.raises(EndpointError, match=part) as caught:
        ask(endpoint, retries=0)
    assert endpoint.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endpoint_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match="cannot be reached: is the server running"):
        ask(Endpoint(f"http://127.0.0.1:{port}/v1"), retries=0)


def test_an_endpoint_that_falls_silent(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: endpoint.hanging(chunk({"content": "7"}))
    with pytest.raises(EndpointError, match="does not answer in time"):
        ask(endpoint, silence_seconds=0.3, retries=0)


def test_an_error_in_the_middle_of_the_stream(endpoint: Endpoint) -> None:
    broken = {"error": {"message": "out of memory", "type": "server_error"}}
    endpoint.reply = lambda body, number: stream([chunk({"content": "7"}), broken])
    with pytest.raises(EndpointError, match="broke off: out of memory"):
        ask(endpoint)


def test_a_connection_that_breaks_in_the_middle(endpoint: Endpoint) -> None:
    async def half() -> AsyncIterator[str]:
        yield sse(chunk({"content": "7"}))
        raise ConnectionAbortedError

    endpoint.reply = lambda body, number: StreamingResponse(half(), media_type="text/event-stream")
    with pytest.raises(EndpointError, match="broke off"):
        ask(endpoint)


# --- cancelling


def test_closing_the_stream_closes_the_connection(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: endpoint.hanging(chunk({"content": "7"}))

    async def leave() -> None:
        model = RemoteModel(endpoint.url, "m")
        async with aclosing(cast(Any, model.stream(QUESTION, sampling=Sampling()))) as deltas:
            await anext(deltas)
        assert await asyncio.to_thread(endpoint.hung_up.wait, 5)
        await model.aclose()

    asyncio.run(leave())


@pytest.mark.parametrize("answers", [True, False])
def test_cancelling_ends_the_request_at_once(endpoint: Endpoint, answers: bool) -> None:
    """Before the first byte and after it."""
    endpoint.reply = lambda body, number: endpoint.hanging(*([chunk({"content": "7"})] if answers else []))

    async def leave() -> float:
        model = RemoteModel(endpoint.url, "m")
        task = asyncio.create_task(outcome(answer(QUESTION, model=model, agents=4)))
        while len(endpoint.bodies) < 4:  # noqa: ASYNC110 - the server is another thread's
            await asyncio.sleep(0.01)
        start = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        gone = time.monotonic() - start
        assert await asyncio.to_thread(endpoint.hung_up.wait, 5)
        await model.aclose()
        return gone

    assert asyncio.run(leave()) < 5


def test_agents_at_work_on_an_endpoint(endpoint: Endpoint) -> None:
    """The whole loop over HTTP: a tool call, its result, an answer, four times in parallel."""

    def reply(body: Json, number: int) -> Response:
        if body["messages"][-1]["role"] == "tool":
            return stream(says(body["messages"][-1]["content"]))
        return stream([piece(0, id="x", name="python", arguments='{"code": "7+13"}'), chunk({}, finish="tool_calls")])

    endpoint.reply = reply

    async def run() -> str:
        model = RemoteModel(endpoint.url, "m")
        done = await outcome(answer(QUESTION, model=model, agents=8))
        await model.aclose()
        assert done.reason == "consensus"
        return done.answer

    assert asyncio.run(run()) == "20"
    assert len(endpoint.bodies) == 8
    assert len({body["seed"] for body in endpoint.bodies}) == 8
    assert {body["temperature"] for body in endpoint.bodies} == {0.7}
