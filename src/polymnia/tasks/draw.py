"""Pens for the families' pictures. A `Look` is how one picture was made, a `Sheet` is drawn on in its pixels.

Pictures vary as people's do: paper and ink, typeface, shades, outlines, a slight tilt, softness and noise, so
that no rule on pixels solves them. Pillow, numpy and three small font packages; the same seed, the same bytes.
"""

import functools
import importlib.resources
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

RGB = tuple[int, int, int]

COLOUR_VALUES: dict[str, RGB] = {
    "red": (214, 40, 40),
    "green": (34, 150, 62),
    "blue": (38, 84, 214),
    "yellow": (240, 200, 20),
    "purple": (150, 50, 180),
    "black": (25, 25, 28),
    "orange": (240, 126, 20),
}
_PAPERS: tuple[RGB, ...] = (
    (255, 255, 255), (250, 246, 236), (236, 240, 246), (244, 244, 240), (232, 240, 230), (246, 236, 236),
    (224, 226, 230), (255, 250, 222),
)  # fmt: skip
_INKS: tuple[RGB, ...] = ((28, 28, 32), (20, 30, 60), (60, 40, 30), (50, 50, 54))
_FONTS: tuple[tuple[str, str] | None, ...] = (
    None,  # Pillow's own sans serif
    ("font_hanken_grotesk", "HankenGrotesk-Regular.otf"),
    ("font_hanken_grotesk", "HankenGrotesk-SemiBold.otf"),
    ("font_caladea", "Caladea-Regular.ttf"),
    ("font_caladea", "Caladea-Bold.ttf"),
    ("font_fredoka_one", "FredokaOne-Regular.ttf"),
)
_GRAIN_TILE = 256
SCALE = 2
"""Sheets are drawn this much larger and reduced, for smooth edges."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one picture is made; families choose what it is used for."""

    paper: RGB
    ink: RGB
    """Of text and axes."""
    font: int
    """Index of the typeface."""
    outline: bool
    """Filled things have a thin dark edge."""
    tilt: float
    """Degrees, counter-clockwise."""
    blur: float
    """Radius in pixels."""
    noise: int
    """Largest change of a channel."""

    @property
    def faint(self) -> RGB:
        """For grid lines: between paper and ink."""
        r, g, b = ((4 * p + i) // 5 for p, i in zip(self.paper, self.ink, strict=True))
        return r, g, b


def look(rng: random.Random, *, max_tilt: float = 1.5) -> Look:
    return Look(
        paper=rng.choice(_PAPERS),
        ink=rng.choice(_INKS),
        font=rng.randrange(len(_FONTS)),
        outline=rng.random() < 0.25,
        tilt=rng.uniform(-max_tilt, max_tilt) if rng.random() < 0.5 else 0.0,
        blur=rng.uniform(0.3, 0.6) if rng.random() < 0.2 else 0.0,
        noise=rng.choice((0, 0, 4, 8, 14)),
    )


def shade(colour: str, rng: random.Random) -> RGB:
    """A colour by name, a little lighter, darker or off."""
    light = rng.randint(-12, 12)
    red, green, blue = (max(0, min(255, part + light + rng.randint(-10, 10))) for part in COLOUR_VALUES[colour])
    return red, green, blue


class Sheet:
    """A picture being drawn, in its final pixels: x to the right, y down."""

    def __init__(self, width: int, height: int, look: Look, *, scale: int = SCALE) -> None:
        """`scale=1` for large scenes, whose edges need no smoothing."""
        self.width, self.height, self.look, self.scale = width, height, look, scale
        self.image = Image.new("RGB", (width * scale, height * scale), look.paper)
        self.pen = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[tuple[float, float]], fill: RGB | None = None, width: float = 1) -> None:
        self.pen.line(self._scaled(points), fill or self.look.ink, max(1, round(width * self.scale)), joint="curve")

    def rectangle(
        self, box: tuple[float, float, float, float], fill: RGB | None, outline: RGB | None = None, width: float = 1
    ) -> None:
        """Corners (x0, y0) and (x1, y1), x1 and y1 not included."""
        x0, y0, x1, y1 = (edge * self.scale for edge in box)
        self.pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill, outline, max(1, round(width * self.scale)))

    def disc(
        self, x: float, y: float, radius: float, fill: RGB | None, outline: RGB | None = None, width: float = 1
    ) -> None:
        s = self.scale
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.pen.ellipse(box, fill, outline, max(1, round(width * s)))

    def sector(self, x: float, y: float, radius: float, start: float, end: float, fill: RGB) -> None:
        """Of a disc, from `start` to `end` in degrees clockwise from up."""
        s = self.scale
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.pen.pieslice(box, start - 90, end - 90, fill, self.look.paper, s)

    def polygon(self, points: Sequence[tuple[float, float]], fill: RGB, outline: RGB | None = None) -> None:
        self.pen.polygon(self._scaled(points), fill, outline, max(1, self.scale))

    def text(
        self,
        x: float,
        y: float,
        string: str,
        size: float,
        fill: RGB | None = None,
        *,
        bold: float = 0.0,
        anchor: str = "mm",
    ) -> None:
        """The string centred on (x, y), or as the anchor says; `bold` thickens it by so many pixels."""
        place = (x * self.scale, y * self.scale)
        face = font(self.look.font, round(size * self.scale))
        self.pen.text(place, string, fill or self.look.ink, face, anchor, stroke_width=bold * self.scale)

    def shape(self, kind: str, x: float, y: float, size: float, fill: RGB, turn: float = 0.0) -> None:
        """A filled shape of about `size` pixels across, centred on (x, y), turned by `turn` radians."""
        edge = self.look.ink if self.look.outline else None
        if kind == "circle":
            self.disc(x, y, size / 2, fill, edge)
        elif kind == "cross":
            arm = size * 0.17
            for across in (0.0, math.pi / 2):
                corners = [(-size / 2, -arm), (size / 2, -arm), (size / 2, arm), (-size / 2, arm)]
                self.polygon([_turned(x, y, u, v, turn + across) for u, v in corners], fill)
        else:
            self.polygon(_corners(kind, x, y, size / 2, turn), fill, edge)

    def finish(self, rng: random.Random) -> Image.Image:
        """The picture: reduced, tilted, softened, noisy, as its look says."""
        image, look = self.image, self.look
        if self.scale > 1:
            image = image.reduce(self.scale)
        if look.tilt:
            image = image.rotate(look.tilt, Image.Resampling.BICUBIC, fillcolor=look.paper)
        if look.blur and self.scale > 1:  # a large scene's small print stays as it is
            image = image.filter(ImageFilter.GaussianBlur(look.blur))
        if look.noise:
            image = _grainy(image, look.noise, rng)
        return image

    def _scaled(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self.scale, y * self.scale) for x, y in points]


