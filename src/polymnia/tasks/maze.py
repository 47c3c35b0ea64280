"""`maze`: find the way, its length, the door that can be reached, and what is open around a cell.

A cell of the maze is a token of the picture, so that walls stand on the edges between tokens. Tiers: 0 has about
3x3 cells, 1 has 4x4, 2 has 4x5, 3 has 5x5, 4 has 5x6, 5 has 6x6; from 6 (7x7) on the maze is larger than
nano's overview and is looked at in parts; it grows by one cell a side for each tier.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import LETTERS, char_label, label
from polymnia.tasks.paths import (
    BACK,
    MAX_COLUMNS,
    STEPS,
    WORDS,
    Cell,
    carved,
    crop_parts,
    in_order,
    leads,
    parts,
    read_moves,
    search_code,
    shortest_ways,
    spelled,
    step,
    steps_between,
)
from polymnia.tasks.trace import answer, python_call

DOORS = 3
SMALL = 20
"""Cells of a maze that is walked in the head, without Python."""
_WALL_BITS = {"U": 1, "R": 2, "D": 4, "L": 8}


@dataclass(frozen=True, slots=True)
class MazeScene:
    columns: int
    rows: int
    openings: Mapping[Cell, str]
    """The moves that are open in each cell, in the order of `paths.STEPS`."""
    letters: Mapping[str, Cell]
    """The start first, then the goal, or the doors of which only one can be reached."""

    @property
    def doors(self) -> list[str]:
        others = list(self.letters)[1:]
        return others if len(others) > 1 else []


def make_scene(rng: random.Random, tier: int) -> MazeScene:
    side = tier + 1
    columns, rows = {
        0: rng.choice(((3, 3), (3, 4), (4, 3))),
        1: (4, 4),
        2: rng.choice(((4, 5), (5, 4))),
        3: (5, 5),
        4: rng.choice(((5, 6), (6, 5))),
        5: (6, 6),
    }.get(tier, (min(side, MAX_COLUMNS), max(side, side * side // MAX_COLUMNS)))
    openings = carved(rng, columns, rows)
    cells = _with_doors(rng, openings) if rng.random() < 0.25 else _far_apart(rng, openings)
    letters = dict(zip(rng.sample(LETTERS, len(cells)), cells, strict=True))
    return MazeScene(columns, rows, openings, letters)


def _far_apart(rng: random.Random, openings: Mapping[Cell, str]) -> list[Cell]:
    start = rng.choice(list(openings))
    ways = shortest_ways(openings, start)
    reach = max(len(way) for way in ways.values())
    return [start, rng.choice([cell for cell, way in ways.items() if len(way) >= max(2, reach // 2)])]


def _with_doors(rng: random.Random, openings: dict[Cell, str]) -> list[Cell]:
    """Walls the maze up into as many regions as there are doors, each with one of them, on the rim if it can be.

    Returns the start, which is in one of the regions, and the doors; changes `openings`. Of two cells or more each,
    since a tree of nine cells or more can always be cut so.
    """
    for _ in range(DOORS - 1):
        edges = [(cell, move) for cell, moves in openings.items() for move in moves]
        for cell, move in rng.sample(edges, len(edges)):
            _set(openings, cell, move, is_open=False)
            if all(len(shortest_ways(openings, one)) > 1 for one in (cell, step(cell, move))):
                break
            _set(openings, cell, move, is_open=True)
    regions: list[list[Cell]] = []
    for cell in openings:
        if not any(cell in region for region in regions):
            regions.append(list(shortest_ways(openings, cell)))
    right, bottom = max(openings)
    rims = [[(x, y) for x, y in region if x in (0, right) or y in (0, bottom)] for region in regions]
    doors = [rng.choice(rim or region) for rim, region in zip(rims, regions, strict=True)]
    start = rng.choice([cell for region in regions for cell in region if cell not in doors])
    rng.shuffle(doors)
    return [start, *doors]


def _set(openings: dict[Cell, str], cell: Cell, move: str, *, is_open: bool) -> None:
    for one, way in ((cell, move), (step(cell, move), BACK[move])):
        openings[one] = "".join(m for m in STEPS if (m in openings[one] if m != way else is_open))


def scene_key(scene: MazeScene) -> str:
    walls = ",".join(scene.openings[x, y] for y in range(scene.rows) for x in range(scene.columns))
    return f"{scene.columns};{walls};" + ";".join(f"{name}{cell}" for name, cell in scene.letters.items())


# --- pictures


def picture(scene: MazeScene, rng: random.Random) -> Images:
    small = scene.columns <= 12
    look = draw.look(rng, max_tilt=rng.choice((0.0, 0.0, 0.8)) if small else 0.0)
    sheet = draw.Sheet(scene.columns * CELL, scene.rows * CELL, look, scale=2 if small else 1)
    kind = rng.choice(("lines", "lines", "hedge", "tunnels", "rooms"))
    if kind == "tunnels":
        _draw_tunnels(sheet, scene, rng)
    else:
        _draw_walls(sheet, scene, rng, kind)
    plate = rng.choice((None, "disc", "square"))
    fills = [draw.shade(rng.choice(("green", "blue", "purple")), rng), draw.shade(rng.choice(("red", "orange")), rng)]
    for place, (name, (x, y)) in enumerate(scene.letters.items()):
        u, v = (x + 0.5) * CELL, (y + 0.5) * CELL
        if plate == "disc":
            sheet.disc(u, v, 9.5, fills[min(place, 1)])
        elif plate == "square":
            sheet.rectangle((u - 9, v - 9, u + 9, v + 9), fills[min(place, 1)])
        sheet.text(u, v, name, 16, (255, 255, 255) if plate else (25, 25, 28), bold=0.4)
    return (sheet.finish(rng),)


def _draw_walls(sheet: draw.Sheet, scene: MazeScene, rng: random.Random, kind: str) -> None:
    width = {"hedge": 3.0, "rooms": 1.6}.get(kind, rng.choice((1.5, 2.0, 2.5)))
    colour = {"hedge": draw.shade("green", rng), "rooms": (120, 84, 60)}.get(kind, sheet.look.ink)
    if kind == "rooms":  # tiled floor
        for x, y in scene.openings:
            if (x + y) % 2:
                box = (x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL)
                sheet.rectangle(box, (232, 222, 206))
    for (x, y), moves in scene.openings.items():
        left, top, right, bottom = x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL
        for move in STEPS:
            if move not in moves:
                sheet.rectangle(
                    {
                        "U": (left, top, right, top + width),
                        "R": (right - width, top, right, bottom),
                        "D": (left, bottom - width, right, bottom),
                        "L": (left, top, left + width, bottom),
                    }[move],
                    colour,
                )
        for u, v in ((left, top), (right - width, top), (left, bottom - width), (right - width, bottom - width)):
            sheet.rectangle((u, v, u + width, v + width), colour)  # posts, which join walls round a corner


def _draw_tunnels(sheet: draw.Sheet, scene: MazeScene, rng: random.Random) -> None:
    rock = rng.choice(((70, 62, 56), (52, 58, 74), (96, 110, 92), (110, 84, 70)))
    sheet.rectangle((0, 0, sheet.width, sheet.height), rock)
    half = rng.choice((10, 11))
    light = rng.choice(((250, 244, 226), (236, 240, 246), (255, 255, 255)))
    for (x, y), moves in scene.openings.items():
        u, v = (x + 0.5) * CELL, (y + 0.5) * CELL
        sheet.rectangle((u - half, v - half, u + half, v + half), light)
        for move in moves:
            dx, dy = STEPS[move]
            box = (u + min(dx, 0) * CELL / 2 - half * (dx == 0), v + min(dy, 0) * CELL / 2 - half * (dy == 0))
            end = (u + max(dx, 0) * CELL / 2 + half * (dx == 0), v + max(dy, 0) * CELL / 2 + half * (dy == 0))
            sheet.rectangle((*box, *end), light)


def marks(scene: MazeScene) -> tuple[list[Mark], ...]:
    """Each cell's walls, but where a letter is seen."""
    found = []
    names = {cell: name for name, cell in scene.letters.items()}
    for (x, y), moves in scene.openings.items():
        walls = sum(bit for move, bit in _WALL_BITS.items() if move not in moves)
        kind = char_label(names[x, y]) if (x, y) in names else label("walls", walls)
        found.append(Mark((x + 0.5) * CELL, (y + 0.5) * CELL, 17, kind))
    return (found,)


