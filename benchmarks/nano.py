"""What nano can do: pass rates by family, tier and mode on held-out problems, tools really executed.

    python benchmarks/nano.py choose     # validation split: fixes benchmarks/nano_levels.json
    python benchmarks/nano.py            # test split: prints the table, writes benchmarks/results/nano.json

`choose` decides on the validation split, before the test split is touched: which tiers are called base,
middle and hard (hard = the first tier that one greedy agent solves in 40 to 80 %), the single agent's best
strategy and temperature (greedy included) for each of them, the same for `detail` without `crop`, and one
temperature for the agents of Contemplating. Intervals: Wilson for a rate, paired bootstrap for a
difference, both 95 %. The guess rate is that of always giving the most frequent answer. A run that ends
without an answer counts as failed.
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
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from polymnia.agents.contemplate import with_strategy
from polymnia.agents.events import Event, Mode, RunFailed, RunFinished
from polymnia.agents.models import open_model
from polymnia.agents.run import answer
from polymnia.data.strategies import STRATEGIES
from polymnia.errors import PolymniaError, RunError
from polymnia.tasks import FAMILIES, sample, verify
from polymnia.tools import Toolbox, python

HERE = Path(__file__).parent
LEVELS_FILE = HERE / "nano_levels.json"
RESULTS_FILE = HERE / "results" / "nano.json"
LEVELS = ("base", "middle", "hard")
SCANNED_TIERS = range(8)
SINGLE_TEMPERATURES = (0.0, 0.3, 0.6, 1.0)
TEAM_TEMPERATURES = (0.3, 0.6, 1.0)
CHOOSE_SEED, TEST_SEED = 71, 72

Tools = Literal["all", "python", "none"]


@dataclass(frozen=True)
class Cell:
    """One entry of the table: the same problems for every mode of a family and tier."""

    family: str
    tier: int
    mode: Mode
    temperature: float
    strategy: int = 0
    """Of a single agent; those of a team cycle through all."""
    tools: Tools = "all"
    agents: int = 8


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
        places = asyncio.Semaphore(4 if cell.mode == "contemplating" else 32)
        rows = await asyncio.gather(*(_one(cell, split, seed, index, model, places) for index in indices))
        results.append(list(rows))
        rate = sum(row[1] for row in rows) / max(1, len(rows))
        print(f"  {cell.family} {cell.tier} {cell.mode} T={cell.temperature}: {rate:.3f}", file=sys.stderr, flush=True)
    return results


async def _one(cell: Cell, split: str, seed: int, index: int, model: Any, places: asyncio.Semaphore) -> Row:
    async with places:
        problem = sample(FAMILIES[cell.family], tier=cell.tier, split=split, seed=seed, index=index)
        run = answer(
            with_strategy(problem.messages(), STRATEGIES[cell.strategy]),
            model=model,
            mode=cell.mode,
            agents=cell.agents,
            seed=index,
            temperature=cell.temperature,
            tools=None if cell.tools == "all" else Toolbox((python,) if cell.tools == "python" else ()),
        )
        last = await _end(run)
        tokens = last.usage.completion_tokens
        if isinstance(last, RunFinished):
            return index, verify(problem, last.answer), last.answer, tokens, last.critical_path_tokens
        return index, False, "", tokens, tokens


async def _end(run: AsyncIterator[Event]) -> RunFinished | RunFailed:
    """A run's last event. Agents that give no answer fail their question, not the benchmark."""
    last: Event | None = None
    error: PolymniaError | None = None
    try:
        async for event in run:
            last = event
    except PolymniaError as raised:
        error = raised
    if isinstance(last, RunFinished) or (isinstance(last, RunFailed) and type(error) is not RunError):
        return last
    raise error or RunError("a run ended without saying why")


# --- choosing, on the validation split


def choose(model: str, samples: int, jobs: int) -> None:
    def rates(cells: list[Cell]) -> dict[Cell, float]:
        found = measure(list(dict.fromkeys(cells)), "validation", CHOOSE_SEED, samples, model, jobs)
        return {cell: _rate(one.passed) for cell, one in found.items()}

    scan = rates([Cell(family, tier, "thinking", 0.0) for family in FAMILIES for tier in SCANNED_TIERS])
    levels = {
        family: _tiers([scan[Cell(family, tier, "thinking", 0.0)] for tier in SCANNED_TIERS]) for family in FAMILIES
    }
    places = [(family, tier) for family, tiers in levels.items() for tier in sorted(set(tiers.values()))]
    plans = rates([Cell(*place, "thinking", 0.0, strategy) for place in places for strategy in range(len(STRATEGIES))])
    best_plan = {
        place: max(range(len(STRATEGIES)), key=lambda plan: (plans[Cell(*place, "thinking", 0.0, plan)], -plan))
        for place in places
    }
    single = [
        Cell(*place, mode, heat, best_plan[place] if mode == "thinking" else 0)
        for place in places
        for mode in ("instant", "thinking")
        for heat in SINGLE_TEMPERATURES
    ]
    blind = [
        Cell(*place, "thinking", heat, tools=tools)
        for place in places
        if place[0] == "detail"
        for tools in ("python", "none")
        for heat in SINGLE_TEMPERATURES
    ]
    team = [
        Cell(family, levels[family]["hard"], "contemplating", heat) for family in FAMILIES for heat in TEAM_TEMPERATURES
    ]
    tried = rates([*single, *blind, *team])
    means = {
        heat: statistics.mean(tried[cell] for cell in team if cell.temperature == heat) for heat in TEAM_TEMPERATURES
    }
    record = {
        "split": "validation",
        "seed": CHOOSE_SEED,
        "samples": samples,
        "weights": open_model(model).fingerprint,
        "levels": levels,
        "instant": _best(tried, [cell for cell in single if cell.mode == "instant"]),
        "thinking": _best(tried, [cell for cell in single if cell.mode == "thinking"]),
        "without_crop": _best(tried, blind),
        "team_temperature": max(means, key=lambda heat: means[heat]),
        "tried": [{**asdict(cell), "pass_rate": rate} for cell, rate in {**scan, **plans, **tried}.items()],
    }
    LEVELS_FILE.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {LEVELS_FILE}: levels {levels}, team temperature {record['team_temperature']}")


