"""What an endpoint does otherwise than OpenAI's interface says: learned from its answers, once per process.

`known(url, model)` is one record that all clients of that endpoint and model share. What an endpoint says in
words is read here and nowhere else, since there is no other sign: status codes differ from server to server.
"""

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import openai

from polymnia.agents import wire


@dataclass(slots=True)
class Quirks:
    """Filled as answers come; a new one is OpenAI's own behaviour, but for pictures in tool messages."""

    refused: frozenset[str] = frozenset({wire.TOOL_IMAGES})
    """Options of `wire` that are left out or said otherwise from now on."""
    no_images: str = ""
    """The endpoint's words when it refused pictures."""
    one_sample: bool = False
    """It took `n` and gave one sample all the same."""
    opens_in_thought: bool = False
    """Its answers begin with reasoning that only `</think>` ends."""
    streams: bool = True
    """False: it gives its answers whole, however it is asked."""
    tools_checked: bool = False
    ours: bool | None = None
    """Whether it is Polymnia's own server; None before the first answer."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_KNOWN: dict[tuple[str, str], Quirks] = {}
_SLOTS: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Semaphore]]" = WeakKeyDictionary()


def known(url: str, model: str) -> Quirks:
    return _KNOWN.setdefault((url, model), Quirks())


def forget() -> None:
    """Learn everything anew, as after an endpoint was restarted with other settings."""
    _KNOWN.clear()


def slots(url: str, limit: int) -> asyncio.Semaphore:
    """One semaphore per endpoint and event loop; the first to ask sets the limit."""
    here = _SLOTS.setdefault(asyncio.get_running_loop(), {})
    return here.setdefault(url, asyncio.Semaphore(limit))


_NO_IMAGES = re.compile(
    r"(image|vision|multi-?modal|picture).*(not support|unsupport|n't support|no endpoints|not allowed|mmproj)"
    r"|(not support|unsupport|n't support|not a|no endpoints).*(image|vision|multi-?modal)",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = {
    wire.TOOLS: re.compile(r"\btools?\b|tool[_ -](use|choice|call)|function.call", re.IGNORECASE),
    wire.SYSTEM: re.compile(r"\bsystem\b", re.IGNORECASE),
    wire.SAMPLES: re.compile(r"(^|\W)n\b(?!')", re.IGNORECASE),
}
_TOO_LONG = re.compile(
    r"context[_ ](length|window|size)|maximum context|too many tokens|exceeds? the (available )?context"
    r"|prompt is too long",
    re.IGNORECASE,
)


def too_long(error: openai.APIStatusError) -> bool:
    """Whether the conversation does not fit."""
    return error.code == "context_length_exceeded" or (error.status_code in (400, 413, 500) and _says(_TOO_LONG, error))


def refuses_images(error: openai.APIStatusError) -> bool:
    return error.status_code not in (401, 403, 429) and _says(_NO_IMAGES, error)


def named(error: openai.APIStatusError, options: Sequence[str]) -> list[str]:
    """Of the options in use those that the error mentions."""
    text = said(error)
    found = [one for one in options if error.param == one]
    for one in options:
        pattern = _WORDS.get(one) or re.compile(rf"\b{re.escape(one)}\b")
        if one not in found and pattern.search(text):
            found.append(one)
    return found


def is_refusal(error: openai.APIStatusError, options: Collection[str]) -> bool:
    """Whether leaving something out may help: 400 and 422, and what servers say of tools with other codes."""
    if error.status_code in (400, 422):
        return True
    tools = wire.TOOLS in options and _says(_WORDS[wire.TOOLS], error)
    return tools and error.status_code in (404, 405, 500, 501)


def said(error: Exception) -> str:
    """The endpoint's own words, on one line."""
    body = error.body if isinstance(error, openai.APIError) else None
    words = body.get("message") if isinstance(body, dict) else None
    if words is None and isinstance(body, dict):
        words = body.get("detail") or body.get("error")
    text = words if isinstance(words, str) else str(error)
    return " ".join(text.split())[:300] or type(error).__name__


def _says(pattern: re.Pattern[str], error: Exception) -> bool:
    return bool(pattern.search(said(error)))
