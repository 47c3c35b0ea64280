"""What endpoints do in their own way, each played by a real server on loopback; the names are those of docs.

`test_remote.py` has the ordinary behaviour, faults and cancelling.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from starlette.responses import Response

from agents.endpoint import Endpoint, Json, chunk, error, raw, says, serving, sse, stream, usage
from polymnia.agents import quirks
from polymnia.agents.model import Delta, Sampling, Usage
from polymnia.agents.remote import RemoteModel
from polymnia.agents.retry import Retries, retry_after
from polymnia.agents.run import answer, outcome
from polymnia.data.chat import Message, ToolCall, ToolSpec, message
from polymnia.errors import EndpointError, InputError
from polymnia.tools import default_tools

ROOT = Path(__file__).resolve().parent.parent.parent
QUESTION = [message("system", "Be brief."), message("user", "How many?")]
TOOLS = default_tools().specs
DONE = "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serving() as one:
        yield one


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.bodies.clear()
    server.times.clear()
    quirks.forget()
    return server


def ask(
    endpoint: Endpoint,
    messages: Sequence[Message] = QUESTION,
    *,
    tools: Sequence[ToolSpec] = TOOLS,
    times: int = 1,
    n: int = 1,
    **settings: Any,
) -> list[Delta]:
    """The deltas of the last of as many calls, each with a client of its own: what is learned belongs to none."""

    async def call() -> list[Delta]:
        for _ in range(times):
            model = RemoteModel(endpoint.url, "m", **settings)
            sampling = Sampling(seed=1, max_tokens=50)
            try:
                deltas = [delta async for delta in model.stream(messages, tools=tools, sampling=sampling, n=n)]
            finally:
                await model.aclose()
        return deltas

    return asyncio.run(call())


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def reasoning(deltas: list[Delta]) -> str:
    return "".join(delta.reasoning for delta in deltas)


def calls(deltas: list[Delta]) -> list[tuple[str, str]]:
    return [(delta.tool_call.name, delta.tool_call.arguments) for delta in deltas if delta.tool_call]


# --- answers: what is sent, and what must be read


class Answer(NamedTuple):
    name: str
    sent: Callable[[], Response]
    text: str = "7"
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    estimated: bool = False


def piece(**fields: Any) -> Json:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return chunk({"tool_calls": [{**fields, "function": function}]})


END = [chunk({}, finish="stop"), usage(9, 5)]
CODE = ("python", '{"code": "1"}')
COMPLETION = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "7"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5},
}
ANSWERS = [
    Answer(
        "reasoning in `reasoning_content`", lambda: stream([chunk({"reasoning_content": "hm"}), *says("7")]), "7", "hm"
    ),
    Answer("reasoning in `reasoning`", lambda: stream([chunk({"reasoning": "hm"}), *says("7")]), "7", "hm"),
    Answer(
        "reasoning in `<think>` tags",
        lambda: stream([chunk({"content": one}) for one in ("<th", "ink>h", "m</thi", "nk>\n\n", "7")] + END),
        "7",
        "hm",
    ),
    Answer("`<think>` never closed", lambda: stream([chunk({"content": "<think>hm</"}), *END]), "", "hm</"),
    Answer("a tag that is none", lambda: stream([chunk({"content": "<th"}), *END]), "<th"),
    Answer("empty choices", lambda: stream([chunk(), {**chunk(), "choices": None}, *says("7")])),
    Answer("content in parts", lambda: stream([chunk({"content": [{"type": "text", "text": "7"}]}), *END])),
    Answer("no usage", lambda: stream(says("7")[:2]), estimated=True),
    Answer("usage of zeros", lambda: stream([*says("7")[:2], usage(0, 0)]), estimated=True),
    Answer("usage of nulls", lambda: stream([*says("7")[:2], chunk(usage={"prompt_tokens": None})]), estimated=True),
    Answer("wrong content type", lambda: raw("".join(map(sse, says("7"))) + DONE, "text/plain")),
    Answer("events that call themselves JSON", lambda: raw("".join(map(sse, says("7"))) + DONE, "application/json")),
    Answer("not streamed", lambda: raw(json.dumps(COMPLETION), "application/json")),
    Answer("`[DONE]` missing", lambda: raw("".join(map(sse, says("7"))))),
    Answer("no finish reason but `[DONE]`", lambda: stream([chunk({"content": "7"})]), estimated=True),
    Answer(
        "comments, pings and other fields",
        lambda: raw(": ping\n\nevent: ping\nid: 3\nretry: 5\n\n" + ": more\n\n".join(map(sse, says("7"))) + DONE),
    ),
    Answer("no blank lines between events", lambda: raw("".join(sse(one)[:-1] for one in says("7")) + DONE)),
    Answer("lines that end in CR LF", lambda: raw("".join(map(sse, says("7"))).replace("\n", "\r\n"))),
    Answer(
        "an event over several lines",
        lambda: raw(sse(says("7")[0]).replace(', "', ',\ndata: "') + sse(END[0])),
        estimated=True,
    ),
    Answer(
        "line separators within JSON",
        lambda: raw('data: {"choices": [{"delta": {"content": "\u2028"}}]}\n\n' + DONE),
        "\u2028",
        estimated=True,
    ),
    Answer(
        "pieces of calls without index",
        lambda: stream(
            [
                piece(id="a", name="python", arguments='{"co'),
                piece(arguments='de": "1"}'),
                piece(id="b", name="crop"),
                *END,
            ]
        ),
        "",
        calls=(CODE, ("crop", "")),
    ),
    Answer(
        "calls without index or id",
        lambda: stream([piece(name="python", arguments='{"code": "1"}'), piece(name="crop", arguments="{}"), *END]),
        "",
        calls=(CODE, ("crop", "{}")),
    ),
    Answer(
        "every call numbered 0",
        lambda: stream([piece(index=0, id=one, name="python", arguments='{"code": "1"}') for one in "ab"] + END),
        "",
        calls=(CODE, CODE),
    ),
    Answer(
        "arguments as an object",
        lambda: stream([piece(index=0, name="python", arguments={"code": "1"}), *END]),
        "",
        calls=(CODE,),
    ),
    Answer(
        "calls left in the text",
        lambda: stream(says('<tool_call>\n{"name": "python", "arguments": {"code": "1"}}\n</tool_call>')),
        '<tool_call>\n{"name": "python", "arguments": {"code": "1"}}\n</tool_call>',
        calls=(CODE,),
    ),
]


@pytest.mark.parametrize("case", ANSWERS, ids=[one.name for one in ANSWERS])
def test_an_answer_in_its_own_way(endpoint: Endpoint, case: Answer) -> None:
    endpoint.reply = lambda body, number: case.sent()
    deltas = ask(endpoint)
    assert (text(deltas), reasoning(deltas), tuple(calls(deltas))) == (case.text, case.reasoning, case.calls)
    assert deltas[-1].finish_reason == ("tool_calls" if case.calls else "stop")
    used = [delta.usage for delta in deltas if delta.usage]
    assert [one.estimated for one in used] == [case.estimated]


def test_reasoning_that_only_ends_is_known_the_next_time(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: stream(says("hm</think>7"))
    assert reasoning(ask(endpoint)) == ""
    deltas = ask(endpoint)
    assert (text(deltas), reasoning(deltas)) == ("7", "hm")


BROKEN = [
    ("half JSON", lambda: raw(sse(says("7")[0]) + 'data: {"choices": [{"del'), "broke off: half an event"),
    ("half JSON in the middle", lambda: raw('data: {"choi\n\n' + sse(END[0]) + DONE), "broke off: half an event"),
    ("half a completion", lambda: raw('{"choices": [', "application/json"), "broke off: half an answer"),
    ("a web page", lambda: raw("<html></html>", "text/html"), "a web page; does the address end in /v1"),
    ("nothing at all", lambda: raw(""), "broke off, or does not stream"),
    ("`[DONE]` and nothing else", lambda: raw(DONE), "broke off, or does not stream"),
    (
        "an error as an object of its own",
        lambda: raw('data: {"object": "error", "message": "no memory"}\n\n'),
        "no memory",
    ),
    ("an error with status 200", lambda: raw('{"error": {"message": "no memory"}}', "application/json"), "no memory"),
]


@pytest.mark.parametrize(("sent", "part"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_half_an_answer_is_none(endpoint: Endpoint, sent: Callable[[], Response], part: str) -> None:
    endpoint.reply = lambda body, number: sent()
    with pytest.raises(EndpointError, match=re.escape(part)):
        ask(endpoint)


# --- refusals: the field or habit, the server's words, and what the accepted request must look like


class Refusal(NamedTuple):
    name: str
    refuses: Callable[[Json], bool]
    words: str
    status: int = 400
    """What the first request is answered with."""


def roles(body: Json) -> set[str]:
    return {one["role"] for one in body["messages"]}


REFUSALS = [
    Refusal("no `stream_options`", lambda body: "stream_options" in body, "Unrecognized argument: stream_options"),
    Refusal(
        "no `max_tokens`", lambda body: "max_tokens" in body, "Use 'max_completion_tokens' instead of 'max_tokens'"
    ),
    Refusal("no `reasoning_effort`", lambda body: "reasoning_effort" in body, "extra fields not permitted", 422),
    Refusal("no `seed`", lambda body: "seed" in body, "property 'seed' is unsupported"),
    Refusal("no system role", lambda body: "system" in roles(body), "System role not supported"),
    Refusal("no tools", lambda body: "tools" in body, "registry/m does not support tools"),
    Refusal("no tools, as a server error", lambda body: "tools" in body, "tools param requires --jinja flag", 500),
    Refusal("no tools, as not found", lambda body: "tools" in body, "No endpoints found that support tool use", 404),
    Refusal("no words", lambda body: "seed" in body or "reasoning_effort" in body, "Bad Request"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=[one.name for one in REFUSALS])
def test_what_is_refused_is_done_without_and_remembered(endpoint: Endpoint, case: Refusal) -> None:
    endpoint.reply = lambda body, number: error(case.status, case.words) if case.refuses(body) else stream(says("7"))
    assert text(ask(endpoint)) == "7"
    tries = len(endpoint.bodies)
    assert 2 <= tries <= 12
    if case.words != "Bad Request":
        assert tries <= 8
    assert text(ask(endpoint)) == "7"
    assert len(endpoint.bodies) == tries + 1
    sent = endpoint.bodies[-1]
    assert "Be brief." in json.dumps(sent["messages"])
    assert {"max_tokens", "max_completion_tokens"} & set(sent)


def test_another_model_of_the_endpoint_learns_for_itself(endpoint: Endpoint) -> None:
    assert quirks.known(endpoint.url, "m") is quirks.known(endpoint.url, "m")
    assert quirks.known(endpoint.url, "m") is not quirks.known(endpoint.url, "other")


PICTURES = [message("user", Image.new("RGB", (40, 30)), "How many?")]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "m is not a multimodal model"),
        (400, "This model does not support image input"),
        (404, "No endpoints found that support image input"),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
    ],
)
def test_no_pictures_is_said_once_with_the_models_name(endpoint: Endpoint, status: int, words: str) -> None:
    endpoint.reply = lambda body, number: error(status, words)
    for _ in range(2):
        with pytest.raises(EndpointError, match=f"the model 'm' at .* takes no pictures .*{words[:20]}"):
            ask(endpoint, PICTURES)
    assert len(endpoint.bodies) == 1
    endpoint.reply = lambda body, number: stream(says("7"))
    assert text(ask(endpoint)) == "7"


def test_too_long_under_any_code_is_asked_once(endpoint: Endpoint) -> None:
    words = "This model's maximum context length is 8192 tokens"
    endpoint.reply = lambda body, number: error(400, words)
    with pytest.raises(InputError, match=words):
        ask(endpoint)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("silently", [True, False])
def test_no_n_is_asked_one_by_one(endpoint: Endpoint, silently: bool) -> None:
    def reply(body: Json, number: int) -> Response:
        refused = body.get("n", 1) > 1 and not silently
        return error(400, "n > 1 is not supported") if refused else stream(says("7"))

    endpoint.reply = reply
    for requests in (3, 3) if silently else (4, 3):
        endpoint.bodies.clear()
        deltas = ask(endpoint, n=3)
        assert [delta.index for delta in deltas if delta.finish_reason] == [0, 1, 2]
        assert [delta.text for delta in deltas if delta.text] == ["7"] * 3
        assert len(endpoint.bodies) == requests
    assert [body["seed"] for body in endpoint.bodies] == [1, 2, 3]


# --- tools through the prompt


def without_tools(reply: Callable[[Json, int], Response]) -> Callable[[Json, int], Response]:
    return lambda body, number: error(400, "no tools here") if "tools" in body else reply(body, number)


def test_agents_with_tools_through_the_prompt(endpoint: Endpoint) -> None:
    """The whole loop: four agents call python in plain text, read its result from the user, and answer."""

    def reply(body: Json, number: int) -> Response:
        last = json.dumps(body["messages"][-1]["content"])
        if found := re.search(r"Result of python:\\n(\d+)", last):
            return stream(says(found[1]))
        call = 'I compute.\n```tool\n{"name": "python", "arguments": {"code": "7+13"}}\n```\nResult of python: 21'
        return stream([chunk({"content": call[at : at + 5]}) for at in range(0, len(call), 5)] + END)

    endpoint.reply = without_tools(reply)

    async def run() -> str:
        model = RemoteModel(endpoint.url, "m")
        done = await outcome(answer(QUESTION, model=model, agents=4))
        await model.aclose()
        return done.answer

    assert asyncio.run(run()) == "20"
    sent = endpoint.bodies[-1]
    assert [one["role"] for one in sent["messages"]] == ["system", "user", "assistant", "user"]
    assert "- crop: Zoom into a picture" in sent["messages"][0]["content"]
    assert "21" not in json.dumps(sent["messages"][2:])


def test_pictures_of_tools_keep_their_number_in_the_prompt(endpoint: Endpoint) -> None:
    endpoint.reply = without_tools(lambda body, number: stream(says("7")))
    picture = Image.new("RGB", (40, 30))
    turn = [
        message("user", picture, "How many?"),
        message("assistant", "Look.", tool_calls=(ToolCall("c", "crop", '{"image": 1}'),)),
        message("tool", picture, tool_call_id="c", name="crop"),
        message("tool", "20", tool_call_id="d", name="python"),
    ]
    ask(endpoint, turn)
    system, _, assistant, user = endpoint.bodies[-1]["messages"]
    assert system["role"] == "system"
    assert '```tool\n{"name": "crop", "arguments": {"image": 1}}\n```' in assistant["content"]
    assert [part["type"] for part in user["content"]].count("image_url") == 1
    said = "".join(part.get("text", "") for part in user["content"])
    assert re.search(r"Result of crop:.*Picture 2, from the tool:.*Result of python:\n20", said, re.DOTALL)


@pytest.mark.parametrize(("with_tools", "prompted"), [(40, False), (9, True)])
def test_tools_dropped_without_a_word_show_in_the_length_of_the_prompt(
    endpoint: Endpoint, with_tools: int, prompted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "hands_tools_on", False)
    endpoint.reply = lambda body, number: stream([*says("7")[:2], usage(with_tools if "tools" in body else 9, 2)])
    ask(endpoint, check_tools=True, times=2)
    assert len(endpoint.bodies) == 4  # two short requests, once
    assert ("tools" not in endpoint.bodies[-1]) == prompted


# --- waiting and trying again


def test_a_rate_limit_is_waited_out_until_the_date_that_the_endpoint_gives(endpoint: Endpoint) -> None:
    def reply(body: Json, number: int) -> Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return error(429, "slow", **{"retry-after": date}) if number == 0 else stream(says("7"))

    endpoint.reply = reply
    assert text(ask(endpoint)) == "7"
    assert endpoint.times[1] - endpoint.times[0] >= 0.9  # a date has whole seconds


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_these_are_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.reply = lambda body, number: error(status, "hiccup") if number == 0 else stream(says("7"))
    assert text(ask(endpoint)) == "7"


def test_no_wait_past_the_deadline(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: error(429, "slow", **{"retry-after": "3600"})
    with pytest.raises(EndpointError, match="over its rate limit"):
        ask(endpoint)
    assert len(endpoint.bodies) == 1


def test_retry_after_in_seconds_as_a_date_and_as_nonsense() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("1.5", now) == 1.5
    assert retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now) == 30
    assert retry_after("Thu, 01 Jan 2020 00:00:00 GMT", now) == 0
    assert retry_after("soon", now) is None
    assert Retries().longest > Retries().base


def test_a_connection_that_is_reset_before_the_answer_is_tried_again() -> None:
    async def run() -> tuple[str, int]:
        count = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            count += 1
            await reader.readuntil(b"\r\n\r\n")
            if count == 1:
                writer.transport.abort()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + "".join(map(sse, says("7"))).encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        model = RemoteModel(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "m")
        said = text([delta async for delta in model.stream(QUESTION, sampling=Sampling())])
        await model.aclose()
        server.close()
        await server.wait_closed()
        return said, count

    assert asyncio.run(run()) == ("7", 2)


def test_no_more_requests_at_once_than_the_limit(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: endpoint.slow(says("7"))

    async def run() -> None:
        models = [RemoteModel(endpoint.url, name, concurrency=2) for name in "ab"]

        async def one(model: RemoteModel) -> list[Delta]:
            return [delta async for delta in model.stream(QUESTION, sampling=Sampling())]

        answers = await asyncio.gather(*(one(model) for model in models * 3))
        assert [text(deltas) for deltas in answers] == ["7"] * 6
        for model in models:
            await model.aclose()

    asyncio.run(run())
    assert endpoint.most_at_once == 2


def test_an_estimate_is_marked_as_such(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body, number: stream([chunk({"content": "x" * 40}), chunk({}, finish="length")])
    assert ask(endpoint)[-1].usage == Usage(5, 10, 0, estimated=True)


def test_the_document_lists_every_quirk() -> None:
    document = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
    names = [*(one.name for one in ANSWERS), *(one.name for one in REFUSALS), *(one[0] for one in BROKEN)]
    assert [name for name in names if name not in document] == []
