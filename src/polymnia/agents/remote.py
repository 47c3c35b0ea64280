"""Any OpenAI-compatible endpoint as a `ChatModel`, through the `openai` client.

Streams; retries 429 and 5xx with jitter or as `Retry-After` says (the client's own doing); closes the
HTTP stream when cancelled. A field that the endpoint refuses (status 400 or 422) is left out from then on
(`wire.py`). The key goes to this endpoint only. Not covered: log-probabilities, non-streaming endpoints.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta
from PIL import Image

from polymnia.agents import wire
from polymnia.agents.model import UNATTESTED, Delta, FinishReason, Sampling, Usage
from polymnia.data.chat import Message, ToolCall, ToolSpec, all_images
from polymnia.data.images import image_digest
from polymnia.errors import ContextError, EndpointError, PolymniaError, RunError

CONNECT_SECONDS = 10.0
CHARS_PER_TOKEN = 4
"""For the estimate where an endpoint reports no usage."""
KEPT_URLS = 64
CARD_SECONDS = 5.0
"""For an endpoint to say what it knows of a model; most know nothing that is of use here."""
OURS = "x-polymnia-weights"
"""A header that only our own server sends."""
KNOWN_TOOLS, KNOWN_ROLES = "known_tools", "known_roles"
"""Fields that only our own server has in `/v1/models`."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A tool call while its pieces come in."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Sample:
    """What one choice has sent so far."""

    calls: dict[int, _Call] = field(default_factory=dict)
    finish_reason: str | None = None
    chars: int = 0
    reasoning_chars: int = 0


class RemoteModel:
    """`RemoteModel("http://127.0.0.1:8000/v1", "nano")`; needs `aclose` when done."""

    def __init__(
        self,
        url: str,
        name: str,
        api_key: str | None = None,
        *,
        silence_seconds: float = 300.0,
        retries: int = 3,
    ) -> None:
        """`silence_seconds`: how long the endpoint may send nothing; `retries`: of one request."""
        self.name = name
        self.url = url
        self.fingerprint = UNATTESTED
        # A key must be given, or the client takes OPENAI_API_KEY and sends it to whatever host this is.
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=api_key or "none",
            timeout=httpx2.Timeout(silence_seconds, connect=CONNECT_SECONDS),
            max_retries=retries,
        )
        self._client.organization = self._client.project = None  # the same, from OPENAI_ORG_ID and _PROJECT_ID
        self._refused = frozenset({wire.TOOL_IMAGES})
        self._asked = False
        self._known: dict[str, tuple[str, ...]] | None = None
        self._urls: dict[str, str] = {}
        self._encoding = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def known_tools(self) -> tuple[str, ...] | None:
        """What our own server says of its model; None for all other endpoints."""
        return (await self._card()).get(KNOWN_TOOLS)

    async def known_roles(self) -> tuple[str, ...] | None:
        """The same for roles."""
        return (await self._card()).get(KNOWN_ROLES)

    async def _card(self) -> dict[str, tuple[str, ...]]:
        """The names that the endpoint's description of the model lists, asked for once."""
        if self._known is None:
            client = self._client.with_options(timeout=CARD_SECONDS, max_retries=0)
            told: dict[str, Any] = {}
            # The question itself will show what is wrong with the endpoint.
            with suppress(openai.OpenAIError, httpx2.HTTPError, ValueError):
                told = (await client.models.retrieve(self.name)).model_extra or {}
            lists = {field: told.get(field) for field in (KNOWN_TOOLS, KNOWN_ROLES)}
            self._known = {field: tuple(map(str, names)) for field, names in lists.items() if isinstance(names, list)}
        return self._known

    def default_temperature(self, *, parallel: bool) -> float | None:
        """A lone agent gets the endpoint's own default (some models accept no other); several need variety."""
        return 0.7 if parallel else None

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        urls = await self._data_urls(all_images(messages))
        samples = {index: _Sample() for index in range(n)}
        reported: CompletionUsage | None = None
        async with self._chunks(messages, tools, sampling, n, urls) as chunks:
            async for chunk in chunks:
                reported = chunk.usage or reported
                for choice in chunk.choices or ():
                    if delta := _read(choice, samples.setdefault(choice.index, _Sample())):
                        yield delta
        if not any(sample.finish_reason for sample in samples.values()):
            raise EndpointError(
                f"the endpoint {self.url} broke off, or does not stream chat completions: check address and server"
            )
        usage = _usage(reported) if reported else _estimate(messages, samples)
        for index, sample in samples.items():
            for position, call in sample.calls.items():
                found = ToolCall(call.id or f"call_{position}", _whole(call.name), _whole(call.arguments))
                yield Delta(index, tool_call=found)
            yield Delta(index, finish_reason=_finish(sample), usage=usage if index == 0 else None)

    @asynccontextmanager
    async def _chunks(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        sampling: Sampling,
        n: int,
        urls: dict[int, str],
    ) -> AsyncIterator[AsyncStream[ChatCompletionChunk]]:
        """The open HTTP stream; what goes wrong with it comes out as ours."""

        def body(without: frozenset[str]) -> dict[str, Any]:
            return wire.request(messages, tools, sampling, n, without=without, data_url=lambda image: urls[id(image)])

        began = False
        try:
            async with await self._open(body, wire.options_in_use(messages, tools, sampling)) as chunks:
                began = True
                yield chunks
        except (openai.OpenAIError, httpx2.HTTPError, JSONDecodeError) as error:
            raise self._explained(error, began) from error

    async def _open(
        self, body: Callable[[frozenset[str]], dict[str, Any]], options: list[str]
    ) -> AsyncStream[ChatCompletionChunk]:
        """Send the request; while the endpoint refuses it, again without what may be the reason.

        First without the field that the error names, then without each optional thing alone, then without
        more and more of them. Only what was left out in the end counts as refused.
        """
        first: openai.APIStatusError | None = None
        left = [option for option in options if option not in self._refused]
        tries = [frozenset[str](), *(frozenset({one}) for one in left)]
        tries += [frozenset(left[:count]) for count in range(2, len(left) + 1)]
        while tries:
            without = tries.pop(0)
            try:
                stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
                    model=self.name, **body(self._refused | without)
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                first = first or error
                if _too_long(error):
                    raise first from None
                named = without | {error.param or ""}
                if error.param in left and named in tries:
                    tries = [named, *(one for one in tries if one != named)]
                continue
            if without:
                log.info("%s refuses %s", self.url, ", ".join(sorted(without)))
                self._refused |= without
            if not self._asked and OURS in stream.response.headers:
                self._refused -= {wire.TOOL_IMAGES}
            self._asked = True
            return stream
        raise first or RunError("no request was sent")

    async def _data_urls(self, images: Sequence[Image.Image]) -> dict[int, str]:
        """PNG data URLs by the picture's `id`; many agents send the same picture, which is encoded once."""
        urls = {}
        for image in images:
            async with self._encoding:
                digest = await asyncio.to_thread(image_digest, image)
                if digest not in self._urls:
                    while len(self._urls) >= KEPT_URLS:
                        del self._urls[next(iter(self._urls))]
                    self._urls[digest] = await asyncio.to_thread(wire.picture_url, image)
                urls[id(image)] = self._urls[digest]
        return urls

    def _explained(self, error: Exception, began: bool) -> PolymniaError:
        """The error in one line: what, where, and what to do."""
        where = f"the endpoint {self.url}"
        match error:
            case openai.APITimeoutError() | httpx2.TimeoutException():
                return EndpointError(f"{where} does not answer in time: is it overloaded?")
            case openai.APIConnectionError() if not began:
                return EndpointError(f"{where} cannot be reached: is the server running and the address right?")
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return EndpointError(f"{where} refuses the key: set POLYMNIA_API_KEY to one that it accepts")
            case openai.NotFoundError():
                text = f"{where} has no model {self.name!r} ({_said(error)}): check address and name"
                return EndpointError(text)
            case openai.RateLimitError():
                return EndpointError(f"{where} is over its rate limit ({_said(error)}): try again later")
            case openai.APIStatusError() if _too_long(error):
                return ContextError(f"the conversation does not fit {self.name!r}: {_said(error)}")
            case openai.APIStatusError():
                return EndpointError(f"{where} answers with status {error.status_code}: {_said(error)}")
        return EndpointError(f"{where} broke off: {_said(error)}")


