"""Training steps and prefill beside transformers' network: the same config, weights, dtype and threads.

    python benchmarks/model.py                          # all cells on this machine, ten minutes on two cores
    python benchmarks/model.py --quick --sizes 4M       # a look
    python benchmarks/model.py --device cuda            # 300 M parameters in bf16

Each cell (size, precision, eager or compiled, kind of work) has two fresh processes, ours and transformers'
(`attn_implementation="sdpa"`), which take turns; printed is the median of the ratios of neighbouring turns with a
95 % bootstrap interval. The work:
  packed   as nano is trained: documents packed into rows without attention across them, the last 35 % of each
           trained (what comes before is prompt and picture); forward, loss, backward, no optimizer step. bf16 is
           autocast over fp32 weights.
  whole    as a text is pretrained on: one document a row, every token trained.
  prefill  forward of whole rows that fills the cache of keys and values, logits of the last position. bf16 is
           weights in bf16. Ours is frozen, as the engine does it, when not compiled.
  long     the same with one long row, longer than the sliding window.
transformers gets the masks ready made; ours makes them in the step. Peak memory is what the process holds at
most during steps above what it holds before them (weights loaded, code compiled, no gradients): resident
memory, on CUDA allocated memory. Both processes keep freed memory (`train.speed.keep_memory`).
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import polymnia
from polymnia.model.accounting import parameters, prefill_flops, training_flops
from polymnia.model.cache import KVCache
from polymnia.model.checkpoint import load_checkpoint, save_checkpoint
from polymnia.model.config import MuseConfig, TextConfig, VisionConfig
from polymnia.model.init import init_weights
from polymnia.model.muse import Muse
from polymnia.model.products import linear
from polymnia.train.config import TrainConfig
from polymnia.train.loss import losses
from polymnia.train.packing import Batch, Example, Shape, collate
from polymnia.train.speed import compile_parts, keep_memory

RESULTS_FILE = Path(__file__).parent / "results" / "model.json"
SIDES = ("ours", "transformers")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORKS = ("packed", "whole", "prefill", "long")
DOCUMENT_TOKENS = (40, 260)
"""Shortest and longest packed document: about 150 on average; nano's are 139, nine of ten between 69 and 227."""
TRAINED = 0.35
"""Share of a packed document's tokens that are trained, as in nano's mixture."""


@dataclass(frozen=True)
class Size:
    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    rows: int
    row_tokens: int = 512
    long_tokens: int = 4096
    window: int = 1024
    head_dim: int = 64
    kv_heads: int = 2

    def config(self) -> MuseConfig:
        """With the smallest tower, which these measurements do not use."""
        return MuseConfig(
            text_config=TextConfig(
                vocab_size=self.vocabulary,
                hidden_size=self.width,
                intermediate_size=self.inner,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.kv_heads,
                head_dim=self.head_dim,
                max_position_embeddings=max(self.row_tokens, self.long_tokens),
                sliding_window=self.window,
                qk_scale_factor=1.2,
                output_multiplier=(self.width / 256) ** -0.5,
                bos_token_id=0,
                eos_token_id=1,
            ),
            vision_config=VisionConfig(
                hidden_size=16, intermediate_size=16, num_hidden_layers=0, num_attention_heads=1,
                pos_emb_height=2, pos_emb_width=2,
            ),
            image_token_id=2,
            video_token_id=3,
            out_hidden_size=64,
            projector_hidden_size=16,
        )  # fmt: skip


SIZES = {
    "tiny": Size(96, 48, 96, 4, 4, rows=2, row_tokens=32, long_tokens=48, window=16, head_dim=12),
    "4M": Size(2048, 256, 768, 4, 4, rows=8),
    "60M": Size(16_384, 512, 1792, 12, 8, rows=4),
    "300M": Size(32_768, 1024, 3584, 16, 16, rows=16, row_tokens=2048, long_tokens=32_768, window=2048),
}


