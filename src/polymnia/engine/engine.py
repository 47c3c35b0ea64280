"""Many sequences decoded at once by a thread of its own, each a stream of tokens on the caller's event loop.

The thread alone touches network and caches; callers leave messages in its inbox and it hands tokens back to
each caller's loop once a step. What happens within a step is `engine.scheduler`.
"""

import asyncio
import copy
import queue
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch

from polymnia.data.images import ProcessedImage
from polymnia.engine.request import Prompt, Request
from polymnia.engine.sampling import SamplingParams, TokenStep
from polymnia.engine.scheduler import EngineStats, Scheduler
from polymnia.errors import RunError
from polymnia.model.checkpoint import load_checkpoint, weights_digest
from polymnia.model.muse import Muse

DEFAULT_PREFIX_BYTES = 256 * 2**20


class _Submit(NamedTuple):
    stream: "_Stream"


class _Cancel(NamedTuple):
    stream: "_Stream"


class _Check(NamedTuple):
    answer: "queue.SimpleQueue[AssertionError | None]"


class _Stop(NamedTuple):
    pass


class _Stream(NamedTuple):
    """A request and the way back to who asked."""

    request: Request
    loop: asyncio.AbstractEventLoop
    tokens: "asyncio.Queue[TokenStep | RunError | None]"
    """None ends it."""


_Delivery = list[tuple["asyncio.Queue[TokenStep | RunError | None]", TokenStep | RunError | None]]


class Engine:
    """Use as a context manager, or call `close`."""

    def __init__(
        self,
        model: Muse | Path | str,
        *,
        max_batch: int = 32,
        context: int | None = None,
        dtype: torch.dtype = torch.float32,
        prefix_bytes: int = DEFAULT_PREFIX_BYTES,
        threads: int | None = None,
    ) -> None:
        """
        model: a network, of which a copy is taken, or a checkpoint folder.
        max_batch: sequences decoded together; more wait.
        context: tokens of prompt and answer together; the model's own maximum by default.
        dtype: of weights and caches here. bf16 decodes about a fifth faster on a CPU that has it. With fp32 a seed's
            tokens do not depend on what of the prompt was cached either, but for rounding in the seventh digit.
        threads: that matrix products may use; torch's default if None.
        """
        self.fingerprint = weights_digest(model)
        """Digest of the weights as given, before any change of dtype."""
        network = copy.deepcopy(model) if isinstance(model, Muse) else load_checkpoint(model)
        self.config = network.config
        longest = self.config.text_config.max_position_embeddings
        self.context = longest if context is None else min(context, longest)
        self._scheduler = Scheduler(
            network.cast(dtype).freeze(), max_batch=max_batch, context=self.context, prefix_bytes=prefix_bytes
        )
        self._streams: dict[Request, _Stream] = {}
        self._inbox: queue.SimpleQueue[_Submit | _Cancel | _Check | _Stop] = queue.SimpleQueue()
        self._failure: RunError | None = None
        self._thread = threading.Thread(target=self._run, args=(threads,), name="polymnia-engine", daemon=True)
        self._thread.start()

    def generate(
        self,
        prompt_ids: Sequence[int],
        images: Sequence[ProcessedImage] = (),
        sampling: SamplingParams | None = None,
    ) -> AsyncGenerator[TokenStep, None]:
        """The answer's tokens as they come; the last is a stop id or reached a limit.

        Raises InputError here and now if the prompt does not fit, RunError while streaming if the engine fails.
        Closing the generator, or cancelling the task that waits on it, frees what the request holds.
        """
        prompt = Prompt(prompt_ids, images, self.config, self.context)
        return self._stream(Request(prompt, sampling or SamplingParams(), self.context))

    @property
    def stats(self) -> EngineStats:
        """A copy."""
        return replace(self._scheduler.stats)

    def check_integrity(self) -> None:
        """Raises AssertionError if rows, requests and caches do not fit together."""
        answer: queue.SimpleQueue[AssertionError | None] = queue.SimpleQueue()
        self._inbox.put(_Check(answer))
        if self._failure is not None:
            raise self._failure
        if (problem := answer.get(timeout=60)) is not None:
            raise problem

    def close(self) -> None:
        """Ends the thread; streams still open end with RunError."""
        self._inbox.put(_Stop())
        self._thread.join()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- on the caller's event loop

    async def _stream(self, request: Request) -> AsyncGenerator[TokenStep, None]:
        stream = _Stream(request, asyncio.get_running_loop(), asyncio.Queue())
        self._inbox.put(_Submit(stream))
        if self._failure is not None:  # asked after, not before: a thread that ends now may not see the message
            raise self._failure
        finished = False
        try:
            while not finished:
                item = await stream.tokens.get()
                if isinstance(item, RunError):
                    raise item
                if item is None:
                    finished = True
                else:
                    yield item
        finally:
            if not finished:
                self._inbox.put(_Cancel(stream))

    # ---------------------------------------------------------------------- in the engine's thread

    def _run(self, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            while self._read_inbox():
                self._step()
            self._fail(RunError("The engine was closed."))
        except Exception as error:  # the thread's edge: whoever waits must hear of it
            self._fail(RunError(f"The engine stopped: {type(error).__name__}: {error}"))

    def _read_inbox(self) -> bool:
        """Takes all messages, waiting for one if there is nothing else to do; False = stop."""
        wait = self._scheduler.idle
        while wait or not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, _Stop):
                return False
            if isinstance(message, _Submit):
                self._streams[message.stream.request] = message.stream
                self._scheduler.submit(message.stream.request)
            elif isinstance(message, _Cancel):
                self._streams.pop(message.stream.request, None)
                self._scheduler.cancel(message.stream.request)
            else:
                message.answer.put(self._problem())
            wait = False
        return True

    def _step(self) -> None:
        deliveries: dict[asyncio.AbstractEventLoop, _Delivery] = {}
        for request, step, last in self._scheduler.step():
            stream = self._streams[request]
            delivery = deliveries.setdefault(stream.loop, [])
            delivery.append((stream.tokens, step))
            if last:
                del self._streams[request]
                delivery.append((stream.tokens, None))
        for loop, delivery in deliveries.items():
            self._deliver(loop, delivery)

    def _deliver(self, loop: asyncio.AbstractEventLoop, delivery: _Delivery) -> None:
        """One wake-up of the loop a step, however many sequences it waits for."""
        try:
            loop.call_soon_threadsafe(_put_all, delivery)
        except RuntimeError:  # the loop was closed without closing its streams
            for stream in [stream for stream in self._streams.values() if stream.loop is loop]:
                del self._streams[stream.request]
                self._scheduler.cancel(stream.request)

    def _fail(self, error: RunError) -> None:
        self._failure = error
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, _Submit):
                self._streams[message.stream.request] = message.stream
            elif isinstance(message, _Check):
                message.answer.put(AssertionError(str(error)))
        for stream in list(self._streams.values()):
            self._deliver(stream.loop, [(stream.tokens, error)])
        self._streams.clear()

    def _problem(self) -> AssertionError | None:
        try:
            self._scheduler.check_integrity()
            held = {*self._scheduler.waiting, *self._scheduler.slots.running}
            assert held == self._streams.keys(), "a stream without a request, or the other way round"
        except AssertionError as problem:
            return problem
        return None


def _put_all(delivery: _Delivery) -> None:
    for tokens, item in delivery:
        tokens.put_nowait(item)
