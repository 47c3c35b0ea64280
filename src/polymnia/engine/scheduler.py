"""The engine without its thread: requests in, one token for each running request a step.

A request's life: it waits; it takes a row when one is free; the longest known beginning of its prompt is
copied into the row and the rest is read (prefill) but for the last token; that token is read by the next
step together with everybody else's newest, which gives the first new token; so N samples of one prompt read
it once. Finished, its tokens' keys and values go to the prefix cache and the row is free at once.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymnia.data.images import ProcessedImage
from polymnia.engine.prefix import PrefixCache
from polymnia.engine.request import Request
from polymnia.engine.sampling import TokenStep, sample
from polymnia.engine.slots import Slots
from polymnia.model.cache import KVCache
from polymnia.model.muse import Muse

_READ_GRANULARITY = 64
"""Tokens; see `KVCache`."""
_PREFILL_BETWEEN_STEPS = 2048
"""Tokens read for newcomers before those that already run get their next token."""
_KEPT_IMAGES = 256


class Emission(NamedTuple):
    request: Request
    step: TokenStep
    last: bool


@dataclass(slots=True)
class EngineStats:
    """Counts since the start, in tokens where nothing else is said."""

    prefilled: int = 0
    reused: int = 0
    """Prompt tokens found in the prefix cache."""
    generated: int = 0
    steps: int = 0
    """Forward passes that gave tokens."""
    images_encoded: int = 0
    """Pictures."""


class Scheduler:
    def __init__(self, model: Muse, *, max_batch: int, context: int, prefix_bytes: int) -> None:
        """`model` is frozen (`Muse.freeze`); `context`: tokens a sequence can have."""
        self.model = model
        self.max_batch = max_batch
        rows, dtype = Slots.rows_for(max_batch), model.lm_head.weight.dtype
        cache = KVCache(model.config.text_config, rows, context, dtype, granularity=_READ_GRANULARITY)
        self.slots = Slots(cache)
        self.prefixes = PrefixCache(prefix_bytes)
        self.waiting: deque[Request] = deque()
        self.stats = EngineStats()
        vocabulary = model.config.text_config.vocab_size
        self._placeholders = [token for token in model.config.placeholder_ids if token < vocabulary]
        self._features: OrderedDict[str, Tensor] = OrderedDict()  # by picture digest, least recently used first

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.slots.running

    def submit(self, request: Request) -> None:
        self.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Frees whatever the request holds; nothing happens if it is through already."""
        request.done = True
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.slots.running:
            row = self.slots.running.index(request)
            self._keep(row)  # the same beginning may come again
            self.slots.free(row)

    @torch.inference_mode()
    def step(self) -> list[Emission]:
        """Admits what fits, then one token for every running request."""
        self._admit()
        if not self.slots.running:
            return []
        emissions = []
        for request, step in zip(self.slots.running, self._decode(), strict=True):
            emissions.append(Emission(request, step, request.accept(step.token_id)))
        self.stats.steps += 1
        self.stats.generated += len(emissions)
        for row in reversed(range(len(emissions))):
            if emissions[row].last:
                self._keep(row)
                self.slots.free(row)
        return emissions

    def check_integrity(self) -> None:
        """Raises AssertionError if the books do not agree; for tests and idle moments."""
        self.slots.check_integrity()
        self.prefixes.check_integrity()
        assert len(self.slots.running) <= self.max_batch
        assert not any(request.done or request.generated or request in self.slots.running for request in self.waiting)
        assert len(self._features) <= _KEPT_IMAGES

    def _decode(self) -> list[TokenStep]:
        running, cache = self.slots.running, self.slots.cache
        count, rows = len(running), self.slots.step_rows
        tokens = [request.last for request in running] + [0] * (rows - count)
        view = cache.rows(0, rows)
        hidden = self.model.hidden_states(torch.tensor(tokens)[:, None], kv_cache=view)
        cache.lengths[:count] = view.lengths[:count]
        logits = self.model.logits(hidden[:count, 0])
        logits[:, self._placeholders] = float("-inf")  # they say nothing without a picture
        return sample(logits, [request.sampler for request in running])

    def _admit(self) -> None:
        read = 0
        while self.waiting and len(self.slots.running) < self.max_batch and read < _PREFILL_BETWEEN_STEPS:
            read += self._prefill(self.waiting.popleft())

    def _prefill(self, request: Request) -> int:
        """Gives the request a row that holds its prompt but for the last token; tokens read for that."""
        row, cache = self.slots.take(request), self.slots.cache
        prompt, end = request.prompt, len(request.prompt.ids) - 1
        known = self.prefixes.restore(prompt.keys[:end], cache, row)
        self.stats.reused += known
        if known == end:
            return 0
        view = cache.rows(row, row + 1)
        ids = torch.from_numpy(prompt.ids[known:end])[None]
        features = self._image_features(request, known) if prompt.placeholders[known:].any() else None
        self.model.hidden_states(ids, image_features=features, kv_cache=view)
        cache.lengths[row] = end
        self._keep(row)
        self.stats.prefilled += end - known
        return end - known

    def _keep(self, row: int) -> None:
        """The row's tokens into the prefix cache."""
        length = self.slots.cache.lengths[row]
        self.prefixes.store(self.slots.running[row].keys()[:length], self.slots.cache, row)

    def _image_features(self, request: Request, start: int) -> Tensor:
        """Features of the image tokens from position `start` on, (image_tokens, width)."""
        skip = int(np.count_nonzero(request.prompt.placeholders[:start]))
        parts: list[Tensor] = []
        for image in request.prompt.images:
            if skip < image.num_tokens:
                parts.append(self._encode(image)[skip:])
            skip = max(0, skip - image.num_tokens)
        return torch.cat(parts)

    def _encode(self, image: ProcessedImage) -> Tensor:
        if image.digest in self._features:
            self._features.move_to_end(image.digest)
        else:
            self._features[image.digest] = self.model.encode_images(
                torch.from_numpy(image.patches), torch.tensor([image.grid])
            )
            self.stats.images_encoded += 1
            if len(self._features) > _KEPT_IMAGES:
                self._features.popitem(last=False)
        return self._features[image.digest]
