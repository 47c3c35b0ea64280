"""Reads what an endpoint streams: server-sent events of Chat Completions, with the liberties that servers take.

Comments and pings are skipped, events may lack their blank line, pieces of calls their index or id, the stream
its `[DONE]`; a whole completion in JSON is read as a stream of one chunk. Reasoning is taken from
`reasoning_content`, `reasoning` and `<think>` tags. Nothing here knows of connections or retries.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from polymnia.agents.model import FinishReason, Usage

Json = dict[str, Any]
CHARS_PER_TOKEN = 4
"""For the estimate where an endpoint reports no usage."""
DONE: Json = {}
"""Stands for `[DONE]`."""
OPEN, CLOSE = "<think>", "</think>"


class BrokenStream(Exception):
    """The endpoint stopped in the middle, or said that it failed."""


async def items(pieces: AsyncIterator[bytes]) -> AsyncIterator[Json]:
    """The chunks of an answer, whatever its content type says: events, or one completion in JSON."""
    head = b""
    async for piece in pieces:
        head += piece
        if head.strip():
            break
    if head.lstrip().startswith(b"<"):
        raise BrokenStream("it answers with a web page; does the address end in /v1?")
    if not head.lstrip().startswith(b"{"):
        async for event in events(_joined(head, pieces)):
            yield event
        return
    body = head + b"".join([piece async for piece in pieces])
    if (found := _parsed(body.decode("utf-8", "replace"))) is None:
        raise BrokenStream(f"half an answer: {body[:100].decode('utf-8', 'replace')}")
    yield whole(found)
    yield DONE


async def _joined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[Json]:
    """The JSON of each event, and `DONE`. Raises `BrokenStream` for half JSON and for errors in the stream."""
    data = ""
    async for line in _lines(pieces):
        if line.startswith("data:"):
            data += line[5:].removeprefix(" ")
            if data.strip() == "[DONE]":
                yield DONE
                return
            if (found := _parsed(data)) is not None:
                data = ""
                yield _checked(found)
        elif not line.strip() and data.strip():
            raise BrokenStream(f"half an event: {data[:100]}")
    if data.strip():
        raise BrokenStream(f"half an event: {data[:100]}")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Lines that end as the format says; Python's own also end at characters that JSON may hold."""
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r").decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")


def _parsed(text: str) -> Json | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else {}


def _checked(event: Json) -> Json:
    error = event.get("error") or (event if event.get("object") == "error" else None)
    if error:
        said = error.get("message") if isinstance(error, dict) else error
        raise BrokenStream(str(said or error)[:300])
    return {**event, "choices": [_choice(one) for one in _objects(event.get("choices"))]}


def _objects(values: Any) -> list[Json]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _choice(choice: Json) -> Json:
    index, finished = choice.get("index"), choice.get("finish_reason")
    known = {"index": index if isinstance(index, int) else 0, "finish_reason": finished}
    return {**choice, **known} if isinstance(finished, str) else {**choice, **known, "finish_reason": None}


def whole(completion: Json) -> Json:
    """A completion that was not streamed, as one chunk."""
    found = _checked(completion)
    return {**found, "choices": [{**one, "delta": one.get("message")} for one in found["choices"]]}


