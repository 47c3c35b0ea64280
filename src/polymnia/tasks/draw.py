"""Pens for the families' pictures: shapes, text, colours. Pillow only, its built-in font."""

import functools
import math
import random

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]

_BASE: dict[str, RGB] = {
    "red": (214, 40, 40),
    "green": (34, 150, 62),
    "blue": (38, 84, 214),
    "yellow": (240, 200, 20),
    "purple": (150, 50, 180),
    "black": (25, 25, 28),
}
_PAPERS: tuple[RGB, ...] = ((255, 255, 255), (250, 246, 236), (236, 240, 246), (244, 244, 240))


def shade(colour: str, rng: random.Random) -> RGB:
    red, green, blue = (max(0, min(255, part + rng.randint(-14, 14))) for part in _BASE[colour])
    return red, green, blue


def paper(rng: random.Random) -> RGB:
    return rng.choice(_PAPERS)


@functools.lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType: install the Pillow wheel from the package registry")
    return loaded


def text(pen: ImageDraw.ImageDraw, x: float, y: float, string: str, size: int, fill: RGB, stroke: float = 0) -> None:
    """The string centred on (x, y)."""
    pen.text((x, y), string, font=font(size), fill=fill, anchor="mm", stroke_width=stroke)


def shape(pen: ImageDraw.ImageDraw, kind: str, x: float, y: float, size: float, fill: RGB, turn: float = 0.0) -> None:
    """A filled shape of about `size` pixels across, centred on (x, y), turned by `turn` radians."""
    half = size / 2
    if kind == "circle":
        pen.ellipse((x - half, y - half, x + half, y + half), fill=fill)
    elif kind == "square":
        _polygon(pen, x, y, [half * 1.2] * 4, turn + math.pi / 4, fill)
    elif kind == "triangle":
        _polygon(pen, x, y + size * 0.08, [half * 1.15] * 3, turn - math.pi / 2, fill)
    elif kind == "star":
        _polygon(pen, x, y, [half * 1.15, half * 0.45] * 5, turn - math.pi / 2, fill)
    elif kind == "cross":
        arm = size * 0.17
        for across in (0.0, math.pi / 2):
            c, s = math.cos(turn + across), math.sin(turn + across)
            corners = [(-half, -arm), (half, -arm), (half, arm), (-half, arm)]
            pen.polygon([(x + u * c - v * s, y + u * s + v * c) for u, v in corners], fill=fill)
    else:
        raise ValueError(f"unknown shape {kind!r}")


def _polygon(pen: ImageDraw.ImageDraw, x: float, y: float, radii: list[float], turn: float, fill: RGB) -> None:
    step = 2 * math.pi / len(radii)
    pen.polygon(
        [(x + r * math.cos(turn + i * step), y + r * math.sin(turn + i * step)) for i, r in enumerate(radii)], fill=fill
    )


def canvas(width: int, height: int, fill: RGB) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), fill)
    return image, ImageDraw.Draw(image)


def cell_name(column: int, row: int) -> str:
    """Image-token place as written in traces: letter = column, digit = row (`a1` is the upper left)."""
    return f"{chr(ord('a') + column)}{row + 1}"
