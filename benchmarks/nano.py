"""What nano can do: pass rates by family, tier and mode on held-out problems, tools really executed.

    python benchmarks/nano.py choose     # validation split: fixes benchmarks/nano_levels.json
    python benchmarks/nano.py            # test split: prints the table, writes benchmarks/results/nano.json
    python benchmarks/nano.py words      # other wordings, off-topic questions: benchmarks/results/nano_words.json

`choose` decides on the validation split, before the test split is touched: each family's middle tier (the first
that one greedy agent solves in 40 to 80 %; base is tier 0), and for each mode one setting for all families: the
strategy and temperature of the single agent, tried alike with and without the visual tools, and the temperature
of the agents of Contemplating. Intervals: Wilson for a rate, paired bootstrap for a difference,
problem-level bootstrap for a mean over families, all 95 %. The guess rate is that of always giving the most
frequent answer. A run that ends without an answer counts as failed.
"""

import argparse
import asyncio
import itertools
import json
import math
import multiprocessing
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from polymnia.agents.contemplate import with_strategy
from polymnia.agents.events import Event, Mode, RunFailed, RunFinished
from polymnia.agents.models import open_model
from polymnia.agents.run import answer
from polymnia.data.strategies import STRATEGIES
from polymnia.errors import PolymniaError, RunError
from polymnia.tasks import FAMILIES, Problem, sample, verify
from polymnia.tasks.offtopic import declines
from polymnia.tools import Toolbox, python

Tools = Literal["all", "blind"]
"""`blind`: without the visual tools, Python alone."""

HERE = Path(__file__).parent
LEVELS_FILE = HERE / "nano_levels.json"
RESULTS_FILE = HERE / "results" / "nano.json"
WORDS_FILE = HERE / "results" / "nano_words.json"
LEVELS = ("base", "middle")
SCANNED_TIERS = range(7)
SINGLE: tuple[tuple[Mode, Tools], ...] = (("thinking", "all"), ("thinking", "blind"), ("instant", "all"))
SINGLE_TEMPERATURES = (0.0, 0.6)
TEAM_TEMPERATURES = (0.6, 1.0)
CHOOSE_SEED, TEST_SEED = 71, 72
AGENTS = 8
MODES = ("instant", "blind", "thinking", "contemplating")


@dataclass(frozen=True)
class Setting:
    """How questions are answered."""

    mode: Mode
    temperature: float
    strategy: int = 0
    """Of a single agent; those of a team cycle through all."""
    tools: Tools = "all"


@dataclass(frozen=True)
class Cell:
    """One entry of the table: the same problems for every mode of a family and tier."""

    family: str
    tier: int
    mode: Mode
    temperature: float
    strategy: int = 0
    tools: Tools = "all"


@dataclass(frozen=True)
class Outcomes:
    passed: list[bool]
    answers: list[str]
    tokens: list[int]
    critical_path: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("test", "choose", "words"), default="test")
    parser.add_argument("--model", default="nano", help="nano, or a checkpoint folder")
    parser.add_argument("--samples", type=int, help="problems a family and tier (test: 100, choose: 40)")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, help="where the results go [benchmarks/results/]")
    arguments = parser.parse_args()
    if arguments.what == "choose":
        choose(arguments.model, arguments.samples or 40, arguments.jobs)
    elif arguments.what == "words":
        words(arguments.model, arguments.samples or 30, arguments.out or WORDS_FILE)
    else:
        test(arguments.model, arguments.samples or 100, arguments.jobs, arguments.out or RESULTS_FILE)


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
            agents=AGENTS,
            seed=index,
            temperature=cell.temperature,
            tools=None if cell.tools == "all" else Toolbox((python,)),
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
    middle = {
        family: _middle([scan[Cell(family, tier, "thinking", 0.0)] for tier in SCANNED_TIERS]) for family in FAMILIES
    }
    settings = [
        Setting(mode, heat, strategy, tools)
        for mode, tools in SINGLE
        for strategy in range(len(STRATEGIES) if mode == "thinking" else 1)
        for heat in SINGLE_TEMPERATURES
    ] + [Setting("contemplating", heat) for heat in TEAM_TEMPERATURES]
    cells = {one: [Cell(family, tier, *astuple(one)) for family, tier in middle.items()] for one in settings}
    tried = rates([cell for group in cells.values() for cell in group])
    means = {one: statistics.mean(tried[cell] for cell in group) for one, group in cells.items()}
    record = {
        "split": "validation",
        "seed": CHOOSE_SEED,
        "samples": samples,
        "weights": open_model(model).fingerprint,
        "levels": {family: {"base": 0, "middle": tier} for family, tier in middle.items()},
        "settings": {name: asdict(max(settings, key=lambda one: (_named(one) == name, means[one]))) for name in MODES},
        "means": [{**asdict(one), "pass_rate": mean} for one, mean in means.items()],
        "scan": {family: [scan[Cell(family, tier, "thinking", 0.0)] for tier in SCANNED_TIERS] for family in FAMILIES},
    }
    LEVELS_FILE.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {LEVELS_FILE}: middle tiers {middle}, settings {record['settings']}")


