"""`line`: read points of a line chart, compare them, find the highest, follow rises and falls.

Tiers: 0 has 4 or 5 points at 8 levels, 1 and 2 have 5 and up to 6 points at 12 levels, all with a grid line a level.
From 3 on there are two lines, 20 levels, fewer grid lines and other units on the axis; from 4 on the points are
months or numbers; from 5 on the chart grows wider than the overview, from 8 on it has three lines and 28 levels.
"""

import itertools
import random
from dataclasses import dataclass, replace

from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace
from polymnia.tasks.labels import LETTERS, char_label, label
from polymnia.tasks.reading import OVERVIEW_TOKENS, Op, Part, Seen, compose, solve, spans

ROWS = 4
"""Image tokens from the lowest to the highest level; the row below holds the names."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MOST_POINTS = 60


@dataclass(frozen=True, slots=True)
class LineScene:
    names: tuple[str, ...]
    """Of the points, left to right."""
    colours: tuple[str, ...]
    """Of the lines."""
    levels: tuple[tuple[int, ...], ...]
    """By line, then by point; 0 is the lowest."""
    count: int
    """Levels of the axis."""
    unit: int
    """What one level is worth."""
    style: int
    """How it is drawn: bits for the grid, the markers and the axis."""

    @property
    def width(self) -> int:
        return (len(self.names) + 1) * CELL


def make_scene(rng: random.Random, tier: int) -> LineScene:
    low, high, count, lines, units = {
        0: (4, 5, 8, 1, (1,)),
        1: (5, 5, 12, 1, (1,)),
        2: (5, 6, 12, 1, (1,)),
        3: (4, 6, 20, 2, (1, 2)),
        4: (5, 6, 20, 2, (1, 2, 5, 10)),
    }.get(tier, (tier + 2, tier + 5, 20 if tier < 8 else 28, 2 if tier < 8 else 3, (1, 2, 5, 10)))
    number = min(rng.randint(low, high), MOST_POINTS)
    usable = count if lines == 1 else count - 1  # finer levels leave room for the markers at the top
    columns = [_column(rng, usable, lines) for _ in range(number)]
    if rng.random() < 0.4:  # a calm line, as many real ones are
        for before, after in itertools.pairwise(columns):
            after[0] = min(max(before[0] + rng.randint(-3, 3), 0), usable - 1)
            if lines > 1:
                after[1:] = rng.sample([n for n in range(usable) if abs(n - after[0]) > 1][::2], lines - 1)
    levels = tuple(tuple(column[line] for column in columns) for line in range(lines))
    # Red and orange lines that cross are hard to tell apart.
    colours = tuple(rng.sample((rng.choice(("red", "orange")), "green", "blue", "purple", "black"), lines))
    return LineScene(_names(rng, number, tier), colours, levels, count, rng.choice(units), rng.randrange(8))


def _column(rng: random.Random, count: int, lines: int) -> list[int]:
    """The levels above one name, apart enough to be told from each other."""
    start = rng.randrange(2)
    return rng.sample(range(start, count, 2), lines) if lines > 1 else [rng.randrange(count)]


def _names(rng: random.Random, number: int, tier: int) -> tuple[str, ...]:
    ways = ["letters", "run"] if tier < 4 else ["run", "months", "numbers"]
    way = rng.choice(ways)
    if number > len(LETTERS) or way == "numbers":
        first = rng.choice((1, 1, rng.randint(2, 90 - number if number < 80 else 10)))
        return tuple(str(first + place) for place in range(number))
    if way == "months" and number <= len(MONTHS):
        first = rng.randrange(len(MONTHS) - number + 1)
        return MONTHS[first : first + number]
    if way == "letters":
        return tuple(rng.sample(LETTERS, number))
    first = rng.randrange(len(LETTERS) - number + 1)
    return tuple(LETTERS[first : first + number])


def scene_key(scene: LineScene) -> str:
    return f"{scene.names};{scene.colours};{scene.levels};{scene.count};{scene.unit}"


def _x(point: int) -> float:
    return (point + 1.5) * CELL


def _y(scene: LineScene, level: int) -> float:
    """Levels stand in the middle of equal stripes, so that none lies on the border of two tokens."""
    return (1 - (level + 0.5) / scene.count) * ROWS * CELL


def picture(scene: LineScene, rng: random.Random) -> Images:
    look = draw.look(rng, max_tilt=1.0)
    if len(scene.names) > 8:
        look = replace(look, tilt=0.0)  # the ends of a wide chart would leave their row
    sheet = draw.Sheet(scene.width, (ROWS + 1) * CELL, look)
    _axis(sheet, scene)
    thin = rng.uniform(1.2, 2.4)
    for line, (colour, levels) in enumerate(zip(scene.colours, scene.levels, strict=True)):
        ink = draw.shade(colour, rng)
        points = [(_x(point), _y(scene, level)) for point, level in enumerate(levels)]
        sheet.line(points, ink, thin)
        for x, y in points:
            if scene.style & 2 and len(scene.colours) == 1:
                sheet.disc(x, y, 4.5, look.paper, ink, 1.6)
            elif line == 1 or scene.style & 2:
                sheet.rectangle((x - 3.6, y - 3.6, x + 3.6, y + 3.6), ink)
            else:
                sheet.disc(x, y, 4.2, ink)
    size = rng.randint(19, 22)
    for point, name in enumerate(scene.names):
        fitting = size if len(name) == 1 else 16 if len(name) == 2 else 12
        sheet.text(_x(point), (ROWS + 0.5) * CELL, name, fitting, bold=0.3 if len(name) == 1 else 0)
    return (sheet.finish(rng),)


def _axis(sheet: draw.Sheet, scene: LineScene) -> None:
    """Grid, frame and labels: a label each quarter, a line each level where there are few."""
    labelled = scene.count // ROWS
    for level in range(scene.count):
        y = _y(scene, level)
        strong = level % labelled == 0
        if strong:
            text = str(level * scene.unit)
            sheet.text(CELL - 4, y, text, 15 if len(text) < 3 else 12, anchor="rm")
        if strong or scene.count <= 12:
            sheet.line([(CELL, y), (scene.width, y)], sheet.look.faint, 1)
    if scene.style & 1:
        for point in range(len(scene.names)):
            sheet.line([(_x(point), 0), (_x(point), ROWS * CELL)], sheet.look.faint, 1)
    sheet.line([(CELL, ROWS * CELL), (scene.width, ROWS * CELL)], width=1)
    if scene.style & 4:
        sheet.line([(CELL, 0), (CELL, ROWS * CELL)], width=1)


def marks(scene: LineScene) -> tuple[list[Mark], ...]:
    found = []
    for point, name in enumerate(scene.names):
        if len(name) == 1:
            found.append(Mark(_x(point), (ROWS + 0.5) * CELL, 20, char_label(name)))
        found += [
            Mark(_x(point), _y(scene, levels[point]), 20, label("value", levels[point])) for levels in scene.levels
        ]
    return (found,)


# --- questions

WORDINGS = {
    "read": (
        "What is the value at {a}?", "How high is the line at {a}?", "Read the point at {a}.",
        "What does the line show for {a}?", "Which value does the chart give for {a}?", "value of the line at {a}?",
        "The point above {a}: what is its value?",
    ),
    "sum": (
        "What do the points at {a} and {b} add up to?", "Add the values at {a} and {b}.",
        "What is the value at {a} plus the value at {b}?", "Sum of the points {a} and {b}?",
        "How much are the points {a} and {b} together?", "What do you get for {a} and {b} together on the line?",
    ),
    "rise": (
        "By how much is the value at {b} above that at {a}?", "How much higher is the line at {b} than at {a}?",
        "How far does the line go up from {a} to {b}?", "What is the increase from {a} to {b}?",
        "From {a} to {b} the line gains how much?", "rise between {a} and {b}?",
    ),
    "fall": (
        "By how much is the value at {b} below that at {a}?", "How much lower is the line at {b} than at {a}?",
        "How far does the line go down from {a} to {b}?", "What is the decrease from {a} to {b}?",
        "From {a} to {b} the line loses how much?", "drop between {a} and {b}?",
    ),
    "highest": (
        "Where is the line highest?", "At which point does the line peak?", "Which point is the highest?",
        "Name the point with the largest value.", "Which name stands under the highest point?", "peak of the line?",
        "Where does the line reach its maximum?",
    ),
    "lowest": (
        "Where is the line lowest?", "Which point is the lowest?", "Name the point with the smallest value.",
        "Which name stands under the lowest point?", "At which point does the line bottom out?",
        "Where does the line reach its minimum?", "lowest point of the line?",
    ),
    "top": (
        "What is the highest value of the line?", "How high does the line get?", "What value does the peak have?",
        "The largest value in this chart is what?", "What is the maximum of the line?", "max value of the line",
    ),
    "spread": (
        "How far are the highest and the lowest point apart?", "What is the range of the line, top minus bottom?",
        "Highest point minus lowest point: how much?", "What is the peak of the line minus its lowest value?",
        "How much lies between the smallest and the largest value of the line?", "largest minus smallest point?",
    ),
    "above": (
        "How many points are above {k}?", "How many points lie higher than {k}?", "Count the points above {k}.",
        "At how many points is the line above {k}?", "How many of the points are more than {k}?",
        "points over {k}: how many?",
    ),
    "read_of": (
        "What is the value of the {c} line at {a}?", "How high is the {c} line at {a}?", "Read the {c} point at {a}.",
        "What does the {c} line show for {a}?", "{c} line at {a}: what value?", "Where does the {c} line stand at {a}?",
    ),
    "rise_of": (
        "How much higher is the {c} line at {b} than at {a}?", "By how much does the {c} line gain from {a} to {b}?",
        "What is the increase of the {c} line from {a} to {b}?", "How far up does {c} go from {a} to {b}?",
        "The {c} line is higher at {b} than at {a}: by how much?", "rise of {c} between {a} and {b}?",
    ),
    "apart": (
        "How far apart are the {c} and the {d} line at {a}?", "What is the gap between {c} and {d} at {a}?",
        "At {a}, how much lies between the {c} and the {d} line?", "By how much do {c} and {d} differ at {a}?",
        "Difference of the {c} and the {d} line at {a}?", "gap {c} to {d} at {a}?",
    ),
    "highest_of": (
        "Where is the {c} line highest?", "At which point does the {c} line peak?", "Which {c} point is the highest?",
        "Name the point where {c} has its largest value.", "Where does the {c} line reach its maximum?", "peak of {c}?",
    ),
    "lowest_of": (
        "Where is the {c} line lowest?", "Which {c} point is the lowest?", "Where does {c} reach its minimum?",
        "Name the point where {c} has its smallest value.", "At which point does the {c} line bottom out?",
        "low of {c}?",
    ),
    "above_of": (
        "How many points of the {c} line are above {k}?", "Count the {c} points above {k}.",
        "At how many points is {c} above {k}?", "How many {c} points lie higher than {k}?",
        "How many values of the {c} line are more than {k}?", "{c} points over {k}: how many?",
    ),
    "over": (
        "At how many points is the {c} line above the {d} one?", "How often is {c} above {d}?",
        "Count the points where {c} is higher than {d}.", "In how many places does the {c} line lie over the {d} line?",
        "For how many names is {c} higher than {d}?", "{c} above {d}: how many times?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "read": ("And at {a}?", "And the value at {a}?", "What about {a}?", "and {a}?"),
    "sum": ("And {a} and {b} together?", "What do {a} and {b} add up to then?"),
    "rise": ("And how much does it go up from {a} to {b}?", "How much higher is it at {b} than at {a}?"),
    "fall": ("And how much does it go down from {a} to {b}?", "How much lower is it at {b} than at {a}?"),
    "highest": ("And where is it highest?", "Where is the peak, then?"),
    "lowest": ("And where is it lowest?", "Where is the lowest point, then?"),
    "above": ("And how many points are above {k}?", "How many of them are above {k}?"),
    "read_of": ("And the {c} line at {a}?", "What about {c} at {a}?"),
    "apart": ("And how far apart are {c} and {d} at {a}?", "The gap between {c} and {d} at {a}?"),
}


def ask(scene: LineScene, rng: random.Random, previous: Query | None) -> Query:
    several = len(scene.colours) > 1
    kinds = {"read": 2, "sum": 2, "rise": 3, "highest": 2, "lowest": 2, "top": 1, "spread": 1, "above": 2}
    if several:
        kinds = {"read": 1, "rise": 2, "apart": 2, "highest": 2, "lowest": 2, "above": 2, "over": 1}
    while True:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        query = _query(scene, kind, rng)
        if query and (previous is None or query.key != previous.key):
            return query


def _query(scene: LineScene, kind: str, rng: random.Random) -> Query | None:
    values = {one.name: one.value for one in _seen(scene)}
    several = len(scene.colours) > 1
    colours = rng.sample(scene.colours, min(2, len(scene.colours)))
    slots = dict(zip("cd", colours, strict=False))
    points = rng.sample(range(len(scene.names)), 2)
    a, b = (scene.names[point] for point in points)
    one, other = (_full(scene, colours[0], name) for name in (a, b))
    if kind == "read":
        return compose("read_of" if several else kind, "read", [one], values, rng, {**slots, "a": a})
    if kind == "sum":
        return compose(kind, "sum", [one, other], values, rng)
    if kind == "rise":
        if points[0] > points[1]:
            (a, one), (b, other) = (b, other), (a, one)
        change = values[other] - values[one]
        if change == 0 or (several and change < 0):
            return None
        wording = "rise_of" if several else "rise" if change > 0 else "fall"
        return compose(wording, "difference", [other, one], values, rng, {**slots, "a": a, "b": b})
    if kind == "apart":
        return compose(kind, "apart", [one, _full(scene, colours[1], a)], values, rng, {**slots, "a": a})
    if kind == "over":
        pairs = [_full(scene, colour, name) for name in scene.names for colour in colours]
        return compose(kind, "over", pairs, values, rng, slots)
    names = [_full(scene, colours[0], name) for name in scene.names]
    ops: dict[str, Op] = {"highest": "highest", "lowest": "lowest", "top": "top", "spread": "spread", "above": "above"}
    return compose(f"{kind}_of" if several else kind, ops[kind], names, values, rng, slots)


def _full(scene: LineScene, colour: str, name: str) -> str:
    return f"{colour} {name}" if len(scene.colours) > 1 else name


# --- traces

_LOOK = (
    "I find each name, then the point above it.", "Reading the points:", "First the name, then its point.",
    "Let me read the line.",
)  # fmt: skip
_SAY = (
    "{n} is at {c}, its point at {p} reads {v}.",
    "{n} stands at {c}, a point at {p}: {v}.",
    "{n} at {c}: {p} is {v}.",
)


def _seen(scene: LineScene) -> list[Seen]:
    """Every point, from left to right, line by line at each name."""
    found = []
    for point, name in enumerate(scene.names):
        for colour, levels in zip(scene.colours, scene.levels, strict=True):
            level = levels[point]
            term = str(level) if scene.unit == 1 else f"{scene.unit}*{level}"
            value_at = (point + 1, int(_y(scene, level) // CELL))
            found.append(Seen(_full(scene, colour, name), term, level * scene.unit, (point + 1, ROWS), value_at))
    return found


def trace(scene: LineScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    said = rng.choice(_LOOK)
    if scene.unit > 1:
        said += f" A level is worth {scene.unit}."
    parts: list[Part] = [
        (first, 0, last, ROWS + 1) for first, last in spans(1, len(scene.names) + 1, OVERVIEW_TOKENS // (ROWS + 1))
    ]
    return solve(_seen(scene), query, images, style, parts, said, rng.choice(_SAY))


LINE = Family(
    name="line",
    summary="read a line chart: points, changes, highest and lowest, two lines",
    tiers="more points and levels, then several lines, fewer grid lines, other units, charts wider than the overview",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=trace,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
