"""What nano can do: pass rates by family, tier and mode on held-out problems, tools really executed.

    python benchmarks/nano.py choose     # validation split: fixes benchmarks/nano_levels.json
    python benchmarks/nano.py            # test split: prints the table, writes benchmarks/results/nano.json

`choose` decides on the validation split, before the test split is touched, which tiers are called base,
middle and hard, and which temperature serves the single agent (greedy included) and the agents of
Contemplating best. Intervals: Wilson for a rate, paired bootstrap for a difference, both 95 %. The
guess rate is that of always giving the most frequent answer.
"""

import argparse
import asyncio
import json
import math
import multiprocessing
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polymnia.agents.events import Mode
from polymnia.agents.models import open_model
from polymnia.agents.run import answer, outcome
from polymnia.tasks import FAMILIES, sample, verify
from polymnia.tools import Toolbox, default_tools, python

HERE = Path(__file__).parent
LEVELS_FILE = HERE / "nano_levels.json"
RESULTS_FILE = HERE / "results" / "nano.json"
SINGLE_TEMPERATURES = (0.0, 0.3, 0.6, 1.0)
TEAM_TEMPERATURES = (0.3, 0.6, 1.0)
CHOOSE_SEED, TEST_SEED = 71, 72


@dataclass(frozen=True)
class Cell:
    """One entry of the table: the same problems for every mode of a family and tier."""

    family: str
    tier: int
    mode: Mode
    temperature: float
    agents: int = 8
    crop: bool = True
    """False: the tools are the same but for `crop`."""


@dataclass(frozen=True)
class Outcomes:
    passed: list[bool]
    answers: list[str]
    tokens: list[int]
    critical_path: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("test", "choose"), default="test")
    parser.add_argument("--model", default="nano", help="nano, or a checkpoint folder")
    parser.add_argument("--samples", type=int, help="problems a family and tier (test: 500, choose: 120)")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=RESULTS_FILE)
    arguments = parser.parse_args()
    if arguments.what == "choose":
        choose(arguments.model, arguments.samples or 120, arguments.jobs)
    else:
        test(arguments.model, arguments.samples or 500, arguments.jobs, arguments.out)


# --- running


def measure(cells: list[Cell], split: str, seed: int, samples: int, model: str, jobs: int) -> dict[Cell, Outcomes]:
    """Every cell on the problems 0..samples-1 of the seed, shared among `jobs` processes."""
    context = multiprocessing.get_context("spawn")
    began = time.monotonic()
    with context.Pool(jobs) as pool:
        work = [(cells, split, seed, range(job, samples, jobs), model) for job in range(jobs)]
        parts = pool.starmap(_measure_share, work)
    print(f"  {len(cells)} cells x {samples} problems in {time.monotonic() - began:.0f} s", file=sys.stderr)
    joined = {}
    for place, cell in enumerate(cells):
        rows = sorted(row for part in parts for row in part[place])
        columns = list(zip(*rows, strict=True))
        joined[cell] = Outcomes(*[list(column) for column in columns[1:]])
    return joined


Row = tuple[int, bool, str, int, int]


def _measure_share(cells: list[Cell], split: str, seed: int, indices: range, model_name: str) -> list[list[Row]]:
    import torch

    torch.set_num_threads(1)
    return asyncio.run(_measure_cells(cells, split, seed, indices, model_name))


async def _measure_cells(cells: list[Cell], split: str, seed: int, indices: range, name: str) -> list[list[Row]]:
    model = open_model(name)
    results = []
    for cell in cells:
        # So many questions at a time that the engine's batch stays full.
        places = asyncio.Semaphore(6 if cell.mode == "contemplating" else 32)
        rows = await asyncio.gather(*(_one(cell, split, seed, index, model, places) for index in indices))
        results.append(list(rows))
        rate = sum(row[1] for row in rows) / max(1, len(rows))
        print(f"  {cell.family} {cell.tier} {cell.mode} T={cell.temperature}: {rate:.3f}", file=sys.stderr, flush=True)
    return results


async def _one(cell: Cell, split: str, seed: int, index: int, model: Any, places: asyncio.Semaphore) -> Row:
    async with places:
        problem = sample(FAMILIES[cell.family], tier=cell.tier, split=split, seed=seed, index=index)
        run = answer(
            problem.messages(),
            model=model,
            mode=cell.mode,
            agents=cell.agents,
            seed=index,
            temperature=cell.temperature,
            tools=default_tools() if cell.crop else Toolbox((python,)),
        )
        done = await outcome(run)
        tokens = done.usage.completion_tokens
        return index, verify(problem, done.answer), done.answer, tokens, done.critical_path_tokens


# --- choosing, on the validation split


