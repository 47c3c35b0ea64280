"""`pie`: shares of pie charts, as printed or by their angle; sums, differences, the largest slice, the rest.

Tiers: 0 has 3 or 4 slices, asked for by colour, with printed percentages; 1 has letters in the slices and ticks
every 10 %; 2 and 3 have a legend, with printed numbers and without; from 4 on letters stand around the pie and shares
are in steps of 5 % with more slices; from 6 on there are several pies, one more every second tier.
"""

import itertools
import math
import random
from dataclasses import dataclass, replace
from typing import Literal

from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace
from polymnia.tasks.labels import COLOURS, LETTERS, char_label, label
from polymnia.tasks.reading import Cell, Op, Part, Seen, compose, solve

Layout = Literal["colours", "inside", "legend", "around"]
"""How slices are named: by their colour, by a letter in them, by a legend, by a letter outside of the pie."""
RADIUS = {"colours": 64.0, "inside": 60.0, "legend": 60.0, "around": 55.0}


@dataclass(frozen=True, slots=True)
class Pie:
    names: tuple[str, ...]
    colours: tuple[str, ...]
    shares: tuple[int, ...]
    """Percent, clockwise; they add up to 100."""
    start: int
    """Where the first slice begins, degrees clockwise from up; a matter of style."""

    def span(self, place: int) -> tuple[float, float]:
        """Where a slice begins and ends, degrees clockwise from up."""
        before = sum(self.shares[:place])
        return self.start + 3.6 * before, self.start + 3.6 * (before + self.shares[place])


@dataclass(frozen=True, slots=True)
class PieScene:
    pies: tuple[Pie, ...]
    layout: Layout
    printed: bool
    """The percentages are written in the slices."""

    @property
    def slot(self) -> Cell:
        """Tokens across and down for one pie."""
        return {"colours": (5, 5), "inside": (5, 5), "legend": (7, 5), "around": (6, 6)}[self.layout]

    @property
    def columns(self) -> int:
        return math.ceil(math.sqrt(len(self.pies)))

    def corner(self, place: int) -> Cell:
        """Upper left token of a pie's slot."""
        across, down = self.slot
        return place % self.columns * across, place // self.columns * down

    @property
    def middle(self) -> float:
        """Of a pie, pixels from the left and from the top of its slot."""
        return self.slot[1] * CELL / 2


def make_scene(rng: random.Random, tier: int) -> PieScene:
    layout, printed, low, high, step, least = _TIERS.get(tier, ("around", False, 5, 7, 5, 5))
    number = 1 if tier < 6 else 2 + (tier - 6) // 2
    counts = [rng.randint(low, high) for _ in range(number)]
    pairs = [first + second for first in LETTERS for second in LETTERS]
    names: list[str] = rng.sample(LETTERS if sum(counts) <= len(LETTERS) else pairs, sum(counts))
    pies = []
    for count in counts:
        colours = (
            [(COLOURS * 2)[place] for place in range(count)] if count > len(COLOURS) else rng.sample(COLOURS, count)
        )
        if colours[0] == colours[-1]:
            colours[-1] = COLOURS[2]
        mine = colours if layout == "colours" else [names.pop() for _ in range(count)]
        start = 0 if layout == "inside" else rng.randrange(0, 360, 6)
        pies.append(Pie(tuple(mine), tuple(colours), _shares(rng, count, step, least), start))
    return PieScene(tuple(pies), layout, printed)


_TIERS: dict[int, tuple[Layout, bool, int, int, int, int]] = {
    0: ("colours", True, 3, 4, 5, 15),
    1: ("inside", False, 3, 4, 10, 10),
    2: ("legend", True, 4, 5, 5, 10),
    3: ("legend", False, 4, 5, 10, 10),
    4: ("around", False, 5, 6, 5, 5),
    5: ("around", False, 7, 9, 5, 5),
}
"""Layout, percentages printed, fewest and most slices, step and least share in percent."""


def _shares(rng: random.Random, count: int, step: int, least: int) -> tuple[int, ...]:
    """A random division of 100, every one as likely."""
    free = (100 - count * least) // step
    cuts = sorted(rng.sample(range(free + count - 1), count - 1))
    edges = [-1, *cuts, free + count - 1]
    return tuple(least + step * (right - left - 1) for left, right in itertools.pairwise(edges))


def scene_key(scene: PieScene) -> str:
    pies = ";".join(f"{pie.names},{pie.colours},{pie.shares}" for pie in scene.pies)
    return f"{scene.layout};{scene.printed};{pies}"


# --- drawing


def spot(scene: PieScene, pie: Pie, place: int) -> tuple[float, float]:
    """Where a slice's letter or number stands, pixels in its slot: a token's middle where the slice is wide enough."""
    start, end = pie.span(place)
    radius, middle = RADIUS[scene.layout], scene.middle
    best, room = (0.0, 0.0), 0.0
    for column in range(scene.slot[1]):
        for row in range(scene.slot[1]):
            x, y = (column + 0.5) * CELL - middle, (row + 0.5) * CELL - middle
            away = math.hypot(x, y)
            angle = (math.degrees(math.atan2(x, -y)) - start) % 360
            if angle < end - start and away > 1:
                aside = min(angle, end - start - angle)
                free = min(radius - away, away * math.sin(math.radians(min(aside, 90))))
                if free > room:
                    best, room = (x, y), free
    if room < 11:
        half = math.radians((start + end) / 2)
        best = 0.68 * radius * math.sin(half), -0.68 * radius * math.cos(half)
    return middle + best[0], middle + best[1]


