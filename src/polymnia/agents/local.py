"""A checkpoint folder as a `ChatModel`: our engine in this process (needs the extra `local`).

Conversation to token ids and back is `data.template` and `data.parser`; batching, the shared prefix of many
agents and sampling are the engine's. This file is what lies between, on asyncio. The one file of this layer
that may import `model` and `engine`, and only when a model is opened.
"""

import asyncio
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from polymnia.agents.merge import merged
from polymnia.agents.model import Delta, FinishReason, Sampling, Usage
from polymnia.data.chat import Message, ToolSpec, all_images
from polymnia.data.images import ImageProcessor, ProcessedImage, image_digest
from polymnia.data.parser import ParsedDelta, StreamParser
from polymnia.data.template import encode_chat
from polymnia.data.tokenizer import Tokenizer
from polymnia.errors import ContextError, InputError

if TYPE_CHECKING:
    from polymnia.engine import Engine

PARALLEL_TEMPERATURE = 0.7
"""For several agents where the checkpoint's generation_config.json names none."""
KEPT_PICTURES = 64


class Prompt(NamedTuple):
    ids: list[int]
    pictures: list[ProcessedImage]


class LocalModel:
    """`LocalModel(Path("checkpoint"))`; loads at once, needs `aclose` when done."""

    def __init__(
        self, folder: Path | str, *, name: str = "", max_batch: int = 32, engine: "Engine | None" = None
    ) -> None:
        """`max_batch`: samples that are decoded at the same time; more wait their turn. `engine`: one that
        is already there for these weights, closed with this model.

        Raises `InputError` when the folder is no checkpoint or the extra `local` is missing.
        """
        folder = Path(folder)
        _read_json(folder / "config.json")  # first: it tells a folder of something else
        self.name = name or folder.resolve().name
        self.tokenizer = Tokenizer.from_folder(folder)
        self.processor = ImageProcessor.from_folder(folder)
        generation = folder / "generation_config.json"
        self._defaults = _read_json(generation) if generation.is_file() else {}
        card = folder / "card.json"
        self._known_tools = _names(card, "tools")
        # Of our own checkpoints only those whose card says so were trained on drafts of others.
        self._known_roles = _names(card, "roles") or (("propose",) if card.is_file() else None)
        self._engine = engine or _load(folder, max_batch)
        self.fingerprint = self._engine.fingerprint
        self.context_tokens = self._engine.context
        self._lock = threading.Lock()  # prompts are made in threads
        self._pictures: OrderedDict[str, ProcessedImage] = OrderedDict()

    async def aclose(self) -> None:
        """End the engine's thread."""
        await asyncio.to_thread(self._engine.close)

    async def known_tools(self) -> tuple[str, ...] | None:
        """What the checkpoint's card says."""
        return self._known_tools

    async def known_roles(self) -> tuple[str, ...] | None:
        """What the checkpoint's card says; proposing only where it says nothing."""
        return self._known_roles

    async def prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec], sampling: Sampling) -> int:
        """What the engine is going to count for this prompt."""
        return len((await asyncio.to_thread(self.prompt, messages, tools, sampling)).ids)

    def default_temperature(self, *, parallel: bool) -> float:
        """Greedy for a lone agent; what the checkpoint recommends for several, which must differ."""
        return float(self._defaults.get("temperature", PARALLEL_TEMPERATURE)) if parallel else 0.0

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        # In a thread: a large picture takes tens of milliseconds, and other agents stream meanwhile.
        prompt = await asyncio.to_thread(self.prompt, messages, tools, sampling)
        seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
        samples = [self._sample(index, prompt, tools, sampling, seed + index) for index in range(n)]
        async with aclosing(samples[0] if n == 1 else merged(samples)) as deltas:
            async for delta in deltas:
                yield delta

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec], sampling: Sampling) -> Prompt:
        """Token ids and processed pictures. Raises `ContextError` when they leave no room in the context."""
        pictures = [self._processed(image) for image in all_images(messages)]
        counts = [picture.num_tokens for picture in pictures]
        ids = encode_chat(self.tokenizer, messages, tools, sampling.effort, image_tokens=counts)
        if len(ids) >= self.context_tokens:
            raise ContextError(
                f"the conversation has {len(ids)} tokens ({sum(counts)} of them pictures), and {self.name}'s context "
                f"holds {self.context_tokens}: shorten it, or use fewer or smaller pictures"
            )
        return Prompt(ids, pictures)

    async def _sample(
        self, index: int, prompt: Prompt, tools: Sequence[ToolSpec], sampling: Sampling, seed: int
    ) -> AsyncGenerator[Delta, None]:
        from polymnia.engine import SamplingParams

        room = self.context_tokens - len(prompt.ids)
        limit = min(room, sampling.max_tokens or int(self._defaults.get("max_new_tokens", room)))
        heat = sampling.temperature
        params = SamplingParams(
            temperature=self.default_temperature(parallel=False) if heat is None else heat,
            top_p=sampling.top_p,
            max_tokens=limit,
            seed=seed,
            stop_ids=(self.tokenizer.eot_id, self.tokenizer.end_id),
        )
        reader = _Reader(
            index,
            StreamParser(tools, tokenizer=self.tokenizer, call_prefix=f"call_{len(prompt.ids)}_{index}"),
            sampling.stop,
        )
        async with aclosing(self._engine.generate(prompt.ids, prompt.pictures, params)) as steps:
            async for step in steps:
                for delta in reader.feed(step.token_id, step.logprob):
                    yield delta
                if reader.done:
                    break
        for delta in reader.close(len(prompt.ids), cut=not reader.done):
            yield delta

    def _processed(self, image: Image.Image) -> ProcessedImage:
        """The agents of a run show the model the same pictures again and again."""
        digest = image_digest(image)
        with self._lock:
            if digest not in self._pictures:
                while len(self._pictures) >= KEPT_PICTURES:
                    self._pictures.popitem(last=False)
                self._pictures[digest] = self.processor.process(image)
            return self._pictures[digest]