def _tiers(by_tier: list[float]) -> dict[str, int]:
    """base = 0; hard = the first tier solved in 40 to 80 %, or the one nearest to 60 %; middle = the one between."""
    fitting = [tier for tier in SCANNED_TIERS if tier and 0.4 <= by_tier[tier] <= 0.8]
    hard = fitting[0] if fitting else min(SCANNED_TIERS[1:], key=lambda tier: abs(by_tier[tier] - 0.6))
    return {"base": 0, "middle": max(hard - 1, 0), "hard": hard}


def _best(tried: dict[Cell, float], cells: list[Cell]) -> dict[str, dict[str, Any]]:
    """By `family/tier`: the settings with the highest pass rate, the lower temperature where equal."""
    best: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda cell: (-tried[cell], cell.temperature)):
        best.setdefault(f"{cell.family}/{cell.tier}", cell)
    return {place: asdict(cell) for place, cell in best.items()}


# --- the test split


def test(model: str, samples: int, jobs: int, out: Path) -> None:
    if not LEVELS_FILE.exists():
        sys.exit(f"{LEVELS_FILE} is missing: run `python benchmarks/nano.py choose` first")
    chosen = json.loads(LEVELS_FILE.read_text())
    weights = open_model(model).fingerprint
    if chosen["weights"] != weights:
        sys.exit(
            f"{LEVELS_FILE} was chosen for weights {chosen['weights'][:12]}, not {weights[:12]}: run `choose` again"
        )
    places = [
        (family, level) for family, tiers in chosen["levels"].items() for level in LEVELS if _distinct(tiers, level)
    ]
    cells = [cell for place in places for cell in _cells(chosen, *place).values()]
    found = measure(list(dict.fromkeys(cells)), "test", TEST_SEED, samples, model, jobs)
    rows = [_row(chosen, *place, found) for place in places]
    record = {
        "split": "test",
        "seed": TEST_SEED,
        "samples": samples,
        "weights": weights,
        "rows": rows,
        "cells": [{**asdict(cell), "answers": one.answers, "passed": one.passed} for cell, one in found.items()],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record) + "\n")
    print(table(rows, samples))


def _distinct(tiers: dict[str, int], level: str) -> bool:
    return level != "middle" or tiers["middle"] not in (tiers["base"], tiers["hard"])


def _cells(chosen: dict[str, Any], family: str, level: str) -> dict[str, Cell]:
    tier = chosen["levels"][family][level]
    cells = {mode: Cell(**chosen[mode][f"{family}/{tier}"]) for mode in ("instant", "thinking")}
    cells["contemplating"] = Cell(family, tier, "contemplating", chosen["team_temperature"])
    if family == "detail":
        cells["without_crop"] = Cell(**chosen["without_crop"][f"{family}/{tier}"])
    return cells


def _row(chosen: dict[str, Any], family: str, level: str, found: dict[Cell, Outcomes]) -> dict[str, Any]:
    cells = _cells(chosen, family, level)
    tier, samples = cells["thinking"].tier, len(found[cells["thinking"]].passed)
    truths = Counter(
        sample(FAMILIES[family], tier=tier, split="test", seed=TEST_SEED, index=index).answer
        for index in range(samples)
    )
    row: dict[str, Any] = {"family": family, "level": level, "tier": tier}
    row["guess"] = truths.most_common(1)[0][1] / samples
    for name, cell in cells.items():
        one = found[cell]
        row[name] = {
            "rate": _rate(one.passed),
            "interval": wilson(sum(one.passed), samples),
            "tokens": statistics.mean(one.tokens),
            "critical_path_tokens": statistics.mean(one.critical_path),
        }
    thinking, team = found[cells["thinking"]], found[cells["contemplating"]]
    row["gain"] = {"points": 100 * (_rate(team.passed) - _rate(thinking.passed)), "interval": paired(thinking, team)}
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
