"""Building blocks of programmatic traces: what an assistant that solves the task would write."""

import json
from collections.abc import Sequence

from PIL import Image

from polymnia.data.chat import Message, ToolCall, message
from polymnia.data.images import crop


def answer(text: str, reasoning: str = "") -> Message:
    return message("assistant", text, reasoning=reasoning)


def call(name: str, arguments: dict[str, int | str], *parts: str | Image.Image, reasoning: str = "") -> list[Message]:
    """One tool call and its result."""
    one = ToolCall(f"call_{name}", name, json.dumps(arguments))
    return [
        message("assistant", reasoning=reasoning, tool_calls=(one,)),
        message("tool", *parts, tool_call_id=one.id, name=name),
    ]


def crop_call(
    picture: Image.Image, index: int, box: Sequence[int], reasoning: str = ""
) -> tuple[list[Message], Image.Image]:
    """`crop` of the picture in 0-1000 coordinates, really executed."""
    x0, y0, x1, y1 = box
    region = crop(picture, x0, y0, x1, y1)
    arguments: dict[str, int | str] = {"image": index, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
    return call("crop", arguments, region, reasoning=reasoning), region


def thousandths(pixel: int, size: int) -> int:
    return round(1000 * pixel / size)
