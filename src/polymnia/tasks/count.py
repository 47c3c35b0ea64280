"""`count`: how many objects of a colour, a shape, or both.

Tiers: 0 and 1 have a 4x4 grid of cells with few and more objects, 2 has 5x5, 3 and 4 have 6x6 with more
objects (4: off the cells' centres). From 5 (7x7) on the picture is shrunk to fit the model's token cap
unless it zooms in; 6 and 7 have 8x8 with fewer and more objects, then the grid grows by one a tier.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Mark, Query, Style, Trace
from polymnia.tasks.labels import COLOURS, SHAPES, shape_label
from polymnia.tasks.trace import answer, call, crop_call, thousandths

OVERVIEW_SIDE = 6
"""Cells a side that nano sees at full resolution (36 image tokens); a larger grid is read in parts."""


@dataclass(frozen=True, slots=True)
class Thing:
    column: int
    row: int
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class CountScene:
    side: int
    things: tuple[Thing, ...]
    spread: int
    """Largest offset of an object from its cell's centre, pixels."""


def make_scene(rng: random.Random, tier: int) -> CountScene:
    side, low, high, spread = {
        0: (4, 3, 6, 2),
        1: (4, 5, 10, 3),
        2: (5, 6, 13, 3),
        3: (6, 9, 18, 3),
        4: (6, 14, 22, 6),
        5: (7, 15, 25, 5),
        6: (8, 13, 20, 5),
    }.get(tier, (tier + 1, 3 * tier - 3, 5 * tier - 5, 5))
    # A palette smaller than all combinations makes repeated kinds (the interesting case) likely.
    colours, shapes = rng.sample(COLOURS, rng.randint(2, 4)), rng.sample(SHAPES, rng.randint(2, 4))
    places = rng.sample(range(side * side), rng.randint(low, high))
    things = tuple(
        Thing(place % side, place // side, rng.choice(colours), rng.choice(shapes)) for place in sorted(places)
    )
    return CountScene(side, things, spread)


def scene_key(scene: CountScene) -> str:
    return f"{scene.side};" + ";".join(f"{t.column},{t.row},{t.colour},{t.shape}" for t in scene.things)


def picture(scene: CountScene, rng: random.Random) -> Image.Image:
    scale = 2  # drawn twice as large and reduced, for smooth edges
    side = scene.side * CELL
    image, pen = draw.canvas(side * scale, side * scale, draw.paper(rng))
    for thing in scene.things:
        size = rng.uniform(16, 24) if scene.spread < 5 else rng.uniform(13, 20)
        x = (thing.column + 0.5) * CELL + rng.uniform(-scene.spread, scene.spread)
        y = (thing.row + 0.5) * CELL + rng.uniform(-scene.spread, scene.spread)
        turn = rng.uniform(-0.25, 0.25)
        draw.shape(pen, thing.shape, x * scale, y * scale, size * scale, draw.shade(thing.colour, rng), turn)
    return image.reduce(scale)


def marks(scene: CountScene) -> list[Mark]:
    return [
        Mark((t.column + 0.5) * CELL, (t.row + 0.5) * CELL, 18, shape_label(t.colour, t.shape)) for t in scene.things
    ]


# --- questions

_BOTH = ("How many {c} {s}s are there?", "How many {c} {s}s do you see?", "Count the {c} {s}s.")
_COLOUR = ("How many {c} objects are there?", "How many {c} shapes do you see?", "How many objects are {c}?")
_SHAPE = ("How many {s}s are there?", "How many {s}s do you see?", "Count the {s}s.")
_ALL = ("How many objects are there?", "How many shapes do you see in all?", "Count all the objects.")


def ask(scene: CountScene, rng: random.Random, previous: Query | None) -> Query:
    if previous is not None:
        return _follow_up(scene, rng, previous)
    thing = rng.choice(scene.things)
    colour, shape = thing.colour, thing.shape
    if rng.random() < 0.12:  # something that may not be there at all
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    kind = rng.choices(("both", "colour", "shape", "all"), (4, 3, 3, 1))[0]
    if kind == "both":
        return _query(scene, colour, shape, rng.choice(_BOTH))
    if kind == "colour":
        return _query(scene, colour, None, rng.choice(_COLOUR))
    if kind == "shape":
        return _query(scene, None, shape, rng.choice(_SHAPE))
    return _query(scene, None, None, rng.choice(_ALL))


def _follow_up(scene: CountScene, rng: random.Random, previous: Query) -> Query:
    colour, shape = previous.key
    thing = rng.choice(scene.things)
    narrow = rng.random() < 0.5
    if colour is None and shape is None:
        if narrow:
            texts: tuple[str, ...] = ("and how many are {c}?", "And how many of them are {c}?")
            return _query(scene, thing.colour, None, rng.choice(texts))
        return _query(scene, None, thing.shape, rng.choice(("and how many are {s}s?", "And how many {s}s?")))
    if colour is None and narrow:
        texts = ("and how many of them are {c}?", "And how many of those are {c}?")
        return _query(scene, thing.colour, shape, rng.choice(texts))
    if shape is None and narrow:
        texts = ("and how many of them are {s}s?", "And how many of those are {s}s?")
        return _query(scene, colour, thing.shape, rng.choice(texts))
    return _query(scene, thing.colour, thing.shape, rng.choice(("And how many {c} {s}s?", "what about {c} {s}s?")))


def _query(scene: CountScene, colour: str | None, shape: str | None, template: str) -> Query:
    number = sum(_matches(thing, colour, shape) for thing in scene.things)
    return Query(template.format(c=colour, s=shape).replace("crosss", "crosses"), str(number), (colour, shape))


def _matches(thing: Thing, colour: str | None, shape: str | None) -> bool:
    return colour in (None, thing.colour) and shape in (None, thing.shape)


# --- traces


def solve(scene: CountScene, query: Query, image: Image.Image, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    if "crop" in style.tools and (style.strategy == 3 or scene.side > OVERVIEW_SIDE):
        return _solve_by_parts(scene, query, image, style)
    if _in_the_head(style):
        listing = _running_count(scene.things, query, style.strategy)
        return Trace((answer(query.answer, f"{_words(query)}:\n{listing}"),))
    code = _count_code(scene.things, query, style.strategy)
    return Trace((*call("python", {"code": code}, query.answer), answer(query.answer)))


def _solve_by_parts(scene: CountScene, query: Query, image: Image.Image, style: Style) -> Trace:
    """Reads the upper and the lower half (or the parts of a large grid) each at full resolution."""
    spans = _spans(scene.side)
    columns = [(0, scene.side)] if scene.side <= OVERVIEW_SIDE else spans
    messages: list[Message] = []
    boxes: list[tuple[int, int, int, int]] = []
    head = _in_the_head(style)
    said, matched, side = f"{_words(query)}:" if head else "", 0, scene.side * CELL
    for top, bottom in spans:
        for left, right in columns:
            box = (left * CELL, top * CELL, right * CELL, bottom * CELL)
            turn, _ = crop_call(image, style.image, [thousandths(edge, side) for edge in box], said)
            messages += turn
            boxes.append(box)
            inside = [t for t in scene.things if left <= t.column < right and top <= t.row < bottom]
            if head:
                said = _running_count(inside, query, 0, left, top, matched)
            code = _count_code(inside, query, 0, left, top, matched)
            matched += sum(_matches(thing, *query.key) for thing in inside)
            if not head:
                messages += call("python", {"code": code}, str(matched))
    messages.append(answer(query.answer, said))
    return Trace(tuple(messages), tuple(boxes))


def _in_the_head(style: Style) -> bool:
    return style.whole or "python" not in style.tools


def _spans(side: int) -> list[tuple[int, int]]:
    parts = max(2, -(-side // OVERVIEW_SIDE))
    edges = [round(part * side / parts) for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _ordered(things: Sequence[Thing], strategy: int) -> list[Thing]:
    order = sorted(things, key=lambda t: (t.column, t.row) if strategy == 1 else (t.row, t.column))
    return order[::-1] if strategy == 2 else order


def _line(thing: Thing, left: int, top: int) -> str:
    return f"{draw.cell_name(thing.column - left, thing.row - top)} {thing.colour} {thing.shape}"


def _count_code(
    things: Sequence[Thing], query: Query, strategy: int, left: int = 0, top: int = 0, before: int = 0
) -> str:
    """What is seen as a string, and Python counts in it: `"a1 red star;c2 red cross;".count("star")`.

    Seeing is the model's part; comparing each object with the question is where a small one errs.
    """
    seen = "".join(f"{_line(thing, left, top)};" for thing in _ordered(things, strategy))
    words = ";" if query.key == (None, None) else _words(query)
    return f'"{seen}".count("{words}")' + (f"+{before}" if before else "")


def _running_count(
    things: Sequence[Thing], query: Query, strategy: int, left: int = 0, top: int = 0, matched: int = 0
) -> str:
    """Without Python: a line an object; those asked for carry a running count, so that the last is the answer."""
    lines = []
    for thing in _ordered(things, strategy):
        line = _line(thing, left, top)
        if _matches(thing, *query.key):
            matched += 1
            line += f"={matched}"
        lines.append(line)
    return "\n".join(lines) or f"nothing={matched}"


def _words(query: Query) -> str:
    """What is counted: `red star`, `red`, `star` or `all`."""
    colour, shape = query.key
    return " ".join(word for word in (colour, shape) if word) or "all"


COUNT = Family(
    name="count",
    summary="count objects by colour and shape",
    tiers="more objects on a larger grid, then off the grid, then beyond the token cap",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    marks=marks,
)
