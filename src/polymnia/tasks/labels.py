"""Classes of what is centred in an image token, for the auxiliary loss while nano trains.

The label of a token costs nothing for programmatic pictures and brings shapes and characters
several times earlier (docs/log.md). 0 = nothing there, IGNORE = undecidable (two things in one token,
or a thing too small to be told apart at the picture's scale).
"""

from collections.abc import Sequence

from polymnia.tasks.base import CELL, Mark

COLOURS = ("red", "green", "blue", "yellow", "purple", "black", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Without I and O, which look like 1 and 0."""
IGNORE = -1

_SIZES = {
    "thing": len(COLOURS) * len(SHAPES),
    "char": 10 + len(LETTERS),
    "plate": len(COLOURS),
    "value": 21,
    "walls": 16,
    "hand": 24,
    "fill": len(COLOURS),
    "share": 21,
}
"""Kinds of classes: `value` a height or level in steps, `walls` the sides of a cell as bits (N 1, E 2, S 4, W 8),
`hand` a direction in steps of 15 degrees clockwise from up, `fill` a cell or area of one colour, `share` a part of
a whole in steps of 5 %."""
_FIRST = {kind: 1 + sum(list(_SIZES.values())[:place]) for place, kind in enumerate(_SIZES)}
NUM_LABELS = 1 + sum(_SIZES.values())


def label(kind: str, index: int) -> int:
    """The class `index` of a kind; IGNORE where the kind has no such class (a value beyond its scale)."""
    return _FIRST[kind] + index if 0 <= index < _SIZES[kind] else IGNORE


def thing_label(colour: str, shape: str) -> int:
    return label("thing", COLOURS.index(colour) * len(SHAPES) + SHAPES.index(shape))


def char_label(char: str) -> int:
    return label("char", int(char) if char.isdigit() else 10 + LETTERS.index(char))


def colour_label(kind: str, colour: str) -> int:
    """Of kind `plate` or `fill`."""
    return label(kind, COLOURS.index(colour))


def token_labels(
    marks: Sequence[Mark], box: tuple[int, int, int, int], grid: tuple[int, int], min_pixels: float = 10.0
) -> list[int]:
    """Labels of a picture's tokens, row by row.

    `box` is the part of the scene that the picture shows (scene pixels), `grid` its (rows, columns) of tokens.
    """
    rows, columns = grid
    x0, y0, x1, y1 = box
    scale_x, scale_y = columns * CELL / (x1 - x0), rows * CELL / (y1 - y0)
    labels = [0] * (rows * columns)
    for mark in marks:
        column, row = int((mark.x - x0) * scale_x // CELL), int((mark.y - y0) * scale_y // CELL)
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        place = row * columns + column
        pixels = mark.size * min(scale_x, scale_y)
        if pixels > 1.3 * CELL:
            continue
        readable = pixels >= min_pixels
        if readable:
            labels[place] = mark.label if labels[place] == 0 else IGNORE
        elif labels[place] == 0:
            labels[place] = IGNORE
    return labels
