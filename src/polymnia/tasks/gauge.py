"""`gauge`: read dials and bars on scales of a given range, and compute with several of them.

Tiers: 0 has 2 or 3 gauges from 0 to 10 with a tick a step, 1 has 4; from 2 on the scales differ (0 to 20, 50, ...),
from 3 on they may start elsewhere than at 0, dials have up to 20 steps and ticks are missing; from 4 on there are
zones and set points beside the needle and more gauges than the overview shows at full resolution. A needle
between ticks is measured.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from polymnia.data.chat import Message
from polymnia.data.images import measure
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import LETTERS, char_label, label
from polymnia.tasks.reading import WHOLE, Cell, Op, Part, Seen, compose, expression, is_large, part_call, solve
from polymnia.tasks.reading import place as cell_name
from polymnia.tasks.trace import answer, call, python_call, thousandths

SLOT = 3
"""Image tokens a side for one gauge; what it shows is centred on the middle one."""
SWEEP = 120.0
"""Degrees from straight up to either end of a dial's scale."""
BAR_TOP, BAR_BOTTOM = 6.0, 78.0
"""Ends of a bar's scale, pixels from the top of its slot."""
FILLS = ("red", "green", "blue", "purple", "orange")


@dataclass(frozen=True, slots=True)
class Gauge:
    name: str
    dial: bool
    """Otherwise a bar that is filled from below."""
    low: int
    """Value at the start of the scale."""
    unit: int
    """What one step is worth."""
    count: int
    """Steps of the scale."""
    step: int
    tick: int
    """Steps from one tick to the next."""
    zone: int
    """First step of a marked zone that ends with the scale; the set point stands there too. 0: none."""

    @property
    def is_sparse(self) -> bool:
        """A dial with steps that no tick shows."""
        return self.dial and self.tick > 1

    @property
    def value(self) -> int:
        return self.low + self.unit * self.step

    @property
    def term(self) -> str:
        """The value as it is read: the start of the scale and steps from there."""
        steps = str(self.step) if self.unit == 1 else f"{self.unit}*{self.step}"
        return f"{self.low}+{steps}" if self.low else steps