def _middle(by_tier: list[float]) -> int:
    """The first tier from 1 on solved in 40 to 80 %, or the one nearest to 60 %."""
    fitting = [tier for tier in SCANNED_TIERS if tier and 0.4 <= by_tier[tier] <= 0.8]
    return fitting[0] if fitting else min(SCANNED_TIERS[1:], key=lambda tier: abs(by_tier[tier] - 0.6))


def _named(setting: "Setting") -> str:
    """The column of the table that a setting competes for."""
    return "blind" if setting.tools == "blind" else setting.mode


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
    places = [(family, level) for level in LEVELS for family in chosen["levels"]]
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


def _cells(chosen: dict[str, Any], family: str, level: str) -> dict[str, Cell]:
    tier = chosen["levels"][family][level]
    return {name: Cell(family, tier, **chosen["settings"][name]) for name in MODES}


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
    thinking = found[cells["thinking"]]
    for name, before, after in (
        ("tools_gain", found[cells["blind"]], thinking),
        ("gain", thinking, found[cells["contemplating"]]),
    ):
        row[name] = {"points": 100 * (_rate(after.passed) - _rate(before.passed)), "interval": paired(before, after)}
    return row


def _means(rows: list[dict[str, Any]], samples: int) -> dict[str, dict[str, Any]]:
    """Means over families, by level, and of what the visual tools add where the pictures hold detail."""
    means: dict[str, dict[str, Any]] = {}
    for level in LEVELS:
        here = [row for row in rows if row["level"] == level]
        means[level] = {mode: _mean([row[mode]["rate"] for row in here], samples) for mode in MODES}
        means[level]["gain"] = _mean_points([row["gain"] for row in here])
    detail = [row for row in rows if row["level"] == "base" and FAMILIES[row["family"]].zoom]
    means["tools"] = {"families": [row["family"] for row in detail], **_mean_points([r["tools_gain"] for r in detail])}
    return means


def _mean(rates: list[float], samples: int) -> dict[str, Any]:
    """The mean over families and its interval over problems drawn anew (normal, families independent)."""
    mean = statistics.mean(rates)
    error = math.sqrt(sum(rate * (1 - rate) / samples for rate in rates)) / len(rates)
    return {"rate": mean, "interval": (mean - 1.96 * error, mean + 1.96 * error)}