@dataclass(frozen=True)
class Cell:
    size: str
    precision: str
    compiled: bool
    work: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), help="default: 4M 60M; on cuda 300M")
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), help="default: both; on cuda bf16")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--modes", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0, help="of turns, a cell")
    parser.add_argument("--quick", action="store_true", help="two seconds of turns a cell")
    parser.add_argument("--out", type=Path, help=f"default: {RESULTS_FILE}; with --quick none")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.device, chosen.threads)
        return
    cuda = chosen.device == "cuda"
    cells = [
        Cell(size, precision, mode == "compiled", work)
        for size in chosen.sizes or (["300M"] if cuda else ["4M", "60M"])
        for precision in chosen.precisions or (["bf16"] if cuda else ["fp32", "bf16"])
        for mode in chosen.modes
        for work in chosen.works
    ]
    seconds = 2.0 if chosen.quick else chosen.seconds
    record = measure(cells, chosen.device, chosen.threads, seconds)
    out = chosen.out or (None if chosen.quick else RESULTS_FILE)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


# --- the driver: two processes a cell take turns


def measure(cells: Sequence[Cell], device: str, threads: int, seconds: float) -> dict[str, Any]:
    """Every cell; the first turns of both sides are not counted."""
    precisions = dict.fromkeys(cell.precision for cell in cells)
    matmul = {precision: matmul_rate(device, precision, threads) for precision in precisions}
    rows, sizes = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for cell in cells:
            path = Path(folder) / cell.size
            if cell.size not in sizes:
                _save(SIZES[cell.size], path)
                total = parameters(SIZES[cell.size].config()).total
                sizes[cell.size] = {**asdict(SIZES[cell.size]), "parameters": total}
            began = time.monotonic()
            rows.append(_measure_cell(cell, path, device, threads, seconds))
            print(_line(rows[-1], matmul), f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return {
        "machine": _machine(device),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "threads": threads,
        "sizes": sizes,
        "matmul_flops": matmul,
        "rows": rows,
    }


def _measure_cell(cell: Cell, folder: Path, device: str, threads: int, seconds: float) -> dict[str, Any]:
    sides = {side: Side(side, cell, folder, device, threads) for side in SIDES}
    try:
        outcomes = {side: one.outcome() for side, one in sides.items()}
        turns: dict[str, list[float]] = {side: [] for side in SIDES}
        while sum(turns["ours"]) < seconds / 2 or len(turns["ours"]) < 5:
            # Who begins alternates, so that a drift of the machine favours nobody.
            for side in SIDES if len(turns["ours"]) % 2 else SIDES[::-1]:
                turns[side].append(sides[side].turn())
        peaks = {side: one.peak() for side, one in sides.items()}
    finally:
        for one in sides.values():
            one.close()
    _compare(cell, outcomes)
    ratios = [theirs / ours for ours, theirs in zip(turns["ours"], turns["transformers"], strict=True)]
    row: dict[str, Any] = {**asdict(cell), "tokens": _tokens(cell), "flops": _flops(cell), "outcomes": outcomes}
    row |= {"ratio": statistics.median(ratios), "interval": bootstrap(ratios), "turns": len(ratios)}
    return row | {side: {"seconds": statistics.median(turns[side]), "peak_bytes": peaks[side]} for side in SIDES}


class Side:
    """One process: says when it is ready, takes a turn when told, and in the end says what memory it took."""

    def __init__(self, side: str, cell: Cell, folder: Path, device: str, threads: int) -> None:
        arguments = ["--serve", json.dumps({"side": side, "folder": str(folder), **asdict(cell)})]
        arguments += ["--device", device, "--threads", str(threads)]
        self.side = side
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(polymnia.__file__).parents[1])},
        )

    def outcome(self) -> list[float]:
        """Waits until it is warm; what the work comes to, to compare the sides by."""
        return [float(number) for number in self._read()]

    def turn(self) -> float:
        """Seconds."""
        return float(self._ask("turn"))

    def peak(self) -> int:
        return int(self._ask("peak"))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the process of {self.side} ended; its error stands above")
        return json.loads(line)


def _compare(cell: Cell, outcomes: dict[str, list[float]]) -> None:
    """A comparison of different work would be none."""
    tolerance = 1e-3 if cell.precision == "fp32" else 3e-2
    worst = max(abs(a - b) for a, b in zip(*outcomes.values(), strict=True))
    if worst > tolerance * max(1.0, *map(abs, outcomes["transformers"])):
        sys.exit(f"{cell}: the sides differ by {worst}: {outcomes}")


# --- one side, in its own process