@dataclass(frozen=True, slots=True)
class GaugeScene:
    gauges: tuple[Gauge, ...]
    columns: int

    def corner(self, place: int) -> Cell:
        """Upper left token of a gauge's slot."""
        return place % self.columns * SLOT, place // self.columns * SLOT

    @property
    def rows(self) -> int:
        return -(-len(self.gauges) // self.columns)


def make_scene(rng: random.Random, tier: int) -> GaugeScene:
    low, high = {0: (2, 3), 1: (4, 4), 2: (4, 4), 3: (4, 4), 4: (5, 6), 5: (6, 8)}.get(tier, (tier + 1, tier + 4))
    number = rng.randint(low, high)
    columns = number if number < 4 else 2 if number == 4 else math.ceil(math.sqrt(number * 1.2))
    pairs = [f"{first}{second}" for first in LETTERS for second in LETTERS]
    names = rng.sample(LETTERS if number <= len(LETTERS) else pairs, number)
    mixed, dial = rng.random() < 0.4, rng.random() < 0.6
    gauges = tuple(_gauge(rng, tier, names[place], rng.random() < 0.5 if mixed else dial) for place in range(number))
    return GaugeScene(gauges, columns)


def _gauge(rng: random.Random, tier: int, name: str, dial: bool) -> Gauge:
    unit = 1 if tier < 2 else rng.choice((1, 2, 5, 10))
    low = rng.choice((0, 0, 10, 20, 50, -10)) * unit if tier > 2 else 0
    count = 20 if tier > 2 and dial and rng.random() < 0.5 else 10
    tick = 1 if tier < 3 else rng.choice((1, 2, 5)) if tier < 6 else 5
    zone = rng.randint(count // 2, count - 2) if tier > 3 and rng.random() < 0.6 else 0
    return Gauge(name, dial, low, unit, count, rng.randint(0, count), tick, zone)


def scene_key(scene: GaugeScene) -> str:
    return ";".join(f"{g.name},{g.dial},{g.low},{g.unit},{g.count},{g.step},{g.tick},{g.zone}" for g in scene.gauges)


# --- drawing


def picture(scene: GaugeScene, rng: random.Random) -> Images:
    look = draw.look(rng, max_tilt=1.0)
    if len(scene.gauges) > 4:
        look = replace(look, tilt=0.0)
    sheet = draw.Sheet(scene.columns * SLOT * CELL, scene.rows * SLOT * CELL, look)
    fill, face, pointed = draw.shade(rng.choice(FILLS), rng), rng.random() < 0.5, rng.random() < 0.5
    for place, gauge in enumerate(scene.gauges):
        column, row = scene.corner(place)
        if gauge.dial:
            _dial(sheet, column * CELL, row * CELL, gauge, fill, face, pointed)
        else:
            _bar(sheet, column * CELL, row * CELL, gauge, fill, face)
    return (sheet.finish(rng),)


def _dial(sheet: draw.Sheet, left: float, top: float, gauge: Gauge, fill: draw.RGB, face: bool, pointed: bool) -> None:
    x, y, radius = left + 1.5 * CELL, top + 1.5 * CELL, 38.0
    if face:
        sheet.rectangle((left + 1, top + 1, left + 83, top + 83), (253, 253, 253), sheet.look.ink, 1)
    if gauge.zone:
        start = _angle(gauge, gauge.zone)
        sheet.line(
            [_around(x, y, radius - 2, start + part * (SWEEP - start) / 8) for part in range(9)], (222, 90, 80), 4
        )
        tip = [
            _around(x, y, radius - 9, start),
            _around(x, y, radius + 2, start - 5),
            _around(x, y, radius + 2, start + 5),
        ]
        sheet.polygon(tip, (222, 90, 80))
    rim = [_around(x, y, radius - 1, -SWEEP + part * SWEEP / 12) for part in range(25)]
    sheet.line(rim, width=1.2)
    for step in range(0, gauge.count + 1, gauge.tick):
        strong = step * 2 % gauge.count == 0
        angle = _angle(gauge, step)
        ends = [_around(x, y, radius - 1, angle), _around(x, y, radius - (9 if strong else 5), angle)]
        sheet.line(ends, width=1.8 if strong else 1)
    angle = _angle(gauge, gauge.step)
    if pointed:
        sheet.polygon([_around(x, y, 30, angle), _around(x, y, 4, angle - 90), _around(x, y, 4, angle + 90)], fill)
    else:
        sheet.line([_around(x, y, 7, angle + 180), _around(x, y, 30, angle)], fill, 2.6)
    sheet.disc(x, y, 4, sheet.look.ink)
    _number(sheet, left + 0.5 * CELL, top + 2.6 * CELL, gauge.low)
    _number(sheet, left + 2.5 * CELL, top + 2.6 * CELL, gauge.low + gauge.count * gauge.unit)
    _name(sheet, x, top + 2.5 * CELL, gauge.name)


def _bar(sheet: draw.Sheet, left: float, top: float, gauge: Gauge, fill: draw.RGB, face: bool) -> None:
    x, half = left + 1.5 * CELL, 8.0
    length = (BAR_BOTTOM - BAR_TOP) / gauge.count

    def height(step: int) -> float:
        return top + BAR_BOTTOM - step * length

    sheet.rectangle(
        (x - half, top + BAR_TOP, x + half, top + BAR_BOTTOM), (253, 253, 253) if face else sheet.look.faint
    )
    if gauge.step:
        sheet.rectangle((x - half, height(gauge.step), x + half, top + BAR_BOTTOM), fill)
    sheet.rectangle((x - half, top + BAR_TOP, x + half, top + BAR_BOTTOM), None, sheet.look.ink, 1.2)
    for step in range(0, gauge.count + 1, gauge.tick):
        strong = step * 2 % gauge.count == 0
        sheet.line(
            [(x - half, height(step)), (x - half - (8 if strong else 4), height(step))], width=1.6 if strong else 1
        )
    if gauge.zone:
        y = height(gauge.zone)
        sheet.polygon([(x + half + 1, y), (x + half + 8, y - 4), (x + half + 8, y + 4)], (222, 90, 80))
    _number(sheet, left + 0.5 * CELL - 2, top + BAR_TOP + 6, gauge.low + gauge.count * gauge.unit)
    _number(sheet, left + 0.5 * CELL - 2, top + BAR_BOTTOM - 6, gauge.low)
    _name(sheet, left + 2.5 * CELL, top + 2.5 * CELL, gauge.name)


def _angle(gauge: Gauge, step: int) -> float:
    return -SWEEP + 2 * SWEEP * step / gauge.count


def _around(x: float, y: float, radius: float, degrees: float) -> tuple[float, float]:
    """The point at that distance and direction, clockwise from up."""
    return x + radius * math.sin(math.radians(degrees)), y - radius * math.cos(math.radians(degrees))


def _number(sheet: draw.Sheet, x: float, y: float, number: int) -> None:
    text = str(number)
    sheet.text(x, y, text, 15 if len(text) < 3 else 12 if len(text) == 3 else 10)


def _name(sheet: draw.Sheet, x: float, y: float, name: str) -> None:
    sheet.text(x, y, name, 20 if len(name) == 1 else 15, bold=0.4)


def _name_at(scene: GaugeScene, place: int) -> Cell:
    column, row = scene.corner(place)
    return (column + 1 if scene.gauges[place].dial else column + 2), row + 2


def marks(scene: GaugeScene) -> tuple[list[Mark], ...]:
    found = []
    for place, gauge in enumerate(scene.gauges):
        column, row = _name_at(scene, place)
        if len(gauge.name) == 1:
            found.append(Mark((column + 0.5) * CELL, (row + 0.5) * CELL, 20, char_label(gauge.name)))
        column, row = scene.corner(place)
        found.append(Mark((column + 1.5) * CELL, (row + 1.5) * CELL, 24, label("value", gauge.step)))
    return (found,)


# --- questions

WORDINGS = {
    "read": (
        "What does gauge {a} show?", "Read gauge {a}.", "Which value does gauge {a} give?",
        "What is the reading of {a}?",
        "Gauge {a} stands at what value?", "How much does {a} indicate?", "reading of gauge {a}?",
        "What number is gauge {a} at?",
    ),
    "sum": (
        "What do the gauges {a} and {b} show together?", "Add the readings of {a} and {b}.",
        "What is gauge {a} plus gauge {b}?", "Sum of the readings of {a} and {b}?", "gauge {a} + gauge {b} = ?",
        "How much do gauges {a} and {b} read in total?",
    ),
    "difference": (
        "How much more does gauge {a} show than gauge {b}?", "What is gauge {a} minus gauge {b}?",
        "By how much is the reading of {a} above that of {b}?", "Gauge {a} reads more than {b}: how much more?",
        "Subtract the reading of gauge {b} from that of {a}.", "gauge {a} - gauge {b} = ?",
    ),
    "highest": (
        "Which gauge shows the highest value?", "Which gauge reads the most?",
        "Name the gauge with the largest reading.",
        "On which gauge is the value largest?", "highest reading: which gauge?", "Which of the gauges shows most?",
    ),
    "lowest": (
        "Which gauge shows the lowest value?", "Which gauge reads the least?",
        "Name the gauge with the smallest reading.",
        "On which gauge is the value smallest?", "lowest reading: which gauge?", "Which of the gauges shows least?",
    ),
    "total": (
        "What do all gauges show together?", "Add up all the readings.", "What is the sum of all gauges?",
        "All gauges together: how much?", "What is the total of the readings?", "sum over every gauge?",
    ),
    "above": (
        "How many gauges show more than {k}?", "How many gauges read above {k}?", "Count the gauges over {k}.",
        "On how many gauges is the value above {k}?", "How many of the readings are higher than {k}?",
        "gauges beyond {k}: how many?",
    ),
    "below": (
        "How many gauges show less than {k}?", "How many gauges read below {k}?", "Count the gauges under {k}.",
        "On how many gauges is the value below {k}?", "How many of the readings are lower than {k}?",
        "gauges under {k}: how many?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "read": ("And gauge {a}?", "What about {a}?", "And what does {a} show?", "and {a}?"),
    "sum": ("And {a} and {b} together?", "What are gauges {a} and {b} together, then?"),
    "difference": ("And how much more is {a} than {b}?", "How far is {a} above {b}?"),
    "highest": ("And which gauge shows the most?", "Which one is highest?"),
    "lowest": ("And which gauge shows the least?", "Which one is lowest?"),
    "total": ("And all of them together?", "What is the total, then?"),
    "above": ("And how many are above {k}?", "How many of them show more than {k}?"),
    "below": ("And how many are below {k}?", "How many of them show less than {k}?"),
}
_KINDS: dict[Op, int] = {
    "read": 3, "sum": 3, "difference": 3, "highest": 2, "lowest": 2, "total": 1, "above": 1, "below": 1
}  # fmt: skip


def ask(scene: GaugeScene, rng: random.Random, previous: Query | None) -> Query:
    values = {gauge.name: gauge.value for gauge in scene.gauges}
    ops = [op for op in _KINDS if len(values) > 2 or op in ("read", "sum", "difference")]
    while True:
        op = rng.choices(ops, [_KINDS[one] for one in ops])[0]
        number = {"read": 1, "sum": 2, "difference": 2}.get(op)
        query = compose(op, op, rng.sample(list(values), number) if number else list(values), values, rng)
        if query and (previous is None or query.key != previous.key):
            return query


# --- traces

_LOOK = (
    "I look for the gauges by their names.", "Reading the gauges:", "Each gauge on its own scale:",
    "Let me read the scales.",
)  # fmt: skip
_SAY = (
    "{n} is at {c}, its scale at {p} reads {v}.", "{n} stands at {c}, what it shows at {p}: {v}.",
    "{n} at {c}: {p} is {v}.",
)  # fmt: skip


def trace(scene: GaugeScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    large, said = is_large(images[0].size), rng.choice(_LOOK)
    parts = _parts(scene, large)
    needed = {"measure", "python", "crop"} if large else {"measure", "python"}
    if style.think and query.key.op not in WHOLE and needed <= style.tools:
        asked = [place for place, gauge in enumerate(scene.gauges) if gauge.name in query.key.names]
        if any(scene.gauges[place].is_sparse for place in asked):
            return _measured(scene, query, images, style, parts if large else [], said)
    seen = []
    for place, gauge in enumerate(scene.gauges):
        column, row = scene.corner(place)
        seen.append(Seen(gauge.name, gauge.term, gauge.value, _name_at(scene, place), (column + 1, row + 1)))
    return solve(seen, query, images, style, parts, said, rng.choice(_SAY))


def _parts(scene: GaugeScene, large: bool) -> list[Part]:
    """Blocks of two by two gauges; of a picture that is seen whole, its halves."""
    across, down = (2, 2) if large else (2, 1) if scene.rows > 1 else (-(-scene.columns // 2), 1)
    return [
        (column * SLOT, row * SLOT, min(column + across, scene.columns) * SLOT, min(row + down, scene.rows) * SLOT)
        for row in range(0, scene.rows, down)
        for column in range(0, scene.columns, across)
    ]


def _measured(scene: GaugeScene, query: Query, images: Images, style: Style, parts: Sequence[Part], said: str) -> Trace:
    """Where ticks are few, the needle's angle is measured, in the picture or in zoomed parts, and Python reads it."""
    messages: list[Message] = []
    views: list[View | None] = []
    terms: dict[str, str] = {}
    columns, rows = scene.columns * SLOT, scene.rows * SLOT
    for part in parts or [(0, 0, columns, rows)]:
        picture, index = images[0], style.image
        if parts:
            turn, view = part_call(images, style, part, said)
            messages += turn
            views.append(view)
            picture, index, said = turn[-1].images[0], style.images_before + len(views), ""
        for place, gauge in enumerate(scene.gauges):
            column, row = _name_at(scene, place)
            inside = part[0] <= column < part[2] and part[1] <= row < part[3]
            if not inside or gauge.name not in query.key.names:
                continue
            said += f"\n{gauge.name} is at {cell_name((column, row), part)}"
            if gauge.is_sparse:
                turn, terms[gauge.name] = _needle(scene, place, part, picture, index, f"{said}; I measure its needle.")
                messages += turn
                said = ""
            else:
                terms[gauge.name] = gauge.term
                said += f" and reads {gauge.term}."
        if len(terms) == len(query.key.names):
            break
        said = said or "Not all are here."
    code = expression(query.key, [(name, terms[name]) for name in query.key.names])
    return Trace((*messages, *python_call(code, query.answer, said.strip()), answer(query.answer)), tuple(views))


def _needle(
    scene: GaugeScene, place: int, part: Part, picture: Image.Image, index: int, said: str
) -> tuple[list[Message], str]:
    """`measure` from the hub to the needle's tip, and the term that makes a value of the angle."""
    gauge, (column, row) = scene.gauges[place], scene.corner(place)
    hub = (column - part[0] + 1.5) * CELL, (row - part[1] + 1.5) * CELL
    tip = _around(*hub, 30, _angle(gauge, gauge.step))
    x0, y0, x1, y1 = (
        thousandths(pixel, side) for pixel, side in zip((*hub, *tip), (picture.width, picture.height) * 2, strict=True)
    )
    text = measure(picture, x0, y0, x1, y1).text
    degrees = text.partition("angle ")[2].partition(" deg")[0]
    # Clockwise from half a step before the scale's start, in whole steps.
    step = round(2 * SWEEP) // gauge.count
    steps = f"int(({round(90 + SWEEP) + step // 2}-({degrees}))%360/{step})"
    term = steps if gauge.unit == 1 else f"{gauge.unit}*{steps}"
    turn = call("measure", {"image": index, "x0": x0, "y0": y0, "x1": x1, "y1": y1}, text, reasoning=said.strip())
    return turn, f"{gauge.low}+{term}" if gauge.low else term


GAUGE = Family(
    name="gauge",
    summary="read dials and bars on their scales, compare and add them",
    tiers="more gauges, other ranges, fewer ticks, zones and set points, more than the overview holds",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=trace,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
