"""Procedural task families with exact verifiers and programmatic traces. Start at `tasks.base`."""

from polymnia.errors import InputError
from polymnia.tasks.arithmetic import ARITHMETIC
from polymnia.tasks.base import SPLITS, Family, Problem, Query, Style, Trace, View, follow_up, sample, verify
from polymnia.tasks.chart import CHART
from polymnia.tasks.clock import CLOCK
from polymnia.tasks.count import COUNT
from polymnia.tasks.countdown import COUNTDOWN
from polymnia.tasks.dates import DATES
from polymnia.tasks.detail import DETAIL
from polymnia.tasks.difference import DIFFERENCE
from polymnia.tasks.gauge import GAUGE
from polymnia.tasks.geometry import GEOMETRY
from polymnia.tasks.gym import PREFIX, gym_family
from polymnia.tasks.line import LINE
from polymnia.tasks.logic import LOGIC
from polymnia.tasks.match import MATCH
from polymnia.tasks.maze import MAZE
from polymnia.tasks.odd import ODD
from polymnia.tasks.pie import PIE
from polymnia.tasks.relation import RELATION
from polymnia.tasks.route import ROUTE
from polymnia.tasks.sorting import SORTING
from polymnia.tasks.story import STORY
from polymnia.tasks.table import TABLE
from polymnia.tasks.turned import TURNED

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        COUNT,
        CHART,
        DETAIL,
        GEOMETRY,
        ROUTE,
        MAZE,
        CLOCK,
        RELATION,
        LINE,
        ARITHMETIC,
        COUNTDOWN,
        PIE,
        TABLE,
        GAUGE,
        STORY,
        ODD,
        SORTING,
        DATES,
        MATCH,
        LOGIC,
        DIFFERENCE,
        TURNED,
    )
}


def family_named(name: str) -> Family:
    """One of `FAMILIES`, or `gym:<dataset>` of reasoning-gym where that is installed (see `tasks.gym`)."""
    if name.startswith(PREFIX):
        return gym_family(name)
    if name not in FAMILIES:
        raise InputError(f"unknown task family {name!r}: choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def problem_from_id(identity: str) -> Problem:
    """The problem that an id (`family/split/tier/seed/index`) names, picture and truth regenerated."""
    try:
        name, split, tier, seed, index = identity.split("/")
        numbers = int(tier), int(seed), int(index)
    except ValueError:
        raise InputError(f"{identity!r} is no problem id: it reads family/split/tier/seed/index") from None
    return sample(family_named(name), split=split, tier=numbers[0], seed=numbers[1], index=numbers[2])


__all__ = [
    "FAMILIES",
    "SPLITS",
    "Family",
    "Problem",
    "Query",
    "Style",
    "Trace",
    "View",
    "family_named",
    "follow_up",
    "problem_from_id",
    "sample",
    "verify",
]
