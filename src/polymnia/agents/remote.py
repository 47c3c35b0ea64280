"""Any OpenAI-compatible endpoint as a `ChatModel`, through the `openai` client.

Streams; tries again with full jitter or as `Retry-After` says (`retry.py`); closes the HTTP stream when
cancelled. What an endpoint refuses or does in its own way is learned once and remembered (`quirks.py`), such as
tools that have to go through the prompt (`prompted.py`); docs/endpoints.md has the list. The key goes to this
endpoint only. Not covered: log-probabilities.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from PIL import Image

from polymnia.agents import chunks, prompted, quirks, wire
from polymnia.agents.model import UNATTESTED, Delta, Sampling
from polymnia.agents.retry import Retries, retried
from polymnia.data.chat import Message, ToolCall, ToolSpec, all_images, message
from polymnia.data.images import image_digest
from polymnia.errors import ContextError, EndpointError, PolymniaError, RunError, UnreachableError

CONNECT_SECONDS = 10.0
KEPT_URLS = 64
CARD_SECONDS = 5.0
"""For an endpoint to say what it knows of a model; most know nothing that is of use here."""
OURS = "x-polymnia-weights"
"""A header that only our own server sends."""
KNOWN_TOOLS, KNOWN_ROLES = "known_tools", "known_roles"
"""Fields that only our own server has in `/v1/models`."""
CHECK_TOKENS = 16
"""Of an answer that nobody reads."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An HTTP stream that has begun, and what its request was sent without."""

    stream: AsyncStream[ChatCompletionChunk]
    without: frozenset[str]


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
        retry_seconds: float = 60.0,
        concurrency: int = 32,
        check_tools: bool = False,
    ) -> None:
        """`silence_seconds`: how long the endpoint may send nothing; `retries`: of one request, the last begun
        within `retry_seconds`; `concurrency`: requests at once, over all models of this endpoint in this process;
        `check_tools`: find out before their first use whether tools reach the model (two short requests)."""
        self.name = name
        self.url = url
        self.fingerprint = UNATTESTED
        # A key must be given, or the client takes OPENAI_API_KEY and sends it to whatever host this is.
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=api_key or "none",
            timeout=httpx2.Timeout(silence_seconds, connect=CONNECT_SECONDS),
            max_retries=0,
        )
        self._client.organization = self._client.project = None  # the same, from OPENAI_ORG_ID and _PROJECT_ID
        self._retries = Retries(retries, retry_seconds)
        self._concurrency = concurrency
        self._quirks = quirks.known(url, name)
        self._check = check_tools
        self._checking = asyncio.Lock()
        self._known: dict[str, tuple[str, ...]] | None = None
        self._urls: dict[str, str] = {}
        self._encoding = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def listed_models(self) -> list[str]:
        """The names in `/v1/models`; raises `EndpointError`."""
        client = self._client.with_options(timeout=CARD_SECONDS, max_retries=0)
        try:
            return [one.id for one in (await client.models.list()).data]
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, AttributeError, TypeError) as error:
            raise self._explained(error, began=False) from error

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
        if self._quirks.no_images and all_images(messages):
            raise self._takes_no_pictures()
        if tools and self._check:
            await self._check_tools(tools)
        finished = 0
        if n == 1 or not (self._quirks.one_sample or wire.SAMPLES in self._quirks.refused):
            async with aclosing(self._turn(messages, tools, sampling, n)) as deltas:
                async for delta in deltas:
                    finished += delta.finish_reason is not None
                    yield delta
            if finished == n:
                return
            log.info("%s gives one sample a request", self.url)
            self._quirks.one_sample = True
        for index in range(finished, n):
            own = replace(sampling, seed=None if sampling.seed is None else sampling.seed + index)
            async with aclosing(self._turn(messages, tools, own, 1)) as deltas:
                async for delta in deltas:
                    yield replace(delta, index=index)

    async def _turn(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], sampling: Sampling, n: int
    ) -> AsyncGenerator[Delta, None]:
        """One request's deltas; fewer samples than asked for where the endpoint gives fewer."""
        urls = await self._data_urls(all_images(messages))
        names = [tool.name for tool in tools]
        samples: dict[int, chunks.Sample] = {}
        listeners: dict[int, prompted.Listener] = {}
        reported: Any = None
        done = False
        async with self._answer(messages, tools, sampling, n, urls) as (items, by_prompt):
            async for item in items:
                done = item is chunks.DONE
                reported = item.get("usage") or reported
                for choice in item.get("choices", ()):
                    self._quirks.streams &= "message" not in choice  # as it is in a whole completion
                    index = choice["index"]
                    sample = samples.setdefault(index, chunks.Sample(self._quirks.opens_in_thought))
                    text, reasoning = sample.read(choice)
                    if by_prompt:
                        text = listeners.setdefault(index, prompted.Listener(names)).feed(text)
                    if text or reasoning:
                        yield Delta(index, text, reasoning)
        if not any(sample.finish_reason or (done and not sample.empty) for sample in samples.values()):
            raise EndpointError(
                f"the endpoint {self.url} broke off, or does not stream chat completions: check address and server"
            )
        usage = chunks.usage(reported, sum(len(one.text) for one in messages), list(samples.values()))
        for place, index in enumerate(sorted(samples)):
            for delta in self._ended(index, samples[index], listeners.get(index), names):
                yield replace(delta, usage=usage if delta.finish_reason and place == 0 else None)

    def _ended(
        self, index: int, sample: chunks.Sample, listener: prompted.Listener | None, names: list[str]
    ) -> list[Delta]:
        """The last deltas of a sample: text that was held back, its calls, its end."""
        self._quirks.opens_in_thought |= sample.unopened
        text, reasoning = sample.rest()
        calls = [
            ToolCall(call.id or f"call_{position}", call.name, call.arguments)
            for position, call in enumerate(sample.calls)
        ]
        if listener is not None:
            before = listener.feed(text)
            after, found = listener.end()
            text, calls = before + after, calls or found
        elif names and not calls:
            # Servers that pass tools on to the model and do not read its calls.
            _, calls = prompted.parse(sample.said, names)
        deltas = [Delta(index, text, reasoning)] if text or reasoning else []
        deltas += [Delta(index, tool_call=call) for call in calls]
        return [*deltas, Delta(index, finish_reason=chunks.finish(sample, bool(calls)))]

    @asynccontextmanager
    async def _answer(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        sampling: Sampling,
        n: int,
        urls: dict[int, str],
    ) -> AsyncIterator[tuple[AsyncIterator[chunks.Json], bool]]:
        """The answer's chunks, and whether tools went through the prompt; what goes wrong comes out as ours."""

        def body(without: frozenset[str]) -> dict[str, Any]:
            return wire.request(messages, tools, sampling, n, without=without, data_url=lambda image: urls[id(image)])

        options = wire.options_in_use(messages, tools, sampling, n)
        began = False
        try:
            async with quirks.slots(self.url, self._concurrency):
                opened = await self._open(body, options, bool(urls))
                async with opened.stream:
                    began = True
                    items = chunks.items(opened.stream.response.aiter_bytes())
                    yield items, bool(tools) and wire.TOOLS in opened.without
        except (openai.OpenAIError, httpx2.HTTPError, chunks.BrokenStream) as error:
            raise self._explained(error, began) from error

    async def _open(
        self, body: Callable[[frozenset[str]], dict[str, Any]], options: list[str], images: bool
    ) -> _Opened:
        """Send the request; while the endpoint refuses it, again without what may be the reason.

        First without what the error names, then without each optional thing alone, then without more and more of
        them. Only what was left out in the end counts as refused.
        """
        first: openai.APIStatusError | None = None
        left = [option for option in options if option not in self._quirks.refused]
        tries = [frozenset[str](), *(frozenset({one}) for one in left)]
        tries += [frozenset(left[:count]) for count in range(2, len(left) + 1)]
        while tries:
            without = tries.pop(0)
            try:
                stream = await self._send(body(self._quirks.refused | without), left)
            except openai.APIStatusError as error:
                first = first or error
                if quirks.too_long(error):
                    raise first from None
                if images and wire.TOOL_IMAGES not in left and quirks.refuses_images(error):
                    self._quirks.no_images = quirks.said(error)
                    raise
                if not quirks.is_refusal(error, left):
                    raise
                named = without | set(quirks.named(error, left))
                if named != without:
                    tries = [named, *(one for one in tries if one != named)]
                continue
            if without:
                log.info("%s refuses %s", self.url, ", ".join(sorted(without)))
                self._quirks.refused |= without
            if self._quirks.ours is None:
                self._quirks.ours = OURS in stream.response.headers
                self._quirks.refused -= {wire.TOOL_IMAGES} if self._quirks.ours else set()
            return _Opened(stream, self._quirks.refused | without)
        raise first or RunError("no request was sent")

    async def _send(self, body: dict[str, Any], options: Sequence[str]) -> AsyncStream[ChatCompletionChunk]:
        """The open stream, after as many tries as the endpoint's trouble is worth."""

        async def once() -> AsyncStream[ChatCompletionChunk]:
            stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
                model=self.name, **body
            )
            return stream

        def final(error: openai.APIError) -> bool:
            return isinstance(error, openai.APIStatusError) and (
                quirks.too_long(error) or quirks.refuses_images(error) or quirks.is_refusal(error, options)
            )

        return await retried(once, self._retries, final)

    async def _check_tools(self, tools: Sequence[ToolSpec]) -> None:
        """Find out once whether the endpoint hands tools on: if so, the same words with them are a longer prompt."""
        async with self._checking:
            if self._quirks.tools_checked or KNOWN_TOOLS in (self._known or {}) or wire.TOOLS in self._quirks.refused:
                return
            sampling = Sampling(temperature=None, max_tokens=CHECK_TOKENS, effort="minimal")
            counts: list[int] = []
            for offered in ((), tools):
                try:
                    async with aclosing(self._turn([message("user", "Hello")], offered, sampling, 1)) as deltas:
                        found = [delta.usage async for delta in deltas if delta.usage and not delta.usage.estimated]
                except PolymniaError:
                    return  # the question itself will show what is wrong
                counts += [usage.prompt_tokens for usage in found]
            self._quirks.tools_checked = True
            if len(counts) == 2 and counts[0] == counts[1] > 0 and not self._quirks.ours:
                log.info("%s drops tools without a word: they go through the prompt", self.url)
                self._quirks.refused |= {wire.TOOLS}

    def _takes_no_pictures(self) -> EndpointError:
        words = f"the model {self.name!r} at {self.url} takes no pictures ({self._quirks.no_images})"
        return EndpointError(f"{words}: ask without them, or choose another with --model")

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
        where, said = f"the endpoint {self.url}", quirks.said(error)
        match error:
            case openai.APITimeoutError() | httpx2.TimeoutException():
                return UnreachableError(f"{where} does not answer in time: is it overloaded?")
            case openai.APIConnectionError() if not began:
                return UnreachableError(f"{where} cannot be reached: is the server running and the address right?")
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return EndpointError(f"{where} refuses the key: set POLYMNIA_API_KEY to one that it accepts")
            case openai.APIStatusError() if self._quirks.no_images and quirks.refuses_images(error):
                return self._takes_no_pictures()
            case openai.NotFoundError():
                return EndpointError(f"{where} has no model {self.name!r} ({said}): check address and name")
            case openai.RateLimitError():
                return EndpointError(f"{where} is over its rate limit ({said}): try again later")
            case openai.APIStatusError() if quirks.too_long(error):
                return ContextError(f"the conversation does not fit {self.name!r}: {said}")
            case openai.APIStatusError():
                return EndpointError(f"{where} answers with status {error.status_code}: {said}")
        return EndpointError(f"{where} broke off: {said}")
