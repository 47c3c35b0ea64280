"""`count`: how many objects of a colour, a shape, or both, and how two kinds compare.

Tiers: 0 and 1 have a 4x4 grid of cells with few and more objects, 2 has 5x5, 3 and 4 have 6x6 with more
objects (4: off the cells' centres). From 5 (7x7) on the picture is shrunk to fit the model's token cap
unless it zooms in; 6 and 7 have 8x8 with fewer and more objects, then the grid grows by one a tier.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, SHAPES, thing_label
from polymnia.tasks.trace import answer, crop_call, python_call, thousandths

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


Kind = tuple[str | None, str | None]
"""Colour and shape of what is counted; None = any."""


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


def picture(scene: CountScene, rng: random.Random) -> Images:
    sheet = draw.Sheet(scene.side * CELL, scene.side * CELL, draw.look(rng))
    for thing in scene.things:
        size = rng.uniform(16, 24) if scene.spread < 5 else rng.uniform(13, 20)
        x = (thing.column + 0.5) * CELL + rng.uniform(-scene.spread, scene.spread)
        y = (thing.row + 0.5) * CELL + rng.uniform(-scene.spread, scene.spread)
        sheet.shape(thing.shape, x, y, size, draw.shade(thing.colour, rng), rng.uniform(-0.25, 0.25))
    return (sheet.finish(rng),)


def marks(scene: CountScene) -> tuple[list[Mark], ...]:
    return (
        [Mark((t.column + 0.5) * CELL, (t.row + 0.5) * CELL, 18, thing_label(t.colour, t.shape)) for t in scene.things],
    )


# --- questions: key = (the kinds that are counted, one or two)

WORDINGS = {
    "both": (
        "How many {c} {s} are there?", "How many {c} {s} do you see?", "Count the {c} {s}.",
        "What is the number of {c} {s}?", "I need the count of {c} {s} in this picture.",
        "Tell me how many {c} {s} you can find.", "{c} {s}: how many?", "number of {c} {s}",
    ),
    "colour": (
        "How many {c} objects are there?", "How many {c} shapes do you see?", "How many objects are {c}?",
        "Count everything that is {c}.", "What is the number of {c} things?", "How many things here are {c}?",
        "count all the {c} ones",
    ),
    "shape": (
        "How many {s} are there?", "How many {s} do you see?", "Count the {s}.", "What is the number of {s}?",
        "How many {s} are in the picture, whatever their colour?", "Tell me the number of {s}.", "{s}, how many?",
    ),
    "all": (
        "How many objects are there?", "How many shapes do you see in all?", "Count all the objects.",
        "What is the total number of shapes?", "How many things are in this picture?", "count everything",
    ),
    "more": (
        "How many more {a} than {b} are there?", "There are more {a} than {b}: how many more?",
        "By how many do the {a} outnumber the {b}?", "What is the number of {a} minus the number of {b}?",
        "{a} minus {b}: how many?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "both": ("And how many {c} {s}?", "What about {c} {s}?", "and {c} {s}?", "How many {c} {s} then?"),
    "colour": ("And how many are {c}?", "And {c} ones?", "What about {c} objects?"),
    "shape": ("And how many {s}?", "What about {s}?", "and the {s}?"),
    "all": ("And how many objects in all?", "And in total?"),
}


def ask(scene: CountScene, rng: random.Random, previous: Query | None) -> Query:
    if previous is None and rng.random() < 0.12 and (query := _comparison(scene, rng)):
        return query
    thing = rng.choice(scene.things)
    colour, shape = thing.colour, thing.shape
    if rng.random() < 0.12:  # something that may not be there at all
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    kind = rng.choices(("both", "colour", "shape", "all"), (4, 3, 3, 1))[0]
    return counting(scene, colour if kind in ("both", "colour") else None, shape if kind in ("both", "shape") else None)


def counting(scene: CountScene, colour: str | None, shape: str | None) -> Query:
    kind = {(True, True): "both", (True, False): "colour", (False, True): "shape"}.get(
        (bool(colour), bool(shape)), "all"
    )
    slots = {"c": colour or "", "s": _plural(shape or "")}
    return Query(kind, str(_number(scene.things, (colour, shape))), ((colour, shape),), slots)


def _comparison(scene: CountScene, rng: random.Random) -> Query | None:
    by_colour = rng.random() < 0.5
    values = sorted({t.colour if by_colour else t.shape for t in scene.things})
    if len(values) < 2:
        return None
    kinds: list[Kind] = [(v, None) if by_colour else (None, v) for v in rng.sample(values, 2)]
    first, second = sorted(kinds, key=lambda kind: -_number(scene.things, kind))
    names = [f"{c} objects" if c else _plural(s or "") for c, s in (first, second)]
    number = _number(scene.things, first) - _number(scene.things, second)
    return Query("more", str(number), (first, second), {"a": names[0], "b": names[1]})


def _plural(shape: str) -> str:
    return shape + "es" if shape.endswith("s") else shape + "s"


def _matches(thing: Thing, kind: Kind) -> bool:
    return kind[0] in (None, thing.colour) and kind[1] in (None, thing.shape)


def _number(things: Sequence[Thing], kind: Kind) -> int:
    return sum(_matches(thing, kind) for thing in things)


# --- traces

_LOOK = (
    "I list what I see and count {words}.", "Let me write down every object, then count {words}.",
    "First what is where, then {words}.", "I go through the picture and look for {words}.",
)  # fmt: skip


def solve(scene: CountScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said = rng.choice(_LOOK).format(words=" and ".join(_words(kind) for kind in query.key))
    if "crop" in style.tools and (style.strategy == 3 or scene.side > OVERVIEW_SIDE):
        return _solve_by_parts(scene, query, images, style, said)
    if "python" not in style.tools:
        return Trace((answer(query.answer, f"{said}\n{_in_the_head(scene.things, query, style.strategy)}"),))
    code = _count_code(scene.things, query, style.strategy)
    return Trace((*python_call(code, query.answer, said), answer(query.answer)))


def _solve_by_parts(scene: CountScene, query: Query, images: Images, style: Style, said: str) -> Trace:
    """Reads the upper and the lower half (or the parts of a large grid) each at full resolution."""
    spans = _spans(scene.side)
    columns = [(0, scene.side)] if scene.side <= OVERVIEW_SIDE else spans
    messages: list[Message] = []
    views: list[View] = []
    counts, side = [0] * len(query.key), scene.side * CELL
    for top, bottom in spans:
        for left, right in columns:
            box = (left * CELL, top * CELL, right * CELL, bottom * CELL)
            turn, _ = crop_call(images[0], style.image, [thousandths(edge, side) for edge in box], said)
            messages += turn
            views.append(View(0, box))
            inside = [t for t in scene.things if left <= t.column < right and top <= t.row < bottom]
            if "python" in style.tools:
                code = _count_code(inside, query, 0, left, top, counts)
                counts = [n + _number(inside, kind) for n, kind in zip(counts, query.key, strict=True)]
                messages += python_call(code, _result(counts))
                said = ""
            else:
                said = _in_the_head(inside, query, 0, left, top, counts)
                counts = [n + _number(inside, kind) for n, kind in zip(counts, query.key, strict=True)]
    if len(counts) == 2 and "python" in style.tools:
        messages += python_call(f"{counts[0]}-{counts[1]}", query.answer)
    messages.append(answer(query.answer, said))
    return Trace(tuple(messages), tuple(views))


def _result(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"({counts[0]}, {counts[1]})"


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
    things: Sequence[Thing], query: Query, strategy: int, left: int = 0, top: int = 0, before: Sequence[int] = ()
) -> str:
    """What is seen as a string, and Python counts in it: `"a1 red star;c2 red cross;".count("star")`.

    Seeing is the model's part; comparing each object with the question is where a small one errs. `before`: what
    was counted in earlier parts of a picture read in parts, whose two counts of a comparison stay apart.
    """
    seen = "".join(f"{_line(thing, left, top)};" for thing in _ordered(things, strategy))
    words = [";" if kind == (None, None) else _words(kind) for kind in query.key]
    if len(words) == 1:
        return f'"{seen}".count("{words[0]}")' + (f"+{before[0]}" if before and before[0] else "")
    counts = [f's.count("{word}")' for word in words]
    if before:
        first, second = (f"{count}+{n}" if n else count for count, n in zip(counts, before, strict=True))
        return f's="{seen}"\n{first},{second}'
    return f's="{seen}"\n{counts[0]}-{counts[1]}'


def _in_the_head(
    things: Sequence[Thing], query: Query, strategy: int, left: int = 0, top: int = 0, before: Sequence[int] = ()
) -> str:
    """Without Python: those asked for carry a running count, so that the last is the answer."""
    counts = list(before) or [0] * len(query.key)
    lines = []
    for thing in _ordered(things, strategy):
        line = _line(thing, left, top)
        for place, kind in enumerate(query.key):
            if _matches(thing, kind):
                counts[place] += 1
                line += f"={counts[place]}"
        lines.append(line)
    total = f"{_words(query.key[0])}: {counts[0]}"
    if len(counts) == 2:
        total += f", {_words(query.key[1])}: {counts[1]}, {counts[0]}-{counts[1]}={counts[0] - counts[1]}"
    return "\n".join([*lines, total])


def _words(kind: Kind) -> str:
    """What is counted: `red star`, `red`, `star` or `all`."""
    return " ".join(word for word in kind if word) or "all"


COUNT = Family(
    name="count",
    summary="count objects by colour and shape, compare two kinds",
    tiers="more objects on a larger grid, then off the grid, then beyond the token cap",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