class _Reader:
    """One sample from tokens to deltas: parsing, stop sequences, and the account."""

    def __init__(self, index: int, parser: StreamParser, stop: tuple[str, ...]) -> None:
        self.index = index
        self.tokens = 0
        self.done = False
        """Nothing more is to come: the turn has ended or a stop sequence was found."""
        self._parser = parser
        self._stop = StopText(stop)
        self._reasoning_tokens = 0
        self._logprob = 0.0
        self._calls = 0

    def feed(self, token: int, logprob: float) -> list[Delta]:
        self.tokens += 1
        self._logprob += logprob
        deltas = self._read(self._parser.feed_ids((token,)))
        self._reasoning_tokens += any(delta.reasoning for delta in deltas)
        self.done = self.done or self._parser.ended
        return deltas

    def close(self, prompt_tokens: int, *, cut: bool) -> list[Delta]:
        """What was held back, then the delta that ends the sample."""
        deltas = self._read(self._parser.close())
        if rest := self._stop.close():
            deltas.append(Delta(self.index, text=rest))
        usage = Usage(prompt_tokens, self.tokens, self._reasoning_tokens)
        reason: FinishReason = "length" if cut else "tool_calls" if self._calls else "stop"
        mean = self._logprob / self.tokens if self.tokens else None
        return [*deltas, Delta(self.index, usage=usage, finish_reason=reason, mean_logprob=mean)]

    def _read(self, parsed: Sequence[ParsedDelta]) -> list[Delta]:
        deltas = []
        for one in parsed:
            if self._stop.found:
                break
            text = self._stop.feed(one.text)
            self._calls += one.tool_call is not None
            if text or one.reasoning or one.tool_call is not None:
                deltas.append(Delta(self.index, text, one.reasoning, one.tool_call))
        self.done = self.done or self._stop.found
        return deltas


class StopText:
    """Cuts a text before the first stop sequence; holds back what may be the beginning of one."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self.found = False
        self._stop = tuple(one for one in stop if one)
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be passed on."""
        self._held += text
        places = [place for one in self._stop if (place := self._held.find(one)) >= 0]
        if places:
            self.found = True
            passed, self._held = self._held[: min(places)], ""
            return passed
        keep = max((_overlap(self._held, one) for one in self._stop), default=0)
        cut = len(self._held) - keep
        passed, self._held = self._held[:cut], self._held[cut:]
        return passed

    def close(self) -> str:
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with, the whole of it left out."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


def _load(folder: Path, max_batch: int) -> "Engine":
    try:
        from polymnia.engine import Engine
    except ImportError as error:
        raise InputError(
            f"a model in this process needs {error.name}: install polymnia[local], or name an endpoint "
            "(--model http://host:port/v1#name)"
        ) from error
    return Engine(folder, max_batch=max_batch)


def _names(card: Path, field: str) -> tuple[str, ...] | None:
    """The names under `tools` or `roles` in a checkpoint's card; None without a card or where it does not say."""
    names = _read_json(card).get(field) if card.is_file() else None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{card} says "{field}": {names!r}: write a list of {field[:-1]} names, or leave it out')
    return tuple(names)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{path} cannot be read: name the folder of a checkpoint") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): export the model again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is no JSON object: export the model again")
    return values
