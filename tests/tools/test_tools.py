"""Schemas from signatures, mistakes of a model as results that it can read, and the tools themselves."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated

import pytest
from PIL import Image
from pydantic import Field

from polymnia.data.chat import ToolCall
from polymnia.tools import Toolbox, ToolContext, ToolError, ToolResult, default_tools, tool


@tool
def repeat(text: Annotated[str, Field(description="what to say")], times: int = 2) -> ToolResult:
    """Say it again."""
    if times < 0:
        raise ToolError("times cannot be negative")
    return ToolResult(text * times)


@tool
async def count(context: ToolContext) -> ToolResult:
    """How many pictures there are."""
    return ToolResult(str(len(context.images)))


BOX = Toolbox((repeat, count))


def call(box: Toolbox, name: str, arguments: str, images: Sequence[Image.Image] = ()) -> ToolResult:
    return asyncio.run(box.call(ToolCall("1", name, arguments), images))


def test_the_schema_comes_from_the_signature() -> None:
    assert repeat.spec.name == "repeat"
    assert repeat.spec.description == "Say it again."
    assert repeat.spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "text": {"type": "string", "description": "what to say"},
            "times": {"type": "integer", "default": 2},
        },
        "required": ["text"],
    }


def test_the_context_is_no_parameter() -> None:
    assert count.spec.parameters["properties"] == {}
    assert call(BOX, "count", "", [Image.new("RGB", (1, 1))]).text == "1"


def test_the_tools_of_every_agent_as_models_are_told_of_them() -> None:
    specs = {spec.name: list(spec.parameters["properties"]) for spec in default_tools().specs}
    box = ["image", "x0", "y0", "x1", "y1"]
    assert specs == {
        "crop": box,
        "mark": [*box, "label"],
        "measure": box,
        "rotate": ["image", "degrees"],
        "python": ["code"],
    }


def test_a_call_with_good_arguments() -> None:
    assert call(BOX, "repeat", '{"text": "ab", "times": 3}').text == "ababab"


@pytest.mark.parametrize("arguments", ['{"text": 7, "times": "2"}', '{"text": "7", "times": 2.0}'])
def test_types_are_forgiven_where_the_meaning_is_plain(arguments: str) -> None:
    assert call(BOX, "repeat", arguments).text == "77"


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("nope", "{}", "there is no tool 'nope'; the tools are: repeat, count"),
        ("repeat", "{}", "for repeat: text is missing"),
        ("repeat", '{"text": "a", "times": "many"}', 'times = "many": it should be a valid integer'),
        ("repeat", '{"text": "a", "extra": 1}', "extra is not a parameter; the parameters are text, times"),
        ("repeat", "[1, 2]", "it should be an object; write a JSON object with the parameters text, times"),
        ("repeat", '{"text": [1]}', "text = [1]: it should be a valid string (what to say)"),
        ("repeat", json.dumps({"text": ["a" * 500]}), f'text = ["{"a" * 58}...: it should be'),
        ("repeat", json.dumps(dict.fromkeys("abcdefghijk", 1)), "and 6 more"),
        ("n" * 500, "{}", "there is no tool 'nnn"),
        ("repeat", "not json", "Invalid JSON"),
        ("repeat", "[" * 10_000, "Invalid JSON"),
        ("repeat", '{"text": "a", "times": -1}', "times cannot be negative"),
        ("repeat", json.dumps({"malformed_call": "the call was cut off"}), "Error: the call was cut off"),
    ],
)
def test_mistakes_of_the_model_are_results_that_it_can_read(name: str, arguments: str, part: str) -> None:
    result = call(BOX, name, arguments)
    assert result.failed
    assert part in result.text
    assert "\n" not in result.text
    assert len(result.text) < 600


def test_a_tool_with_an_untyped_parameter_is_refused() -> None:
    def careless(x):  # type: ignore[no-untyped-def]
        return ToolResult()

    with pytest.raises(TypeError, match="'x' of tool 'careless' has no type"):
        tool(careless)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        Toolbox((repeat, repeat))


def test_python_computes() -> None:
    assert call(default_tools(), "python", '{"code": "7+13"}').text == "20"
    assert call(default_tools(), "python", '{"code": "import socket"}').failed
