"""Calls in plain text: what models write when told to, what they write instead, and what is no call."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymnia.agents.prompted import Listener, parse, written
from polymnia.data.chat import ToolCall
from polymnia.data.parser import MALFORMED

TOOLS = ("python", "crop")
CODE = {"name": "python", "arguments": {"code": "1+1"}}
PYTHON = ("python", {"code": "1+1"})
CROP = ("crop", {"image": 1})


def read(text: str) -> tuple[str, list[tuple[str, object]]]:
    said, calls = parse(text, TOOLS)
    return said, [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        (f"I compute.\n```tool\n{json.dumps(CODE)}\n```", "I compute.", [PYTHON]),
        (
            f"```tool\n{json.dumps(CODE)}\n```\n" + '```tool\n{"name": "crop", "arguments": {"image": 1}}\n```',
            "",
            [PYTHON, CROP],
        ),
        (f"```tool\n{json.dumps([CODE, CODE])}\n```", "", [PYTHON, PYTHON]),
        (f"```tool\n{json.dumps(CODE)}\n```\nThe result is 3.", "", [PYTHON]),  # results are not the model's to write
        (f"```tool\n{json.dumps(CODE)}", "", [PYTHON]),  # cut off by a stop word
        (f"```json\n{json.dumps(CODE)}\n```", "", [PYTHON]),
        (f"```\n{json.dumps(CODE)}\n```", "", [PYTHON]),
        (f"<tool_call>\n{json.dumps(CODE)}\n</tool_call>", "", [PYTHON]),
        (f"<tool_call>{json.dumps(CODE)}", "", [PYTHON]),
        (f"[TOOL_CALLS] [{json.dumps(CODE)}]", "", [PYTHON]),
        (json.dumps(CODE), "", [PYTHON]),
        (f"Now:\n{json.dumps(CODE)}", "Now:", [PYTHON]),
        ('{"name": "python", "parameters": {"code": "1+1"}}', "", [PYTHON]),
        ('{"type": "function", "function": {"name": "python", "arguments": {"code": "1+1"}}}', "", [PYTHON]),
        ('```tool\n{"name": "python", "arguments": {"code": "1\n+1"}}\n```', "", [("python", {"code": "1\n+1"})]),
        ('```tool\n{"name": "python", "arguments": {"code": "1+1",},}\n```', "", [PYTHON]),
        ("```tool\n{'name': 'python', 'arguments': {'code': '1+1'}}\n```", "", [PYTHON]),
        ('```tool\n{"name": "python"}\n```', "", [("python", {})]),
        ('```tool\n{"name": "nope", "arguments": {}}\n```', "", [("nope", {})]),  # the toolbox tells it which there are
    ],
)
def test_a_call(text: str, said: str, calls: list[tuple[str, object]]) -> None:
    assert read(text) == (said, calls)


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 7.",
        "```python\nprint(1)\n```",
        '```json\n{"name": "Ada", "arguments": []}\n```',
        '{"answer": 7}',
        "[1, 2]",
        "Use {braces} freely.",
        "",
    ],
)
def test_an_answer_is_no_call(text: str) -> None:
    assert read(text) == (text, [])


@pytest.mark.parametrize("block", ['{"name": "python", "arguments": {"code": ', "python(1+1)", ""])
def test_a_block_that_cannot_be_read_is_a_call_that_says_so(block: str) -> None:
    said, ((_, arguments),) = read(f"Hm.\n```tool\n{block}\n```")
    assert said == "Hm."
    assert isinstance(arguments, dict)
    assert "not valid JSON" in arguments[MALFORMED]


def test_an_earlier_call_is_written_as_it_is_read() -> None:
    assert read(written(ToolCall("c", "python", '{"code": "1+1"}'))) == ("", [PYTHON])


MARKS = ["```", "```tool\n", "```json\n", "<tool_call>", "</tool_call>", "{", "}", "[", ", ", "\n", "\\", "'", " "]
WORDS = ['"name": ', '"python"', '"arguments": ', json.dumps(CODE), "text", "<think>"]
PIECES = st.sampled_from(MARKS + WORDS)


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12), st.integers(1, 7))
def test_whatever_comes_in_whatever_pieces_gives_the_same(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    listener = Listener(TOOLS)
    shown = "".join([listener.feed(text[at : at + size]) for at in range(0, len(text), size)])
    rest, calls = listener.end()
    said, expected = parse(text, TOOLS)
    assert calls == expected
    assert (shown + rest).rstrip() == said.rstrip()
    assert all(isinstance(call.arguments, str) for call in calls)
