"""`clock`: the time on analogue clocks, minutes between two of them, and the time some minutes on.

Faces and hands vary as on real clocks. Tiers: 0 has one or two clocks at half and quarter hours, 1 and 2 two at steps
of 15 and 5 minutes, 3 three in steps of 5 and then 1 minute; from 4 on there are more clocks than nano can read
without zooming in, off their middles, with second hands and fewer numerals. Longer spans of time have no end.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.data.images import token_grid
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import LETTERS, char_label, label
from polymnia.tasks.trace import answer, crop_call, python_call

WIDTH, HEIGHT = 3 * CELL, 4 * CELL
"""Of the block of one clock: 3x3 cells of face, and a row with its letter."""
OVERVIEW = 36
"""Image tokens that nano sees of a picture; four clocks are shrunk."""
HALF_DAY = 720
"""Minutes after which a clock shows the same."""


@dataclass(frozen=True, slots=True)
class Clock:
    letter: str
    minutes: int
    """After twelve, 0 to 719."""
    dx: int = 0
    """Offset from the middle of its block, pixels, as `dy`."""
    dy: int = 0

    @property
    def time(self) -> str:
        return f"{self.hour}:{self.minutes % 60:02}"

    @property
    def hour(self) -> int:
        return self.minutes // 60 or 12


@dataclass(frozen=True, slots=True)
class ClockScene:
    clocks: tuple[Clock, ...]
    columns: int
    letters_below: bool
    seconds: bool
    """Each clock has a second hand too, which does not matter."""
    spans: tuple[int, ...]
    """Minutes that questions go on or back by."""

    @property
    def rows(self) -> int:
        return -(-len(self.clocks) // self.columns)


def make_scene(rng: random.Random, tier: int) -> ClockScene:
    step = {0: rng.choice((15, 15, 30)), 1: 15, 2: 5, 3: rng.choice((1, 5)), 4: 5}.get(tier, 1)
    number = {0: rng.choice((1, 2, 2, 2)), 1: 2, 2: 2, 3: 3, 4: 4, 5: 4}.get(tier, min(tier, len(LETTERS)))
    shift = 0 if tier < 4 else 4
    times = rng.sample(range(0, HALF_DAY, step), number)  # all different
    clocks = tuple(
        Clock(letter, minutes, rng.randint(-shift, shift), rng.randint(-shift, shift))
        for letter, minutes in zip(rng.sample(LETTERS, number), times, strict=True)
    )
    columns = number if number <= 3 else math.ceil(number**0.5)
    spans = tuple(range(step, max(60, 30 * tier) + 1, max(step, 5) if tier < 4 else step))
    return ClockScene(clocks, columns, rng.random() < 0.5, tier >= 5 and rng.random() < 0.5, spans)


def scene_key(scene: ClockScene) -> str:
    return ";".join(f"{one.letter},{one.time}" for one in sorted(scene.clocks, key=lambda one: one.letter))


# --- pictures


def _middle(scene: ClockScene, place: int) -> tuple[float, float]:
    """Of the face, in pixels."""
    left, top = place % scene.columns * WIDTH, place // scene.columns * HEIGHT
    return left + WIDTH / 2, top + WIDTH / 2 + (0 if scene.letters_below else CELL)


def _letter_place(scene: ClockScene, place: int) -> tuple[float, float]:
    x, y = _middle(scene, place)
    return x, y + (2 * CELL if scene.letters_below else -2 * CELL)


@dataclass(frozen=True, slots=True)
class _Make:
    """How a clock is built."""

    rim: draw.RGB
    face: draw.RGB
    hands: draw.RGB
    square: bool
    numerals: str
    ticks: str
    hand: str


_ROMAN = ("XII", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")
_FACES: tuple[draw.RGB, ...] = ((255, 255, 255), (252, 246, 228), (228, 238, 248), (240, 240, 240), (40, 44, 52))


def _make(rng: random.Random) -> _Make:
    face = rng.choice(_FACES)
    dark = sum(face) < 300
    hands = (240, 236, 220) if dark else rng.choice(((24, 24, 28), (24, 40, 90), (90, 40, 20)))
    return _Make(
        rim=draw.shade(rng.choice(("red", "green", "blue", "purple", "black", "black", "orange")), rng),
        face=face,
        hands=hands,
        square=rng.random() < 0.2,
        numerals=rng.choice(("all", "all", "quarters", "roman", "none")),
        ticks=rng.choice(("lines", "dots", "minutes")),
        hand=rng.choice(("line", "taper", "disc")),
    )


def picture(scene: ClockScene, rng: random.Random) -> Images:
    look = draw.look(rng, max_tilt=rng.choice((0.0, 1.0)))
    sheet = draw.Sheet(scene.columns * WIDTH, scene.rows * HEIGHT, look)
    same = _make(rng) if rng.random() < 0.5 else None
    size, bold = rng.randint(18, 21), rng.choice((0.0, 0.5))
    for place, clock in enumerate(scene.clocks):
        x, y = _middle(scene, place)
        _draw_clock(sheet, clock, x + clock.dx, y + clock.dy, same or _make(rng), rng)
        if scene.seconds:
            _draw_hand(sheet, x + clock.dx, y + clock.dy, rng.randrange(60) * 6, 32, 0.8, (205, 40, 40), "line")
        x, y = _letter_place(scene, place)
        sheet.text(x + clock.dx, y + clock.dy / 2, clock.letter, size, bold=bold)
    return (sheet.finish(rng),)


def _draw_clock(sheet: draw.Sheet, clock: Clock, x: float, y: float, make: _Make, rng: random.Random) -> None:
    radius = rng.uniform(36, 39) if not clock.dx and not clock.dy else rng.uniform(33, 36)
    if make.square:
        sheet.rectangle((x - radius, y - radius, x + radius, y + radius), make.face, make.rim, 2.5)
    else:
        sheet.disc(x, y, radius, make.face, make.rim, 2.5)
    for minute in range(0, 60, 1 if make.ticks == "minutes" else 5):
        u, v = _towards(minute * 6)
        outer, inner = radius - 3.5, radius - (7 if minute % 5 == 0 else 5)
        if make.ticks == "dots":
            sheet.disc(x + u * outer, y + v * outer, 1.1, make.hands)
        else:
            sheet.line([(x + u * inner, y + v * inner), (x + u * outer, y + v * outer)], make.hands, 1)
    for number in range(0, 12, 3 if make.numerals == "quarters" else 1):
        if make.numerals != "none":
            u, v = _towards(number * 30)
            written = _ROMAN[number] if make.numerals == "roman" else str(number or 12)
            reach = radius - 12
            sheet.text(x + u * reach, y + v * reach, written, 7 if make.numerals == "roman" else 9, make.hands)
    _draw_hand(sheet, x, y, clock.minutes / 2, radius * 0.52, 3.4, make.hands, make.hand)
    _draw_hand(sheet, x, y, clock.minutes % 60 * 6, radius * 0.86, 2.0, make.hands, make.hand)
    sheet.disc(x, y, 2.6, make.hands)


def _towards(degrees: float) -> tuple[float, float]:
    """A step of 1 in a direction clockwise from up."""
    return math.sin(math.radians(degrees)), -math.cos(math.radians(degrees))


def _draw_hand(
    sheet: draw.Sheet, x: float, y: float, degrees: float, length: float, width: float, colour: draw.RGB, kind: str
) -> None:
    u, v = _towards(degrees)
    tip = (x + u * length, y + v * length)
    if kind == "taper":
        sheet.polygon([(x - v * width, y + u * width), tip, (x + v * width, y - u * width)], colour)
    else:
        sheet.line([(x - u * 3, y - v * 3), tip], colour, width)
        if kind == "disc":
            sheet.disc(x + u * length * 0.72, y + v * length * 0.72, width * 1.1, colour)


def marks(scene: ClockScene) -> tuple[list[Mark], ...]:
    """The hour hand's direction in the middle of the face, the minute hand's at its tip, and the letters."""
    found = []
    for place, clock in enumerate(scene.clocks):
        x, y = _middle(scene, place)
        found.append(Mark(x, y, 24, label("hand", int(clock.minutes / 2 // 15))))
        u, v = _towards(clock.minutes % 60 * 6)
        found.append(Mark(x + u * 32, y + v * 32, 24, label("hand", round(clock.minutes % 60 * 6 / 15) % 24)))
        found.append(Mark(*_letter_place(scene, place), 19, char_label(clock.letter)))
    return (found,)


# --- questions: key = (the clocks' letters, minutes on)

WORDINGS = {
    "time": (
        "What time does clock {a} show?", "What time is it on clock {a}?", "Read clock {a}.", "Clock {a}: what time?",
        "Which time do you see on clock {a}? Write it as h:mm.", "time on {a}", "What does the clock called {a} say?",
        "Can you read the time off clock {a}?",
    ),
    "hand": (
        "Which number does the minute hand of clock {a} point at?", "Where on clock {a} is the long hand, 1 to 12?",
        "The minute hand of {a} points at which number?", "On clock {a}, what number is the long hand on?",
        "minute hand of {a}: which number from 1 to 12?", "Clock {a}: name the number its minute hand points to.",
    ),
    "until": (
        "How many minutes until clock {a} shows what clock {b} shows now?",
        "How many minutes must clock {a} be put forward to agree with clock {b}?",
        "Clock {a} goes on to the time of clock {b}: how many minutes is that?",
        "From the time on {a} on to the time on {b}, how many minutes pass?",
        "minutes from clock {a} forward to clock {b}?", "How long, in minutes, from {a}'s time to {b}'s time?",
    ),
    "later": (
        "What time will clock {a} show in {n} minutes?", "What will clock {a} say {n} minutes from now?",
        "Add {n} minutes to clock {a}: what time is that?", "{n} minutes later, what does {a} show?",
        "clock {a} plus {n} minutes", "Clock {a} runs on for {n} minutes. Which time does it show then?",
    ),
    "earlier": (
        "What time did clock {a} show {n} minutes ago?", "What did clock {a} say {n} minutes earlier?",
        "Take {n} minutes off clock {a}: what time is that?", "clock {a} minus {n} minutes",
        "{n} minutes before the time on {a}, what time was it?", "Turn clock {a} back by {n} minutes. What time is it?",
    ),
    "which": (
        "Which clock shows {t}?", "On which clock is it {t}?", "Find the clock that says {t}.",
        "{t} is on which clock?", "What is the letter of the clock at {t}?", "which one reads {t}",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "time": ("And clock {a}?", "What about {a}?", "and what time on {a}?", "Now read {a}."),
    "hand": ("And the minute hand of {a}, at which number is it?", "And which number is the long hand of {a} on?"),
    "until": ("And how many minutes from {a} forward to {b}?", "From {a} on to {b}, how many minutes then?"),
    "later": ("And {a} in {n} minutes?", "What about {a}, {n} minutes later?"),
    "earlier": ("And {a} {n} minutes ago?", "What about {a}, {n} minutes earlier?"),
    "which": ("And which clock shows {t}?", "and {t}, which one?"),
}


def ask(scene: ClockScene, rng: random.Random, previous: Query | None) -> Query:
    kinds = {"time": 5, "hand": 2, "later": 2, "earlier": 1}
    kinds |= {"until": 3} if len(scene.clocks) > 1 else {}
    kinds |= {"which": 2} if 3 <= len(scene.clocks) <= 4 else {}
    while True:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        clocks = rng.sample(scene.clocks, min(2, len(scene.clocks)))
        if kind == "hand" and clocks[0].minutes % 5:
            continue
        query = question(kind, clocks, rng.choice(scene.spans))
        if previous is None or query.kind != previous.kind or query.key != previous.key or len(scene.clocks) == 1:
            return query


def question(kind: str, clocks: Sequence[Clock], span: int) -> Query:
    """`until` goes from the first to the second of the clocks, the others ask about the first."""
    first, second = clocks[0], clocks[-1]
    a, n = first.letter, str(span)
    if kind == "time":
        return Query(kind, first.time, ((a,), 0), {"a": a}, "time")
    if kind == "hand":
        return Query(kind, str(first.minutes % 60 // 5 or 12), ((a,), 0), {"a": a})
    if kind == "which":
        return Query(kind, a, ((a,), 0), {"t": first.time}, "word")
    if kind == "until":
        number = (second.minutes - first.minutes) % HALF_DAY
        return Query(kind, str(number), ((a, second.letter), 0), {"a": a, "b": second.letter})
    change = span if kind == "later" else -span
    return Query(kind, _moved(first, change).time, ((a,), change), {"a": a, "n": n}, "time")


def _moved(clock: Clock, minutes: int) -> Clock:
    return Clock(clock.letter, (clock.minutes + minutes) % HALF_DAY)


# --- traces

_AT = (
    "{a} is at {p}: hour hand past {h}, minute hand at {m}. It shows {t}.", "{a}: {p}, past {h}, minute {m}, so {t}.",
    "I look at {a}, {p}: hour {h}, minute {m}. That is {t}.",
)  # fmt: skip
_MINUTE_FIRST = (
    "{a} is at {p}: minute hand at {m}, hour hand past {h}. It shows {t}.", "{a}: {p}, minute {m}, past {h}, so {t}.",
)  # fmt: skip
_CLOSER = (
    "{a} is in row {r}, column {c}: I zoom in.",
    "{a}: row {r}, column {c}. Closer:",
    "Clock {a}, row {r}, column {c}.",
)


def solve(scene: ClockScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    letters, change = query.key
    clocks = [next(one for one in scene.clocks if one.letter == letter) for letter in letters]
    looked = list(scene.clocks[: scene.clocks.index(clocks[0]) + 1]) if query.kind == "which" else clocks
    looked = looked[::-1] if style.strategy == 2 and query.kind != "which" else looked
    messages, views, said = _read(scene, looked, images, style, rng)
    if query.kind == "hand":
        said = f"{said}\n{clocks[0].minutes % 60} minutes: at {query.answer}."
    elif query.kind == "until":
        if "python" in style.tools:
            code = f"({_sum(clocks[1])}-({_sum(clocks[0])}))%720"
            messages += python_call(code, query.answer, said)
            said = ""
        else:
            said = f"{said}\n{_count_up(clocks[0], clocks[1])}"
    elif change:
        if "python" in style.tools:
            code = f't=({_sum(clocks[0])}{change:+d})%720\nf"{{t//60 or 12}}:{{t%60:02}}"'
            messages += python_call(code, repr(query.answer), said)
            said = ""
        else:
            said = f"{said}\n{_carry(clocks[0], change)}"
    return Trace((*messages, answer(query.answer, said)), tuple(views))


def _read(
    scene: ClockScene, clocks: Sequence[Clock], images: Images, style: Style, rng: random.Random
) -> tuple[list[Message], list[View], str]:
    """Looks at the clocks, each zoomed in on where the picture is large; the last words are still to be said."""
    zoom = "crop" in style.tools and (style.strategy == 3 or len(scene.clocks) > 3)
    ways = _MINUTE_FIRST if style.strategy == 1 else _AT
    messages: list[Message] = []
    views: list[View] = []
    said: list[str] = []
    for clock in clocks:
        place = scene.clocks.index(clock)
        column, row = place % scene.columns, place // scene.columns
        x, y = _middle(scene, place)
        if zoom:
            closer = rng.choice(_CLOSER).format(a=clock.letter, r=row + 1, c=column + 1)
            across, down = 1000 / scene.columns, 1000 / scene.rows
            edges = (column * across, row * down, (column + 1) * across, (row + 1) * down)
            turn, _ = crop_call(images[0], style.image, [round(edge) for edge in edges], "\n".join([*said, closer]))
            messages += turn
            left, top = column * WIDTH, row * HEIGHT
            views.append(View(0, (left, top, left + WIDTH, top + HEIGHT)))
            said = []
            x, y = x - left, y - top
        elif len(scene.clocks) > 3:  # shrunk, and too small to be sure of
            width, height = scene.columns * WIDTH, scene.rows * HEIGHT
            rows, columns = token_grid(width, height, CELL, OVERVIEW)
            x, y = x * columns * CELL / width, y * rows * CELL / height
        words = {"h": clock.hour, "m": clock.minutes % 60, "t": clock.time, "a": clock.letter}
        said.append(rng.choice(ways).format(p=draw.cell_name(int(x // CELL), int(y // CELL)), **words))
    return messages, views, "\n".join(said)


def _sum(clock: Clock) -> str:
    return f"{clock.hour}*60+{clock.minutes % 60}"


def _count_up(first: Clock, second: Clock) -> str:
    """From one time to the next by way of the full hours."""
    number = (second.minutes - first.minutes) % HALF_DAY
    start, end = first.minutes % 60, second.minutes % 60
    if number < 60 and end > start:
        return f"{end}-{start}={number}"
    to_full = -start % 60
    full = (first.minutes + to_full) % HALF_DAY
    hours = (number - to_full - end) // 60
    steps = [f"{first.time} to {_moved(Clock('', full), 0).time}: {to_full}"] if to_full else []
    steps += [f"{hours} h: {60 * hours}"] if hours else []
    steps += [f"then {end}"] if end else []
    parts = [part for part in (to_full, 60 * hours, end) if part]
    return f"{', '.join(steps)}. {'+'.join(map(str, parts))}={number}"


def _carry(clock: Clock, change: int) -> str:
    minute = clock.minutes % 60
    hours, rest = divmod(minute + change, 60)
    line = (
        f"{minute}{change:+d}={minute + change}, that is {hours} h {rest}. {clock.hour}{hours:+d}={clock.hour + hours}"
    )
    return f"{line}: {_moved(clock, change).time}"


CLOCK = Family(
    name="clock",
    summary="read analogue clocks, minutes between two times, the time some minutes on",
    tiers="finer minutes, more clocks, off-centre, second hands, longer spans",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
