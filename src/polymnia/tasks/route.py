"""`route`: maps of squares with landmarks: follow directions, what lies where, ways and how long they are.

Landmarks are letters or coloured shapes; a step goes from a square to the one above, below, left or right of it.
Tiers: 0 to 2 have maps of 4x4 to 6x6 squares without obstacles, 3 to 5 have 6x6 with blocked squares, from 4 on
off the squares' middles; from 6 (7x7) on maps are larger than nano's overview and grow by one square a tier.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, LETTERS, SHAPES, char_label, colour_label, thing_label
from polymnia.tasks.paths import (
    COMPASS,
    MAX_COLUMNS,
    STEPS,
    WORDS,
    Cell,
    Openings,
    crop_parts,
    in_order,
    leads,
    search_code,
    shortest_ways,
    spelled,
    step,
)
from polymnia.tasks.trace import answer, python_call


@dataclass(frozen=True, slots=True)
class RouteScene:
    columns: int
    rows: int
    landmarks: Mapping[str, Cell]
    """By letter, or by colour and shape (`red star`)."""
    blocked: frozenset[Cell]
    legs: int
    """Straight pieces of the directions that are asked for, at most."""
    spread: int
    """Largest offset of a landmark from its square's middle, pixels."""

    def inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.columns and 0 <= cell[1] < self.rows and cell not in self.blocked

    @property
    def openings(self) -> Openings:
        cells = [(x, y) for y in range(self.rows) for x in range(self.columns) if (x, y) not in self.blocked]
        return {cell: "".join(move for move in STEPS if self.inside(step(cell, move))) for cell in cells}

    @property
    def names(self) -> dict[Cell, str]:
        return {cell: name for name, cell in self.landmarks.items()}


