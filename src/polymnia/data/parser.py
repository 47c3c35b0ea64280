"""What a model emits, read back while it streams: reasoning, answer text and finished tool calls.

Reading goes by channel, as muse.md and the engines' parsers do: a message `to=self` is reasoning, `to=user` is
text, any other recipient holds tool calls in ATEM markup; markup quoted in the first two is text.
Nothing a model writes makes the parser raise: a malformed or cut-off call comes out as a call whose
arguments say what was wrong. What is read is rendered by `data.template` to the same tokens.
Whether a tool exists and its arguments fit is for `tools` to say.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

from polymnia.data.chat import ToolCall, ToolSpec
from polymnia.data.tokenizer import (
    END_OF_TEXT,
    EOM,
    EOT,
    MESSAGE,
    SPECIAL_TOKENS,
    START,
    Tokenizer,
    TokenStream,
)

MALFORMED = "malformed_call"
"""The only argument of a call that could not be read; its value says why."""
MAX_HEADER = 256
"""Characters before `<|message|>` after which a header is taken for plain text (a model that forgot it)."""

_SPECIAL = re.compile("(" + "|".join(re.escape(name) for name in SPECIAL_TOKENS) + ")")
_RECIPIENT = re.compile(r"\bto=(\S+)")
_UNFINISHED_HEADER = re.compile(r"(?:assistant\s+)?t(?:o(?:=\S*)?)?")
# No `<` or `>` inside a tag: so whether a tag is broken never depends on text that is still to come.
_INVOKE = re.compile(r"<atem:invoke([^<>]*)>\s*")
_INVOKE_START = "<atem:invoke"
_INVOKE_END = "</atem:invoke>"
_PARAMETER = re.compile(r'\s*<atem:parameter\s+name="([^"<>]*)"[^<>]*>')
# A value may quote the closing tag (code that prints it): only one followed by markup ends it.
_PARAMETER_END = re.compile(r"</atem:parameter>(?=\s*(?:<atem:parameter\s|</atem:invoke>))")
_END = re.compile(r"\s*</atem:invoke>")
_NAME = re.compile(r'\bname="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ParsedDelta:
    """One of reasoning, text and tool_call is set; `error` only with a call that could not be read."""

    reasoning: str = ""
    text: str = ""
    tool_call: ToolCall | None = None
    error: str = ""


class StreamParser:
    """Feed it what follows the prompt's `<|start|>assistant`, in pieces of any size.

    `feed` takes text in which special tokens stand by name. `feed_ids` (needs the tokenizer) knows a
    real `<|eot|>` from one that the model spelled in letters, so use it where there are ids.
    Arguments become numbers, booleans, lists or objects where a tool's schema says so, else strings.
    """

    def __init__(
        self, tools: Sequence[ToolSpec] = (), *, tokenizer: Tokenizer | None = None, call_prefix: str = "call"
    ) -> None:
        self._schemas = {tool.name: tool.parameters.get("properties", {}) for tool in tools}
        self._tokenizer = tokenizer
        self._stream: TokenStream | None = tokenizer.stream() if tokenizer else None
        self._call_prefix = call_prefix
        self._state: Literal["header", "body", "ended"] = "header"
        self._header = ""
        self._recipient = ""
        self._held = ""  # the end of a text that may be the beginning of a special token
        self._markup = ""  # what of a message to a tool is not read yet
        self._calls = 0
        self._calls_before = 0  # `_calls` when the message began
        self._out: list[ParsedDelta] = []

    @property
    def ended(self) -> bool:
        """Whether the turn's end was seen; whatever follows is ignored."""
        return self._state == "ended"

    def feed(self, text: str) -> list[ParsedDelta]:
        pieces = _SPECIAL.split(self._held + text)  # odd places hold special tokens
        last = pieces[-1]
        start = last.rfind("<")
        cut = start if start >= 0 and any(name.startswith(last[start:]) for name in SPECIAL_TOKENS) else len(last)
        pieces[-1], self._held = last[:cut], last[cut:]
        for place, piece in enumerate(pieces):
            if place % 2:
                self._control(piece)
            elif piece:
                self._literal(piece)
        return self._take()

    def feed_ids(self, ids: Iterable[int]) -> list[ParsedDelta]:
        """Raises ValueError when the parser was made without a tokenizer."""
        if self._tokenizer is None or self._stream is None:
            raise ValueError("StreamParser.feed_ids needs StreamParser(tokenizer=...)")
        for token in ids:
            name = self._tokenizer.special_names.get(token)
            text = self._stream.feed(token) if name is None else self._stream.close()
            if text:
                self._literal(text)
            if name is not None:
                self._control(name)
        return self._take()

    def close(self) -> list[ParsedDelta]:
        """The rest of a turn that ended, or was cut off."""
        rest = self._held + (self._stream.close() if self._stream else "")
        self._held = ""
        if rest:
            self._literal(rest)
        if self._state != "ended":
            self._finish_message()
            self._state = "ended"
        return self._take()

    def _take(self) -> list[ParsedDelta]:
        out, self._out = self._out, []
        return out

    # ------------------------------------------------------------------------ markers and text

    def _control(self, name: str) -> None:
        if self._state == "ended":
            return
        if name in (EOT, END_OF_TEXT):
            self._finish_message()
            self._state = "ended"
        elif name in (EOM, START):
            self._finish_message()
            self._state = "header"
        elif name == MESSAGE and self._state == "header":
            self._open_message()
        # The others (pictures, padding) have no meaning in what a model writes.

    def _literal(self, text: str) -> None:
        if self._state == "header":
            self._header += text
            if len(self._header) > MAX_HEADER:
                text, self._header = self._header, ""
                self._state, self._recipient = "body", "user"
                self._out.append(ParsedDelta(text=text))
        elif self._state == "body":
            if self._recipient == "self":
                self._out.append(ParsedDelta(reasoning=text))
            elif self._recipient == "user":
                self._out.append(ParsedDelta(text=text))
            else:
                seen = max(0, len(self._markup) - len(_INVOKE_END))
                self._markup += text
                if self._markup.find(_INVOKE_END, seen) >= 0:  # nothing can be decided between two of them
                    self._read_calls(final=False)

    def _open_message(self) -> None:
        words = self._header.split()
        found = _RECIPIENT.search(self._header)
        self._recipient = found[1] if found else "user"
        # A model that begins the next speaker's message has ended its own turn.
        self._state = "ended" if words and words[0] in ("user", "system", "tool") else "body"
        self._header, self._markup = "", ""
        self._calls_before = self._calls

    def _finish_message(self) -> None:
        if self._state == "header":
            text = self._header.strip()
            if not ("assistant".startswith(text) or _UNFINISHED_HEADER.fullmatch(text)):
                self._out.append(ParsedDelta(text=self._header))  # plain text from a model without channels
        elif self._state == "body" and self._recipient not in ("self", "user"):
            self._read_calls(final=True)
            if self._calls == self._calls_before:
                self._emit_malformed(self._recipient, f"the message to {self._recipient} holds no {_INVOKE_START} ...>")
        self._header, self._markup = "", ""

    # ------------------------------------------------------------------------------ tool calls

    def _read_calls(self, final: bool) -> None:
        """Take every call off the front of the markup that is whole; `final`: nothing more will come."""
        while (invoke := _read_invoke(self._markup, final)) is not None:
            self._markup = self._markup[invoke.stop :]
            name = invoke.name or self._recipient
            try:
                if invoke.error:
                    raise ValueError(invoke.error)
                arguments = _arguments(invoke.parameters, self._schemas.get(name, {}))
            except (ValueError, RecursionError) as error:  # RecursionError: thousands of nested brackets
                self._emit_malformed(name, str(error))
            else:
                self._emit(name, arguments)

    def _emit(self, name: str, arguments: str, error: str = "") -> None:
        call = ToolCall(f"{self._call_prefix}_{self._calls}", name, arguments)
        self._calls += 1
        self._out.append(ParsedDelta(tool_call=call, error=error))

    def _emit_malformed(self, name: str, error: str) -> None:
        self._emit(name, json.dumps({MALFORMED: error}, ensure_ascii=False), error)


