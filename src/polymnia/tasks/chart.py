"""`chart`: read the bars of a bar chart, then compute with what was read.

Tiers: 0 has 3 or 4 bars up to 10 and mostly a sum or difference of two; 1 has 4 or 5 bars and more often
the total or the spread; 2 has 5 or 6 bars up to 20 in the same height; 3 the same without grid lines, with
values of 40 or 60 read off the axis; from 4 on more bars.
"""

import random
from dataclasses import dataclass

from PIL import Image

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Mark, Query, Style, Trace
from polymnia.tasks.labels import COLOURS, LETTERS, char_label, value_label
from polymnia.tasks.trace import answer, call, crop_call, thousandths

PLOT = 84
"""Height of the plot in pixels (three image tokens); the row below holds the names."""


@dataclass(frozen=True, slots=True)
class ChartScene:
    names: str
    """One letter a bar, left to right."""
    steps: tuple[int, ...]
    """Height of each bar in steps of the axis."""
    most: int
    """Steps from the bottom to the top of the axis."""
    unit: int
    """What one step is worth."""
    lines: bool

    @property
    def values(self) -> dict[str, int]:
        return {name: step * self.unit for name, step in zip(self.names, self.steps, strict=True)}


def make_scene(rng: random.Random, tier: int) -> ChartScene:
    low, high, most, units, lines = {
        0: (3, 4, 10, (1,), True),
        1: (4, 5, 10, (1,), True),
        2: (5, 6, 20, (1,), True),
        3: (5, 6, 20, (1, 2, 3), False),
    }.get(tier, (tier + 2, tier + 4, 20, (1, 2, 3, 5), False))
    bars = min(rng.randint(low, high), len(LETTERS))
    steps = tuple(rng.randint(1, most) for _ in range(bars))
    return ChartScene("".join(rng.sample(LETTERS, bars)), steps, most, rng.choice(units), lines)


def scene_key(scene: ChartScene) -> str:
    return f"{scene.names};{scene.steps};{scene.most};{scene.unit};{scene.lines}"