def picture(scene: PieScene, rng: random.Random) -> Images:
    look = draw.look(rng)
    if len(scene.pies) > 1:
        look = replace(look, tilt=0.0)
    across, down = scene.slot
    rows = -(-len(scene.pies) // scene.columns)
    sheet = draw.Sheet(scene.columns * across * CELL, rows * down * CELL, look)
    ring, hole = rng.random() < 0.4, rng.random() < 0.3
    for number, pie in enumerate(scene.pies):
        column, row = scene.corner(number)
        _pie(sheet, scene, pie, column * CELL, row * CELL, rng, ring, hole)
        if len(scene.pies) > 1:
            sheet.text((column + 0.5) * CELL, (row + 0.5) * CELL, str(number + 1), 20, bold=0.4)
    return (sheet.finish(rng),)


def _pie(
    sheet: draw.Sheet, scene: PieScene, pie: Pie, left: float, top: float, rng: random.Random, ring: bool, hole: bool
) -> None:
    x, y, radius = left + scene.middle, top + scene.middle, RADIUS[scene.layout]
    shades = [draw.shade(colour, rng) for colour in pie.colours]
    for place, fill in enumerate(shades):
        sheet.sector(x, y, radius, *pie.span(place), fill)
    if scene.layout == "inside":
        for tick in range(10):
            sheet.line([_around(x, y, radius + 1, 36 * tick), _around(x, y, radius + 6, 36 * tick)], width=1.4)
    if ring:
        sheet.disc(x, y, radius, None, sheet.look.ink, 1.2)
    if hole:
        sheet.disc(x, y, 12, sheet.look.paper)
    for place, (name, colour, share) in enumerate(zip(pie.names, pie.colours, pie.shares, strict=True)):
        light = sheet.look.ink if colour in ("yellow", "orange") else (255, 255, 255)
        at = spot(scene, pie, place)
        if scene.printed or scene.layout == "inside":
            sheet.text(left + at[0], top + at[1], str(share) if scene.printed else name, 18, light, bold=0.3)
        if scene.layout == "legend":
            row = top + (place + 0.5) * CELL
            sheet.rectangle((left + 5.5 * CELL - 8, row - 8, left + 5.5 * CELL + 8, row + 8), shades[place])
            sheet.text(left + 6.5 * CELL, row, name, 20, bold=0.3)
        if scene.layout == "around":
            start, end = pie.span(place)
            sheet.text(*_around(x, y, radius + 13, (start + end) / 2), name, 17 if len(name) == 1 else 13, bold=0.3)


def _around(x: float, y: float, radius: float, degrees: float) -> tuple[float, float]:
    """The point at that distance and direction, clockwise from up."""
    return x + radius * math.sin(math.radians(degrees)), y - radius * math.cos(math.radians(degrees))


def _name_spot(scene: PieScene, pie: Pie, place: int) -> tuple[float, float]:
    """Where the name of a slice stands, pixels in its slot; with a pie of colours, the slice itself."""
    if scene.layout == "legend":
        return 6.5 * CELL, (place + 0.5) * CELL
    if scene.layout == "around":
        return _around(scene.middle, scene.middle, RADIUS["around"] + 13, sum(pie.span(place)) / 2)
    return spot(scene, pie, place)


def marks(scene: PieScene) -> tuple[list[Mark], ...]:
    found = []
    for number, pie in enumerate(scene.pies):
        left, top = (edge * CELL for edge in scene.corner(number))
        for place, (name, share) in enumerate(zip(pie.names, pie.shares, strict=True)):
            x, y = _name_spot(scene, pie, place)
            if len(name) == 1:
                found.append(Mark(left + x, top + y, 18, char_label(name)))
            if scene.layout != "inside":
                x, y = spot(scene, pie, place)
                found.append(Mark(left + x, top + y, 18, label("share", share // 5)))
    return (found,)


# --- questions

WORDINGS = {
    "read": (
        "How many percent is {a}?", "What share does {a} have?", "How big is the slice {a}, in percent?",
        "What percentage of the pie is {a}?", "What part of the whole is {a}, in percent?", "share of {a}?",
        "How much of the pie does {a} take?", "{a}: what percentage?",
    ),
    "sum": (
        "How many percent are {a} and {b} together?", "What share do {a} and {b} have together?",
        "Add the shares of {a} and {b}.", "What percentage do the slices {a} and {b} make up?",
        "{a} and {b} combined: how many percent?", "How much of the pie is either {a} or {b}?",
    ),
    "difference": (
        "By how many percent is the slice {a} larger than {b}?", "What is the share of {a} minus the share of {b}?",
        "How much bigger is the share of {a} than that of {b}?", "{a} has more of the pie than {b}: how much more?",
        "Subtract the share of {b} from that of {a}.", "slice {a} minus slice {b}?",
    ),
    "highest": (
        "Which slice is the largest?", "Which slice has the biggest share?", "Name the largest slice.",
        "What is the biggest part of the pie?", "largest slice?", "Which one takes most of the pie?",
    ),
    "lowest": (
        "Which slice is the smallest?", "Which slice has the smallest share?", "Name the smallest slice.",
        "What is the smallest part of the pie?", "smallest slice?", "Which one takes least of the pie?",
    ),
    "highest_in": (
        "Which slice of pie {c} is the largest?", "Name the largest slice of pie {c}.",
        "Pie {c}: which slice is biggest?",
        "What has the biggest share in pie {c}?", "Which part takes most of pie {c}?", "largest slice in pie {c}?",
    ),
    "rest": (
        "How many percent are not {a}?", "What share do all the others have, without {a}?",
        "How much of the pie is left without {a}?", "If {a} is taken away, how many percent stay?",
        "What do all slices but {a} add up to?", "everything except {a}: how many percent?",
    ),
    "above": (
        "How many slices are larger than {k} percent?", "How many slices have more than {k} %?",
        "Count the slices above {k} percent.", "How many shares are bigger than {k} %?",
        "slices over {k} percent: how many?", "In how many slices is there more than {k} percent?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "read": ("And {a}?", "What about {a}?", "And how many percent is {a}?", "and the share of {a}?"),
    "sum": ("And {a} and {b} together?", "What about {a} plus {b}?"),
    "difference": ("And how much more is {a} than {b}?", "How far is {a} ahead of {b}?"),
    "highest": ("And which slice is largest?", "Which one is the biggest?"),
    "lowest": ("And which slice is smallest?", "Which one is the smallest?"),
    "rest": ("And without {a}?", "What is left when {a} is taken away?"),
    "above": ("And how many are larger than {k} percent?", "How many of them have more than {k} %?"),
}
_KINDS: dict[Op, int] = {"read": 4, "sum": 4, "difference": 3, "highest": 2, "lowest": 2, "rest": 2, "above": 1}


def ask(scene: PieScene, rng: random.Random, previous: Query | None) -> Query:
    values = {name: share for pie in scene.pies for name, share in zip(pie.names, pie.shares, strict=True)}
    several = len(scene.pies) > 1
    ops = [op for op in _KINDS if not several or op not in ("lowest", "above")]
    while True:
        op = rng.choices(ops, [_KINDS[one] for one in ops])[0]
        number = {"read": 1, "rest": 1, "sum": 2, "difference": 2}.get(op)
        pie = rng.randrange(len(scene.pies))
        names = list(scene.pies[pie].names)
        if several and (op == "rest" or (op == "sum" and rng.random() < 0.5)):
            chosen = rng.sample(names, number or 1)
        else:
            chosen = rng.sample(list(values), number) if number else names
        kind = "highest_in" if several and op == "highest" else op
        query = compose(kind, op, chosen, values, rng, {"c": str(pie + 1)})
        if query and (previous is None or query.key != previous.key):
            return query


# --- traces

_LOOK = ("I find the slices I need.", "Reading the pie:", "Let me look at the slices.", "Slice by slice:")
_SAY: dict[Layout, tuple[str, ...]] = {
    "colours": ("{n} is at {c} with {v}.", "The {n} slice at {c} has {v}.", "{n} at {c}: {v}."),
    "inside": ("{n} is at {c} and takes {v}.", "The slice {n} at {c} has {v}.", "{n} at {c}: {v}."),
    "legend": (
        "{n} at {c} is {k}, the {k} slice at {p} has {v}.", "{n} stands at {c}: {k}, at {p}, {v}.",
        "{n} is at {c} and means {k}; {k} at {p} is {v}.",
    ),
    "around": (
        "{n} is at {c}, its slice at {p} has {v}.", "{n} stands at {c}; {p} takes {v}.", "{n} at {c}: {p} is {v}.",
    ),
}  # fmt: skip


def trace(scene: PieScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    seen = []
    parts: list[Part] = []
    for number, pie in enumerate(scene.pies):
        left, top = scene.corner(number)
        parts.append((left, top, left + scene.slot[0], top + scene.slot[1]))
        for place, (name, share) in enumerate(zip(pie.names, pie.shares, strict=True)):
            name_at, value_at = (
                (left + int(x // CELL), top + int(y // CELL))
                for x, y in (_name_spot(scene, pie, place), spot(scene, pie, place))
            )
            note = pie.colours[place] if scene.layout == "legend" else ""
            seen.append(Seen(name, str(share), share, name_at, value_at, note))
    return solve(seen, query, images, style, parts, rng.choice(_LOOK), rng.choice(_SAY[scene.layout]))


PIE = Family(
    name="pie",
    summary="shares of pie charts: read, add, compare, the largest, the rest",
    tiers="letters, a legend, no printed numbers, more and thinner slices, several pies",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=trace,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