@dataclass(slots=True)
class Call:
    """A tool call while its pieces come in."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Sample:
    """What one choice has sent so far."""

    opens_in_thought: bool = False
    calls: list[Call] = field(default_factory=list)
    finish_reason: str | None = None
    said: str = ""
    """The text so far, reasoning not included."""
    reasoning_chars: int = 0
    unopened: bool = False
    """`</think>` came without its beginning."""
    _at: dict[int, Call] = field(default_factory=dict)
    _state: str = ""
    """`start`, `thought` or `text`; empty before the first piece."""
    _held: str = ""

    @property
    def empty(self) -> bool:
        return not (self.said or self.calls or self._held)

    def read(self, choice: Json) -> tuple[str, str]:
        """A chunk's text and reasoning; its pieces of calls are gathered."""
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):  # some endpoints leave it out of their last chunk
            return self.count("", "")
        for piece in _objects(delta.get("tool_calls")):
            self._gather(piece)
        reasoning = clean(delta.get("reasoning_content") or delta.get("reasoning"))
        text, thought = self._split(_text(delta.get("content")))
        return self.count(text, reasoning + thought)

    def rest(self) -> tuple[str, str]:
        """What was held back in case that a tag would come of it."""
        held, self._held = self._held, ""
        return self.count("", held) if self._state == "thought" else self.count(held, "")

    def count(self, text: str, reasoning: str) -> tuple[str, str]:
        self.said += text
        self.reasoning_chars += len(reasoning)
        return text, reasoning

    def _gather(self, piece: Json) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        name, given = clean(function.get("name")), function.get("arguments")
        call = self._call(piece.get("index"), str(piece.get("id") or ""), bool(name))
        call.id = call.id or str(piece.get("id") or "")
        call.name += name
        call.arguments += clean(given) if isinstance(given, str) or given is None else json.dumps(given)

    def _call(self, index: Any, identity: str, named: bool) -> Call:
        """The call that a piece belongs to; a new one where index, id or name say so."""
        if isinstance(index, int):
            # Some number every whole call 0, and tell them apart by id.
            call = self._at.get(index)
            if call is not None and not (named and identity and call.id and identity != call.id):
                return call
        else:
            same = [call for call in self.calls if identity and call.id == identity]
            if same:
                return same[0]
            if self.calls and not identity and not named:
                return self.calls[-1]
        call = Call()
        self.calls.append(call)
        if isinstance(index, int):
            self._at[index] = call
        return call

    def _split(self, piece: str) -> tuple[str, str]:
        """Text and reasoning, where a turn that begins with `<think>` is reasoning up to `</think>`."""
        if not self._state:
            self._state = "thought" if self.opens_in_thought else "start"
        self._held += piece
        if self._state == "start":
            begun = self._held.lstrip()
            if OPEN.startswith(begun[: len(OPEN)]) and len(begun) < len(OPEN):
                return "", ""
            if begun.startswith(OPEN):
                self._state, self._held = "thought", begun[len(OPEN) :]
            else:
                self._state = "text"
        if self._state == "thought":
            thought, close, after = self._held.partition(CLOSE)
            if close:
                self._state, self._held = "text", ""
                return after.lstrip("\n"), thought
            keep = next((size for size in range(len(CLOSE) - 1, 0, -1) if thought.endswith(CLOSE[:size])), 0)
            self._held = thought[len(thought) - keep :]
            return "", thought[: len(thought) - keep]
        text, self._held = self._held, ""
        self.unopened |= CLOSE in text
        return text, ""


def clean(text: Any) -> str:
    """A string without halves of surrogate pairs, which JSON can carry and nothing else can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(text, str) else ""


def _text(content: Any) -> str:
    """Content is a string, or with some servers a list of parts."""
    if isinstance(content, list):
        return "".join(clean(part.get("text")) for part in content if isinstance(part, dict))
    return clean(content)


def finish(sample: Sample, called: bool) -> FinishReason:
    if sample.finish_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def usage(reported: Any, prompt_chars: int, samples: "list[Sample]") -> Usage:
    """As reported; estimated from the lengths, and marked so, where nothing or nonsense was."""
    given = reported if isinstance(reported, dict) else {}
    prompt, completion = given.get("prompt_tokens"), given.get("completion_tokens")
    called = sum(len(call.name + call.arguments) for sample in samples for call in sample.calls)
    reasoning = sum(sample.reasoning_chars for sample in samples)
    written = sum(len(sample.said) for sample in samples) + reasoning + called
    if isinstance(completion, int) and (completion or not written):
        details = given.get("completion_tokens_details")
        thought = details.get("reasoning_tokens") if isinstance(details, dict) else 0
        return Usage(prompt if isinstance(prompt, int) else 0, completion, thought if isinstance(thought, int) else 0)
    tokens = [-(-chars // CHARS_PER_TOKEN) for chars in (prompt_chars, written, reasoning)]
    return Usage(tokens[0], tokens[1], tokens[2], estimated=True)
