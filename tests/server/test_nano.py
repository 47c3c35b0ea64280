"""The shipped model behind the server: held-out pictures in, right answers out, as any client gets them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from polymnia.agents.models import open_model
from polymnia.data.images import to_data_url
from polymnia.tasks import FAMILIES, Problem, sample, verify
from server.conftest import Served, served_on_loopback


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with ExitStack() as stack:
        yield stack.enter_context(served_on_loopback(open_model("nano"), None))


def ask(served: Served, problem: Problem, model: str, **fields: Any) -> Any:
    picture = {"type": "image_url", "image_url": {"url": to_data_url(problem.images[0])}}
    messages: Any = [{"role": "user", "content": [picture, {"type": "text", "text": problem.question}]}]
    return served.client.chat.completions.create(model=model, messages=messages, seed=1, **fields)


@pytest.mark.parametrize("model", ["nano", "nano:contemplating-quick"])
def test_nano_answers_held_out_questions(served: Served, model: str) -> None:
    problems = [sample(FAMILIES["count"], split="test", tier=0, seed=3, index=index) for index in range(3)]
    answers = [ask(served, problem, model) for problem in problems]
    right = [verify(one, answer.choices[0].message.content) for one, answer in zip(problems, answers, strict=True)]
    assert sum(right) >= 2
    for answer in answers:
        assert answer.usage.completion_tokens > 0
        assert answer.system_fingerprint == served.http.get("/health").json()["weights"]


def test_the_same_seed_gives_the_same_words_streamed_or_not(served: Served) -> None:
    problem = sample(FAMILIES["chart"], split="test", tier=0, seed=3, index=0)
    fields: dict[str, Any] = {"temperature": 1.0, "tool_choice": "none"}
    whole = ask(served, problem, "nano", **fields).choices[0].message
    with ask(served, problem, "nano", stream=True, **fields) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream]
    assert "".join(delta.content or "" for delta in deltas) == (whole.content or "")
    thoughts = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
    assert thoughts == (whole.model_extra or {}).get("reasoning_content", "")


def test_a_question_longer_than_the_context_is_refused(served: Served) -> None:
    body = {"model": "nano", "messages": [{"role": "user", "content": "how many? " * 20_000}]}
    response = served.post(body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
