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
    assert specs == {"crop": ["image", "x0", "y0", "x1", "y1"], "python": ["code"]}


def test_a_call_with_good_arguments() -> None:
    assert call(BOX, "repeat", '{"text": "ab", "times": 3}').text == "ababab"


@pytest.mark.parametrize("arguments", ['{"text": 7, "times": "2"}', '{"text": "7", "times": 2.0}'])
def test_types_are_forgiven_where_the_meaning_is_plain(arguments: str) -> None:
    assert call(BOX, "repeat", arguments).text == "77"


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("nope", "{}", "there is no tool 'nope'; the tools are: repeat, count"),
        ("repeat", "{}", "text: Field required"),
        ("repeat", '{"text": "a", "times": "many"}', "times: Input should be a valid integer"),
        ("repeat", '{"text": "a", "extra": 1}', "extra: Extra inputs are not permitted"),
        ("repeat", "[1, 2]", "arguments: "),
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


# --- crop: a picture of 200 x 100 px, red on the left and blue on the right


def picture() -> Image.Image:
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    return image


def crop(image: int | str, *box: float, images: Sequence[Image.Image] | None = None) -> ToolResult:
    arguments = {"image": image, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
    return call(default_tools(), "crop", json.dumps(arguments), [picture()] if images is None else images)


def test_crop_gives_the_box_at_full_resolution() -> None:
    result = crop(1, 500, 0, 1000, 500)
    assert not result.failed
    assert result.text == ""
    assert result.images[0].size == (100, 50)
    assert result.images[0].getcolors() == [(5000, (0, 0, 255))]


def test_crop_counts_the_pictures_of_tools_too() -> None:
    first = crop(1, 500, 0, 1000, 1000).images[0]
    second = crop(2, 0, 0, 500, 500, images=[picture(), first])
    assert second.images[0].size == (50, 50)
    assert second.images[0].getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("image", "box", "part"),
    [
        (1, (600, 0, 400, 1000), ""),
        (1, (0, 900, 1000, 100), ""),
        (1, (500, 0, 500, 1000), ""),
        (0, (0, 0, 1000, 1000), "picture 0 does not exist: there are pictures 1 to 1"),
        (2, (0, 0, 1000, 1000), "picture 2 does not exist"),
        (1, (0, 0, 1001, 1000), "x1: Input should be less than or equal to 1000"),
        (1, (-1, 0, 1000, 1000), "x0: Input should be greater than or equal to 0"),
    ],
)
def test_a_box_that_makes_no_sense_is_explained(image: int, box: tuple[float, ...], part: str) -> None:
    result = crop(image, *box)
    assert result.failed
    assert result.text.startswith("Error: ")
    assert part in result.text
    assert result.images == ()


@pytest.mark.parametrize("value", ["nan", "Infinity", "left"])
def test_coordinates_are_finite_numbers(value: str) -> None:
    arguments = json.dumps({"image": 1, "x0": value, "y0": 0, "x1": 1000, "y1": 1000})
    assert call(default_tools(), "crop", arguments, [picture()]).failed


def test_crop_without_any_picture() -> None:
    assert "there is no picture in this conversation" in crop(1, 0, 0, 1000, 1000, images=[]).text
