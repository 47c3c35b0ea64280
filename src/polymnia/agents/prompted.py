"""Tools for models whose endpoint takes none: told in the prompt, called in plain text, answered by the user.

The model writes a fenced block with a JSON object. Other habits that models bring along are read as well
(`<tool_call>` tags, a bare object); what cannot be read becomes a call that tells the model what is wrong.
"""

import ast
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from polymnia.data.chat import ImagePart, Message, Part, TextPart, ToolCall, ToolSpec
from polymnia.data.parser import MALFORMED

FENCE = "```tool"
OPENERS = re.compile(r"```|<tool_call>|<function_call>|\[TOOL_CALLS\]|^[ \t]*[\[{]", re.MULTILINE)
"""Where a call may begin; from there on text waits for the end of the turn."""
HELD = 20
"""Characters that wait for more: no opener is longer."""
_START = re.compile(r"```[ \t]*(?:tool|tool_call|tool_code|json)?[ \t]*\n|<(?:tool|function)_call>|\[TOOL_CALLS\]")
_NAME = re.compile(r"""["']name["']\s*:\s*["']([^"']{1,64})["']""")
_TRAILING = re.compile(r",\s*([}\]])")


def conversation(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """The same in the roles that every model has: calls are text, results come from the user."""
    told: list[Message] = [Message("system", (TextPart(instructions(tools)),))] if tools else []
    shown = 0
    for one in messages:
        content: tuple[Part, ...] = one.content
        role = one.role
        if one.role == "system" and told and told[0].role == "system":
            told[0] = Message("system", (*content, TextPart("\n\n"), *told[0].content))
            continue
        if one.tool_calls:
            content += tuple(TextPart(f"\n{written(call)}") for call in one.tool_calls)
        if one.role == "tool":
            role, content = "user", _result(one, shown)
        shown += len(one.images)
        if told and told[-1].role == role == "user":  # many templates want user and assistant by turns
            told[-1] = Message("user", (*told[-1].content, TextPart("\n\n"), *content))
        else:
            told.append(Message(role, content))
    return told


def _result(one: Message, shown: int) -> tuple[Part, ...]:
    parts: list[Part] = [TextPart(f"Result of {one.name or 'the tool'}:\n{one.text or '(see the picture)'}")]
    for number, picture in enumerate((part for part in one.content if isinstance(part, ImagePart)), start=shown + 1):
        parts += [TextPart(f"\nPicture {number}, from the tool:"), picture]
    return tuple(parts)


def instructions(tools: Sequence[ToolSpec]) -> str:
    """What a model is told of the tools and how to call them."""
    lines = [
        "You have tools. To call one, end your message with a block like this, and nothing after it:",
        f'{FENCE}\n{{"name": "NAME", "arguments": {{"PARAMETER": "VALUE"}}}}\n```',
        "Write the arguments as JSON. Several blocks are several calls. The results come in the next message; "
        "never write them yourself. When you need no tool, answer without a block. The tools:",
    ]
    for tool in tools:
        lines.append(f"- {tool.name}: {tool.description}\n  Parameters (JSON schema): {json.dumps(tool.parameters)}")
    return "\n".join(lines)


def written(call: ToolCall) -> str:
    """An earlier call as the model wrote it, or should have."""
    try:
        arguments: Any = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.arguments
    return f"{FENCE}\n{json.dumps({'name': call.name, 'arguments': arguments}, ensure_ascii=False)}\n```"


class Listener:
    """Splits a turn as it comes: text that can be shown at once, and at the end the calls."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = frozenset(tools)
        self._kept = ""
        self._waiting = False
        self._before = "\n"
        """The last character shown: what follows is at the beginning of a line, or not."""

    def feed(self, text: str) -> str:
        """What is surely no part of a call."""
        self._kept += text
        if self._waiting:
            return ""
        if opener := OPENERS.search(self._before + self._kept, 1):
            self._waiting = True
            cut = opener.start() - 1
        else:
            line = self._kept.rfind("\n") + 1
            cut = line if not self._kept[line:].strip() else max(0, len(self._kept) - HELD)
        shown, self._kept = self._kept[:cut], self._kept[cut:]
        self._before = shown[-1:] or self._before
        return shown

    def end(self) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls; what a model wrote after its first call is dropped."""
        return parse(self._kept, self._tools) if self._waiting else (self._kept, [])


def parse(text: str, tools: Collection[str]) -> tuple[str, list[ToolCall]]:
    """The text before the first call, and all calls."""
    calls: list[ToolCall] = []
    first = len(text)
    starts = [(found.start(), found.end()) for found in _START.finditer(text)] or _bare(text)
    last_end = 0
    for start, body in starts:
        if start < last_end:
            continue
        certain = text.startswith((FENCE, "<tool_call>", "<function_call>"), start)
        found, last_end = _calls(text, body, tools, certain=certain)
        if found:
            first = min(first, start)
            calls += [ToolCall(f"call_{len(calls) + place}", name, given) for place, (name, given) in enumerate(found)]
    return text[:first].rstrip() if calls else text, calls


def _bare(text: str) -> list[tuple[int, int]]:
    found = re.search(r"^[ \t]*[\[{]", text, re.MULTILINE)
    return [(found.start(), found.start())] if found else []


def _calls(text: str, start: int, tools: Collection[str], *, certain: bool) -> tuple[list[tuple[str, str]], int]:
    """Names and arguments of the JSON at `start`, and where it ends; `certain`: it can be nothing but a call."""
    close = re.compile(r"```|</(?:tool|function)_call>").search(text, start)
    block_end = close.end() if close else len(text)
    value, end = _json(text, start, close.start() if close else len(text))
    found = []
    for one in value if isinstance(value, list) else [value]:
        if call := _call(one, tools, certain):
            found.append(call)
    if not found and certain:
        block = text[start : close.start() if close else len(text)]
        name = _NAME.search(block)
        problem = f"the call is not valid JSON, write {FENCE} with an object of name and arguments: {block[:200]}"
        found = [(name[1] if name else "unreadable", json.dumps({MALFORMED: problem}))]
    return found, max(end, start) if found and end > block_end else block_end


def _call(value: Any, tools: Collection[str], certain: bool) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    given = inner if isinstance(inner, dict) else value
    name = given.get("name", given.get("tool", inner if isinstance(inner, str) else None))
    if not isinstance(name, str) or not (certain or name in tools):
        return None
    arguments = given.get("arguments", given.get("parameters", given.get("args", {})))
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments)


def _json(text: str, start: int, stop: int) -> tuple[Any, int]:
    """The first JSON value from `start`, leniently; None and `start` where there is none."""
    begin = re.compile(r"[\[{]").search(text, start)
    if begin is None:
        return None, start
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, begin.start())
    except (ValueError, RecursionError):
        pass
    piece = text[begin.start() : stop].strip()
    try:
        return json.loads(_TRAILING.sub(r"\1", piece), strict=False), stop
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(piece), stop
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None, start