class _Invoke(NamedTuple):
    name: str
    parameters: list[tuple[str, str]] | str
    """Names and raw values in order, or a text in their place."""
    error: str
    stop: int
    """Characters of the markup that were read."""


def _read_invoke(markup: str, final: bool) -> _Invoke | None:
    """The first call of the markup; None when there is none or its end has not come yet.

    Whatever surrounds calls is skipped. With `final` a call without an end comes out as an error.
    """
    start = markup.find(_INVOKE_START)
    if start < 0:
        return None
    tag = _INVOKE.match(markup, start)
    if tag is None:
        return _give_up(markup, start, "", "the tag <atem:invoke ...> is broken", final)
    named = _NAME.search(tag[1])
    name = named[1] if named else ""
    parameters: list[tuple[str, str]] = []
    place = tag.end()
    while (opened := _PARAMETER.match(markup, place)) is not None:
        closed = _PARAMETER_END.search(markup, opened.end())
        if closed is None:
            whole = markup.find(_INVOKE_END, opened.end()) >= 0
            error = "holds text outside of its parameters" if whole else f"was cut off in parameter {opened[1]}"
            return _Invoke(name, [], f"the call of {name} {error}", len(markup)) if final else None
        parameters.append((opened[1], markup[opened.end() : closed.start()]))
        place = closed.end()
    if end := _END.match(markup, place):
        return _Invoke(name, parameters, "", end.end())
    if not parameters and (stop := markup.find(_INVOKE_END, place)) >= 0:
        return _Invoke(name, markup[place:stop], "", stop + len(_INVOKE_END))
    return _give_up(markup, place, name, f"the call of {name} holds text outside of its parameters", final)