# --- questions: key = the letters from and to

WORDINGS = {
    "path": (
        "Find the way through the maze from {a} to {b}. Answer with moves: U, D, L, R.",
        "How do I get from {a} to {b}? Give the moves as U, D, L and R.",
        "Which moves lead from {a} to {b} (U up, D down, L left, R right)?",
        "Solve the maze: start at {a}, go to {b}. Moves as letters U, D, L, R.",
        "Walk from {a} to {b} and write down each move (U/D/L/R).",
        "maze: way from {a} to {b} in U D L R",
        "I am at {a} and want to get to {b}. Which moves, up, down, left, right?",
    ),
    "length": (
        "How long is the shortest way from {a} to {b}, in steps from cell to cell?",
        "How many steps does it take through the maze from {a} to {b}?",
        "In this maze, {a} to {b}: how many moves at least?", "Count the moves through the maze from {a} to {b}.",
        "What is the smallest number of moves that brings me through the maze from {a} to {b}?",
        "steps through the maze {a} to {b}?",
    ),
    "open": (
        "Standing at {a} in the maze, in which directions can you go?",
        "Which ways are open at {a}: up, down, left, right?",
        "In the cell with {a}, which sides have no wall (up, down, left, right)?", "Where can I step from {a}?",
        "open directions at {a}?", "Name the sides of cell {a} that are open.",
    ),
    "exit": (
        "Which door can be reached from {a}?", "Starting at {a}, which of the doors {d} do I get to?",
        "Only one of {d} can be reached from {a}. Which one?", "Which exit does the maze lead to from {a}?",
        "From {a}, which of the exits {d} is not walled off?", "exit reached from {a}: {d}?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "path": ("And the moves from {a} to {b}?", "Now the way from {a} to {b}, please, in U, D, L, R."),
    "length": ("And how many steps is it from {a} to {b}?", "How many moves is that, {a} to {b}?"),
    "open": ("And which directions are open at {a}?", "Which way can I step from {a}?"),
    "exit": ("And which door can be reached from {a}?", "Which of {d} do I get to from {a}?"),
}


def ask(scene: MazeScene, rng: random.Random, previous: Query | None) -> Query:
    names = list(scene.letters)
    while True:
        kind = rng.choices(("exit" if scene.doors else "path", "length", "open"), (4, 0 if scene.doors else 2, 2))[0]
        a, b = names[:2] if kind == "exit" or rng.random() < 0.5 else rng.sample(names, 2)
        query = question(scene, kind, a, b)
        if previous is None or (query.kind, query.key) != (previous.kind, previous.key):
            return query


def question(scene: MazeScene, kind: str, a: str, b: str = "") -> Query:
    ways = shortest_ways(scene.openings, scene.letters[a])
    if kind == "open":
        moves = scene.openings[scene.letters[a]]
        return Query(kind, ", ".join(WORDS[move] for move in moves), (a, a), {"a": a}, "checked")
    if kind == "exit":
        door = next(name for name in scene.doors if scene.letters[name] in ways)
        return Query(kind, door, (a, door), {"a": a, "d": ", ".join(scene.doors)}, "word")
    way = ways[scene.letters[b]]
    if kind == "length":
        return Query(kind, str(len(way)), (a, b), {"a": a, "b": b})
    return Query(kind, spelled(way), (a, b), {"a": a, "b": b}, "checked")


def check(scene: MazeScene, query: Query, text: str) -> bool:
    a, b = query.key
    if query.kind == "open":
        return sorted(read_moves(text) or "") == sorted(scene.openings[scene.letters[a]])
    return leads(scene.openings, scene.letters[a], scene.letters[b], text)


# --- traces

_FIRST = (
    "{w}. I write down where each cell is open.", "{w}. First the open sides of all cells.",
    "{w}. The ways out of each cell:",
)  # fmt: skip
_WALK = ("{w}. I walk from {s}.", "{w}. I try the ways from {s} in turn.", "{w}. From {s}, turning back at dead ends:")
_PARTS = ("The maze is large, so I look at it in parts.", "I look closer, part by part.", "Part by part:")


def solve(scene: MazeScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    a, b = query.key
    named = [a] if query.kind == "open" else [a, *scene.doors] if query.kind == "exit" else [a, b]
    where = ", ".join(f"{name} {draw.cell_name(*scene.letters[name])}" for name in named)
    large = max(scene.columns, scene.rows) > 6
    messages: list[Message] = []
    views: list[View] = []
    if large and "crop" in style.tools:
        size = scene.columns, scene.rows
        messages, views = crop_parts(images[0], style.image, size, scene.openings, rng.choice(_PARTS))
    if query.kind == "open":
        return Trace((*messages, answer(query.answer, f"{where}: {scene.openings[scene.letters[a]]}")), tuple(views))
    in_the_head = len(scene.openings) <= SMALL and style.strategy in (0, 2)
    if "python" not in style.tools or in_the_head:
        said = _walk(scene, query, style.strategy == 2, where, rng)
        return Trace((*messages, answer(query.answer, said)), tuple(views))
    said = rng.choice(_FIRST).format(w=where)
    messages += python_call(_code(scene, query, style.strategy), _result(scene, query), said)
    return Trace((*messages, answer(query.answer)), tuple(views))


def _code(scene: MazeScene, query: Query, strategy: int) -> str:
    a, b = query.key
    listed: list[str] = []
    for left, top, right, bottom in parts(scene.columns, scene.rows):
        cells = in_order([(x, y) for x in range(left, right) for y in range(top, bottom)], strategy)
        listed += [f"{draw.cell_name(*cell)} {scene.openings[cell]}" for cell in cells]
    grid = f'm=dict([i.split() for i in "{";".join(listed)}".split(";")])'
    found = f'w["{draw.cell_name(*scene.letters[b])}"]'
    if query.kind == "exit":
        doors = ",".join(f'"{draw.cell_name(*scene.letters[name])}"' for name in scene.doors)
        found = f"[n for n in ({doors}) if n in w]"
    elif query.kind == "length":
        found = f"len({found})//2"
    return search_code(grid, "m[a]", "", scene.letters[a], found)


def _result(scene: MazeScene, query: Query) -> str:
    if query.kind == "exit":
        return repr([draw.cell_name(*scene.letters[query.answer])])
    return query.answer if query.kind == "length" else repr(f" {query.answer}")


def _walk(scene: MazeScene, query: Query, backwards: bool, where: str, rng: random.Random) -> str:
    """Tries the ways in turn (`a1 R b1 D b2 end; b1 R c1`), then repeats the one that led there."""
    a, b = query.key
    backwards = backwards and query.kind != "exit"
    start, goal = (scene.letters[name] for name in ((b, a) if backwards else (a, b)))
    walked, trail = _explore(scene, start, goal)
    lines = [rng.choice(_WALK).format(w=where, s=b if backwards else a), walked]
    trail = trail[::-1] if backwards else trail
    names = [draw.cell_name(*cell) for cell in trail]
    if query.kind == "length":
        lines.append(" ".join(f"{name}={number}" for number, name in enumerate(names)))
    elif query.kind == "path":
        moves = steps_between(scene.openings, trail)
        lines.append(" ".join(f"{name} {move}" for name, move in zip(names, [*moves, ""], strict=True)).strip())
    else:
        lines.append(f"{names[-1]} is {query.answer}.")
    return "\n".join(lines)


def _explore(scene: MazeScene, start: Cell, goal: Cell) -> tuple[str, list[Cell]]:
    """Depth first in the order of moves: what is written on the way, and the cells from start to goal."""
    trail, seen, words = [start], {start}, [draw.cell_name(*start)]
    turned = False
    while trail[-1] != goal:
        cell = trail[-1]
        move = next((m for m in scene.openings[cell] if step(cell, m) not in seen), None)
        if move is None:
            words += [] if turned else ["end;"]
            turned = True
            trail.pop()
            continue
        if turned:
            words.append(draw.cell_name(*cell))
        turned = False
        trail.append(step(cell, move))
        seen.add(trail[-1])
        words += [move, draw.cell_name(*trail[-1])]
    return " ".join(words), trail


MAZE = Family(
    name="maze",
    summary="find the way through a maze, its length, the door that it leads to",
    tiers="larger mazes, then beyond the token cap",
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
