"""What an endpoint can do, found out by asking it: a few short requests, each with a short timeout.

For `polymnia doctor`. A model's skill is not judged: a small model that makes no call when asked to is said to
have made none.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from PIL import Image

from polymnia.agents import quirks, wire
from polymnia.agents.model import Delta, Sampling
from polymnia.agents.remote import RemoteModel
from polymnia.data.chat import Message, ToolSpec, message
from polymnia.errors import EndpointError, PolymniaError, UnreachableError
from polymnia.tools import python

SECONDS = 20.0
"""For each answer."""
SILENCE_SECONDS = 10.0
TOKENS = 64
COMPUTE = "Use the tool python to compute 7 + 13. Call it now."


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""


async def probe_endpoint(label: str, url: str, name: str, api_key: str | None = None) -> list[Finding]:
    """Reachable and listed, answers, streams, reports usage, takes tools and pictures; only the first where it
    cannot be reached."""
    model = RemoteModel(url, name, api_key, silence_seconds=SILENCE_SECONDS, retries=0, check_tools=True)
    findings: list[Finding] = []
    try:
        findings += await _reached(label, model)
        if findings[0].ok:
            answers = await _answers(label, model)
            findings += answers
            if answers[0].ok:
                findings += [await _tools(label, model), await _images(label, model)]
    finally:
        await model.aclose()
    return findings


async def _reached(label: str, model: RemoteModel) -> list[Finding]:
    """Whether anybody is there, and if so, whether the model is listed; some servers answer to any name."""
    check = f"{label}: reachable"
    try:
        async with asyncio.timeout(SECONDS):
            names = await model.listed_models()
    except (UnreachableError, TimeoutError) as error:
        return [_failed(check, error)]
    except EndpointError as error:
        return [Finding(check, True, model.url), _failed(f"{label}: listed", error)]
    shown = ", ".join(names[:5]) or "nothing"
    listed = model.name in names
    remedy = "" if listed else f"name one of: {shown}"
    return [
        Finding(check, True, model.url),
        Finding(f"{label}: listed", listed, f"as {model.name}" if listed else "no", remedy),
    ]


async def _answers(label: str, model: RemoteModel) -> list[Finding]:
    """Whether it answers; if so, whether it streams and reports usage."""
    try:
        deltas = await _ask(model, [message("user", "Say hello.")])
    except (PolymniaError, TimeoutError) as error:
        return [_failed(f"{label}: answers", error)]
    known = quirks.known(model.url, model.name)
    said = sum(1 for delta in deltas if delta.text or delta.reasoning)
    usage = next((delta.usage for delta in deltas if delta.usage), None)
    counted = usage is not None and not usage.estimated
    without = ", ".join(sorted(known.refused - {wire.TOOL_IMAGES}))
    return [
        Finding(f"{label}: answers", True, f"yes; it refuses {without}" if without else "yes"),
        Finding(
            f"{label}: streams",
            known.streams,
            f"in {said} pieces" if known.streams else "the answer comes whole",
            "" if known.streams else "it works; agents are seen only when they have finished",
        ),
        Finding(
            f"{label}: usage",
            counted,
            f"{usage.total_tokens} tokens reported" if usage and counted else "not reported",
            "" if counted else "it works; tokens are estimated from the length of the text",
        ),
    ]


async def _tools(label: str, model: RemoteModel) -> Finding:
    check = f"{label}: tools"
    try:
        deltas = await _ask(model, [message("user", COMPUTE)], (python.spec,))
    except (PolymniaError, TimeoutError) as error:
        return _failed(check, error)
    prompted = wire.TOOLS in quirks.known(model.url, model.name).refused
    called = any(delta.tool_call for delta in deltas)
    how = "through the prompt, the endpoint takes none" if prompted else "as the endpoint's own"
    made = "a call came back" if called else "the model made no call when asked to"
    return Finding(check, called, f"{how}; {made}", "" if called else "it answers, but may not look or compute")


async def _images(label: str, model: RemoteModel) -> Finding:
    check = f"{label}: images"
    picture = Image.new("RGB", (56, 56), "red")
    try:
        await _ask(model, [message("user", picture, "Which colour?")])
    except (PolymniaError, TimeoutError) as error:
        if quirks.known(model.url, model.name).no_images:
            return Finding(check, False, "refused", "ask without pictures, or choose a model that sees")
        return _failed(check, error)
    return Finding(check, True, "taken")


async def _ask(model: RemoteModel, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[Delta]:
    sampling = Sampling(temperature=None, max_tokens=TOKENS, effort="minimal")
    stream = cast(AsyncGenerator[Delta, None], model.stream(messages, tools=tools, sampling=sampling))
    async with asyncio.timeout(SECONDS), aclosing(stream) as deltas:
        return [delta async for delta in deltas]


def _failed(check: str, error: Exception) -> Finding:
    if isinstance(error, EndpointError):
        detail, _, remedy = str(error).rpartition(": ")
        return Finding(check, False, detail or remedy, remedy if detail else "")
    return Finding(check, False, str(error) or f"no answer in {SECONDS:g} s", "is the server overloaded?")
