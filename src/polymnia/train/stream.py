"""Batches made ahead by worker processes, in an order that depends on nothing but the seed and their number.

Worker `w` of `W` packs the indices `w, w + W, ...` of the stream; batches are taken from the workers
in turn. Each comes with the state after it, so a run resumes exactly (with the same `W`).
Does *not* cover what an example is (`train.packing`, the recipe).
"""

import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from polymnia.errors import RunError
from polymnia.train.packing import Batch, Maker, Packer, PackState, Shape


class BatchStream:
    """`for batch in stream`, endless; `states` is what to store to go on after the last batch taken.

    `workers=0` makes batches in this process (tests, debugging). Close it, or use it in `with`.
    """

    def __init__(
        self,
        make: Maker,
        shape: Shape,
        *,
        workers: int = 1,
        prefetch: int = 3,
        nice: int = 5,
        states: list[PackState] | None = None,
    ) -> None:
        """`make` travels to the workers by pickle: a module's function or a `functools.partial` of one."""
        count = max(1, workers)
        self.states = states or [PackState(next_index=w) for w in range(count)]
        if len(self.states) != count:
            raise RunError(f"the run was made with {len(self.states)} data workers, not {count}: use the same number")
        self.waited = 0.0
        """Seconds spent waiting for data so far."""
        self._turn = 0
        self._workers: list[Any] = []
        self._queues: list[Any] = []
        self._packers: list[Packer] = []
        if not workers:
            self._packers = [Packer(make, shape, self.states[0])]
            return
        context = multiprocessing.get_context("spawn")
        parent = os.getpid()
        for w in range(workers):
            outbox = context.Queue(maxsize=prefetch)
            arguments = (outbox, make, shape, self.states[w], workers, nice, parent)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            self._queues.append(outbox)
            self._workers.append(process)

    @property
    def turn(self) -> int:
        """The worker whose batch comes next."""
        return self._turn

    @turn.setter
    def turn(self, value: int) -> None:
        self._turn = value % len(self.states)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        began = time.monotonic()
        w = self._turn
        if self._packers:
            batch = self._packers[w].next_batch()
            self.states[w] = self._packers[w].state
        else:
            batch, self.states[w] = self._receive(w)
        self.turn = w + 1
        self.waited += time.monotonic() - began
        return batch

    def _receive(self, w: int) -> tuple[Batch, PackState]:
        while True:
            try:
                item: tuple[Batch, PackState] | str = self._queues[w].get(timeout=5)
            except queue.Empty:
                if not self._workers[w].is_alive():
                    code = self._workers[w].exitcode
                    raise RunError(
                        f"data worker {w} ended with exit code {code}; run with workers=0 to see why"
                    ) from None
                continue
            if isinstance(item, str):
                raise RunError(f"data worker {w} failed:\n{item}")
            return item

    def close(self) -> None:
        for process in self._workers:
            process.terminate()
        for process in self._workers:
            process.join(timeout=5)
        self._workers = []

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _work(outbox: Any, make: Maker, shape: Shape, state: PackState, stride: int, nice: int, parent: int) -> None:
    """A worker's life: pack, hand over, repeat; ends by itself when the training process is gone."""
    import signal
    import traceback

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the trainer decides
    torch.set_num_threads(1)
    with suppress(OSError, AttributeError):
        os.nice(nice)
    put: Callable[[object], bool] = lambda item: _put(outbox, item, parent)  # noqa: E731
    try:
        packer = Packer(make, shape, state, stride=stride)
        while put((packer.next_batch(), packer.state)):
            pass
    except Exception:  # the process's edge: the trainer shows it
        put(traceback.format_exc())


def _put(outbox: Any, item: object, parent: int) -> bool:
    while os.getppid() == parent:
        with suppress(queue.Full):
            outbox.put(item, timeout=5)
            return True
    return False
