"""The training loop: steps, reports, checkpoints, resume; one process on CPU or one GPU.

`Trainer.run` yields metrics and draws nothing (`train.run` does). The state on disk holds everything that
the next step depends on, so a run that was interrupted gives the same weights to the bit (with `steps`;
a clock is not reproducible). Does *not* cover several GPUs, or what is learned (`train.mixture`, the recipe).
"""

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymnia.errors import RunError
from polymnia.model.accounting import training_flops
from polymnia.model.experts import BALANCE_RATE, balance
from polymnia.model.muse import Muse
from polymnia.train.config import Metrics, TrainConfig
from polymnia.train.loss import AuxHead, Losses, losses
from polymnia.train.optim import Optimizers
from polymnia.train.packing import Batch, Maker, PackState, Shape
from polymnia.train.speed import compile_parts, keep_memory
from polymnia.train.stream import BatchStream
from polymnia.train.window import Window


class Trainer:
    """One run in memory. Build it, perhaps `load`, iterate `run`."""

    def __init__(self, config: TrainConfig, model: Muse, make_example: Maker, folder: Path) -> None:
        if config.device == "cpu":
            keep_memory()
            torch.set_num_threads(config.threads or torch.get_num_threads())
        torch.manual_seed(config.seed)
        self.config, self.folder, self.make_example = config, folder, make_example
        self.device = torch.device(config.device)
        self.model = model.to(self.device).float().train()
        width = self.model.config.text_config.hidden_size
        self.head = AuxHead(width, config.aux_classes).to(self.device) if config.aux_classes else None
        self.optimizers = Optimizers(self.model, config.optim, self.head.parameters() if self.head else ())
        self.ema = [p.detach().clone() for p in self.model.parameters()] if config.ema_decay else []
        self.step, self.tokens, self.patches, self.seconds = 0, 0, 0, 0.0
        self.flops = 0.0
        """Forward and backward so far, as `model.accounting` counts them; padding is computed and so counted."""
        self.last: Metrics | None = None
        self.evaluation: dict[str, float] = {}
        """Losses on fresh batches after the last step."""
        self.stop_requested = False
        self._stream_state: dict[str, Any] | None = None
        self._pointwise = compile_parts(self.model, config)

    @property
    def progress(self) -> float:
        return self.config.progress(self.step, self.seconds)

    def run(self) -> Iterator[Metrics]:
        """Trains to the end, or until `stop_requested`; saves on the way and at the end."""
        window = Window()
        saved = began = time.monotonic()
        before = self.seconds
        with self._stream() as stream:
            while self.progress < 1.0 and not self.stop_requested:
                batch = next(stream)
                self._keep_stream_state(stream)
                tokens = batch.tokens
                self.flops += self._flops(batch)
                result, scale = self._train_step(batch.to(self.device))
                self.step += 1
                self.tokens += tokens
                self.patches += len(batch.pixel_values)
                self.seconds = before + time.monotonic() - began
                window.add(batch, tokens, result)
                if self.step % self.config.log_every == 0 or self.progress >= 1.0:
                    self.last = self._metrics(window, stream, scale)
                    window = Window(stream.waited)
                    yield self.last
                if time.monotonic() - saved > 60 * self.config.save_minutes:
                    self.save()
                    saved = time.monotonic()
            self.save()
            if self.progress >= 1.0:
                self._choose_weights(stream)

    def _train_step(self, batch: Batch) -> tuple[Losses, float]:
        progress = self.progress
        aux_scale = self.config.aux_scale(progress)
        with self._autocast():
            result = losses(self.model, batch, self.head, aux_scale > 0, pointwise=self._pointwise)
        torch.autograd.backward(result.text + aux_scale * result.aux)
        scale = self.optimizers.step(self.step, progress)
        balance(self.model, BALANCE_RATE * scale)
        if self.ema:
            weight = 1.0 - min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.model.parameters()], weight)
        return result, scale

    def _flops(self, batch: Batch) -> int:
        rows, row_tokens = batch.input_ids.shape
        grids = ((frames, height, width) for frames, height, width in batch.image_grid_thw.tolist())
        return training_flops(
            self.model.config, rows=rows, row_tokens=row_tokens, trained=len(batch.targets), grids=grids
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast)

    def _metrics(self, window: Window, stream: BatchStream, scale: float) -> Metrics:
        return window.metrics(
            step=self.step,
            progress=self.progress,
            lr_scale=scale,
            tokens=self.tokens,
            seconds=self.seconds,
            waited=stream.waited,
            dropped=sum(state.too_long for state in stream.states),
        )

    # ---- data

    def _stream(self) -> BatchStream:
        config = self.config
        shape = Shape(config.rows, config.row_tokens, config.pad_id, config.merge, max(1, len(config.aux_classes)))
        kept = self._stream_state
        states = [PackState(**state) for state in kept["states"]] if kept else None
        stream = BatchStream(self.make_example, shape, workers=config.workers, states=states)
        stream.turn = kept["turn"] if kept else 0
        return stream

    def _keep_stream_state(self, stream: BatchStream) -> None:
        self._stream_state = {"states": list(stream.states), "turn": stream.turn}

    # ---- state on disk

    def save(self) -> None:
        """Writes `state.pt` in one rename, so that a crash leaves the old one or the new one."""
        kept = self._stream_state
        stream = kept and {"states": [dataclasses.asdict(state) for state in kept["states"]], "turn": kept["turn"]}
        state = {
            "config": dataclasses.asdict(self.config),
            "model": self.model.state_dict(),
            "head": self.head.state_dict() if self.head else None,
            "ema": self.ema,
            "optimizers": self.optimizers.state_dict(),
            "counters": {k: getattr(self, k) for k in ("step", "tokens", "patches", "flops", "seconds")},
            "stream": stream,
            "rng": torch.get_rng_state(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "state.pt.partial"
        torch.save(state, partial)
        os.replace(partial, self.folder / "state.pt")

    def load(self) -> None:
        """Goes on from `state.pt`; raises `RunError` if the run was made with other settings."""
        path = self.folder / "state.pt"
        if not path.exists():
            raise RunError(f"nothing to resume in {self.folder}: start the run without --resume")
        state = torch.load(path, map_location=self.device, weights_only=True)
        now = json.loads(json.dumps(dataclasses.asdict(self.config)))
        then = json.loads(json.dumps(state["config"]))
        free = {"steps", "minutes", "log_every", "save_minutes", "device", "threads", "compile", "evaluate_batches"}
        for key in then.keys() - free:
            if now.get(key) != then[key]:
                raise RunError(f"the run in {self.folder} was made with {key} = {then[key]}, not {now.get(key)}")
        self.model.load_state_dict(state["model"])
        if self.head:
            self.head.load_state_dict(state["head"])
        self.ema = state["ema"]
        self.optimizers.load_state_dict(state["optimizers"])
        for key, value in state["counters"].items():
            setattr(self, key, value)
        self._stream_state = state["stream"]
        torch.set_rng_state(state["rng"].cpu())

    # ---- the end

    @torch.no_grad()
    def _choose_weights(self, stream: BatchStream) -> None:
        """Leaves in the model the final or the averaged weights, whichever does better on fresh batches."""
        if not self.config.evaluate_batches:
            return
        batches = [next(stream) for _ in range(self.config.evaluate_batches)]
        self.evaluation["loss"] = self._evaluate(batches)
        if not self.ema:
            return
        final = [p.detach().clone() for p in self.model.parameters()]
        self._put_weights(self.ema)
        self.evaluation["loss_averaged"] = self._evaluate(batches)
        if self.evaluation["loss"] < self.evaluation["loss_averaged"]:
            self._put_weights(final)

    def _put_weights(self, weights: list[Tensor]) -> None:
        for parameter, value in zip(self.model.parameters(), weights, strict=True):
            parameter.copy_(value)

    def _evaluate(self, batches: list[Batch]) -> float:
        total = 0.0
        for batch in batches:
            with self._autocast():
                total += float(losses(self.model, batch.to(self.device), None).text)
        return total / len(batches)
