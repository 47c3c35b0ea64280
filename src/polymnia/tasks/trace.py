"""Building blocks of programmatic traces: what an assistant that solves the task would write.

Every tool call is really executed on the picture, so a trace holds what the tool gives.
"""

import json
from collections.abc import Sequence

from PIL import Image

from polymnia.data.chat import Message, ToolCall, message
from polymnia.data.images import Measurement, crop, measure

Argument = int | str


def answer(text: str, reasoning: str = "") -> Message:
    return message("assistant", text, reasoning=reasoning)


def call(name: str, arguments: dict[str, Argument], *parts: str | Image.Image, reasoning: str = "") -> list[Message]:
    """One tool call and its result."""
    one = ToolCall(f"call_{name}", name, json.dumps(arguments))
    return [
        message("assistant", reasoning=reasoning, tool_calls=(one,)),
        message("tool", *parts, tool_call_id=one.id, name=name),
    ]


def python_call(code: str, result: object, reasoning: str = "") -> list[Message]:
    """`python` with a code whose printed output or last value is `result` (the tests run it for real)."""
    return call("python", {"code": code}, str(result), reasoning=reasoning)


def crop_call(
    picture: Image.Image, index: int, box: Sequence[int], reasoning: str = ""
) -> tuple[list[Message], Image.Image]:
    """`crop` of the picture in 0-1000 coordinates, really executed; `index` names it in the conversation."""
    x0, y0, x1, y1 = box
    region = crop(picture, x0, y0, x1, y1)
    arguments: dict[str, Argument] = {"image": index, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
    return call("crop", arguments, region, reasoning=reasoning), region


def measure_call(
    picture: Image.Image, index: int, line: Sequence[int], reasoning: str = ""
) -> tuple[list[Message], Measurement]:
    """`measure` along a line (x0, y0, x1, y1) of the picture in 0-1000 coordinates, really executed."""
    x0, y0, x1, y1 = line
    found = measure(picture, x0, y0, x1, y1)
    arguments: dict[str, Argument] = {"image": index, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
    return call("measure", arguments, found.text, reasoning=reasoning), found


def thousandths(pixel: float, size: int) -> int:
    return round(1000 * pixel / size)