def _mean_points(gains: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of differences in points; each family's interval taken as normal."""
    mean = statistics.mean(gain["points"] for gain in gains)
    errors = [(gain["interval"][1] - gain["interval"][0]) / 3.92 for gain in gains]
    error = math.sqrt(sum(error * error for error in errors)) / len(errors)
    return {"points": mean, "interval": (mean - 1.96 * error, mean + 1.96 * error)}


# --- other words, and what lies outside


def words(model: str, samples: int, out: Path) -> None:
    """Base problems asked in hand-written words that training never saw, and questions outside all families."""
    record = asyncio.run(_words(model, samples))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")
    for name in ("templates", "hand_written", "off_topic_declined", "own_declined"):
        one = record[name]
        print(f"{name:20} {one['passed']:5} of {one['asked']:5}  {_percent(one)} %")
    print(f"loss in other words: {record['loss']['points']:.1f} points, {record['loss']['interval']}")


async def _words(model_name: str, samples: int) -> dict[str, Any]:
    model, places = open_model(model_name), asyncio.Semaphore(32)
    other: dict[str, dict[str, list[str]]] = json.loads((HERE / "wordings.json").read_text())

    async def ask(problem: Problem) -> tuple[bool, str]:
        async with places:
            last = await _end(answer(problem.messages(), model=model, mode="thinking", seed=0, temperature=0.0))
        said = last.answer if isinstance(last, RunFinished) else ""
        return verify(problem, said), said

    plain = [
        sample(family, tier=0, split="test", seed=TEST_SEED, index=index)
        for family in FAMILIES.values()
        for index in range(samples)
    ]
    reworded = [replace(one, query=replace(one.query, text=_reworded(one, other, at))) for at, one in enumerate(plain)]
    before = await asyncio.gather(*(ask(one) for one in plain))
    after = await asyncio.gather(*(ask(one) for one in reworded))
    outside: list[dict[str, Any]] = json.loads((HERE / "offtopic.json").read_text())
    strange = [
        replace(one, images=one.images if entry["picture"] else (), query=replace(one.query, text=entry["question"]))
        for entry, one in zip(outside, itertools.cycle(one for one in plain if one.images), strict=False)
    ]
    said = [text for _, text in await asyncio.gather(*(ask(one) for one in strange))]
    pairs = [Outcomes([right for right, _ in rows], [text for _, text in rows], [], []) for rows in (before, after)]
    return {
        "weights": model.fingerprint,
        "samples": samples,
        "templates": _counted(pairs[0].passed),
        "hand_written": _counted(pairs[1].passed),
        "by_family": {
            name: [_rate(one.passed[at * samples : (at + 1) * samples]) for one in pairs]
            for at, name in enumerate(FAMILIES)
        },
        "loss": {
            "points": 100 * (_rate(pairs[0].passed) - _rate(pairs[1].passed)),
            "interval": paired(pairs[0], pairs[1]),
        },
        "off_topic_declined": _counted([declines(text) for text in said]),
        "own_declined": _counted([declines(text) for text in pairs[0].answers + pairs[1].answers]),
        "off_topic_answers": [{**entry, "answer": text} for entry, text in zip(outside, said, strict=True)],
    }


def _reworded(problem: Problem, other: dict[str, dict[str, list[str]]], at: int) -> str:
    ways = other[problem.family.name][problem.query.kind]
    return ways[at % len(ways)].format(**problem.query.slots)


def _counted(passed: list[bool]) -> dict[str, Any]:
    return {
        "passed": sum(passed),
        "asked": len(passed),
        "rate": _rate(passed),
        "interval": wilson(sum(passed), len(passed)),
    }


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


HEAD = "| family | tier | guess | instant | thinking, no visual tools | thinking | contemplating, 8 agents | gain |"


def table(rows: list[dict[str, Any]], samples: int) -> str:
    """Every row, the means below."""
    lines = [_title(samples), "", HEAD, "|---" * 8 + "|"]
    for row in rows:
        cells = [row["family"], f"{row['tier']} ({row['level']})", f"{100 * row['guess']:.0f}"]
        lines.append(_line([*cells, *(_percent(row[mode]) for mode in MODES), _points(row["gain"])]))
    return "\n".join([*lines, *_mean_lines(rows, samples)])


def summary(rows: list[dict[str, Any]], samples: int) -> str:
    """The means alone."""
    return "\n".join([_title(samples), "", HEAD, "|---" * 8 + "|", *_mean_lines(rows, samples)])


def _title(samples: int) -> str:
    return (
        f"Pass rates in % on {samples} test problems a family and tier, free-running, tools executed; 95 % intervals."
    )


def _mean_lines(rows: list[dict[str, Any]], samples: int) -> list[str]:
    means, count = _means(rows, samples), len({row["family"] for row in rows})
    lines = []
    for level in LEVELS:
        cells = [f"**mean of {count}**", level, "", *(_percent(means[level][mode]) for mode in MODES)]
        lines.append(_line([*cells, _points(means[level]["gain"])]))
    added, where = _points(means["tools"]), ", ".join(means["tools"]["families"])
    return [*lines, "", f"Visual tools add {added} points on the base tiers of the families with detail: {where}."]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _points(gain: dict[str, Any]) -> str:
    low, high = gain["interval"]
    return f"{gain['points']:+.1f} ({low:+.1f} to {high:+.1f})"


def _percent(entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{100 * entry['rate']:.1f} ({100 * low:.0f}-{100 * high:.0f})"


if __name__ == "__main__":
    main()
