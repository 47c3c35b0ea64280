"""`detail`: a number on a plate in a large scene, unreadable until one zooms in.

The scene is shrunk at least fourfold to fit nano's token cap, so its 18 to 22 px digits are about 5 px high
there; a crop of one block shows them at full size. Tiers: 0 has 3 plates with 3 digits, 1 up to 5 plates
and clutter, 2 has 4 digits, 3 has plates at any place with the digits closer together, from 4 on the
scene grows too.
"""

import random
from dataclasses import dataclass

from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, SHAPES, char_label, colour_label
from polymnia.tasks.trace import answer, crop_call, thousandths

BLOCK = 112
"""Pixels a side of the part that a crop shows (4x4 image tokens)."""
BLOCKS = 6
"""Blocks a side of the smallest scene: 672 px, shown to nano as 6x6 tokens, one a block."""


@dataclass(frozen=True, slots=True)
class Plate:
    colour: str
    code: str
    x: int
    """Left edge of the first digit's square, pixels; `y` its top."""
    y: int


@dataclass(frozen=True, slots=True)
class Clutter:
    x: int
    y: int
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class DetailScene:
    blocks: int
    pitch: int
    """Pixels from one digit to the next."""
    plates: tuple[Plate, ...]
    clutter: tuple[Clutter, ...]

    @property
    def side(self) -> int:
        return self.blocks * BLOCK


