"""Coloured shapes on a grid of cells: what several families draw, list and read in parts.

A cell is one image token (28 px) named as in `draw.cell_name`. Does not cover questions or truth.
"""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Mark, View
from polymnia.tasks.labels import thing_label
from polymnia.tasks.trace import crop_call, thousandths

OVERVIEW_SIDE = 6
"""Cells a side that nano sees at full resolution (36 image tokens); a larger grid is read in parts."""
MAX_COLUMNS = 26
"""Cells are named with one letter."""

Span = tuple[int, int, int, int]
"""Left, top, right and bottom in cells, right and bottom not included."""


@dataclass(frozen=True, slots=True)
class Thing:
    column: int
    row: int
    colour: str
    shape: str

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def cell(self) -> str:
        return draw.cell_name(self.column, self.row)

    @property
    def seen(self) -> str:
        """As traces list it: `b2 red star`."""
        return f"{self.cell} {self.name}"


def plural(shape: str) -> str:
    return shape + "es" if shape.endswith("s") else shape + "s"


def listing(things: Iterable[Thing], strategy: int = 0) -> str:
    """`a1 red star;b2 blue circle`, in the order of the strategy."""
    return ";".join(thing.seen for thing in ordered(things, strategy))


def ordered(things: Iterable[Thing], strategy: int) -> list[Thing]:
    order = sorted(things, key=lambda t: (t.column, t.row) if strategy == 1 else (t.row, t.column))
    return order[::-1] if strategy == 2 else order


# --- pictures


def board(sheet: draw.Sheet, box: Span, style: str) -> None:
    """The ground under a grid of cells: `lines`, `tiles` (a chequered shade), `dots` at the corners."""
    left, top, right, bottom = box
    faint = sheet.look.faint
    if style == "lines":
        for column in range(left, right + 1):
            sheet.line([(column * CELL, top * CELL), (column * CELL, bottom * CELL)], faint)
        for row in range(top, bottom + 1):
            sheet.line([(left * CELL, row * CELL), (right * CELL, row * CELL)], faint)
    elif style == "tiles":
        tile = tuple((9 * p + i) // 10 for p, i in zip(sheet.look.paper, sheet.look.ink, strict=True))
        for column, row in itertools.product(range(left, right), range(top, bottom)):
            if (column + row) % 2:
                edges = (column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL)
                sheet.rectangle(edges, (tile[0], tile[1], tile[2]), None)
    elif style == "dots":
        for column, row in itertools.product(range(left, right + 1), range(top, bottom + 1)):
            sheet.disc(column * CELL, row * CELL, 1.7, faint)


BOARDS = ("lines", "lines", "tiles", "dots")


@dataclass(frozen=True, slots=True)
class Hand:
    """How one thing is drawn: offset from its cell's centre and size in pixels, turn in radians, its shade."""

    dx: float
    dy: float
    size: float
    turn: float
    fill: draw.RGB


def hand(rng: random.Random, colour: str, spread: float) -> Hand:
    """`spread` is the largest offset from the cell's centre in pixels."""
    size = rng.uniform(17, 23) if spread < 4 else rng.uniform(13, 19)
    dx, dy = rng.uniform(-spread, spread), rng.uniform(-spread, spread)
    return Hand(dx, dy, size, rng.uniform(-0.2, 0.2), draw.shade(colour, rng))


def put(sheet: draw.Sheet, thing: Thing, how: Hand) -> None:
    x, y = (thing.column + 0.5) * CELL + how.dx, (thing.row + 0.5) * CELL + how.dy
    sheet.shape(thing.shape, x, y, how.size, how.fill, how.turn)


def thing_marks(things: Iterable[Thing]) -> list[Mark]:
    return [Mark((t.column + 0.5) * CELL, (t.row + 0.5) * CELL, 18, thing_label(t.colour, t.shape)) for t in things]


# --- reading in parts


def parts(columns: int, rows: int) -> list[Span]:
    """Boxes that nano sees at full resolution, row by row; at least an upper and a lower half.

    Strips as wide as the board where they hold three rows or more, so that cells keep their letters.
    """
    most = OVERVIEW_SIDE**2
    if columns <= most // 3:
        across, down = [(0, columns)], _cuts(rows, most // columns)
    else:
        across, down = _cuts(columns, OVERVIEW_SIDE), _cuts(rows, OVERVIEW_SIDE)
    return [(left, top, right, bottom) for top, bottom in down for left, right in across]


def _cuts(cells: int, most: int) -> list[tuple[int, int]]:
    number = max(2, -(-cells // most))
    edges = [round(part * cells / number) for part in range(number + 1)]
    return list(itertools.pairwise(edges))


def inside(things: Iterable[Thing], span: Span) -> list[Thing]:
    left, top, right, bottom = span
    return [t for t in things if left <= t.column < right and top <= t.row < bottom]


def read_parts(
    picture: Image.Image, place: int, index: int, spans: Sequence[Span], readings: Sequence[str], said: str
) -> tuple[list[Message], list[View], str]:
    """Crops one span after the other; what is read in one is written before the next step.

    `place`: the picture's 0-based place among the problem's, `index`: its number in the conversation. Returns the
    messages, their views, and what is to be written next (the last reading).
    """
    messages: list[Message] = []
    views: list[View] = []
    for span, reading in zip(spans, readings, strict=True):
        left, top, right, bottom = (edge * CELL for edge in span)
        across, down = picture.width, picture.height
        box = [thousandths(e, size) for e, size in ((left, across), (top, down), (right, across), (bottom, down))]
        turn, _ = crop_call(picture, index, box, said)
        messages += turn
        # In a picture of more than 1000 pixels a thousandth is not a whole pixel.
        x0, y0, x1, y1 = (round(e * size / 1000) for e, size in zip(box, (across, down) * 2, strict=True))
        views.append(View(place, (x0, y0, x1, y1)))
        said = reading
    return messages, views, said