def picture(scene: ChartScene, rng: random.Random) -> Image.Image:
    scale = 2
    bars = len(scene.names)
    ground = draw.paper(rng)
    image, pen = draw.canvas((bars + 1) * CELL * scale, (PLOT + CELL) * scale, ground)
    colours = [rng.choice(COLOURS[:5])] * bars if rng.random() < 0.5 else [rng.choice(COLOURS[:5]) for _ in range(bars)]
    step = (PLOT - 4) / scene.most
    grey = (205, 205, 210)
    for mark in range(0, scene.most + 1, scene.most // 2 if not scene.lines else 5 if scene.most > 10 else 1):
        y = (PLOT - mark * step) * scale
        strong = mark % (scene.most // 2) == 0
        if scene.lines or strong:
            pen.line((CELL * scale, y, image.width, y), fill=grey, width=scale)
        if strong:
            centre = min(max(y, 8 * scale), (PLOT - 6) * scale)
            draw.text(pen, CELL * scale * 0.5, centre, str(mark * scene.unit), 14 * scale, (60, 60, 66))
    ink = (30, 30, 34)
    width = rng.uniform(14, 22)
    for position, (name, steps) in enumerate(zip(scene.names, scene.steps, strict=True)):
        x = (position + 1.5) * CELL
        box = [(x - width / 2) * scale, (PLOT - steps * step) * scale, (x + width / 2) * scale, PLOT * scale]
        pen.rectangle(box, fill=draw.shade(colours[position], rng))
        draw.text(pen, x * scale, (PLOT + CELL * 0.52) * scale, name, rng.randint(19, 22) * scale, ink, stroke=0.5)
    pen.line((CELL * scale, PLOT * scale, image.width, PLOT * scale), fill=ink, width=scale)
    return image.reduce(scale)


def marks(scene: ChartScene) -> list[Mark]:
    found = []
    for position, (name, steps) in enumerate(zip(scene.names, scene.steps, strict=True)):
        x = (position + 1.5) * CELL
        found.append(Mark(x, PLOT + CELL / 2, 20, char_label(name)))
        found.append(Mark(x, PLOT - CELL / 2, 20, value_label(steps)))
    return found


# --- questions: key = (operation, names)

_SUM = ("What is {a} plus {b}?", "What is the sum of {a} and {b}?", "How much are {a} and {b} together?")
_DIFFERENCE = ("What is {a} minus {b}?", "How much more is {a} than {b}?")
_TOTAL = ("What is the sum of all bars?", "What do all bars add up to?")
_SPREAD = ("What is the largest minus the smallest bar?", "How far are the largest and the smallest bar apart?")
_TWICE = ("What is twice {a} plus {b}?", "What is {b} plus two times {a}?")
_READ = ("What is the value of {a}?", "How high is {a}?")


def ask(scene: ChartScene, rng: random.Random, previous: Query | None) -> Query:
    if previous is not None:
        return _follow_up(scene, rng)
    operations = ["sum", "difference"]
    if len(scene.names) > 4 or scene.most > 10:
        operations += ["total", "spread", "twice"]
    elif rng.random() < 0.1:
        operations = ["read"]
    elif len(scene.names) == 4 and rng.random() < 0.3:
        operations = ["total", "spread"]
    return _query(scene, rng.choice(operations), rng)


def _follow_up(scene: ChartScene, rng: random.Random) -> Query:
    query = _query(scene, rng.choice(("sum", "difference", "read", "spread", "total")), rng)
    text = query.text[0].lower() + query.text[1:]
    return Query(rng.choice((f"And {text}", f"and {text}")), query.answer, query.key)


def _query(scene: ChartScene, operation: str, rng: random.Random) -> Query:
    values = scene.values
    a, b = rng.sample(scene.names, 2)
    if operation == "difference" and values[a] < values[b]:
        a, b = b, a
    if operation == "sum":
        return Query(rng.choice(_SUM).format(a=a, b=b), str(values[a] + values[b]), (operation, a, b))
    if operation == "difference":
        return Query(rng.choice(_DIFFERENCE).format(a=a, b=b), str(values[a] - values[b]), (operation, a, b))
    if operation == "twice":
        return Query(rng.choice(_TWICE).format(a=a, b=b), str(2 * values[a] + values[b]), (operation, a, b))
    if operation == "read":
        return Query(rng.choice(_READ).format(a=a), str(values[a]), (operation, a, ""))
    if operation == "total":
        return Query(rng.choice(_TOTAL), str(sum(values.values())), (operation, "", ""))
    return Query(rng.choice(_SPREAD), str(max(values.values()) - min(values.values())), (operation, "", ""))


# --- traces


def solve(scene: ChartScene, query: Query, image: Image.Image, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    messages: list[Message] = []
    boxes: list[tuple[int, int, int, int]] = []
    bars = len(scene.names)
    if "crop" in style.tools and style.strategy == 3 and bars > 2:
        half = (bars + 1) // 2
        said = ""
        for first, last in ((0, half), (half, bars)):
            box = ((first + 1) * CELL, 0, (last + 1) * CELL, PLOT + CELL)
            shares = [thousandths(edge, size) for edge, size in zip(box, (*image.size, *image.size), strict=True)]
            turn, _ = crop_call(image, style.image, shares, said)
            messages += turn
            boxes.append(box)
            said = _listing(scene, list(range(first, last)), first)
        listed = True
    else:
        listed = style.strategy == 1 or not _named(query)
        said = _reading(scene, query, style.strategy)
    if listed and not style.whole and _named(query):
        # What was read is repeated in the order of the question, from where the expression copies it.
        said += "\nso" + "".join(f" {name}={scene.values[name]}" for name in _named(query))
    code = _expression(scene, query)
    if code.isdigit():
        messages.append(answer(query.answer, said))
    elif "python" in style.tools:
        messages += call("python", {"code": code}, query.answer, reasoning=said)
        messages.append(answer(query.answer))
    else:
        messages.append(answer(query.answer, f"{said}\n{_by_hand(code)}"))
    return Trace(tuple(messages), tuple(boxes))


def _named(query: Query) -> list[str]:
    return [name for name in query.key[1:] if name]


def _reading(scene: ChartScene, query: Query, strategy: int) -> str:
    """The bars that the question names, in its order, or all of them from left to right (or backwards).

    A named bar is looked up by its name (`M c4=12`), so the name comes first; in a listing the place does.
    """
    named = [scene.names.index(name) for name in _named(query)]
    if named and strategy != 1:
        cells = [draw.cell_name(position + 1, PLOT // CELL) for position in named]
        values = [scene.values[scene.names[position]] for position in named]
        return "\n".join(f"{scene.names[p]} {c}={v}" for p, c, v in zip(named, cells, values, strict=True))
    order = list(range(len(scene.names)))
    return _listing(scene, order[::-1] if strategy == 2 else order, -1)


def _listing(scene: ChartScene, positions: list[int], first: int) -> str:
    """`c4 M=12` a bar: the cell of its name, the name, the value; `first` is the bar in column a."""
    lines = []
    for position in positions:
        value = scene.steps[position] * scene.unit
        lines.append(f"{draw.cell_name(position - first, PLOT // CELL)} {scene.names[position]}={value}")
    return "\n".join(lines)


def _expression(scene: ChartScene, query: Query) -> str:
    operation, a, b = query.key
    values = scene.values
    if operation == "sum":
        return f"{values[a]}+{values[b]}"
    if operation == "difference":
        return f"{values[a]}-{values[b]}"
    if operation == "twice":
        return f"2*{values[a]}+{values[b]}"
    if operation == "read":
        return str(values[a])
    if operation == "total":
        return "+".join(map(str, values.values()))
    return f"{max(values.values())}-{min(values.values())}"


def _by_hand(code: str) -> str:
    """The same computation in running steps: `7+3=10`, then `10+5=15`."""
    if "*" in code:
        factor, rest = code.split("*")
        first, second = rest.split("+")
        twice = int(factor) * int(first)
        return f"{factor}*{first}={twice}\n{twice}+{second}={twice + int(second)}"
    if "-" in code:
        first, second = code.split("-")
        return f"{code}={int(first) - int(second)}"
    terms = [int(term) for term in code.split("+")]
    lines, total = [], terms[0]
    for term in terms[1:]:
        lines.append(f"{total}+{term}={total + term}")
        total += term
    return "\n".join(lines)


CHART = Family(
    name="chart",
    summary="read a bar chart and compute with its values",
    tiers="more bars, finer steps, no grid lines, other units on the axis",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    marks=marks,
)