def serve(task: str, device: str, threads: int) -> None:
    told = json.loads(task)
    side, folder = told.pop("side"), Path(told.pop("folder"))
    cell = Cell(**told)
    keep_memory()
    torch.set_num_threads(threads)
    work = prepare(side, cell, folder, torch.device(device))
    reply, clock = sys.stdout, _clock(device, threads)
    sys.stdout = sys.stderr
    for _ in range(3):
        outcome = work()
    before = start_of_peak(device)
    print(json.dumps(outcome), file=reply, flush=True)
    for line in sys.stdin:
        if line.strip() == "peak":
            print(json.dumps(peak(device) - before), file=reply, flush=True)
            continue
        began = clock()
        work()
        print(json.dumps(clock() - began), file=reply, flush=True)


Work = Callable[[], list[float]]
"""One turn: a few numbers that it comes to. Reading them waits for the device."""


def prepare(side: str, cell: Cell, folder: Path, device: torch.device) -> Work:
    trains = cell.work in ("packed", "whole")
    dtype = torch.float32 if trains else DTYPES[cell.precision]
    make = {
        ("ours", True): our_training,
        ("ours", False): our_prefill,
        ("transformers", True): their_training,
        ("transformers", False): their_prefill,
    }[side, trains]
    load: Any = load_checkpoint if side == "ours" else _load_theirs
    return make(load(folder, dtype).to(device), cell, device)


def our_training(model: Muse, cell: Cell, device: torch.device) -> Work:
    config = TrainConfig(name="benchmark", steps=1, compile=cell.compiled)
    pointwise = compile_parts(model.train(), config)
    training_batch = batch(cell).to(device)

    def work() -> list[float]:
        with _autocast(cell, device):
            loss = losses(model, training_batch, None, pointwise=pointwise).text
        torch.autograd.backward(loss)
        return _without_gradients(model, loss)

    return work


def their_training(model: Any, cell: Cell, device: torch.device) -> Work:
    step = torch.compile(model.train(), dynamic=False) if cell.compiled else model.train()
    ours = batch(cell).to(device)
    labels = torch.full_like(ours.input_ids, -100).view(-1)
    labels[ours.predict + 1] = ours.targets
    inputs = {
        "input_ids": ours.input_ids,
        "position_ids": ours.position_ids,
        "labels": labels.view_as(ours.input_ids),
        "attention_mask": masks(ours.document_ids, SIZES[cell.size].window) if cell.work == "packed" else None,
    }

    def work() -> list[float]:
        with _autocast(cell, device):
            loss = step(**inputs, use_cache=False).loss
        torch.autograd.backward(loss)
        return _without_gradients(model, loss)

    return work


def our_prefill(model: Muse, cell: Cell, device: torch.device) -> Work:
    ids, text = prompt(cell).to(device), model.config.text_config
    if cell.compiled:
        model.model.language_model.compile(dynamic=False)
    else:
        model.freeze()

    @torch.inference_mode()
    def work() -> list[float]:
        cache = KVCache(text, len(ids), ids.shape[1], DTYPES[cell.precision], device=device)
        return _few(model.logits(model.hidden_states(ids, kv_cache=cache)[:, -1]))

    return work


def their_prefill(model: Any, cell: Cell, device: torch.device) -> Work:
    ids = prompt(cell).to(device)
    forward = torch.compile(model, dynamic=False) if cell.compiled else model

    @torch.inference_mode()
    def work() -> list[float]:
        return _few(forward(input_ids=ids, use_cache=True, logits_to_keep=1).logits[:, -1])

    return work