def _give_up(markup: str, place: int, name: str, error: str, final: bool) -> _Invoke | None:
    """Skip to behind the call's end; before that has come, nothing is decided."""
    stop = markup.find(_INVOKE_END, place)
    if stop >= 0:
        return _Invoke(name, [], error, stop + len(_INVOKE_END))
    return _Invoke(name, [], f"the call of {name or 'a tool'} was cut off", len(markup)) if final else None


def _arguments(parameters: list[tuple[str, str]] | str, schemas: dict[str, Any]) -> str:
    """A JSON object as text; ValueError says what the model did wrong."""
    if isinstance(parameters, str):
        # Models used to other formats put a JSON object where the parameters belong.
        try:
            whole = _from_json(parameters)
        except ValueError:
            whole = None
        if not isinstance(whole, dict):
            raise ValueError('expected <atem:parameter name="...">value</atem:parameter> for each argument')
        return json.dumps(whole, ensure_ascii=False, allow_nan=False)
    values: dict[str, Any] = {}
    for name, raw in parameters:
        if name in values:
            raise ValueError(f"parameter {name} is given twice")
        values[name] = _typed(raw, schemas.get(name))
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def _typed(raw: str, schema: Any) -> Any:
    """The value as its schema wants it; the text itself where that is a string or cannot be decoded."""
    types = _types(schema)
    if not types or "string" in types:
        return raw
    try:
        return _from_json(raw)
    except ValueError:
        return raw


def _types(schema: Any) -> set[str]:
    """JSON types that a schema allows; empty when it does not say."""
    if not isinstance(schema, dict):
        return set()
    if "$ref" in schema:
        return {"object"}
    named = schema.get("type") or []
    found = {named} if isinstance(named, str) else {one for one in named if isinstance(one, str)}
    for choice in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        found |= _types(choice)
    return found


def _from_json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