def make_scene(rng: random.Random, tier: int) -> RouteScene:
    side, low, high = {0: (4, 0, 0), 1: (5, 0, 0), 2: (6, 0, 0), 3: (6, 4, 7), 4: (6, 7, 10), 5: (6, 9, 12)}.get(
        tier, (tier + 1, (tier + 1) ** 2 // 5, (tier + 1) ** 2 // 3)
    )
    columns = min(side, MAX_COLUMNS)
    rows = max(side, side * side // MAX_COLUMNS)
    number = min(rng.randint(4, 5) + tier, len(LETTERS))
    cells = rng.sample([(x, y) for y in range(rows) for x in range(columns)], number + rng.randint(low, high))
    things = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    names = rng.sample(things if rng.random() < 0.3 else LETTERS, number)
    landmarks = dict(sorted(zip(names, cells, strict=False)))
    legs = 2 if tier < 2 else 1 + tier // 2 if tier < 10 else tier - 4
    return RouteScene(columns, rows, landmarks, frozenset(cells[number:]), legs, 0 if tier < 4 else 4)


def scene_key(scene: RouteScene) -> str:
    marked = ";".join(f"{name}{cell}" for name, cell in scene.landmarks.items())
    return f"{scene.columns}x{scene.rows};{marked};{sorted(scene.blocked)}"


# --- pictures

_GROUNDS: tuple[draw.RGB, ...] = ((214, 232, 200), (240, 228, 200), (226, 226, 232), (206, 226, 236), (236, 222, 214))


def picture(scene: RouteScene, rng: random.Random) -> Images:
    small = scene.columns <= 12
    look = draw.look(rng, max_tilt=rng.choice((0.0, 0.0, 0.8)) if small else 0.0)
    sheet = draw.Sheet(scene.columns * CELL, scene.rows * CELL, look, scale=2 if small else 1)
    style = rng.choice(("squares", "streets", "terrain", "tiles", "dots"))
    _draw_ground(sheet, scene, style, rng)
    block = rng.choice(("wall", "water", "hatched"))
    for x, y in scene.blocked:
        _draw_block(sheet, x * CELL, y * CELL, block)
    plate = rng.choice((None, "disc", "square")) if style != "streets" else rng.choice(("disc", "square"))
    ground, size, bold = draw.shade(rng.choice(COLOURS[:6]), rng), rng.randint(16, 19), rng.choice((0.0, 0.5))
    light = sum(ground) > 430 and plate is not None
    for name, (x, y) in scene.landmarks.items():
        u = (x + 0.5) * CELL + rng.randint(-scene.spread, scene.spread)
        v = (y + 0.5) * CELL + rng.randint(-scene.spread, scene.spread)
        if len(name) > 1:
            colour, shape = name.split()
            if style == "streets":
                sheet.disc(u, v, 11.5, (250, 250, 250))
            sheet.shape(shape, u, v, 17, draw.shade(colour, rng), rng.uniform(-0.15, 0.15))
            continue
        if plate == "disc":
            sheet.disc(u, v, 11, ground, look.ink if look.outline else None)
        elif plate == "square":
            sheet.rectangle((u - 10, v - 10, u + 10, v + 10), ground, look.ink if look.outline else None)
        ink = (25, 25, 28) if light or plate is None else (255, 255, 255)
        sheet.text(u, v, name, size - 2 * (plate is not None), ink, bold=bold)
    return (sheet.finish(rng),)


def _draw_ground(sheet: draw.Sheet, scene: RouteScene, style: str, rng: random.Random) -> None:
    width, height, ground = sheet.width, sheet.height, rng.choice(_GROUNDS)
    if style == "streets":
        sheet.rectangle((0, 0, width, height), ground)
        for x in range(scene.columns):
            sheet.rectangle((x * CELL + 9, 0, x * CELL + 19, height), (252, 252, 250))
        for y in range(scene.rows):
            sheet.rectangle((0, y * CELL + 9, width, y * CELL + 19), (252, 252, 250))
        return
    for y in range(scene.rows):
        for x in range(scene.columns):
            left, top = x * CELL, y * CELL
            if style == "terrain":
                tint = rng.randint(-8, 8)
                red, green, blue = (max(0, min(255, part + tint)) for part in ground)
                sheet.rectangle((left, top, left + CELL, top + CELL), (red, green, blue))
            elif style == "tiles":
                sheet.rectangle((left + 1.5, top + 1.5, left + CELL - 1.5, top + CELL - 1.5), ground, sheet.look.faint)
            elif style == "dots":
                sheet.disc(left + CELL / 2, top + CELL / 2, 1.5, sheet.look.faint)
    if style in ("squares", "terrain", "dots"):
        for x in range(0, width + 1, CELL):
            sheet.line([(min(x, width - 1), 0), (min(x, width - 1), height)], sheet.look.faint)
        for y in range(0, height + 1, CELL):
            sheet.line([(0, min(y, height - 1)), (width, min(y, height - 1))], sheet.look.faint)


def _draw_block(sheet: draw.Sheet, left: int, top: int, kind: str) -> None:
    box = (left + 1, top + 1, left + CELL - 1, top + CELL - 1)
    if kind == "wall":
        sheet.rectangle(box, (58, 54, 54))
    elif kind == "water":
        sheet.rectangle(box, (76, 140, 206))
        for row in (8, 14, 20):
            points = [(left + 4 + 4 * i, top + row + (1.5 if i % 2 else -1.5)) for i in range(6)]
            sheet.line(points, (200, 226, 246), 1.2)
    else:
        sheet.rectangle(box, (236, 236, 232), (90, 60, 60), 1.5)
        for shift in (7, 14, 21):
            sheet.line([(left + 2, top + shift + 2), (left + shift + 2, top + 2)], (120, 50, 50), 1.2)
            sheet.line([(left + shift, top + CELL - 2), (left + CELL - 2, top + shift)], (120, 50, 50), 1.2)


def marks(scene: RouteScene) -> tuple[list[Mark], ...]:
    found = [Mark((x + 0.5) * CELL, (y + 0.5) * CELL, 20, colour_label("fill", "black")) for x, y in scene.blocked]
    for name, (x, y) in scene.landmarks.items():
        kind = thing_label(*name.split()) if len(name) > 1 else char_label(name)
        found.append(Mark((x + 0.5) * CELL, (y + 0.5) * CELL, 18, kind))
    return (found,)


# --- questions: key = (landmark, landmark or the moves to make)

WORDINGS: dict[str, tuple[str, ...]] = {
    "follow": (
        "Start at {a} and go {d}. What is there?", "From {a} go {d}: which landmark are you at?",
        "I stand at {a} and walk {d}. Where am I?", "Go {d} from {a}. What do you reach?",
        "Follow the directions: from {a}, {d}. Which landmark is it?", "{a}, then {d}: where is that?",
        "If you leave {a} and go {d}, what do you come to?",
    ),
    "beside": (
        "Going straight {d} from {a}, which landmark do you meet first?",
        "What is the nearest landmark straight {d} of {a}?",
        "Look {d} from {a}: what is the first landmark in line?", "Which landmark comes first straight {d} from {a}?",
        "straight {d} of {a}: first landmark?", "Walk {d} from {a} without turning. What do you come to first?",
    ),
    "steps": (
        "How many steps is it at least on this map from {a} to {b}, one step a square?",
        "On the map, what is the smallest number of steps from {a} to {b}?",
        "How far is {b} from {a} in steps (up, down, left, right)?",
        "Count the steps of the shortest walk on the map between {a} and {b}.",
        "Walking square by square, how many steps from {a} to {b}?", "distance {a} to {b} in squares walked?",
    ),
    "walk": (
        "Write a way on the map from {a} to {b} as moves: U, D, L, R.",
        "Take me from {a} to {b}, square by square, with the letters U, D, L and R.",
        "Which moves bring me on this map from {a} to {b} (U up, D down, L left, R right)?",
        "Directions from {a} to {b} please, as U, D, L, R.", "map: {a} to {b} in U D L R",
        "How do I walk from {a} to {b}? One letter for each step: U, D, L or R.",
    ),
    "square": (
        "Columns are a, b, c and so on from the left, rows 1, 2, 3 from the top. In which square is {a}?",
        "Name the square of {a}: a letter for the column from the left, then the row from the top.",
        "With columns a, b, c... from the left and rows 1, 2, 3... from the top, where is {a}?",
        "Where is {a}? Answer with column letter and row number, a1 being the upper left square.",
        "square of {a} (a1 = upper left)?",
    ),
    "compass": (
        "In which direction does {b} lie from {a}: north, northeast, east, and so on?",
        "Which way is {b} as seen from {a}? Answer with a compass direction such as southwest.",
        "North is up. In which of the eight compass directions is {b} from {a}?",
        "{b} is in which compass direction from {a} (north, northeast, ...)?", "compass direction from {a} to {b}?",
    ),
}  # fmt: skip
FOLLOW_UPS: dict[str, tuple[str, ...]] = {
    "follow": ("And from {a}, {d}?", "Now from {a} go {d}. What is there?"),
    "beside": ("And the first landmark straight {d} of {a}?", "What do I meet first straight {d} from {a}?"),
    "steps": ("And how many steps from {a} to {b}?", "How many steps is it from {a} to {b} then?"),
    "walk": ("And how do I walk from {a} to {b}, in U, D, L, R?", "Now the moves from {a} to {b}, please."),
    "square": ("And in which square is {a}?", "and {a}, in which square (a1 is the upper left)?"),
    "compass": ("And in which compass direction is {b} from {a}?", "Which direction is {b} from {a} then?"),
}

_ROUND = ("You cannot enter blocked squares.", "Blocked squares cannot be crossed.", "Go round what is blocked.")
for _kind in ("steps", "walk"):  # where there are blocked squares, the question says what they mean
    WORDINGS[f"{_kind}_round"] = tuple(f"{said} {way}" for way in WORDINGS[_kind] for said in _ROUND)
    FOLLOW_UPS[f"{_kind}_round"] = tuple(f"{said} {way}" for way in FOLLOW_UPS[_kind] for said in _ROUND)


def ask(scene: RouteScene, rng: random.Random, previous: Query | None) -> Query:
    kinds = {"follow": 4, "beside": 5, "steps": 3, "walk": 3, "compass": 2, "square": 2 if scene.columns <= 8 else 0}
    while True:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        a, b = rng.sample(list(scene.landmarks), 2)
        if kind == "follow":
            query = following(scene, a, _wander(scene, a, rng), compass=rng.random() < 0.4)
        elif kind == "beside":
            query = beside(scene, a, rng.choice("URDL"), compass=rng.random() < 0.6)
        else:
            query = question(scene, kind, a, b)
        if query and (previous is None or (query.kind, query.key) != (previous.kind, previous.key)):
            return query


def _wander(scene: RouteScene, name: str, rng: random.Random) -> str:
    """Moves along straight legs to some other landmark, or "" where none was come upon."""
    for _ in range(20):
        cell, moves, last = scene.landmarks[name], "", ""
        for _ in range(rng.randint(max(1, scene.legs - 1), scene.legs)):
            move = rng.choice([move for move in STEPS if move not in last])
            length = 0
            while scene.inside(step(cell, move)) and (length == 0 or rng.random() < 0.5):
                cell, moves, length = step(cell, move), moves + move, length + 1
            last = "UD" if move in "UD" else "LR"
        if cell in scene.names and cell != scene.landmarks[name]:
            return moves
    return ""


def following(scene: RouteScene, name: str, moves: str, *, compass: bool = False) -> Query | None:
    if not moves:
        return None
    cell = scene.landmarks[name]
    for move in moves:
        cell = step(cell, move)
    words = COMPASS if compass else WORDS
    said = [f"{len(leg)} {words[leg[0]]}" for leg in _legs(moves)]
    directions = said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1]
    return Query("follow", scene.names[cell], (name, moves), {"a": _the(name), "d": directions}, "word")


def _legs(moves: str) -> list[str]:
    """`RRD` as `RR`, `D`."""
    legs = [moves[0]]
    for move in moves[1:]:
        if move == legs[-1][0]:
            legs[-1] += move
        else:
            legs.append(move)
    return legs


def beside(scene: RouteScene, name: str, move: str, *, compass: bool = False) -> Query | None:
    """None where the edge or a blocked square comes first."""
    cell, moves = step(scene.landmarks[name], move), move
    while scene.inside(cell) and cell not in scene.names:
        cell, moves = step(cell, move), moves + move
    if not scene.inside(cell):
        return None
    words = COMPASS if compass else WORDS
    return Query("beside", scene.names[cell], (name, moves), {"a": _the(name), "d": words[move]}, "word")


def question(scene: RouteScene, kind: str, a: str, b: str) -> Query | None:
    """None where there is no way."""
    start, end = scene.landmarks[a], scene.landmarks[b]
    slots = {"a": _the(a), "b": _the(b)}
    if kind == "square":
        return Query(kind, draw.cell_name(*start), (a, a), {"a": _the(a)}, "word")
    if kind == "compass":
        return Query(kind, _direction(start, end), (a, b), slots, "word")
    way = shortest_ways(scene.openings, start).get(end)
    if way is None:
        return None
    asked = f"{kind}_round" if scene.blocked else kind
    if kind == "steps":
        return Query(asked, str(len(way)), (a, b), slots)
    return Query(asked, spelled(way), (a, b), slots, "checked")


def _direction(start: Cell, end: Cell) -> str:
    return "".join(
        word
        for word, there in (
            ("north", end[1] < start[1]),
            ("south", end[1] > start[1]),
            ("east", end[0] > start[0]),
            ("west", end[0] < start[0]),
        )
        if there
    )


def _the(name: str) -> str:
    return f"the {name}" if len(name) > 1 else name


def check(scene: RouteScene, query: Query, text: str) -> bool:
    a, b = query.key
    return leads(scene.openings, scene.landmarks[a], scene.landmarks[b], text)


# --- traces

_WHERE = ("{w}.", "I find {w}.", "First where they are: {w}.", "On the map: {w}.")
_CLOSER = ("I look closer at that part.", "Too small, so I zoom in.", "Closer:")


def solve(scene: RouteScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    a, other = query.key
    named = [a, other] if other in scene.landmarks and other != a else [a]
    searched = query.kind.endswith("_round")
    messages, views = _closer(scene, query, images, style, rng, whole=searched)
    found = [f"{name} {_square(scene, name)}" for name in (named[::-1] if style.strategy == 2 else named)]
    said = rng.choice(_WHERE).format(w=", ".join(found))
    if query.kind in ("follow", "beside"):
        said = f"{said}\n{_walk(scene, query)}"
    elif query.kind == "compass":
        said = f"{said}\n{_compare(scene.landmarks[a], scene.landmarks[other])}: {query.answer}"
    elif searched and "python" in style.tools:
        result = query.answer if query.kind == "steps_round" else repr(f" {query.answer}")
        messages += python_call(_code(scene, query, style.strategy), result, f"{said} Now the blocked squares.")
        said = ""
    elif searched:
        said = f"{said}\n{_way(scene, query)}"
    elif query.kind == "steps" and "python" in style.tools:
        (x, y), (u, v) = (scene.landmarks[name] for name in (a, other))
        code = f'abs(ord("{draw.cell_name(x, 0)[0]}")-ord("{draw.cell_name(u, 0)[0]}"))+abs({y + 1}-{v + 1})'
        messages += python_call(code, query.answer, said)
        said = ""
    elif query.kind != "square":
        said = f"{said}\n{_legs_between(scene, query)}"
    return Trace((*messages, answer(query.answer, said)), tuple(views))


def _square(scene: RouteScene, name: str) -> str:
    return draw.cell_name(*scene.landmarks[name])


def _closer(
    scene: RouteScene, query: Query, images: Images, style: Style, rng: random.Random, *, whole: bool
) -> tuple[list[Message], list[View]]:
    """The parts of a large map that hold what is asked about, or all of them."""
    if max(scene.columns, scene.rows) <= 6 or "crop" not in style.tools:
        return [], []
    cells = [scene.landmarks[name] for name in query.key if name in scene.landmarks]
    if query.kind in ("follow", "beside"):
        cells.append(scene.landmarks[query.answer])
    whole_map = [(x, y) for x in range(scene.columns) for y in range(scene.rows)]
    size = scene.columns, scene.rows
    return crop_parts(images[0], style.image, size, whole_map if whole else cells, rng.choice(_CLOSER))


def _walk(scene: RouteScene, query: Query) -> str:
    """Square by square: `right c2 d2, down d3: K`."""
    name, moves = query.key
    cell, words = scene.landmarks[name], []
    for leg in _legs(moves):
        names = []
        for move in leg:
            cell = step(cell, move)
            names.append(draw.cell_name(*cell))
        words.append(f"{WORDS[leg[0]]} {' '.join(names)}")
    return f"{', '.join(words)}: {query.answer}"


def _compare(start: Cell, end: Cell) -> str:
    """`down from 2 to 5, right from b to d`."""
    words = []
    if end[1] != start[1]:
        words.append(f"{'down' if end[1] > start[1] else 'up'} from {start[1] + 1} to {end[1] + 1}")
    if end[0] != start[0]:
        across = [draw.cell_name(x, 0)[0] for x in (start[0], end[0])]
        words.append(f"{'right' if end[0] > start[0] else 'left'} from {across[0]} to {across[1]}")
    return ", ".join(words)


def _legs_between(scene: RouteScene, query: Query) -> str:
    """Of a map without obstacles: how far along each axis."""
    legs = [(WORDS[leg[0]], len(leg)) for leg in _legs(_found(scene, query))]
    said = f"{_compare(*(scene.landmarks[name] for name in query.key))}: " + ", ".join(
        f"{n} {word}" for word, n in legs
    )
    if query.kind == "steps" and len(legs) == 2:
        said += f", {legs[0][1]}+{legs[1][1]}={query.answer}"
    return said


def _found(scene: RouteScene, query: Query) -> str:
    start, end = (scene.landmarks[name] for name in query.key)
    return shortest_ways(scene.openings, start)[end]


def _way(scene: RouteScene, query: Query) -> str:
    """Round what is blocked: `b2 R c2 D c3`, numbered where steps are counted."""
    cell = scene.landmarks[query.key[0]]
    words = [draw.cell_name(*cell)]
    for number, move in enumerate(_found(scene, query), 1):
        cell = step(cell, move)
        words.append(
            f"{draw.cell_name(*cell)}={number}" if query.kind == "steps_round" else f"{move} {draw.cell_name(*cell)}"
        )
    return " ".join(words)


def _code(scene: RouteScene, query: Query, strategy: int) -> str:
    listed: Sequence[Cell] = in_order(scene.blocked, strategy)
    grid = f's="{" ".join(draw.cell_name(*cell) for cell in listed)}".split()'
    last = draw.cell_name(scene.columns - 1, 0)[0]
    inside = f' and n not in s and "a"<=n[0]<="{last}" and 0<int(n[1:])<{scene.rows + 1}'
    found = f'w["{_square(scene, query.key[1])}"]'
    found = f"len({found})//2" if query.kind == "steps_round" else found
    return search_code(grid, '"URDL"', inside, scene.landmarks[query.key[0]], found)


ROUTE = Family(
    name="route",
    summary="maps with landmarks: follow directions, what lies where, ways and their length",
    tiers="larger maps, blocked squares, longer directions, then beyond the token cap",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
    check=check,
)
