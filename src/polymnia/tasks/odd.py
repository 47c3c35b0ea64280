"""`odd`: a grid of like items in which one differs, in colour, shape, size, direction, character or by a rule.

Tiers: 0 has 9 to 12 items that are all alike but one; 1 and 2 have more (2: shapes or colours that vary
beside what they share); from 3 on come look-alikes, rules (each line its own kind, two kinds by turns) and
places off the cells' centres; from 5 on the grid is larger than nano's overview and grows with the tier.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from polymnia.data.chat import Message
from polymnia.tasks import draw, things
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, LETTERS, SHAPES, char_label, label, thing_label
from polymnia.tasks.things import MAX_COLUMNS, OVERVIEW_SIDE
from polymnia.tasks.trace import answer, python_call

CHARACTERS = "23456789" + LETTERS
FACINGS = {
    "up": 0, "top-right": 45, "right": 90, "bottom-right": 135, "down": 180, "bottom-left": 225, "left": 270,
    "top-left": 315,
}  # fmt: skip
"""Degrees clockwise from up."""
_ALIKE = ("EF", "PR", "CG", "38", "8B", "VY", "MW", "UV", "KX", "2Z", "5S", "DB")
_NEAR = (("red", "orange"), ("orange", "yellow"), ("blue", "purple"), ("purple", "red"), ("blue", "black"))
_SIZES = {"small": 0.6, "": 1.0, "big": 1.4}


@dataclass(frozen=True, slots=True)
class Item:
    column: int
    row: int
    colour: str
    figure: str
    """A shape, `arrow` or a character."""
    size: str = ""
    """`small`, `big` or as usual."""
    facing: str = ""
    """Of an arrow."""

    @property
    def cell(self) -> str:
        return draw.cell_name(self.column, self.row)

    @property
    def name(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.figure, self.facing) if word)

    @property
    def seen(self) -> str:
        return f"{self.cell} {self.name}"


@dataclass(frozen=True, slots=True)
class OddScene:
    columns: int
    rows: int
    items: tuple[Item, ...]
    """Row by row."""
    odd: int
    """Index of the one that differs."""
    mode: str
    """In what: `colour`, `shape`, `size`, `direction`, `character`, or the rule it breaks: `rows` or `columns` that
    are all alike, `turns` of two kinds."""
    shared: str
    """What all the others share, in words; nothing where a rule says it line by line."""
    spread: int

    @property
    def one(self) -> Item:
        return self.items[self.odd]


def make_scene(rng: random.Random, tier: int) -> OddScene:
    side = max(6, tier + 2)
    columns, rows = {
        0: rng.choice(((3, 3), (4, 3), (3, 4))),
        1: rng.choice(((4, 3), (3, 4), (4, 4), (5, 3))),
        2: rng.choice(((4, 4), (5, 4), (4, 5))),
    }.get(tier, (min(side, MAX_COLUMNS), side))
    places = [(column, row) for row in range(rows) for column in range(columns)]
    odd = rng.randrange(len(places))
    modes = ["colour", "shape", "size", "direction", "character"]
    mode = rng.choice(modes + (["rows", "columns", "turns"] if tier >= 3 else []))
    spread = 2 if tier < 3 else 3
    if mode in ("rows", "columns", "turns"):
        return OddScene(columns, rows, _ruled(rng, mode, places, odd), odd, mode, "", spread)
    usual, other = _pair(rng, mode, tier)
    items = [replace(other if place == odd else usual, column=c, row=r) for place, (c, r) in enumerate(places)]
    shared = usual.name
    if tier >= 2 and mode in ("colour", "shape") and rng.random() < 0.6:
        items, shared = _varied(rng, mode, items, usual)
    return OddScene(columns, rows, tuple(items), odd, mode, shared, spread)


def _pair(rng: random.Random, mode: str, tier: int) -> tuple[Item, Item]:
    """The usual item and the one that differs, both at a1; more alike from tier 3 on."""
    usual = Item(0, 0, rng.choice(COLOURS), rng.choice(SHAPES))
    if mode == "colour":
        one, other = rng.sample(rng.choice(_NEAR), 2) if tier >= 4 else rng.sample(COLOURS, 2)
        return replace(usual, colour=one), replace(usual, colour=other)
    if mode == "shape":
        return usual, replace(usual, figure=rng.choice([shape for shape in SHAPES if shape != usual.figure]))
    if mode == "size":
        return usual, replace(usual, size=rng.choice(("small", "big")))
    if mode == "direction":
        usual = replace(usual, figure="arrow", facing=rng.choice(list(FACINGS)[:: 2 if tier < 3 else 1]))
        angles = (90, 180, 270) if tier < 4 else (45, 90, 270, 315)
        turned = (FACINGS[usual.facing] + rng.choice(angles)) % 360
        return usual, replace(usual, facing=next(name for name, angle in FACINGS.items() if angle == turned))
    one, other = rng.sample(rng.choice(_ALIKE) if tier >= 3 else CHARACTERS, 2)
    return replace(usual, figure=one), replace(usual, figure=other)


def _varied(rng: random.Random, mode: str, items: list[Item], usual: Item) -> tuple[list[Item], str]:
    """What the items need not share takes two or three values, each of them often."""
    palette = rng.sample(SHAPES if mode == "colour" else COLOURS, rng.randint(2, 3))
    if mode == "shape":
        palette += [] if usual.colour in palette else [usual.colour]
    values = [palette[place % len(palette)] for place in range(len(items))]
    rng.shuffle(values)
    if mode == "colour":
        return [replace(item, figure=v) for item, v in zip(items, values, strict=True)], usual.colour
    return [replace(item, colour=v) for item, v in zip(items, values, strict=True)], usual.figure


def _ruled(rng: random.Random, mode: str, places: Sequence[tuple[int, int]], odd: int) -> tuple[Item, ...]:
    by_colour = rng.random() < 0.5
    values = rng.sample(COLOURS if by_colour else SHAPES, 2 if mode == "turns" else rng.randint(3, 5))
    usual = Item(0, 0, rng.choice(COLOURS), rng.choice(SHAPES))
    first = rng.randrange(len(values))
    items = []
    for place, (column, row) in enumerate(places):
        line = {"rows": row, "columns": column, "turns": row + column}[mode] + first
        value = values[line % len(values)]
        if place == odd:
            value = rng.choice([other for other in values if other != value])
        item = replace(usual, colour=value) if by_colour else replace(usual, figure=value)
        items.append(replace(item, column=column, row=row))
    return tuple(items)


def scene_key(scene: OddScene) -> str:
    return f"{scene.columns}x{scene.rows};" + ";".join(item.name for item in scene.items)


# --- pictures


def picture(scene: OddScene, rng: random.Random) -> Images:
    look = draw.look(rng)
    sheet = draw.Sheet(scene.columns * CELL, scene.rows * CELL, look)
    things.board(sheet, (0, 0, scene.columns, scene.rows), rng.choice(things.BOARDS))
    usual = rng.uniform(15, 16.5) if scene.mode == "size" else rng.uniform(16, 22 - scene.spread)
    arrow = rng.choice(("slim", "broad", "chevron"))
    for item in scene.items:
        x = (item.column + 0.5) * CELL + rng.uniform(-scene.spread, scene.spread)
        y = (item.row + 0.5) * CELL + rng.uniform(-scene.spread, scene.spread)
        fill, size = draw.shade(item.colour, rng), usual * _SIZES[item.size]
        if item.facing:
            sheet.polygon(_arrow(arrow, x, y, size + 2, FACINGS[item.facing]), fill, look.ink if look.outline else None)
        elif item.figure in SHAPES:
            sheet.shape(item.figure, x, y, size, fill, rng.uniform(-0.1, 0.1))
        else:
            sheet.text(x, y, item.figure, size + 2, fill, bold=0.5)
    return (sheet.finish(rng),)


def _arrow(kind: str, x: float, y: float, size: float, degrees: float) -> list[tuple[float, float]]:
    half = size / 2
    shaft = half * (0.22 if kind == "slim" else 0.4)
    right = [(0.0, -half), (half * 0.85, half * 0.1), (shaft, half * 0.1), (shaft, half)]
    if kind == "chevron":
        right = [(0.0, -half), (half * 0.85, half), (0.0, half * 0.45)]
    corners = right + [(-u, v) for u, v in reversed(right)]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x + u * c - v * s, y + u * s + v * c) for u, v in corners]


def marks(scene: OddScene) -> tuple[list[Mark], ...]:
    return ([Mark((i.column + 0.5) * CELL, (i.row + 0.5) * CELL, 18, _class(i)) for i in scene.items],)


def _class(item: Item) -> int:
    if item.facing:
        return label("hand", FACINGS[item.facing] // 15)
    return thing_label(item.colour, item.figure) if item.figure in SHAPES else char_label(item.figure)


# --- questions

_NAMED = "Columns are a, b, c ... from the left, rows 1, 2, 3 ... from the top."
WORDINGS = {
    "cell": (
        f"Which cell holds the odd one out? {_NAMED}",
        f"One of these does not belong. Name its cell. {_NAMED}",
        f"Where is the one that differs? {_NAMED}",
        f"{_NAMED} In which cell is the odd one out?",
        f"One item breaks the pattern: which cell is it in? {_NAMED}",
        f"Give the cell of the odd one out, such as b3. {_NAMED}",
        "With letters for columns from the left and numbers for rows from the top: in which cell is the misfit?",
        f"find the misfit and say its cell. {_NAMED}",
    ),
    "what": (
        "What is the odd one out? Give its colour and shape.",
        "Which one differs from the rest? Name colour and shape.",
        "One thing does not belong: what is it (colour and shape)?",
        "Say what the odd one is, colour first, then shape.",
        "odd one out: colour and shape?", "Describe the odd one out by its colour and shape.",
    ),
    "character": (
        "Which character is the odd one out?", "All characters but one are the same. Which one is different?",
        "One character differs from the rest: which?", "What does the odd one read?",
        "Name the character that is there only once.",
        "the odd character is?",
    ),
    "row": (
        "In which row is the odd one out, counted from the top?",
        "Counting rows from the top, which one has the misfit?",
        "The odd one is in which row? Row 1 is the top one.", "Number of the row with the odd one out, from the top?",
        "From the top, in what row does one item not fit?", "row of the misfit, counted from the top",
    ),
    "column": (
        "In which column is the odd one out, counted from the left? Give a number.",
        "Counting columns from the left, which one has the misfit? Answer with a number.",
        "The odd one is in which column? The leftmost is number 1.",
        "Number of the column with the odd one out, from the left?",
        "From the left, in what column (1, 2, 3 ...) does one item not fit?",
        "column number of the misfit, from the left",
    ),
    "how": (
        "In what does one of these differ from the others: colour, shape, size or direction?",
        "One is different. In colour, shape, size or direction?",
        "What sets the odd one apart: its colour, shape, size or direction?",
        "Does the odd one differ in colour, in shape, in size or in direction?",
        "colour, shape, size or direction: in which does the odd one differ?",
        "Compare the odd one with the rest. Is it colour, shape, size or direction that is not the same?",
    ),
    "usual": (
        "All but one are alike. What are they? Give colour and shape.",
        "Leave out the odd one: what are the others, colour and shape?",
        "What is shown again and again here? Name its colour and shape.",
        "Which colour and shape do nearly all of them have?",
        "What are the ones that are not odd? Colour and shape, please.", "the usual one here: colour and shape?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "cell": (f"And in which cell is the odd one? {_NAMED}", f"Where is it? Name the cell. {_NAMED}"),
    "what": ("And what is the odd one, colour and shape?", "And its colour and shape?"),
    "row": ("And in which row is it, from the top?", "Which row from the top is that?"),
    "column": ("And in which column is it, as a number from the left?", "Which column number from the left is that?"),
    "how": ("And how does it differ: colour, shape, size or direction?",),
    "usual": ("And what are the others, colour and shape?", "And the rest? Colour and shape."),
}


def ask(scene: OddScene, rng: random.Random, previous: Query | None) -> Query:
    one, weights = scene.one, {"cell": 6, "row": 2, "column": 2}
    if scene.shared and scene.mode != "character":
        weights["how"] = 2
    if scene.mode in ("colour", "shape"):
        weights["what"] = 4
        weights["usual"] = 2 if " " in scene.shared else 0
    if scene.mode == "character":
        weights["character"] = 5
    if previous is not None:
        weights.pop(previous.kind, None)
    kind = rng.choices(list(weights), list(weights.values()))[0]
    truth = {
        "cell": one.cell, "row": str(one.row + 1), "column": str(one.column + 1), "how": scene.mode, "what": one.name,
        "usual": scene.shared, "character": one.figure,
    }[kind]  # fmt: skip
    return Query(kind, truth, answer_kind="number" if kind in ("row", "column") else "word")


# --- traces

_LOOK = (
    "I go through all of them.",
    "Which one is not like the rest?",
    "I compare them.",
    "Let me look for the misfit.",
)


def solve(scene: OddScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    messages: list[Message] = []
    views: list[View] = []
    large = max(scene.columns, scene.rows) > OVERVIEW_SIDE
    if "crop" in style.tools and (style.strategy == 3 or large):
        spans = things.parts(scene.columns, scene.rows)
        readings = [_part(scene, span) for span in spans]
        messages, views, said = things.read_parts(images[0], 0, style.image, spans, readings, rng.choice(_LOOK))
    elif "python" in style.tools and scene.shared and not large:
        code, result = _code(scene, style.strategy)
        messages, said = python_call(code, result, rng.choice(_LOOK)), ""
    else:
        lines = [_part(scene, span) for span in _lines(scene, style.strategy)]
        said = "\n".join([rng.choice(_LOOK), *lines])
    said = "\n".join(part for part in (said, _conclusion(scene, query)) if part)
    return Trace((*messages, answer(query.answer, said)), tuple(views))


def _code(scene: OddScene, strategy: int) -> tuple[str, str]:
    """A listing in which Python finds the name (or the colour, the shape) that is there once: `['c1 blue star']`."""
    order = sorted(scene.items, key=lambda i: (i.column, i.row) if strategy == 1 else (i.row, i.column))
    seen = ";".join(item.seen for item in (order[::-1] if strategy == 2 else order))
    name = "x[3:]" if " " in scene.shared else f"x.split()[{1 if scene.mode == 'colour' else 2}]"
    return f's="{seen}"\n[x for x in s.split(";") if s.count({name})==1]', str([scene.one.seen])


def _lines(scene: OddScene, strategy: int) -> list[things.Span]:
    """Rows or columns as the strategy and the rule have it; all at once where nothing asks for lines."""
    rows = [(0, row, scene.columns, row + 1) for row in range(scene.rows)]
    if scene.mode == "columns" or (strategy == 1 and scene.shared):
        return [(column, 0, column + 1, scene.rows) for column in range(scene.columns)]
    if scene.shared and strategy not in (1, 2):
        return [(0, 0, scene.columns, scene.rows)]
    return rows[::-1] if strategy == 2 else rows


def _part(scene: OddScene, span: things.Span) -> str:
    """What is seen in a part: what its items share, then the one that does not."""
    left, top, right, bottom = span
    one, said = scene.one, scene.shared
    if scene.mode in ("rows", "columns"):
        across = scene.mode == "rows"
        lines = range(top, bottom) if across else range(left, right)
        said = ", ".join(f"{n + 1 if across else draw.cell_name(n, 0)[0]} {_kind_of_line(scene, n)}" for n in lines)
    elif scene.mode == "turns":
        said = " and ".join(_turns(scene, left, top)) + " by turns"
    else:
        said = f"all {said}"
    return f"{said}, but {one.seen}" if left <= one.column < right and top <= one.row < bottom else said


def _kind_of_line(scene: OddScene, line: int) -> str:
    inside = [i for i in scene.items if (i.row if scene.mode == "rows" else i.column) == line]
    return next(item.name for item in inside if item != scene.one)


def _turns(scene: OddScene, column: int, row: int) -> tuple[str, str]:
    """The kinds that alternate from this cell on."""
    usual = [item for item in scene.items if item != scene.one]
    kinds = [next(i.name for i in usual if (i.column + i.row) % 2 == (column + row + odd) % 2) for odd in (0, 1)]
    return kinds[0], kinds[1]


def _conclusion(scene: OddScene, query: Query) -> str:
    one = scene.one
    if query.kind in ("row", "column"):
        return f"{one.name} {one.cell}: {query.kind} {query.answer}"
    if query.kind == "how":
        return f"{one.name}, not {scene.shared}: {scene.mode}"
    if query.kind == "usual":
        return f"all the others: {query.answer}"
    return f"{one.name} {one.cell}"


ODD = Family(
    name="odd",
    summary="the odd one out of a grid of like items, by colour, shape, size, direction, character or rule",
    tiers="larger grids, what need not be shared varies, look-alikes, rules by line or by turns",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
