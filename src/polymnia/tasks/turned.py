"""`turned`: a code or a word on a label that is turned, to be read once the picture is turned back.

Tiers: 0 to 2 have labels at quarter turns on a picture that nano sees at full resolution (0: two or three
labels of 2 or 3 characters, each in a cell); from 3 on the scene is large, so that a label is cut out before
it is turned, and labels lean at steps of 45, then 15 degrees, then at any angle, among shapes. Every text
has a character that shows which way is up.
"""

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from polymnia.data.chat import Message
from polymnia.data.images import rotate, token_grid
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Box, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, LETTERS, SHAPES, colour_label
from polymnia.tasks.trace import answer, call, crop_call, thousandths
from polymnia.tasks.verify import AnswerKind

BLOCK = 112
"""Pixels a side of the part of a large scene that a crop shows."""
OVERVIEW_TOKENS = 36
_UPRIGHT = frozenset("347ABCDEFGJKLPQRTUVY")
"""Upside down these are no character at all; 6 and 9 or M and W need one of them beside them."""
_WORDS = (
    "AT", "BE", "UP", "BAG", "BED", "BUS", "CAR", "CAT", "CUP", "DAY", "EGG", "FUN", "JAM", "KEY", "LEG", "MAP", "PEN",
    "SUM", "TEA", "BELL", "CAKE", "DESK", "DUCK", "FLAG", "GATE", "LAMP", "LEAF", "PLUM", "TREE", "BREAD", "GRAPE",
    "PLATE", "TABLE", "TRUCK",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    colour: str
    text: str
    x: float
    """Centre, pixels."""
    y: float
    turn: int
    """Degrees counter-clockwise from upright, 1 to 359."""

    def place(self, index: int, pitch: int) -> tuple[float, float]:
        """Centre of a character."""
        along = (index - (len(self.text) - 1) / 2) * pitch
        angle = math.radians(self.turn)
        return self.x + along * math.cos(angle), self.y - along * math.sin(angle)


@dataclass(frozen=True, slots=True)
class TurnedScene:
    side: int
    """Pixels."""
    pitch: int
    """Pixels from one character to the next."""
    labels: tuple[Label, ...]
    clutter: tuple[tuple[float, float, str, str], ...] = ()
    """Shapes: x, y, colour, shape."""

    @property
    def large(self) -> bool:
        """Too large for nano's overview to show characters."""
        return (self.side // CELL) ** 2 > OVERVIEW_TOKENS


def make_scene(rng: random.Random, tier: int) -> TurnedScene:
    if tier >= 3:
        return _large(rng, tier)
    side, low, high, lengths = {0: (5, 2, 3, (2, 3)), 1: (6, 3, 4, (2, 4)), 2: (6, 4, 5, (3, 4))}[tier]
    while True:
        taken: set[tuple[int, int]] = set()
        labels = []
        number = rng.randint(low, high)
        for colour in rng.sample(COLOURS, number):
            text, turn = _text(rng, *lengths), rng.choice((90, 180, 270))
            across, down = (len(text), 1) if turn == 180 else (1, len(text))
            column, row = rng.randint(0, side - across), rng.randint(0, side - down)
            cells = {(column + i, row + j) for i in range(across) for j in range(down)}
            if cells & taken:
                break
            taken |= cells
            labels.append(Label(colour, text, (column + across / 2) * CELL, (row + down / 2) * CELL, turn))
        if len(labels) == number:
            return TurnedScene(side * CELL, CELL, tuple(labels))


def _large(rng: random.Random, tier: int) -> TurnedScene:
    blocks = min(3 + tier // 2, 14)
    number = min(rng.randint(3, tier + 1), len(COLOURS))
    clutter = 3 * tier - 5
    taken = rng.sample(range(blocks * blocks), min(number + clutter, blocks * blocks))
    step = 45 if tier == 3 else 15 if tier == 4 else 1
    labels = []
    for place, colour in zip(taken, rng.sample(COLOURS, number), strict=False):
        x, y = (
            min(max((n + 0.5) * BLOCK + rng.randint(-5, 5), 56), blocks * BLOCK - 56) for n in divmod(place, blocks)
        )
        turn = rng.randrange(30 + -30 % step, 331, step)
        labels.append(Label(colour, _text(rng, 3, 4 if tier < 5 else 5), x, y, turn))
    things = []
    for place in taken[number:]:
        x, y = (n * BLOCK + rng.randint(25, BLOCK - 25) for n in divmod(place, blocks))
        things.append((x, y, rng.choice(COLOURS), rng.choice(SHAPES)))
    return TurnedScene(blocks * BLOCK, 22 if tier < 5 else 20, tuple(labels), tuple(things))


def _text(rng: random.Random, shortest: int, longest: int) -> str:
    words = [word for word in _WORDS if shortest <= len(word) <= longest]
    if rng.random() < 0.25:
        return rng.choice(words)
    characters = "0123456789" if rng.random() < 0.6 else LETTERS
    while True:
        text = "".join(rng.choice(characters) for _ in range(rng.randint(shortest, longest)))
        if set(text) & _UPRIGHT:
            return text


def scene_key(scene: TurnedScene) -> str:
    return f"{scene.side};" + ";".join(sorted(f"{o.colour},{o.text},{o.x:g},{o.y:g},{o.turn}" for o in scene.labels))


# --- pictures


def picture(scene: TurnedScene, rng: random.Random) -> Images:
    sheet = draw.Sheet(scene.side, scene.side, draw.look(rng, max_tilt=1.0), scale=2 if scene.side <= 448 else 1)
    for x, y, colour, shape in scene.clutter:
        sheet.shape(shape, x, y, rng.uniform(22, 38), draw.shade(colour, rng), rng.uniform(0, 6))
    form = rng.choice(("sharp", "round", "framed"))
    for one in scene.labels:
        plate = _plate(sheet.look, one, scene.pitch, form, rng).rotate(one.turn, Image.Resampling.BICUBIC, expand=True)
        plate = plate.reduce(draw.SCALE // sheet.scale)
        corner = (round(one.x * sheet.scale - plate.width / 2), round(one.y * sheet.scale - plate.height / 2))
        sheet.image.paste(plate, corner, plate)
    return (sheet.finish(rng),)


def _plate(look: draw.Look, one: Label, pitch: int, form: str, rng: random.Random) -> Image.Image:
    """The label upright and `draw.SCALE` times as large, see-through around it."""
    s = draw.SCALE
    width, height = (len(one.text) * pitch - 2) * s, 26 * s
    fill, size = draw.shade(one.colour, rng), rng.randint(19, 22) if pitch == CELL else rng.randint(18, 20)
    ink = (20, 20, 24) if one.colour in ("yellow", "orange") else (255, 255, 255)
    image = Image.new("RGBA", (width, height), (*fill, 0))
    pen = ImageDraw.Draw(image)
    edge = look.ink if look.outline else None
    pen.rounded_rectangle((0, 0, width - 1, height - 1), (9 if form == "round" else 1) * s, fill, edge, s)
    if form == "framed":
        pen.rectangle((2 * s, 2 * s, width - 1 - 2 * s, height - 1 - 2 * s), None, ink, max(1, s // 2))
    face = draw.font(look.font, size * s)
    for index, character in enumerate(one.text):
        x = ((index + 0.5) * pitch - 1) * s
        pen.text((x, height / 2), character, ink, face, "mm", stroke_width=0.4 * s)
    return image


def marks(scene: TurnedScene) -> tuple[list[Mark], ...]:
    """The labels' colours: a turned character is no class of its own."""
    found = []
    for one in scene.labels:
        plate = colour_label("plate", one.colour)
        if scene.large:
            found.append(Mark(one.x, one.y, 64, plate))
        for index in range(len(one.text)):
            found.append(Mark(*one.place(index, scene.pitch), 20, plate))
    return (found,)


# --- questions: key = the label

WORDINGS = {
    "read": (
        "What does the turned {c} label say?", "Read the {c} label, it is not upright.",
        "What is written on the {c} label? It is turned.", "The {c} label is turned. What does it read?",
        "Turn the {c} label upright and read it.", "the {c} label is not straight, what does it say",
        "What is on the {c} label when it stands upright?", "Tell me the text of the turned label in {c}.",
    ),
    "end": (
        "What is the {end} character on the turned {c} label?", "Which character comes {end} on the {c} label?",
        "Read the turned {c} label: what is its {end} character?", "{end} character of the {c} label?",
        "Once the {c} label is upright, what is the {end} character on it?",
        "Name the {end} character of the {c} label.",
    ),
    "turn": (
        "By how many degrees must the {c} label be turned clockwise to be upright: 90, 180 or 270?",
        "How far clockwise to make the {c} label upright, 90, 180 or 270 degrees?",
        "To read the {c} label, turn it clockwise by 90, 180 or 270 degrees: which?",
        "The {c} label needs a clockwise turn of 90, 180 or 270 degrees to be upright. Which of these?",
        "clockwise turn that makes the {c} label upright (90, 180, 270)?",
        "Is it 90, 180 or 270 degrees clockwise that bring the {c} label upright?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "read": ("And the {c} label, what does it say?", "And what does the {c} one read?", "Now the {c} label."),
    "end": ("And the {end} character on the {c} label?", "And which character is {end} on the {c} one?"),
    "turn": ("And how many degrees clockwise (90, 180, 270) make the {c} label upright?",),
}


def ask(scene: TurnedScene, rng: random.Random, previous: Query | None) -> Query:
    others = [one for one in scene.labels if previous is None or one != previous.key]
    one, kind = rng.choice(others), rng.choices(("read", "end", "turn"), (7, 2, 1 if scene.large else 2))[0]
    answer_kind: AnswerKind = "code" if one.text.isdigit() else "word"
    if kind == "turn" and one.turn % 90 == 0:
        return Query("turn", str(one.turn), one, {"c": one.colour})
    if kind == "end":
        end = rng.choice(("first", "last"))
        character = one.text[0 if end == "first" else -1]
        return Query("end", character, one, {"c": one.colour, "end": end}, answer_kind)
    return Query("read", one.text, one, {"c": one.colour}, answer_kind)


# --- traces

_FOUND = (
    "The {c} label is at {p} and {how}.",
    "{c} label: {p}, {how}.",
    "I see the {c} label at {p}; it {how}.",
)
_QUARTERS = {90: "reads upwards", 180: "is upside down", 270: "reads downwards"}


def solve(scene: TurnedScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    one: Label = query.key
    said = rng.choice(_FOUND).format(c=one.colour, p=_cell(one.x, one.y, scene.side, scene.side), how=_how(one))
    if query.kind == "turn":
        return Trace((answer(query.answer, f"{said}\nclockwise: {query.answer}"),))
    messages: list[Message] = []
    views: list[View | None] = []
    shown, index, box = images[0], style.image, (0, 0, scene.side, scene.side)
    if "crop" in style.tools and (scene.large or style.strategy == 3):
        corners, box = _window(scene, one)
        turn, shown = crop_call(shown, index, corners, said)
        messages, views, said = turn, [View(0, box)], ""
        index = style.images_before + 1
    degrees = 0
    if "rotate" in style.tools and (views or not scene.large):
        degrees = _remedy(one)
        shown = rotate(shown, degrees)
        messages += call("rotate", {"image": index, "degrees": degrees}, shown, reasoning=said)
        views.append(None)
        said = ""
    if scene.large and not views:
        said += " Too small to be sure."
    reading = _reading(scene, one, box, degrees, shown)
    messages.append(answer(query.answer, "\n".join(line for line in (said, reading) if line)))
    return Trace(tuple(messages), tuple(views))


def _how(one: Label) -> str:
    if one.turn % 90 == 0:
        return _QUARTERS[one.turn]
    return f"leans by about {abs(_remedy(one))} to the {'left' if one.turn < 180 else 'right'}"


def _remedy(one: Label) -> int:
    """Degrees counter-clockwise that bring the label upright, in steps of 15: more than anyone sees."""
    degrees = -round(one.turn / 15) * 15
    return degrees if degrees > -180 else degrees + 360


def _cell(x: float, y: float, width: float, height: float) -> str:
    """The image token that shows the point when the whole picture is seen."""
    rows, columns = token_grid(round(width), round(height), CELL, OVERVIEW_TOKENS)
    column, row = (min(int(p / size * n), n - 1) for p, size, n in ((x, width, columns), (y, height, rows)))
    return draw.cell_name(max(column, 0), max(row, 0))


def _window(scene: TurnedScene, one: Label) -> tuple[list[int], Box]:
    """A block around the label, in thousandths and in pixels; in a small scene on whole cells."""
    corners = []
    for middle in (one.x, one.y):
        start = middle - BLOCK / 2
        if not scene.large:
            start = round(start / CELL) * CELL
        corners.append(min(max(round(start), 0), scene.side - BLOCK))
    left, top = corners
    box = [thousandths(edge, scene.side) for edge in (left, top, left + BLOCK, top + BLOCK)]
    x0, y0, x1, y1 = (round(edge * scene.side / 1000) for edge in box)
    return box, (x0, y0, x1, y1)


def _reading(scene: TurnedScene, one: Label, box: Box, degrees: int, shown: Image.Image) -> str:
    """Each character with its token in the picture that is shown now, first to last."""
    across, down = box[2] - box[0], box[3] - box[1]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    lines = [one.colour]
    for index, character in enumerate(one.text):
        x, y = one.place(index, scene.pitch)
        dx, dy = x - box[0] - across / 2, y - box[1] - down / 2
        x, y = shown.width / 2 + dx * cos + dy * sin, shown.height / 2 - dx * sin + dy * cos
        lines.append(f"{_cell(x, y, shown.width, shown.height)} {character}")
    return "\n".join(lines)


TURNED = Family(
    name="turned",
    summary="a code or a word on a label that is turned by a quarter, a half or any angle",
    tiers="more and longer labels, then cut out of a large scene, then at any angle",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
    zoom=True,
)
