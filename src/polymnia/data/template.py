"""Conversations to prompts: the Muse chat format as text and as token ids, with a loss mask for training.

The format has one home, `chat_template.jinja`, which engines that load a checkpoint run as well. Only
the template's own markers become special tokens: whatever stands between them (a user's text, a
tool's output) is taken literally, so a text that says `<|eot|>` cannot end a turn.
Reading what a model emits is `data.parser`'s.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from polymnia.data.chat import Effort, ImagePart, Message, Part, TextPart, ToolCall, ToolSpec
from polymnia.data.tokenizer import IMAGE_END, IMAGE_START, PATCH, SPECIAL_TOKENS, Tokenizer
from polymnia.errors import InputError

_SPECIAL = re.compile("(" + "|".join(re.escape(name) for name in SPECIAL_TOKENS) + ")")
_GUARD = "\ue000"
"""Private-use letter that stands inside every literal `<|` while the template runs (see `_guard`)."""


class Encoded(NamedTuple):
    ids: list[int]
    loss_mask: list[bool]
    """As long as `ids`: whether the assistant emits this token and is trained on it."""


def chat_template() -> str:
    """The jinja source, as it is saved beside a checkpoint."""
    return files("polymnia.data").joinpath("chat_template.jinja").read_text(encoding="utf-8")


def render(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = (),
    effort: Effort = "medium",
    add_generation_prompt: bool = True,
    image_tokens: Sequence[int] = (),
) -> str:
    """The prompt as text, for reading and logs; `image_tokens` has one count for each picture in order.

    Not for encoding with specials: a literal `<|eot|>` looks like a marker here. Use `encode_chat`.
    """
    text = _run_template(messages, tools, effort, add_generation_prompt)
    pieces = text.split(PATCH)
    _check_images(len(pieces) - 1, image_tokens)
    spans = [IMAGE_START + PATCH * count + IMAGE_END for count in image_tokens]
    return _unguard("".join(piece + span for piece, span in zip(pieces, [*spans, ""], strict=True)))


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = (),
    effort: Effort = "medium",
    add_generation_prompt: bool = True,
    image_tokens: Sequence[int] = (),
) -> list[int]:
    """The prompt as ids; `image_tokens` has one count (`ImageProcessor.num_tokens`) for each picture in order.

    Raises InputError when pictures and counts differ in number.
    """
    text = _run_template(messages, tools, effort, add_generation_prompt)
    if _GUARD in text:
        ids = []
        for place, piece in enumerate(_SPECIAL.split(text)):  # odd places hold the markers
            if place % 2:
                ids.append(tokenizer.special_ids[piece])
            elif piece:
                ids.extend(tokenizer.encode(_unguard(piece)))
    else:
        ids = tokenizer.encode(text, specials=True)
    return _expand_images(tokenizer, ids, image_tokens)


def encode_conversation(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = (),
    effort: Effort = "medium",
    image_tokens: Sequence[int] = (),
    loss_from: int | None = None,
) -> Encoded:
    """A finished conversation with the tokens marked that its assistant turns emit.

    Trained are the assistant messages at index `loss_from` and later (None: those after the last user
    message), from behind their first `<|start|>assistant` to their `<|eot|>`. The ids are those that
    inference sees: reasoning before the last user message is left out.
    """
    ids = encode_chat(tokenizer, messages, tools, effort, add_generation_prompt=False, image_tokens=image_tokens)
    if loss_from is None:
        loss_from = 1 + max((place for place, one in enumerate(messages) if one.role == "user"), default=-1)
    prompt = [tokenizer.start_id, *tokenizer.encode("assistant")]
    # Each message renders to one block that ends with <|eot|>; a system block always comes first.
    has_system = bool(messages) and messages[0].role == "system"
    mask = [False] * len(ids)
    start = 0 if has_system else ids.index(tokenizer.eot_id) + 1
    for place, one in enumerate(messages):
        stop = ids.index(tokenizer.eot_id, start) + 1
        if one.role == "assistant" and place >= loss_from:
            first = start + len(prompt)
            mask[first:stop] = [True] * (stop - first)
        start = stop
    return Encoded(ids, mask)


# --------------------------------------------------------------------------------- to the template


def _run_template(
    messages: Sequence[Message], tools: Sequence[ToolSpec], effort: Effort, add_generation_prompt: bool
) -> str:
    """Template text with every literal `<|` guarded and one `<|patch|>` for each picture."""
    return _compiled().render(
        messages=_wire_messages(messages),
        tools=[_wire_tool(tool) for tool in tools],
        effort=effort,
        add_generation_prompt=add_generation_prompt,
    )


@cache
def _compiled() -> jinja2.Template:
    """Compiled with the settings that transformers uses, so that both print the same."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_input_error
    return environment.from_string(chat_template())


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _raise_input_error(text: str) -> NoReturn:
    raise InputError(text)