@functools.lru_cache(maxsize=256)
def font(index: int, size: int) -> ImageFont.FreeTypeFont:
    chosen = _FONTS[index]
    if chosen is None:
        loaded = ImageFont.load_default(size)
        if not isinstance(loaded, ImageFont.FreeTypeFont):
            raise RuntimeError("Pillow was built without FreeType: install the Pillow wheel from the package registry")
        return loaded
    package, file = chosen
    return ImageFont.truetype(str(importlib.resources.files(package) / "files" / file), size)


def _grainy(image: Image.Image, most: int, rng: random.Random) -> Image.Image:
    """Each channel changed by up to `most`; one tile of grain serves all of a large picture."""
    grain = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    height, width = (min(side, _GRAIN_TILE) for side in (image.height, image.width))
    tile = grain.integers(0, 2 * most + 1, (height, width, 3), dtype=np.uint8)
    tiles = np.tile(tile, (-(-image.height // height), -(-image.width // width), 1))[: image.height, : image.width]
    return ImageChops.add(image, Image.fromarray(tiles), 1, -most)


def _corners(kind: str, x: float, y: float, half: float, turn: float) -> list[tuple[float, float]]:
    if kind == "square":
        return _ring(x, y, [half * 1.2] * 4, turn + math.pi / 4)
    if kind == "diamond":
        return _ring(x, y, [half * 1.25, half * 0.8] * 2, turn - math.pi / 2)
    if kind == "triangle":
        return _ring(x, y + half * 0.16, [half * 1.15] * 3, turn - math.pi / 2)
    if kind == "star":
        return _ring(x, y, [half * 1.15, half * 0.45] * 5, turn - math.pi / 2)
    raise ValueError(f"unknown shape {kind!r}")


def _ring(x: float, y: float, radii: list[float], turn: float) -> list[tuple[float, float]]:
    step = 2 * math.pi / len(radii)
    return [(x + r * math.cos(turn + i * step), y + r * math.sin(turn + i * step)) for i, r in enumerate(radii)]


def _turned(x: float, y: float, u: float, v: float, turn: float) -> tuple[float, float]:
    c, s = math.cos(turn), math.sin(turn)
    return x + u * c - v * s, y + u * s + v * c


def cell_name(column: int, row: int) -> str:
    """Image-token place as written in traces: letter = column, digit = row (`a1` is the upper left)."""
    return f"{chr(ord('a') + column)}{row + 1}"
