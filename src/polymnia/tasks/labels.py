"""Classes of what is centred in an image token, for the auxiliary loss while nano trains.

The label of a token costs nothing for programmatic pictures and brings shapes and characters
several times earlier (docs/log.md). 0 = nothing there, IGNORE = undecidable (two things in one token,
or a thing too small to be told apart at the picture's scale).
"""

from collections.abc import Sequence

from polymnia.tasks.base import CELL, Mark

COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SHAPES = ("circle", "square", "triangle", "star", "cross")
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
IGNORE = -1
MAX_VALUE = 20

_DIGIT = 1 + len(COLOURS) * len(SHAPES)
_LETTER = _DIGIT + 10
_PLATE = _LETTER + len(LETTERS)
_VALUE = _PLATE + len(COLOURS)
NUM_LABELS = _VALUE + MAX_VALUE + 1


def shape_label(colour: str, shape: str) -> int:
    return 1 + COLOURS.index(colour) * len(SHAPES) + SHAPES.index(shape)


def char_label(char: str) -> int:
    return _DIGIT + int(char) if char.isdigit() else _LETTER + LETTERS.index(char)


def plate_label(colour: str) -> int:
    return _PLATE + COLOURS.index(colour)


def value_label(value: int) -> int:
    return _VALUE + value


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