def _wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """OpenAI-shaped dicts for the template, texts guarded, tool names resolved."""
    names: dict[str, str] = {}
    wire = []
    for one in messages:
        fields: dict[str, Any] = {"role": one.role, "content": _wire_content(one.content)}
        if one.reasoning:
            fields["reasoning_content"] = _guard(one.reasoning)
        if one.tool_calls:
            fields["tool_calls"] = [_wire_call(call) for call in one.tool_calls]
            names.update((call.id, call.name) for call in one.tool_calls)
        if one.role == "tool":
            fields["name"] = _guard(one.name or names.get(one.tool_call_id, ""))
        wire.append(fields)
    return wire


def _wire_content(content: Sequence[Part]) -> str | list[dict[str, str]]:
    """Neighbouring texts are joined before they are guarded: `<` and `|eot|>` make a marker together."""
    if all(isinstance(part, TextPart) for part in content):
        return _guard("".join(part.text for part in content if isinstance(part, TextPart)))
    wire: list[dict[str, str]] = []
    texts: list[str] = []
    for part in content:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, ImagePart):
            wire += [{"type": "text", "text": _guard("".join(texts))}, {"type": "image"}]
            texts = []
    return [*wire, {"type": "text", "text": _guard("".join(texts))}]


def _wire_call(call: ToolCall) -> dict[str, Any]:
    arguments: Any = None
    with suppress(ValueError, RecursionError):  # no JSON, or nested beyond all sense
        arguments = _guard_all(json.loads(call.arguments or "{}"))
    if not isinstance(arguments, dict):
        arguments = _guard(call.arguments)  # not an object: shown as it is, so that the model sees its mistake
    return {"id": call.id, "function": {"name": _guard(call.name), "arguments": arguments}}


def _wire_tool(tool: ToolSpec) -> dict[str, Any]:
    properties = {_guard(name): None for name in tool.parameters.get("properties", {})}
    return {"function": {"name": _guard(tool.name), "parameters": {"properties": properties}}}


def _guard(text: str) -> str:
    """Marks literal `<|` so that no marker of the template is found in it; almost always a no-op."""
    if "<|" not in text and _GUARD not in text:
        return text
    return text.replace(_GUARD, _GUARD + "0").replace("<|", f"<{_GUARD}|")


def _guard_all(value: Any) -> Any:
    if isinstance(value, str):
        return _guard(value)
    if isinstance(value, dict):
        return {_guard(key): _guard_all(inner) for key, inner in value.items()}
    return [_guard_all(inner) for inner in value] if isinstance(value, list) else value


def _unguard(text: str) -> str:
    return text.replace(_GUARD + "|", "|").replace(_GUARD + "0", _GUARD) if _GUARD in text else text


# ---------------------------------------------------------------------------------------- pictures


def _expand_images(tokenizer: Tokenizer, ids: list[int], image_tokens: Sequence[int]) -> list[int]:
    _check_images(ids.count(tokenizer.patch_id), image_tokens)
    if not image_tokens:
        return ids
    expanded: list[int] = []
    start = 0
    for count in image_tokens:
        stop = ids.index(tokenizer.patch_id, start)
        expanded += ids[start:stop]
        expanded += [tokenizer.image_start_id, *[tokenizer.patch_id] * count, tokenizer.image_end_id]
        start = stop + 1
    return expanded + ids[start:]


def _check_images(found: int, image_tokens: Sequence[int]) -> None:
    if found != len(image_tokens):
        raise InputError(f"The conversation has {found} pictures, but {len(image_tokens)} token counts were given.")
