"""Our conversations as the JSON of OpenAI's chat completions, for endpoints of every habit.

Not every endpoint takes every field; what one has refused stands in `without` and is left out or said
otherwise. Reading the wire is `remote.py`'s work, and `server`'s on the other side.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from PIL import Image

from polymnia.agents import prompted
from polymnia.agents.model import Sampling
from polymnia.data.chat import ImagePart, Message, Part, TextPart, ToolCall, ToolSpec
from polymnia.data.images import to_data_url
from polymnia.data.parser import MALFORMED

EFFORT = "reasoning_effort"
REASONING = "reasoning_content"
"""Reasoning of the current turn given back to the model between its tool calls."""
TOOL_IMAGES = "images in tool messages"
"""Without it, pictures from tools follow in a user message. OpenAI itself wants that and others drop them silently,
so only our own server, which says who it is, gets them where they belong."""
MAX_TOKENS = "max_tokens"
"""Without it, the limit goes as `max_completion_tokens`."""
NO_TOOLS = "tool_choice"
"""`tool_choice: "none"` where no tools are offered, or an endpoint with tools of its own (ours) would run them."""
TEMPERATURE = "temperature"
"""Some models take no other than their own."""
SEED = "seed"
USAGE = "stream_options"
SAMPLES = "n"
"""Without it, samples are asked for one by one."""
SYSTEM = "system"
"""Without it, the system's words begin the first user message."""
TOOLS = "tools"
"""Without it, tools are told of and called in plain text (`prompted.py`)."""

MIN_SIDE = 28
"""Pixels; several engines refuse smaller pictures, which a crop of a thin box can be."""
MAX_ASPECT = 100
"""Longer side to shorter; engines refuse more, 200 at the latest."""
MAX_ENLARGED = 4096
"""Pixels of the longer side up to which a small picture is enlarged."""

DataUrl = Callable[[Image.Image], str]
Json = dict[str, Any]


def request(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    sampling: Sampling,
    n: int,
    *,
    without: Collection[str],
    data_url: DataUrl,
) -> Json:
    """The request's body but for the model's name."""
    if TOOLS in without:
        messages, tools = prompted.conversation(messages, tools), ()
    if SYSTEM in without:
        messages = _without_system(messages)
    body: Json = {"messages": wire_messages(messages, without=without, data_url=data_url), "stream": True}
    if tools:
        body["tools"] = [_tool(spec) for spec in tools]
    elif NO_TOOLS not in without:
        body["tool_choice"] = "none"
    if n != 1 and SAMPLES not in without:
        body["n"] = n
    if sampling.temperature is not None and TEMPERATURE not in without:
        body["temperature"] = sampling.temperature
    if sampling.top_p != 1:
        body["top_p"] = sampling.top_p
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.max_tokens is not None:
        body["max_completion_tokens" if MAX_TOKENS in without else "max_tokens"] = sampling.max_tokens
    if sampling.seed is not None and SEED not in without:
        body["seed"] = sampling.seed
    if EFFORT not in without:
        body["reasoning_effort"] = sampling.effort
    if USAGE not in without:
        body["stream_options"] = {"include_usage": True}
    return body


def options_in_use(messages: Sequence[Message], tools: Sequence[ToolSpec], sampling: Sampling, n: int = 1) -> list[str]:
    """What a request contains that an endpoint may refuse, the likeliest first."""
    use = {
        NO_TOOLS: not tools,  # OpenAI's own takes a choice of tools only with tools
        EFFORT: True,
        TOOL_IMAGES: any(one.role == "tool" and one.images for one in messages),
        MAX_TOKENS: sampling.max_tokens is not None,
        REASONING: any(one.reasoning for one in _current_turn(messages)),
        USAGE: True,
        SEED: sampling.seed is not None,
        TEMPERATURE: sampling.temperature is not None,
        SAMPLES: n != 1,
        SYSTEM: any(one.role == "system" for one in messages),
        TOOLS: bool(tools) or any(one.tool_calls or one.role == "tool" for one in messages),
    }
    return [option for option, used in use.items() if used]