def _read(choice: Choice, sample: _Sample) -> Delta | None:
    """A chunk's part in one sample: text and reasoning at once, tool calls gathered."""
    delta: ChoiceDelta | None = choice.delta
    sample.finish_reason = choice.finish_reason or sample.finish_reason
    if delta is None:  # some endpoints leave it out of their last chunk
        return None
    for piece in delta.tool_calls or ():
        call = sample.calls.setdefault(piece.index if piece.index is not None else len(sample.calls), _Call())
        call.id = call.id or piece.id or ""
        if piece.function is not None:
            call.name += piece.function.name or ""
            call.arguments += piece.function.arguments or ""
    extra = delta.model_extra or {}
    text, reasoning = _whole(delta.content), _whole(extra.get("reasoning_content") or extra.get("reasoning"))
    sample.chars += len(text)
    sample.reasoning_chars += len(reasoning)
    return Delta(choice.index, text, reasoning) if text or reasoning else None


def _whole(text: Any) -> str:
    """A string without halves of surrogate pairs, which JSON can carry and nothing else can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(text, str) else ""


def _finish(sample: _Sample) -> FinishReason:
    if sample.finish_reason == "length":
        return "length"
    return "tool_calls" if sample.calls else "stop"


def _usage(reported: CompletionUsage) -> Usage:
    details = reported.completion_tokens_details
    return Usage(
        reported.prompt_tokens or 0,
        reported.completion_tokens or 0,
        (details.reasoning_tokens if details else 0) or 0,
    )


def _estimate(messages: Sequence[Message], samples: dict[int, _Sample]) -> Usage:
    prompt = sum(len(one.text) for one in messages)
    reasoning = sum(sample.reasoning_chars for sample in samples.values())
    called = sum(len(call.arguments) for sample in samples.values() for call in sample.calls.values())
    written = sum(sample.chars for sample in samples.values()) + reasoning + called
    prompt, written, reasoning = (-(-chars // CHARS_PER_TOKEN) for chars in (prompt, written, reasoning))
    return Usage(prompt, written, reasoning, estimated=True)


def _too_long(error: openai.APIError) -> bool:
    return error.code == "context_length_exceeded"


def _said(error: Exception) -> str:
    """The endpoint's own words, on one line."""
    body = error.body if isinstance(error, openai.APIError) else None
    said = body.get("message") if isinstance(body, dict) else None
    text = said if isinstance(said, str) else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