def choose(model: str, samples: int, jobs: int) -> None:
    levels: dict[str, Any] = {}
    scan = [Cell(family, tier, "thinking", 0.0) for family in FAMILIES for tier in range(6)]
    rates = {
        cell: _rate(found.passed)
        for cell, found in measure(scan, "validation", CHOOSE_SEED, samples, model, jobs).items()
    }
    for family in FAMILIES:
        by_tier = [rates[Cell(family, tier, "thinking", 0.0)] for tier in range(6)]
        fitting = [tier for tier in range(1, 6) if 0.4 <= by_tier[tier] <= 0.8]
        hard = fitting[0] if fitting else min(range(1, 6), key=lambda tier: abs(by_tier[tier] - 0.6))
        middle = max(1, hard - 1) if hard > 1 else 1
        levels[family] = {"base": 0, "middle": middle, "hard": hard, "thinking_greedy_by_tier": by_tier}
    single = [
        Cell(family, tier, mode, heat)
        for family, chosen in levels.items()
        for tier in sorted({chosen["base"], chosen["middle"], chosen["hard"]})
        for mode in ("instant", "thinking")
        for heat in SINGLE_TEMPERATURES
    ]
    team = [
        Cell(family, levels[family]["hard"], "contemplating", heat) for family in FAMILIES for heat in TEAM_TEMPERATURES
    ]
    found = measure([*single, *team], "validation", CHOOSE_SEED, samples, model, jobs)
    tried = {cell: _rate(one.passed) for cell, one in found.items()}
    for family, chosen in levels.items():
        for mode in ("instant", "thinking"):
            chosen[f"{mode}_temperature"] = {
                str(tier): max(SINGLE_TEMPERATURES, key=lambda heat: (tried[Cell(family, tier, mode, heat)], -heat))
                for tier in sorted({chosen["base"], chosen["middle"], chosen["hard"]})
            }
        chosen["contemplating_temperature"] = max(
            TEAM_TEMPERATURES, key=lambda heat: tried[Cell(family, chosen["hard"], "contemplating", heat)]
        )
        chosen["tried"] = [
            {"tier": c.tier, "mode": c.mode, "temperature": c.temperature, "pass_rate": rate}
            for c, rate in tried.items()
            if c.family == family
        ]
    record = {"split": "validation", "seed": CHOOSE_SEED, "samples": samples, "levels": levels}
    LEVELS_FILE.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {LEVELS_FILE}")


# --- the test split


def test(model: str, samples: int, jobs: int, out: Path) -> None:
    if not LEVELS_FILE.exists():
        sys.exit(f"{LEVELS_FILE} is missing: run `python benchmarks/nano.py choose` first")
    levels = json.loads(LEVELS_FILE.read_text())["levels"]
    cells = [
        cell for family, chosen in levels.items() for level in _levels(chosen) for cell in _cells(family, chosen, level)
    ]
    found = measure(list(dict.fromkeys(cells)), "test", TEST_SEED, samples, model, jobs)
    rows = [_row(family, level, chosen, found) for family, chosen in levels.items() for level in _levels(chosen)]
    record = {
        "split": "test",
        "seed": TEST_SEED,
        "samples": samples,
        "weights": open_model(model).fingerprint,
        "rows": rows,
        "cells": [{**asdict(cell), "passed": "".join("01"[p] for p in one.passed)} for cell, one in found.items()],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows, samples))


def _levels(chosen: dict[str, Any]) -> list[str]:
    return [level for level in ("base", "middle", "hard") if level != "middle" or chosen["middle"] != chosen["hard"]]


def _cells(family: str, chosen: dict[str, Any], level: str) -> list[Cell]:
    tier = chosen[level]
    instant, thinking = (chosen[f"{mode}_temperature"][str(tier)] for mode in ("instant", "thinking"))
    cells = [
        Cell(family, tier, "instant", instant),
        Cell(family, tier, "thinking", thinking),
        Cell(family, tier, "contemplating", chosen["contemplating_temperature"]),
    ]
    if family == "detail":
        cells.append(Cell(family, tier, "thinking", thinking, crop=False))
    return cells


def _row(family: str, level: str, chosen: dict[str, Any], found: dict[Cell, Outcomes]) -> dict[str, Any]:
    cells = _cells(family, chosen, level)
    instant, thinking, team = (found[cell] for cell in cells[:3])
    samples = len(team.passed)
    truths = Counter(
        sample(FAMILIES[family], tier=chosen[level], split="test", seed=TEST_SEED, index=index).answer
        for index in range(samples)
    )
    row: dict[str, Any] = {"family": family, "level": level, "tier": chosen[level]}
    row["guess"] = truths.most_common(1)[0][1] / samples
    for name, one in (("instant", instant), ("thinking", thinking), ("contemplating", team)):
        row[name] = {"rate": _rate(one.passed), "interval": wilson(sum(one.passed), samples)}
        row[name]["tokens"] = statistics.mean(one.tokens)
        row[name]["critical_path_tokens"] = statistics.mean(one.critical_path)
    row["gain"] = {"points": 100 * (_rate(team.passed) - _rate(thinking.passed)), "interval": paired(thinking, team)}
    if len(cells) > 3:
        without = found[cells[3]].passed
        row["without_crop"] = {"rate": _rate(without), "interval": wilson(sum(without), samples)}
    return row


# --- statistics and the table


def _rate(passed: list[bool]) -> float:
    return sum(passed) / len(passed)


def wilson(passed: int, samples: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    p, n = passed / samples, samples
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def paired(before: Outcomes, after: Outcomes, rounds: int = 4000) -> tuple[float, float]:
    """95 % bootstrap interval of the difference in points over the same problems."""
    rng = random.Random(0)
    gains = [int(b) - int(a) for a, b in zip(before.passed, after.passed, strict=True)]
    means = sorted(100 * statistics.mean(rng.choices(gains, k=len(gains))) for _ in range(rounds))
    return means[round(0.025 * rounds)], means[round(0.975 * rounds) - 1]


def table(rows: list[dict[str, Any]], samples: int) -> str:
    lines = [
        f"Pass rates in % on {samples} test problems a row, free-running, tools executed; 95 % intervals.",
        "",
        "| family | level (tier) | guess | instant | thinking | contemplating, 8 agents | gain | without `crop` |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["gain"]["interval"]
        cells = [row["family"], f"{row['level']} ({row['tier']})", f"{100 * row['guess']:.0f}"]
        cells += [_percent(row[mode]) for mode in ("instant", "thinking", "contemplating")]
        cells += [f"{row['gain']['points']:+.1f} ({low:+.1f} to {high:+.1f})"]
        cells += [_percent(row["without_crop"]) if "without_crop" in row else "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{100 * entry['rate']:.1f} ({100 * low:.0f}-{100 * high:.0f})"


if __name__ == "__main__":
    main()
