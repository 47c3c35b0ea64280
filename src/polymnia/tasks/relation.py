"""`relation`: where coloured shapes are to each other: beside, between, nearest, in a corner, a row or a cell.

Tiers: 0 and 1 have a 4x4 grid with 5 to 8 things, 2 has 5x5, 3 and 4 have 6x6 with more things (4: off the
cells' centres). From 5 on the grid is larger than nano's overview and some kinds of thing are there twice;
both grow with the tier. A place is named only by relations that hold for whole cells, so a tilt or an
offset never makes two answers defensible.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks import draw, things
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, SHAPES
from polymnia.tasks.things import MAX_COLUMNS, OVERVIEW_SIDE, Thing
from polymnia.tasks.trace import answer, python_call

STEPS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


@dataclass(frozen=True, slots=True)
class RelationScene:
    columns: int
    rows: int
    things: tuple[Thing, ...]
    """Row by row."""
    spread: int
    """Largest offset of a thing from its cell's centre, pixels."""


def make_scene(rng: random.Random, tier: int) -> RelationScene:
    side, low, high, spread = {
        0: (4, 5, 7, 2),
        1: (4, 7, 9, 3),
        2: (5, 8, 11, 3),
        3: (6, 10, 15, 3),
        4: (6, 14, 20, 5),
    }.get(tier, (tier + 2, 3 * tier, 4 * tier, 5))
    columns = min(side, MAX_COLUMNS)
    number = rng.randint(low, high)
    kinds = rng.sample([(colour, shape) for colour in COLOURS for shape in SHAPES], min(number, 30))
    if tier >= 5:
        kinds = kinds[: max(6, number * 2 // 3)]
    kinds += [rng.choice(kinds) for _ in range(number - len(kinds))]
    rng.shuffle(kinds)
    places = sorted(rng.sample(range(columns * side), number))
    found = (Thing(place % columns, place // columns, *kind) for place, kind in zip(places, kinds, strict=True))
    return RelationScene(columns, side, tuple(found), spread)


def scene_key(scene: RelationScene) -> str:
    return f"{scene.columns}x{scene.rows};{things.listing(scene.things)}"


def picture(scene: RelationScene, rng: random.Random) -> Images:
    sheet = draw.Sheet(scene.columns * CELL, scene.rows * CELL, draw.look(rng))
    things.board(sheet, (0, 0, scene.columns, scene.rows), rng.choice(things.BOARDS))
    for thing in scene.things:
        things.put(sheet, thing, things.hand(rng, thing.colour, scene.spread))
    return (sheet.finish(rng),)


def marks(scene: RelationScene) -> tuple[list[Mark], ...]:
    return (things.thing_marks(scene.things),)


# --- questions: key = (what is named in the question..., the thing that answers)

WORDINGS = {
    "beside": (
        "What is directly {d} the {ref}?", "Which object is directly {d} the {ref}?", "directly {d} the {ref}: what?",
        "Look at the {ref}. What do you see directly {d} it?", "Find the {ref} and tell me what is directly {d} it.",
        "Name the thing directly {d} the {ref}.", "Which thing is in the cell directly {d} the {ref}?",
        "I need what stands directly {d} the {ref}.",
    ),
    "between": (
        "What is between the {a} and the {b}?", "Which object is between the {a} and the {b}?",
        "Name the thing that lies between the {a} and the {b}.", "between {a} and {b}, what is there?",
        "There is one thing between the {a} and the {b}. Which?", "What stands in between the {a} and the {b}?",
    ),
    "nearest": (
        "Which object is nearest to the {ref}?", "What is closest to the {ref}?", "Name the {ref}'s nearest neighbour.",
        "Of all the other things, which is nearest to the {ref}?", "nearest thing to the {ref}?",
        "Find what is the least far from the {ref}.",
    ),
    "farthest": (
        "Which object is farthest from the {ref}?", "What is farthest away from the {ref}?",
        "Name the thing with the greatest distance to the {ref}.", "farthest thing from the {ref}?",
        "Of all things, which is the most distant from the {ref}?", "What lies furthest from the {ref}?",
    ),
    "corner": (
        "What is in the {corner} corner?", "Which object is in the {corner} corner?", "{corner} corner: what is there?",
        "Name the thing in the {corner} corner of the picture.", "What do you see in the {corner} corner?",
        "Look into the {corner} corner. What is it?",
    ),
    "cell": (
        "What is in row {r}, column {c}?", "Name the thing in row {r}, column {c}.", "row {r} column {c}: what is it?",
        "Which object is in column {c} of row {r}? Rows count from the top, columns from the left.",
        "Counting rows from the top and columns from the left, what is in row {r}, column {c}?",
        "Tell me what you find at row {r}, column {c} of the grid.",
    ),
    "walk": (
        "Start at the {ref} and go {way}. What is there?", "From the {ref}, go {way}. What do you find?",
        "Which object do I reach from the {ref} when I go {way}?", "{way} from the {ref}: what is it?",
        "Put a finger on the {ref} and move it {way}. What is under it now?",
        "What is {way} from the {ref}?",
    ),
    "beyond": (
        "How many objects are in the {lines} {d} the {ref}?", "Count the things in the {lines} {d} the {ref}.",
        "How many things do you see in all the {lines} {d} the {ref}?",
        "number of objects in the {lines} {d} the {ref}",
        "In the {lines} {d} the {ref}, how many objects are there?",
        "Take the {lines} {d} the {ref}: how many things are in them?",
    ),
    "row": (
        "Name the objects in row {r} from left to right.", "What is in row {r}, from left to right?",
        "List everything in row {r}, going from left to right.", "Read row {r} from left to right: which things?",
        "Which objects are in row {r} (row 1 is at the top)? Give them from left to right.",
        "row {r}, left to right: what is there?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "beside": ("And directly {d} the {ref}?", "And what is directly {d} the {ref}?", "and directly {d} the {ref}"),
    "between": ("And between the {a} and the {b}?", "And what is between the {a} and the {b}?"),
    "nearest": ("And nearest to the {ref}?", "And which one is closest to the {ref}?"),
    "farthest": ("And farthest from the {ref}?", "And which is the farthest from the {ref}?"),
    "corner": ("And in the {corner} corner?", "And what about the {corner} corner?"),
    "cell": ("And in row {r}, column {c}?", "And row {r}, column {c}?"),
    "walk": ("And {way} from the {ref}?", "And if I go {way} from the {ref}?"),
    "beyond": ("And how many in the {lines} {d} the {ref}?", "And in the {lines} {d} the {ref}, how many?"),
    "row": ("And in row {r}?", "And row {r}, from left to right?"),
}
_WEIGHTS = {
    "beside": 5, "between": 3, "nearest": 3, "farthest": 2, "corner": 3, "cell": 3, "walk": 4, "beyond": 3, "row": 2,
}  # fmt: skip


def ask(scene: RelationScene, rng: random.Random, previous: Query | None) -> Query:
    weights = dict(_WEIGHTS)
    while True:  # a cell can always be asked for
        kind = rng.choices(list(weights), list(weights.values()))[0]
        query = _ASK[kind](scene, rng)
        if query and (previous is None or (query.kind, query.key) != (previous.kind, previous.key)):
            return query


def _beside(scene: RelationScene, rng: random.Random) -> Query | None:
    at = _at(scene)
    pairs = [
        (thing, word, at[thing.column + dx, thing.row + dy])
        for thing in _single(scene)
        for word, (dx, dy) in STEPS.items()
        if (thing.column + dx, thing.row + dy) in at
    ]
    if not pairs:
        return None
    thing, word, found = rng.choice(pairs)
    return Query("beside", found.name, (thing, word, found), {"d": word, "ref": thing.name}, "word")


def _between(scene: RelationScene, rng: random.Random) -> Query | None:
    at, single = _at(scene), set(_single(scene))
    triples = []
    for middle in scene.things:
        for dx, dy in ((1, 0), (0, 1)):
            ends = [at.get((middle.column + s * dx, middle.row + s * dy)) for s in (-1, 1)]
            if ends[0] in single and ends[1] in single:
                triples.append((ends[0], ends[1], middle))
    if not triples:
        return None
    first, second, middle = rng.choice(triples)
    if rng.random() < 0.5:
        first, second = second, first
    return Query("between", middle.name, (first, second, middle), {"a": first.name, "b": second.name}, "word")


def _extreme(scene: RelationScene, rng: random.Random, kind: str) -> Query | None:
    thing = rng.choice(_single(scene) or [None])
    if thing is None:
        return None
    order = sorted(scene.things, key=lambda t: _distance(t, thing), reverse=kind == "farthest")
    order.remove(thing)
    # The offsets from the cells' centres must not make another thing the nearest.
    if abs(_distance(order[0], thing) - _distance(order[1], thing)) < 0.1 + 0.1 * scene.spread:
        return None
    return Query(kind, order[0].name, (thing, order[0]), {"ref": thing.name}, "word")


def _nearest(scene: RelationScene, rng: random.Random) -> Query | None:
    return _extreme(scene, rng, "nearest")


def _farthest(scene: RelationScene, rng: random.Random) -> Query | None:
    return _extreme(scene, rng, "farthest")


def _corner(scene: RelationScene, rng: random.Random) -> Query | None:
    corners = {
        (column * (scene.columns - 1), row * (scene.rows - 1)): (column, row) for column in (0, 1) for row in (0, 1)
    }
    there = [thing for thing in scene.things if (thing.column, thing.row) in corners]
    if not there:
        return None
    thing = rng.choice(there)
    column, row = corners[thing.column, thing.row]
    name = f"{rng.choice((('top', 'upper'), ('bottom', 'lower'))[row])} {('left', 'right')[column]}"
    return Query("corner", thing.name, (thing,), {"corner": name}, "word")


def _cell(scene: RelationScene, rng: random.Random) -> Query | None:
    thing = rng.choice(scene.things)
    return Query("cell", thing.name, (thing,), {"r": str(thing.row + 1), "c": str(thing.column + 1)}, "word")


def _walk(scene: RelationScene, rng: random.Random) -> Query | None:
    pairs = [
        (thing, found)
        for thing in _single(scene)
        for found in scene.things
        if 2 <= abs(found.column - thing.column) + abs(found.row - thing.row) <= 4
    ]
    if not pairs:
        return None
    thing, found = rng.choice(pairs)
    ways = [_way(found.column - thing.column, "column", "right", "left")]
    ways.append(_way(found.row - thing.row, "row", "down", "up"))
    way = " and ".join(part for part in ways if part)
    return Query("walk", found.name, (thing, found), {"way": way, "ref": thing.name}, "word")


def _way(number: int, unit: str, ahead: str, back: str) -> str:
    """`2 columns left`; nothing for 0."""
    count = abs(number)
    return f"{count} {unit}{'s' * (count > 1)} {ahead if number > 0 else back}" if number else ""


def _beyond(scene: RelationScene, rng: random.Random) -> Query | None:
    thing = rng.choice(_single(scene) or [None])
    if thing is None:
        return None
    word = rng.choice(list(STEPS))
    number = sum(_is_beyond(other, thing, word) for other in scene.things)
    lines = "rows" if word in ("above", "below") else "columns"
    return Query("beyond", str(number), (thing, word), {"lines": lines, "d": word, "ref": thing.name})


def _row(scene: RelationScene, rng: random.Random) -> Query | None:
    row = rng.choice(scene.things).row
    there = tuple(thing for thing in scene.things if thing.row == row)
    if len(there) > 5:
        return None
    return Query("row", ", ".join(t.name for t in there), (row, *there), {"r": str(row + 1)}, "list")


_ASK = {
    "beside": _beside, "between": _between, "nearest": _nearest, "farthest": _farthest, "corner": _corner,
    "cell": _cell, "walk": _walk, "beyond": _beyond, "row": _row,
}  # fmt: skip


def _at(scene: RelationScene) -> dict[tuple[int, int], Thing]:
    return {(thing.column, thing.row): thing for thing in scene.things}


def _single(scene: RelationScene) -> list[Thing]:
    """The things that are there once, so that colour and shape name them."""
    numbers = Counter(thing.name for thing in scene.things)
    return [thing for thing in scene.things if numbers[thing.name] == 1]


def _distance(one: Thing, other: Thing) -> float:
    return math.dist((one.column, one.row), (other.column, other.row))


def _is_beyond(thing: Thing, reference: Thing, word: str) -> bool:
    dx, dy = STEPS[word]
    return (thing.column - reference.column) * dx + (thing.row - reference.row) * dy > 0


# --- traces

_LOOK = ("I look at what is where.", "First all that I see.", "Let me list the things.", "What is where:")


def solve(scene: RelationScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said, code, result = _steps(scene, query, style, rng)
    messages: list[Message] = []
    views: list[View] = []
    large = max(scene.columns, scene.rows) > OVERVIEW_SIDE
    if "crop" in style.tools and (style.strategy == 3 or large):
        spans = things.parts(scene.columns, scene.rows)
        readings = [things.listing(things.inside(scene.things, span)) or "nothing" for span in spans]
        messages, views, read = things.read_parts(images[0], 0, style.image, spans, readings, rng.choice(_LOOK))
        said = f"{read}\n{said}"
    elif style.strategy in (1, 2) and not code:
        said = f"{rng.choice(_LOOK)}\n{things.listing(scene.things, style.strategy)}\n{said}"
    if code:
        messages += python_call(code, result, said)
        said = ""
    return Trace((*messages, answer(query.answer, said)), tuple(views))


def _steps(scene: RelationScene, query: Query, style: Style, rng: random.Random) -> tuple[str, str, str]:
    """What is written to find the answer, then the code (or nothing) and what it gives."""
    key = query.key
    if query.kind in ("nearest", "farthest"):
        return _measured(scene, query, style)
    if query.kind == "beyond":
        return _counted(scene, query, style)
    if query.kind == "row":
        return f"row {key[0] + 1}: {things.listing(key[1:])}", "", ""
    found: Thing = key[-1]
    if query.kind == "beside":
        said = rng.choice((
            "{ref} {p}; {d} it {q}; {q} {found}",
            "The {ref} is at {p}; {d} it is {q}: {found}.",
            "I find the {ref} at {p}, so I look at {q}: {found}.",
        )).format(ref=key[0].name, p=key[0].cell, d=key[1], q=found.cell, found=found.name)  # fmt: skip
    elif query.kind == "between":
        said = rng.choice((
            "{a}, {b}; between {q}; {q} {found}",
            "The {a} and the {b}. Between them is {q}: {found}.",
        )).format(
            a=f"{key[0].name} {key[0].cell}", b=f"{key[1].name} {key[1].cell}", q=found.cell, found=found.name
        )  # fmt: skip
    elif query.kind == "walk":
        said = f"{key[0].name} {key[0].cell}{_footsteps(key[0], found)}: {found.name}"
    else:
        place = query.slots.get("corner") or f"row {query.slots['r']}, column {query.slots['c']}"
        said = rng.choice(("{place}: {q} {found}", "{place} is {q}. {q}: {found}.")).format(
            place=place, q=found.cell, found=found.name
        )
    return said, "", ""


def _footsteps(start: Thing, end: Thing) -> str:
    """`, right c2, right d2, down d3`"""
    column, row, said = start.column, start.row, ""
    while (column, row) != (end.column, end.row):
        if column != end.column:
            word, column = ("right", column + 1) if column < end.column else ("left", column - 1)
        else:
            word, row = ("down", row + 1) if row < end.row else ("up", row - 1)
        said += f", {word} {draw.cell_name(column, row)}"
    return said


def _measured(scene: RelationScene, query: Query, style: Style) -> tuple[str, str, str]:
    """By Python on the listing; in the head as columns plus rows, squared."""
    thing, found = query.key
    said = f"{thing.name} {thing.cell}"
    if "python" in style.tools:
        place = 1 if query.kind == "nearest" else -1  # sorted by distance; the thing itself comes first
        far = f'math.hypot(ord(x[0])-ord("{thing.cell[0]}"),int(x[1:3])-{thing.row + 1})'
        seen = things.listing(scene.things, style.strategy)
        code = f'import math\ns="{seen}"\nsorted(s.split(";"),key=lambda x:{far})[{place}]'
        return said, code, repr(found.seen)
    lines = [f"{t.seen} {_squares(t, thing)}" for t in things.ordered(scene.things, style.strategy) if t != thing]
    return "\n".join([said, *lines, f"{query.kind}: {found.name}"]), "", ""


def _squares(one: Thing, other: Thing) -> str:
    across, down = abs(one.column - other.column), abs(one.row - other.row)
    return f"{across}*{across}+{down}*{down}={across * across + down * down}"


def _counted(scene: RelationScene, query: Query, style: Style) -> tuple[str, str, str]:
    thing, word = query.key
    said = f"{thing.name} {thing.cell}, {query.slots['lines']} {word}"
    if "python" in style.tools:
        sign = "<" if word in ("above", "left of") else ">"
        test = (
            f'x[0]{sign}"{thing.cell[0]}"' if query.slots["lines"] == "columns" else f"int(x[1:3]){sign}{thing.row + 1}"
        )
        code = f's="{things.listing(scene.things, style.strategy)}"\nlen([x for x in s.split(";") if {test}])'
        return said, code, query.answer
    there = [t for t in things.ordered(scene.things, style.strategy) if _is_beyond(t, thing, word)]
    return "\n".join([said, *_numbered(there), f"{len(there)}"]), "", ""


def _numbered(found: Sequence[Thing]) -> list[str]:
    return [f"{thing.seen}={number}" for number, thing in enumerate(found, 1)]


RELATION = Family(
    name="relation",
    summary="spatial relations: beside, between, nearest, in a corner, row or cell, so many steps away",
    tiers="more things on a larger grid, off the cells' centres, kinds that are there twice",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