def make_scene(rng: random.Random, tier: int) -> DetailScene:
    low, high, clutter, digits, free = {
        0: (3, 3, 0, 3, False),
        1: (3, 5, 6, 3, False),
        2: (4, 6, 8, 4, False),
        3: (4, 6, 10, 4, True),
    }.get(tier, (6, 6, 4 * tier, 4 + tier % 2, True))
    blocks = BLOCKS if tier < 4 else tier + 3
    pitch = CELL - 4 * (tier >= 3) - 2 * (tier >= 4)
    number = rng.randint(low, high)
    taken = rng.sample(range(blocks * blocks), number + clutter)
    plates = tuple(
        _plate(rng, place % blocks * BLOCK, place // blocks * BLOCK, colour, digits, pitch, free)
        for place, colour in zip(taken, rng.sample(COLOURS, number), strict=False)
    )
    things = tuple(
        Clutter(
            place % blocks * BLOCK + rng.randint(25, BLOCK - 25),
            place // blocks * BLOCK + rng.randint(25, BLOCK - 25),
            rng.choice(COLOURS),
            rng.choice(SHAPES),
        )
        for place in taken[number:]
    )
    return DetailScene(blocks, pitch, plates, things)


def _plate(rng: random.Random, left: int, top: int, colour: str, digits: int, pitch: int, free: bool) -> Plate:
    code = "".join(rng.choice("0123456789") for _ in range(digits))
    room = BLOCK - digits * pitch
    if free:
        return Plate(colour, code, left + rng.randint(0, room), top + rng.randint(0, BLOCK - CELL))
    return Plate(colour, code, left + rng.randint(0, room // CELL) * CELL, top + rng.randint(0, 3) * CELL)


def scene_key(scene: DetailScene) -> str:
    plates = ";".join(f"{p.colour},{p.code},{p.x},{p.y}" for p in sorted(scene.plates, key=lambda p: p.colour))
    return f"{scene.side};{plates}"


def picture(scene: DetailScene, rng: random.Random) -> Images:
    look = draw.look(rng, max_tilt=0.0)  # a tilt would carry the outer plates out of their blocks
    sheet = draw.Sheet(scene.side, scene.side, look, scale=1)
    for thing in scene.clutter:
        sheet.shape(thing.shape, thing.x, thing.y, rng.uniform(22, 40), draw.shade(thing.colour, rng))
    framed = rng.random() < 0.3
    for plate in scene.plates:
        width = len(plate.code) * scene.pitch
        fill = draw.shade(plate.colour, rng)
        box = (plate.x, plate.y, plate.x + width, plate.y + CELL)
        sheet.rectangle(box, fill, look.ink if framed or look.outline else None)
        ink = (20, 20, 24) if plate.colour in ("yellow", "orange") else (255, 255, 255)
        size = rng.randint(19, 22)
        for position, digit in enumerate(plate.code):
            x = plate.x + (position + 0.5) * scene.pitch + rng.uniform(-1, 1)
            sheet.text(x, plate.y + CELL / 2, digit, size, ink, bold=0.5)
    return (sheet.finish(rng),)


def marks(scene: DetailScene) -> tuple[list[Mark], ...]:
    found = []
    for plate in scene.plates:
        width = len(plate.code) * scene.pitch
        # As large as a token in the overview; in a crop it spans several tokens and only its digits are labelled.
        found.append(Mark(plate.x + width / 2, plate.y + CELL / 2, 64, colour_label("plate", plate.colour)))
        for position, digit in enumerate(plate.code):
            found.append(Mark(plate.x + (position + 0.5) * scene.pitch, plate.y + CELL / 2, 20, char_label(digit)))
    return (found,)


WORDINGS = {
    "code": (
        "What is the number on the {c} plate?", "Which number does the {c} plate show?", "Read the {c} plate.",
        "What does the {c} sign say?", "Tell me the digits on the {c} plate.", "What is written on the {c} label?",
        "I can't read the {c} plate: what is on it?", "number of the {c} plate", "What code is on the {c} sign?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "code": ("And the {c} one?", "and the {c} plate?", "What about the {c} plate?", "Now the {c} sign."),
}


def ask(scene: DetailScene, rng: random.Random, previous: Query | None) -> Query:
    plates = [plate for plate in scene.plates if previous is None or plate.colour != previous.key]
    plate = rng.choice(plates)
    return Query("code", plate.code, plate.colour, {"c": plate.colour}, "code")


_FOUND = (
    "The {c} plate is at {p}, I zoom in.",
    "{c} plate: {p}. Too small to read, so I zoom in.",
    "{c} at {p}, closer:",
)


def solve(scene: DetailScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    plate = next(plate for plate in scene.plates if plate.colour == query.key)
    said = rng.choice(_FOUND).format(c=plate.colour, p=_place(scene, plate)) if style.think else ""
    if "crop" not in style.tools:
        # A guess: at the model's own resolution the digits cannot be told apart.
        guess = f"The {plate.colour} plate is at {_place(scene, plate)}, too small to be sure."
        return Trace((answer(plate.code, guess if style.think else ""),))
    left, top = _window(scene, plate, style.strategy, rng)
    box = (left, top, left + BLOCK, top + BLOCK)
    messages, _ = crop_call(images[0], style.image, [thousandths(edge, scene.side) for edge in box], said)
    messages.append(answer(plate.code, _reading(scene, plate, left, top) if style.think else ""))
    return Trace(tuple(messages), (View(0, box),))


def _place(scene: DetailScene, plate: Plate) -> str:
    """The overview's token that shows the plate's middle."""
    span = scene.side / BLOCKS
    x = plate.x + len(plate.code) * scene.pitch / 2
    return draw.cell_name(int(x // span), int((plate.y + CELL / 2) // span))


def _window(scene: DetailScene, plate: Plate, strategy: int, rng: random.Random) -> tuple[int, int]:
    """Upper left corner of the crop: the plate's block, or shifted where the plate stands free or on demand."""
    left, top = plate.x // BLOCK * BLOCK, plate.y // BLOCK * BLOCK
    if scene.pitch == CELL and strategy in (0, 3):
        return left, top
    width = len(plate.code) * scene.pitch
    shifts_x = [s for s in (-28, -14, 0, 14, 28) if left + s <= plate.x and plate.x + width <= left + s + BLOCK]
    shifts_y = [s for s in (-28, -14, 0, 14, 28) if top + s <= plate.y and plate.y + CELL <= top + s + BLOCK]
    if scene.pitch == CELL:  # keep the digits in the middle of their cells
        shifts_x, shifts_y = [s for s in shifts_x if s % 28 == 0], [s for s in shifts_y if s % 28 == 0]
    last = scene.side - BLOCK
    return min(max(left + rng.choice(shifts_x), 0), last), min(max(top + rng.choice(shifts_y), 0), last)


def _reading(scene: DetailScene, plate: Plate, left: int, top: int) -> str:
    row = min(int((plate.y + CELL / 2 - top) // CELL), 3)
    cells = [min(int((plate.x + (i + 0.5) * scene.pitch - left) // CELL), 3) for i in range(len(plate.code))]
    return "\n".join(f"{draw.cell_name(column, row)} {digit}" for column, digit in zip(cells, plate.code, strict=True))


DETAIL = Family(
    name="detail",
    summary="read a number on a plate that is too small to read without zooming in",
    tiers="more plates, clutter, longer numbers, any place, larger scenes",
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
