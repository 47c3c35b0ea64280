"""`chart`: read the bars of a bar chart, then compute with what was read.

Tiers: 0 has 3 or 4 bars up to 10 and mostly a sum or difference of two; 1 has 4 or 5 bars and more often
the total or the spread; 2 has 5 or 6 bars up to 20 in the same height; 3 the same without grid lines, with
values of 40 or 60 read off the axis; from 4 on more bars. Bars stand, or lie from tier 1 on.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Box, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, LETTERS, char_label, label
from polymnia.tasks.trace import answer, crop_call, python_call, thousandths

PLOT = 84
"""Length of the longest bar in pixels (three image tokens); the cell beside it holds the name."""


@dataclass(frozen=True, slots=True)
class ChartScene:
    names: str
    """One letter a bar, left to right or top to bottom."""
    steps: tuple[int, ...]
    """Height of each bar in steps of the axis."""
    most: int
    """Steps from the bottom to the top of the axis."""
    unit: int
    """What one step is worth."""
    lines: bool
    lying: bool

    @property
    def values(self) -> dict[str, int]:
        return {name: step * self.unit for name, step in zip(self.names, self.steps, strict=True)}

    def cell(self, name: str) -> str:
        """The token that shows the bar's name."""
        place = self.names.index(name)
        return draw.cell_name(0, place) if self.lying else draw.cell_name(place + 1, PLOT // CELL)


def make_scene(rng: random.Random, tier: int) -> ChartScene:
    low, high, most, units, lines = {
        0: (3, 4, 10, (1,), True),
        1: (4, 5, 10, (1,), True),
        2: (5, 5, 20, (1,), True),
        3: (5, 5, 20, (1, 2, 3), False),
    }.get(tier, (tier + 1, tier + 3, 20, (1, 2, 3, 5), False))
    bars = min(rng.randint(low, high), len(LETTERS))
    steps = tuple(rng.randint(1, most) for _ in range(bars))
    names, unit = "".join(rng.sample(LETTERS, bars)), rng.choice(units)
    return ChartScene(names, steps, most, unit, lines, tier > 0 and rng.random() < 0.3)


def scene_key(scene: ChartScene) -> str:
    return f"{scene.names};{scene.steps};{scene.most};{scene.unit};{scene.lines};{scene.lying}"


def picture(scene: ChartScene, rng: random.Random) -> Images:
    bars = len(scene.names)
    long, wide = PLOT + CELL, (bars + 1) * CELL
    look = draw.look(rng, max_tilt=1.0)
    sheet = draw.Sheet(long if scene.lying else wide, wide if scene.lying else long, look)
    # Drawn as standing bars in (along the axis of names, up from the foot); `at` turns it for lying ones.
    _axis(sheet, scene)
    colours = [rng.choice(COLOURS)] * bars if rng.random() < 0.5 else [rng.choice(COLOURS) for _ in range(bars)]
    width, edge = rng.uniform(13, 22), rng.random() < 0.3
    step = (PLOT - 4) / scene.most
    for place, (name, steps) in enumerate(zip(scene.names, scene.steps, strict=True)):
        middle = (place + 0.5 + (not scene.lying)) * CELL
        box = _box(scene, middle - width / 2, middle + width / 2, 0, steps * step)
        sheet.rectangle(box, draw.shade(colours[place], rng), look.ink if edge else None)
        x, y = (CELL * 0.5, middle) if scene.lying else (middle, PLOT + CELL * 0.52)
        sheet.text(x, y, name, rng.randint(18, 21), bold=0.5 if look.font < 2 else 0)
    foot = _box(scene, 0 if scene.lying else CELL, wide, 0, 0)
    sheet.line([(foot[0], foot[1]), (foot[2], foot[3])])
    return (sheet.finish(rng),)


def _axis(sheet: draw.Sheet, scene: ChartScene) -> None:
    """Grid lines and the three numbers of the axis."""
    step, half = (PLOT - 4) / scene.most, scene.most // 2
    first, last = (0, len(scene.names) * CELL) if scene.lying else (CELL, sheet.width)
    every = half if not scene.lines else 5 if scene.most > 10 else 1
    for mark in range(0, scene.most + 1, every):
        x0, y0, x1, y1 = _box(scene, first, last, mark * step, mark * step)
        if scene.lines or mark % half == 0:
            sheet.line([(x0, y0), (x1, y1)], sheet.look.faint)
        if mark % half == 0:
            number = str(mark * scene.unit)
            if scene.lying:
                sheet.text(min(x0, sheet.width - 1 - 4 * len(number)), len(scene.names) * CELL + CELL / 2, number, 13)
            else:
                sheet.text(CELL * 0.5, min(max(y0, 8), PLOT - 6), number, 13)


def _box(scene: ChartScene, first: float, last: float, low: float, high: float) -> tuple[float, float, float, float]:
    """From `first` to `last` along the names, from `low` to `high` above the foot, as pixels of the sheet."""
    if scene.lying:
        return CELL + low, first, CELL + high, last
    return first, PLOT - high, last, PLOT - low


def marks(scene: ChartScene) -> tuple[list[Mark], ...]:
    found = []
    for place, (name, steps) in enumerate(zip(scene.names, scene.steps, strict=True)):
        middle = (place + 0.5 + (not scene.lying)) * CELL
        at_name, at_foot = (CELL / 2, PLOT + CELL / 2), (CELL * 1.5, PLOT - CELL / 2)
        found.append(Mark(*((at_name[0], middle) if scene.lying else (middle, at_name[1])), 20, char_label(name)))
        found.append(Mark(*((at_foot[0], middle) if scene.lying else (middle, at_foot[1])), 20, label("value", steps)))
    return (found,)


# --- questions: key = the names that the question says, in its order

WORDINGS = {
    "sum": (
        "What is {a} plus {b}?", "What is the sum of {a} and {b}?", "How much are {a} and {b} together?",
        "Add the bars {a} and {b}.", "{a} + {b} = ?", "What do {a} and {b} come to?", "bar {a} and bar {b} together",
    ),
    "difference": (
        "What is {a} minus {b}?", "How much more is {a} than {b}?", "By how much is {a} higher than {b}?",
        "What is the difference between {a} and {b}?", "How much larger is bar {a} than bar {b}?", "{a} - {b} = ?",
    ),
    "twice": (
        "What is twice {a} plus {b}?", "What is {b} plus two times {a}?", "Take {a} twice and add {b}: how much is it?",
        "2 * {a} + {b} = ?", "How much are two {a} and one {b}?",
    ),
    "read": (
        "What is the value of {a}?", "How high is {a}?", "What value does bar {a} have?", "Read bar {a}.",
        "How much is {a}?", "Which number does {a} reach?", "the height of bar {a}",
    ),
    "total": (
        "What is the sum of all bars?", "What do all bars add up to?", "What is the total of the chart?",
        "Add up every bar.", "How much is it in all?", "total of all the bars",
    ),
    "spread": (
        "What is the largest minus the smallest bar?", "How far are the largest and the smallest bar apart?",
        "By how much does the tallest bar exceed the shortest?", "What is the range of the bars?",
        "difference between the highest and the lowest bar",
    ),
    "highest": (
        "Which bar is the highest?", "Which letter has the largest value?", "Name the tallest bar.",
        "Which bar shows the most?", "what is the biggest bar",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "sum": ("And {a} plus {b}?", "What about {a} and {b} together?"),
    "difference": ("And {a} minus {b}?", "And how much more is {a} than {b}?"),
    "read": ("And {a}?", "What about {a}?", "and the value of {a}?"),
    "total": ("And all of them together?", "And the total?"),
    "spread": ("And the largest minus the smallest?", "And how far apart are largest and smallest?"),
}


def ask(scene: ChartScene, rng: random.Random, previous: Query | None) -> Query:
    if previous is not None:
        return query_of(scene, rng.choice(("sum", "difference", "read", "spread", "total")), rng)
    if len(scene.names) > 4 or scene.most > 10:
        kinds = {"sum": 2, "difference": 2, "total": 2, "spread": 2, "twice": 2, "highest": 1}
    else:
        kinds = {"sum": 4, "difference": 4, "read": 1, "total": 1, "spread": 1, "highest": 1}
    return query_of(scene, rng.choices(list(kinds), list(kinds.values()))[0], rng)


def query_of(scene: ChartScene, kind: str, rng: random.Random) -> Query:
    values = scene.values
    a, b = rng.sample(scene.names, 2)
    if kind == "highest":
        best = [name for name in values if values[name] == max(values.values())]
        if len(best) == 1:
            return Query(kind, best[0], (), answer_kind="word")
        kind = "sum"
    if kind == "difference" and values[a] < values[b]:
        a, b = b, a
    if kind in ("total", "spread"):
        spread = max(values.values()) - min(values.values())
        return Query(kind, str(sum(values.values()) if kind == "total" else spread), ())
    if kind == "read":
        return Query(kind, str(values[a]), (a,), {"a": a})
    results = {"sum": values[a] + values[b], "difference": values[a] - values[b], "twice": 2 * values[a] + values[b]}
    return Query(kind, str(results[kind]), (a, b), {"a": a, "b": b})


# --- traces

_SAY = ("{n} is at {c} and reads {v}.", "I find {n} at {c}: {v}.", "{n} at {c} is {v}.")
_LIST = ("From one end to the other:", "All the bars:", "I read them one by one:")


def solve(scene: ChartScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    messages: list[Message] = []
    views: list[View] = []
    listed = style.strategy == 1 or not query.key
    if "crop" in style.tools and style.strategy == 3 and len(scene.names) > 2:
        messages, views, said = _halves(scene, images, style)
        listed = True
    elif listed:
        order = list(range(len(scene.names)))
        said = f"{rng.choice(_LIST)}\n{_listing(scene, order[::-1] if style.strategy == 2 else order, 0)}"
    else:
        phrase = rng.choice(_SAY)
        said = " ".join(phrase.format(n=name, c=scene.cell(name), v=scene.values[name]) for name in query.key)
    if listed and query.key:
        # What was read is repeated in the order of the question, from where the expression copies it.
        said += "\nSo " + ", ".join(f"{name} is {scene.values[name]}" for name in query.key) + "."
    return Trace((*messages, *_computed(scene, query, style, said)), tuple(views))


def _computed(scene: ChartScene, query: Query, style: Style, said: str) -> list[Message]:
    code = _code(scene, query)
    if not code:
        return [answer(query.answer, said)]
    if "python" in style.tools:
        result = f"'{query.answer}'" if query.kind == "highest" else query.answer
        return [*python_call(code, result, said), answer(query.answer)]
    return [answer(query.answer, f"{said}\n{_by_hand(scene, query)}")]


def _halves(scene: ChartScene, images: Images, style: Style) -> tuple[list[Message], list[View], str]:
    """One half of the bars after the other, each zoomed in; what was read of the last one is still to be said."""
    messages: list[Message] = []
    views: list[View] = []
    said, bars = "", len(scene.names)
    half, (width, height) = (bars + 1) // 2, images[0].size
    for first, last in ((0, half), (half, bars)):
        box: Box = (0, first * CELL, width, last * CELL) if scene.lying else (
            (first + 1) * CELL, 0, (last + 1) * CELL, height
        )  # fmt: skip
        shares = [thousandths(edge, size) for edge, size in zip(box, (width, height) * 2, strict=True)]
        turn, _ = crop_call(images[0], style.image, shares, said)
        messages += turn
        views.append(View(0, box))
        said = _listing(scene, range(first, last), first if scene.lying else first + 1)
    return messages, views, said


def _listing(scene: ChartScene, places: Sequence[int], first: int) -> str:
    """`c4 M 12` a bar: the cell of its name, the name, the value; the picture begins with row or column `first`."""
    lines = []
    for place in places:
        column, row = (0, place - first) if scene.lying else (place + 1 - first, PLOT // CELL)
        lines.append(f"{draw.cell_name(column, row)} {scene.names[place]} {scene.steps[place] * scene.unit}")
    return "\n".join(lines)


def _code(scene: ChartScene, query: Query) -> str:
    """What Python is asked; "" where nothing is to be computed."""
    values = scene.values
    if query.kind == "read":
        return ""
    if query.kind == "total":
        return "+".join(map(str, values.values()))
    if query.kind == "spread":
        return f"v=[{','.join(map(str, values.values()))}]\nmax(v)-min(v)"
    if query.kind == "highest":
        pairs = ",".join(f"({value},'{name}')" for name, value in values.items())
        return f"max([{pairs}])[1]"
    a, b = (values[name] for name in query.key)
    return {"sum": f"{a}+{b}", "difference": f"{a}-{b}", "twice": f"2*{a}+{b}"}[query.kind]


def _by_hand(scene: ChartScene, query: Query) -> str:
    """The same computation in running steps: `7+3=10`, then `10+5=15`."""
    values = scene.values
    if query.kind == "highest":
        return f"The largest is {max(values.values())}, {query.answer}."
    if query.kind == "spread":
        high, low = max(values.values()), min(values.values())
        return f"largest {high}, smallest {low}\n{high}-{low}={high - low}"
    if query.kind == "difference":
        a, b = (values[name] for name in query.key)
        return f"{a}-{b}={a - b}"
    if query.kind == "twice":
        a, b = (values[name] for name in query.key)
        return f"2*{a}={2 * a}\n{2 * a}+{b}={2 * a + b}"
    terms = [values[name] for name in query.key or scene.names]
    lines, total = [], terms[0]
    for term in terms[1:]:
        lines.append(f"{total}+{term}={total + term}")
        total += term
    return "\n".join(lines)


CHART = Family(
    name="chart",
    summary="read a bar chart and compute with its values",
    tiers="more bars, finer steps, no grid lines, other units on the axis, lying bars",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
