"""Ways on a grid of cells, for the families `maze` and `route`: shortest ways, answers read, Python that finds them.

Cells are (column, row); moves are the letters U, R, D, L, tried in this order everywhere, so that the code of
a trace finds the very way that `shortest_ways` finds.
"""

import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from polymnia.data.chat import Message
from polymnia.tasks.base import CELL, View
from polymnia.tasks.draw import cell_name
from polymnia.tasks.trace import crop_call, thousandths

Cell = tuple[int, int]
Openings = Mapping[Cell, str]
"""Which moves lead out of each cell."""

STEPS: dict[str, Cell] = {"U": (0, -1), "R": (1, 0), "D": (0, 1), "L": (-1, 0)}
WORDS = {"U": "up", "R": "right", "D": "down", "L": "left"}
BACK = {"U": "D", "R": "L", "D": "U", "L": "R"}
COMPASS = {"U": "north", "R": "east", "D": "south", "L": "west"}
MAX_COLUMNS = 26
"""Cells are named by one letter for their column; larger grids grow downwards."""
MAX_ANSWER = 20_000
"""Characters of an answer that are read."""

_WORD_MOVES = {word: move for names in (WORDS, COMPASS) for move, word in names.items()}
_FILLERS = frozenset("a and answer are go is move moves open path route so start step steps the then way you".split())  # noqa: SIM905


def step(cell: Cell, move: str) -> Cell:
    return cell[0] + STEPS[move][0], cell[1] + STEPS[move][1]


def spelled(moves: str) -> str:
    """`RRD` as answers have it, a token a move: `R R D`."""
    return " ".join(moves)


def shortest_ways(openings: Openings, start: Cell) -> dict[Cell, str]:
    """The moves to each cell that can be reached, breadth first."""
    ways, queue = {start: ""}, [start]
    for cell in queue:
        for move in openings[cell]:
            if (after := step(cell, move)) not in ways:
                ways[after] = ways[cell] + move
                queue.append(after)
    return ways


def read_moves(text: str) -> str | None:
    """`R R D`, `rrd`, `right, right, then down`, `east and south` as `RRD`; None for anything else."""
    if len(text) > MAX_ANSWER or re.search(r"[^\W\d_]*[\d_]", text):
        return None
    moves = ""
    for word in re.findall(r"[^\W\d_]+", text):
        lower = word.lower()
        if lower in _WORD_MOVES:
            moves += _WORD_MOVES[lower]
        elif not set(lower) - set("urdl"):
            moves += lower.upper()
        elif lower not in _FILLERS:
            return None
    return moves or None


def leads(openings: Openings, start: Cell, goal: Cell, answer: str) -> bool:
    """Whether the moves that an answer names go from start to goal, each of them possible."""
    moves = read_moves(answer)
    if moves is None:
        return False
    cell = start
    for move in moves:
        if move not in openings[cell]:
            return False
        cell = step(cell, move)
    return cell == goal


def parts(columns: int, rows: int, side: int = 6) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of at most `side` x `side` cells that cover the grid, nearly equal."""
    across, down = _edges(columns, side), _edges(rows, side)
    return [
        (left, top, right, bottom)
        for top, bottom in itertools.pairwise(down)
        for left, right in itertools.pairwise(across)
    ]


def crop_parts(
    picture: Image.Image, index: int, size: tuple[int, int], cells: Iterable[Cell], said: str
) -> tuple[list[Message], list[View]]:
    """Crops of those parts of a grid of `size` (columns, rows) that hold any of the cells."""
    wanted = list(cells)
    messages: list[Message] = []
    views = []
    for left, top, right, bottom in parts(*size):
        if any(left <= x < right and top <= y < bottom for x, y in wanted):
            edges = [thousandths(at, whole) for at, whole in zip((left, top, right, bottom), size * 2, strict=True)]
            turn, _ = crop_call(picture, index, edges, said)
            messages += turn
            views.append(View(0, (left * CELL, top * CELL, right * CELL, bottom * CELL)))
            said = ""
    return messages, views


def _edges(length: int, side: int) -> list[int]:
    number = -(-length // side)
    return [round(part * length / number) for part in range(number + 1)]


def in_order(cells: Iterable[Cell], strategy: int) -> list[Cell]:
    """Row by row; column by column (1); or backwards (2)."""
    order = sorted(cells, key=lambda cell: cell if strategy == 1 else (cell[1], cell[0]))
    return order[::-1] if strategy == 2 else order


def search_code(grid: str, moves: str, condition: str, start: Cell, result: str) -> str:
    """Python that tries all ways from `start`: `w` holds the moves to each cell's name, as ` R R D`.

    `grid` is what the search knows, `moves` the ways out of the cell `a`, `condition` what more must hold of its
    neighbour `n`.
    """
    first = cell_name(*start)
    return (
        f'{grid}\nw={{"{first}":""}};q=["{first}"]\nfor a in q:\n for k in {moves}:\n'
        '  n=chr(ord(a[0])+(k=="R")-(k=="L"))+str(int(a[1:])+(k=="D")-(k=="U"))\n'
        f'  if n not in w{condition}:w[n]=w[a]+" "+k;q.append(n)\n{result}'
    )


def steps_between(openings: Openings, cells: Sequence[Cell]) -> str:
    """The moves along a row of neighbouring cells."""
    return "".join(next(m for m in openings[a] if step(a, m) == b) for a, b in itertools.pairwise(cells))


def carved(rng: random.Random, columns: int, rows: int) -> dict[Cell, str]:
    """A maze with exactly one way between any two cells, by random depth-first digging."""
    out: dict[Cell, set[str]] = {(x, y): set() for y in range(rows) for x in range(columns)}
    trail = [(rng.randrange(columns), rng.randrange(rows))]
    seen = {trail[0]}
    while trail:
        # Now and then it goes on from an older cell: more forks, shorter dead ends.
        place = rng.randrange(len(trail)) if rng.random() < 0.2 else -1
        cell = trail[place]
        free = [move for move in STEPS if (after := step(cell, move)) in out and after not in seen]
        if not free:
            trail.pop(place)
            continue
        move = rng.choice(free)
        after = step(cell, move)
        out[cell].add(move)
        out[after].add(BACK[move])
        seen.add(after)
        trail.append(after)
    return {cell: "".join(move for move in STEPS if move in moves) for cell, moves in out.items()}
