"""What goes wrong: the right status, OpenAI's shape, no 500 for what a client sends."""

import contextlib
import json
import time
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymnia.errors import EndpointError, InputError, RunError
from polymnia.server.answering import plan
from polymnia.server.conversation import to_messages, to_tools
from polymnia.server.errors import ApiError
from polymnia.server.http import Limits
from polymnia.server.schema import parse_request
from server.conftest import Serve, Served, eventually
from server.scripted import ScriptedModel, fails, says, says_and_waits
from server.test_chat import ADD, QUESTION, picture_url

OK: dict[str, Any] = {"model": "nano", "messages": QUESTION}
USER: dict[str, Any] = {"role": "user", "content": "x"}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def image(url: str) -> dict[str, Any]:
    return user({"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}})


def assert_shape(response: httpx2.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "Traceback" not in response.text
    return dict(error)


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(ScriptedModel(says("3")), Limits(body_bytes=100_000))


BAD: list[tuple[dict[str, Any], str | None]] = [
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [USER, {"role": "tool", "tool_call_id": "a", "content": "x"}]}, "messages[1].tool_call_id"),
    (user({"type": "text", "text": 5}), "messages[0].content[0].text"),
    (user({"type": "input_audio", "input_audio": {}}), "messages[0].content[0]"),
    (user({"type": "image_url", "image_url": "data:"}), "messages[0].content[0].image_url"),
    (image("https://example.com/a.png"), "messages[0].content[1].image_url.url"),
    (image("data:image/png;base64,AAAA"), "messages[0].content[1].image_url.url"),
    (image("data:image/png;base64,!"), "messages[0].content[1].image_url.url"),
    (image("iVBORw0KGgo="), "messages[0].content[1].image_url.url"),
    ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    ({"messages": [{"role": "user", "content": " "}], "tool_choice": "none"}, "messages"),
    ({"messages": [{"role": "user", "content": []}], "tool_choice": "none"}, "messages"),
    ({"temperature": 9}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 2}, "n"),
    ({"seed": 1.5}, "seed"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"reasoning_effort": "huge"}, "reasoning_effort"),
    ({"logprobs": True}, "logprobs"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"response_format": {"type": "json_object"}}, "response_format.type"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"tool_choice": "required", "tools": [ADD]}, "tool_choice"),
    ({"tools": [ADD, ADD]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, "tools[0].function.strict"),
    ({"model": "nano:contemplating", "tools": [ADD]}, "tools"),
    ({"best_of": 2}, "best_of"),
    ({"functions": []}, "functions"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
]


def test_what_cannot_be_honoured_is_refused_by_name(served: Served) -> None:
    for fields, param in BAD:
        response = served.post(OK | fields)
        assert response.status_code == 400, (fields, response.text)
        error = assert_shape(response)
        assert (error["param"], error["type"]) == (param, "invalid_request_error"), fields


def test_what_asks_for_nothing_is_taken(served: Served) -> None:
    nothing = {
        "n": 1,
        "logprobs": False,
        "top_logprobs": 0,
        "logit_bias": {},
        "presence_penalty": 0.0,
        "frequency_penalty": 0,
        "response_format": {"type": "text"},
        "store": False,
        "user": "ann",
        "metadata": {"a": "b"},
        "stop": None,
        "parallel_tool_calls": True,
        "tools": None,
        "stream": None,
    }
    assert served.post(OK | nothing).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 90_000, b'{"model": "\\ud800"}'])
def test_a_body_that_is_no_request(served: Served, body: bytes) -> None:
    response = served.post(content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert_shape(response)


def test_a_body_must_say_that_it_is_json(served: Served) -> None:
    response = served.post(content=json.dumps(OK), headers={"Content-Type": "text/plain"})
    assert response.status_code == 415
    assert_shape(response)


@pytest.mark.parametrize("size", [150_000, 10_000_000])
def test_a_body_that_is_too_large(served: Served, size: int) -> None:
    """Also one so large that the server stops reading: the client may then see a closed connection."""
    try:
        response = served.post(OK | {"user": "x" * size})
    except httpx2.TransportError:
        assert size > 4 * 100_000
    else:
        assert response.status_code == 413
        assert_shape(response)
    assert served.post(OK).status_code == 200


def test_unknown_models_paths_and_methods(served: Served) -> None:
    unknown = served.post(OK | {"model": "gpt-9"})
    assert unknown.status_code == 404
    assert assert_shape(unknown)["code"] == "model_not_found"
    for response, status in ((served.http.get("/v1/nothing"), 404), (served.http.get("/v1/chat/completions"), 405)):
        assert response.status_code == status
        assert_shape(response)


def test_the_client_raises_what_it_should(served: Served) -> None:
    create = served.client.chat.completions.create
    with pytest.raises(openai.BadRequestError, match="temperature"):
        create(model="nano", messages=QUESTION, temperature=9)
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        create(model="gpt-9", messages=QUESTION)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("the question is longer than the context"), 400),
        (EndpointError("the endpoint cannot be reached"), 502),
        (RunError("the run failed"), 500),
        (ZeroDivisionError("secret"), 500),
    ],
)
@pytest.mark.parametrize("fields", [{}, {"tool_choice": "none"}])
def test_a_failure_before_the_first_word_has_its_own_status(
    serve: Serve, stream: bool, error: Exception, status: int, fields: dict[str, Any]
) -> None:
    response = serve(ScriptedModel(fails(error))).post(OK | fields | {"stream": stream})
    assert response.status_code == status
    message = assert_shape(response)["message"]
    if not isinstance(error, ZeroDivisionError):
        assert message == str(error)