def _without_system(messages: Sequence[Message]) -> list[Message]:
    system = [part for one in messages if one.role == "system" for part in (*one.content, TextPart("\n\n"))]
    others = [one for one in messages if one.role != "system"]
    if others and others[0].role == "user":
        return [replace(others[0], content=(*system, *others[0].content)), *others[1:]]
    return [Message("user", tuple(system)), *others] if system else others


def wire_messages(messages: Sequence[Message], *, without: Collection[str], data_url: DataUrl) -> list[Json]:
    wire: list[Json] = []
    current = len(messages) - len(_current_turn(messages))
    waiting: list[Part] = []  # pictures of tools, until the last result of their turn is written
    shown = 0
    for position, one in enumerate(messages):
        if waiting and one.role != "tool":
            wire.append(_picture_message(waiting, shown, data_url))
            waiting = []
        shown += len(one.images)
        keep_reasoning = position >= current and REASONING not in without
        if one.role == "tool" and one.images and TOOL_IMAGES in without:
            waiting += [part for part in one.content if isinstance(part, ImagePart)]
            text = one.text or f"{_pictures(shown - len(one.images) + 1, shown)} below."
            wire.append({"role": "tool", "tool_call_id": one.tool_call_id, "content": text})
        else:
            wire.append(_message(one, data_url, keep_reasoning))
    if waiting:
        wire.append(_picture_message(waiting, shown, data_url))
    return wire


def _current_turn(messages: Sequence[Message]) -> Sequence[Message]:
    """What follows the last user message: only its reasoning is given back."""
    users = [position for position, one in enumerate(messages) if one.role == "user"]
    return messages[users[-1] + 1 :] if users else messages


def _message(one: Message, data_url: DataUrl, keep_reasoning: bool) -> Json:
    wire: Json = {"role": one.role, "content": _content(one, data_url)}
    if one.role == "tool":
        wire["tool_call_id"] = one.tool_call_id
    if one.tool_calls:
        wire["content"] = wire["content"] or None
        wire["tool_calls"] = [_call(call) for call in one.tool_calls]
    if one.reasoning and keep_reasoning:
        wire["reasoning_content"] = one.reasoning
    return wire


def _call(call: ToolCall) -> Json:
    """An earlier call as engines can read it: a plain name, a JSON object; they fail on anything else.

    What a model wrote in an object's place is quoted to it.
    """
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", call.name)[:64] or "unnamed"
    arguments = call.arguments.strip() or "{}"
    if not _is_object(arguments):
        arguments = json.dumps({MALFORMED: arguments})
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _is_object(text: str) -> bool:
    """Whether strict readers of JSON take it for an object: no NaN, no number too large, no half characters."""
    try:
        given = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(given, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(given, dict)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _content(one: Message, data_url: DataUrl) -> str | list[Json]:
    if not one.images:
        return one.text
    return [_part(part, data_url) for part in one.content]


def _part(part: Part, data_url: DataUrl) -> Json:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": data_url(part.image)}}
    return {"type": "text", "text": part.text}


def _picture_message(parts: Sequence[Part], shown: int, data_url: DataUrl) -> Json:
    """`shown` counts the conversation's pictures up to and with these; models name pictures by that number."""
    content: list[Json] = []
    for number, part in enumerate(parts, start=shown - len(parts) + 1):
        content += [{"type": "text", "text": f"Picture {number}, from a tool:"}, _part(part, data_url)]
    return {"role": "user", "content": content}


def _pictures(first: int, last: int) -> str:
    return f"See picture {first}" if first == last else f"See pictures {first} to {last}"


def picture_url(image: Image.Image) -> str:
    """The picture as endpoints get it: small ones enlarged, stripes broadened; relative coordinates stay true."""
    longest = max(image.size)
    factor = max(1, min(-(-MIN_SIDE // min(image.size)), MAX_ENLARGED // longest))
    least = max(MIN_SIDE, longest * factor // MAX_ASPECT)
    width, height = (max(side * factor, least) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.NEAREST)
    return to_data_url(image)


def _tool(spec: ToolSpec) -> Json:
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}