def _load_theirs(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import MuseGlimmerForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return MuseGlimmerForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")


def masks(document_ids: Tensor, window: int) -> dict[str, Tensor]:
    """(rows, length) -> what transformers' layers take, True where a token is seen, (rows, 1, length, length)."""
    at = torch.arange(document_ids.shape[1], device=document_ids.device)
    distance = at[:, None] - at
    seen = (document_ids[:, None, :, None] == document_ids[:, None, None, :]) & (distance >= 0)
    return {"full_attention": seen, "sliding_attention": seen & (distance < window)}


def _autocast(cell: Cell, device: torch.device) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bf16")


def _without_gradients(model: torch.nn.Module, loss: Tensor) -> list[float]:
    model.zero_grad(set_to_none=True)
    return [float(loss.detach())]


def _few(logits: Tensor) -> list[float]:
    few: list[float] = logits[0, :8].float().tolist()
    return few


# --- the work


def batch(cell: Cell) -> Batch:
    """Full rows of random tokens."""
    size, rng = SIZES[cell.size], np.random.default_rng(0)
    shortest, longest = (max(2, tokens * size.row_tokens // 512) for tokens in DOCUMENT_TOKENS)
    rows = []
    for _ in range(size.rows):
        left, row = size.row_tokens, []
        while left:
            wanted = int(rng.integers(shortest, longest)) if cell.work == "packed" else left
            length = left if left - wanted < shortest else wanted
            trained = np.arange(length) >= (1 - TRAINED) * length if cell.work == "packed" else np.ones(length, bool)
            row.append(Example(rng.integers(4, size.vocabulary, length), trained))
            left -= length
        rows.append(row)
    return collate(rows, Shape(size.rows, size.row_tokens))


def prompt(cell: Cell) -> Tensor:
    size = SIZES[cell.size]
    shape = (1, size.long_tokens) if cell.work == "long" else (size.rows, size.row_tokens)
    return torch.randint(4, size.vocabulary, shape, generator=torch.Generator().manual_seed(0))


def _tokens(cell: Cell) -> int:
    return batch(cell).tokens if cell.work in ("packed", "whole") else prompt(cell).numel()


def _flops(cell: Cell) -> int:
    """As `model.accounting` counts: all pairs of a row, seen or not."""
    size, config = SIZES[cell.size], SIZES[cell.size].config()
    if cell.work in ("packed", "whole"):
        trained = len(batch(cell).targets)
        return training_flops(config, rows=size.rows, row_tokens=size.row_tokens, trained=trained)
    return len(prompt(cell)) * prefill_flops(config, prompt(cell).shape[1])


def _save(size: Size, folder: Path) -> None:
    model = Muse(size.config())
    init_weights(model, seed=0)
    save_checkpoint(model, folder)


# --- memory and machine


def start_of_peak(device: str) -> int:
    """Gives back what is free, sets the peak to what is held now and returns that, bytes."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def matmul_rate(device: str, precision: str, threads: int) -> float:
    """FLOPs a second of a large square product, the best of a few."""
    torch.set_num_threads(threads)
    side, best, clock = (8192 if device == "cuda" else 2048), 0.0, _clock(device, threads)
    a = torch.randn(side, side, device=device, dtype=DTYPES[precision])
    for _ in range(8):
        began = clock()
        float(linear(a, a)[0, 0])  # waits for the device
        best = max(best, 2 * side**3 / (clock() - began))
    return best


def _clock(device: str, threads: int) -> Callable[[], float]:
    """Seconds. With one thread the processor's time says the same as the wall's, and other work disturbs it less."""
    return time.process_time if device == "cpu" and threads == 1 else time.perf_counter


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"


# --- statistics and the table


def bootstrap(values: Sequence[float], rounds: int = 2000) -> tuple[float, float]:
    """95 % interval of the median."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(rounds))
    return medians[round(0.025 * rounds)], medians[round(0.975 * rounds) - 1]


def table(record: dict[str, Any]) -> str:
    machine = f"{record['machine']}, {record['threads']} threads"
    versions = f"torch {record['torch']}, transformers {record['transformers']}"
    head = ("size", "precision", "mode", "work", "tokens/s", "ratio (95 %)", "peak MB", "of matmul")
    lines = [
        f"Ours beside transformers' ({machine}; {versions}); ratio: how many times as fast ours is.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    return "\n".join(lines + [_line(row, record["matmul_flops"]) for row in record["rows"]])


def _line(row: dict[str, Any], matmul: dict[str, float]) -> str:
    ours, theirs, (low, high) = row["ours"], row["transformers"], row["interval"]
    return " | ".join(
        (
            f"| {row['size']}",
            row["precision"],
            "compiled" if row["compiled"] else "eager",
            row["work"],
            f"{row['tokens'] / ours['seconds']:,.0f} / {row['tokens'] / theirs['seconds']:,.0f}",
            f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})",
            f"{ours['peak_bytes'] / 1e6:,.0f} / {theirs['peak_bytes'] / 1e6:,.0f}",
            f"{100 * row['flops'] / ours['seconds'] / matmul[row['precision']]:.0f} % |",
        )
    )


if __name__ == "__main__":
    main()