def test_a_failure_in_the_middle_ends_the_stream_with_an_error(serve: Serve) -> None:
    served = serve(ScriptedModel(fails(EndpointError("the endpoint went away"), "There ", "are ")))
    response = served.post(OK | {"stream": True, "tool_choice": "none"})
    assert response.status_code == 200
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert json.loads(events[-1])["error"]["message"] == "the endpoint went away"
    assert "[DONE]" not in response.text
    stream = served.client.chat.completions.create(model="nano", messages=QUESTION, stream=True, tool_choice="none")
    with pytest.raises(openai.APIError, match="went away"):
        list(stream)


@pytest.mark.parametrize("model_name", ["nano", "nano:contemplating"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_work(serve: Serve, stream: bool, model_name: str) -> None:
    model = ScriptedModel(says_and_waits("hm"))
    served = serve(model)
    with pytest.raises(httpx2.ReadTimeout):
        served.post(OK | {"stream": stream, "model": model_name}, timeout=0.3)
    assert model.calls
    assert eventually(lambda: model.running == 0)
    assert eventually(lambda: served.http.get("/health").json()["agents"]["busy"] == 0)


def test_a_full_server_says_when_to_come_back(serve: Serve) -> None:
    model = ScriptedModel(says_and_waits("hm"))
    served = serve(model, Limits(agents=1, retry_seconds=3))
    with served.http.stream("POST", "/v1/chat/completions", json=OK | {"stream": True}) as busy:
        assert eventually(lambda: model.running == 1)
        for stream in (False, True):
            refused = served.post(OK | {"stream": stream})
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "3"
            assert assert_shape(refused)["code"] == "rate_limit_exceeded"
        with pytest.raises(openai.RateLimitError):
            served.client.chat.completions.create(model="nano", messages=QUESTION)
        assert busy.status_code == 200
    assert eventually(lambda: model.running == 0)


def test_a_silent_stream_is_kept_alive(serve: Serve) -> None:
    served = serve(ScriptedModel(says_and_waits()), Limits(first_piece_seconds=0.05, ping_seconds=0.05))
    start = time.monotonic()
    with served.http.stream("POST", "/v1/chat/completions", json=OK | {"stream": True}) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]
    assert time.monotonic() - start < 5


def test_pictures_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polymnia.server.conversation.MAX_PIXELS", 1_000)
    part = {"type": "image_url", "image_url": {"url": picture_url(20, 30)}}
    text = {"type": "text", "text": "What is this?"}
    to_messages(parse_request(json.dumps(OK | user(text, part)).encode()))
    with pytest.raises(ApiError, match="together"):
        to_messages(parse_request(json.dumps(OK | user(text, part, part)).encode()))
    monkeypatch.setattr("polymnia.server.conversation.MAX_IMAGES", 1)
    with pytest.raises(ApiError, match="More than 1"):
        to_messages(parse_request(json.dumps(OK | user(text, part, part)).encode()))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*BAD[0][0], *OK, "tools", "stop", "stream_options", "metadata", "n", "seed", "other"])
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url"])}, optional={"text": ANYTHING, "image_url": ANYTHING}
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
        optional={"content": ANYTHING | st.lists(PARTS, max_size=2), "tool_calls": ANYTHING, "tool_call_id": ANYTHING},
    ),
    max_size=3,
)


@given(st.dictionaries(FIELDS, ANYTHING, max_size=3), MESSAGES)
def test_no_body_is_answered_with_anything_but_an_api_error(fields: dict[str, Any], messages: list[Any]) -> None:
    body = json.dumps({"model": "nano", "messages": messages} | fields).encode()
    with contextlib.suppress(ApiError):
        request = parse_request(body)
        plan(request, "nano")
        to_tools(request)
        to_messages(request)
