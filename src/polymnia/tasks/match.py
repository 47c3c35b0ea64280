"""`match`: lettered panels and sentences: which panel shows what is said, which sentence fits a panel.

A panel holds two shapes (one above or left of the other), a handful of shapes, or boxes joined by arrows.
Tiers: 0 has 3 or 4 panels of 2x2 cells, 1 and 2 have up to 6; from 3 on panels have 3x3 cells, arrows come
in and the picture is larger than nano's overview; then panels and what is in them grow with the tier.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from polymnia.data.chat import Message
from polymnia.tasks import draw, things
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, LETTERS, SHAPES, char_label, label
from polymnia.tasks.things import OVERVIEW_SIDE, Thing, plural
from polymnia.tasks.trace import answer, python_call

_RING = ((0, 0), (2, 0), (2, 2), (0, 2))
"""Cells of the boxes of a flow, in a panel of 3x3."""
_NUMBERS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Panel:
    kind: str
    """`pair`, `set` or `flow`."""
    things: tuple[Thing, ...]
    """In reading order; of a flow along the arrows. Cells count within the panel, under its letter."""

    @property
    def text(self) -> str:
        """As traces read it; equal texts are the same to every question."""
        names = [thing.name for thing in self.things]
        if self.kind == "flow":
            return " to ".join(thing.colour for thing in self.things)
        return f" {self.relation} ".join(names) if self.kind == "pair" else ", ".join(names)

    @property
    def relation(self) -> str:
        return "above" if self.things[0].column == self.things[1].column else "left of"

    @property
    def meaning(self) -> tuple[str, ...]:
        """Two panels that the same sentence describes have the same."""
        return tuple(sorted(thing.name for thing in self.things)) if self.kind == "set" else (self.text,)


@dataclass(frozen=True, slots=True)
class MatchScene:
    across: int
    """Panels side by side."""
    side: int
    """Cells a side of a panel, its letter's row not counted."""
    panels: tuple[Panel, ...]
    spread: int

    @property
    def down(self) -> int:
        return -(-len(self.panels) // self.across)

    def span(self, place: int) -> things.Span:
        """The panel's cells with its letter's row."""
        left, top = place % self.across * self.side, place // self.across * (self.side + 1)
        return left, top, left + self.side, top + self.side + 1

    @property
    def large(self) -> bool:
        return max(self.across * self.side, self.down * (self.side + 1)) > OVERVIEW_SIDE


def make_scene(rng: random.Random, tier: int) -> MatchScene:
    number = {0: rng.choice((3, 4)), 1: rng.choice((4, 5)), 2: 6, 3: 4, 4: 6}.get(tier, min(2 * tier - 2, len(LETTERS)))
    across = {3: 3, 4: 2, 5: 3, 6: 3}.get(number, math.ceil(1.2 * math.sqrt(number)))
    side = 2 if tier < 3 else 3 if tier < 10 else min(3 + (tier - 8) // 4, OVERVIEW_SIDE - 1)
    kind = rng.choice(("pair", "pair", "set") if tier < 3 else ("pair", "set", "flow"))
    size = {"pair": 2, "set": 3 if tier < 4 else min(4 + (tier - 4) // 3, 10), "flow": 3 if tier < 5 else 4}[kind]
    first = _random(rng, kind, side, size)
    panels: dict[tuple[str, ...], Panel] = {first.meaning: first}
    while len(panels) < number:
        seed = rng.choice(list(panels.values()))
        panel = _random(rng, kind, side, size) if rng.random() < 0.15 else _changed(rng, seed, side)
        panels.setdefault(panel.meaning, panel)
    order = list(panels.values())
    rng.shuffle(order)
    return MatchScene(across, side, tuple(order), 2 if tier < 3 else 3)


def _random(rng: random.Random, kind: str, side: int, size: int) -> Panel:
    if kind == "flow":
        colours = rng.sample(COLOURS, size)
        return _flow(rng, [Thing(0, 0, colour, "square") for colour in colours])
    kinds = [(colour, shape) for colour in rng.sample(COLOURS, 3) for shape in rng.sample(SHAPES, 2)]
    chosen = rng.sample(kinds, size) if kind == "pair" else [rng.choice(kinds[:4]) for _ in range(size)]
    return _placed(rng, kind, [Thing(0, 0, *one) for one in chosen], side)


def _changed(rng: random.Random, panel: Panel, side: int) -> Panel:
    """A panel that differs in the order, in one colour or in one shape, newly laid out."""
    found = list(panel.things)
    at = rng.randrange(len(found))
    if panel.kind == "flow":
        other = rng.randrange(len(found))
        found[at], found[other] = found[other], found[at]
        return _flow(rng, found)
    change = rng.choice(("order", "colour", "shape"))
    if change == "order":
        found.reverse()
    elif change == "colour":
        found[at] = replace(found[at], colour=rng.choice(COLOURS))
    else:
        found[at] = replace(found[at], shape=rng.choice(SHAPES))
    return _placed(rng, panel.kind, found, side) if panel.kind == "set" or found[0].name != found[1].name else panel


def _placed(rng: random.Random, kind: str, found: Sequence[Thing], side: int) -> Panel:
    if kind == "pair":
        line, (first, second) = rng.randrange(side), sorted(rng.sample(range(side), 2))
        cells = [(line, first), (line, second)] if rng.random() < 0.5 else [(first, line), (second, line)]
    else:
        cells = [(place % side, place // side) for place in sorted(rng.sample(range(side * side), len(found)))]
    return Panel(kind, tuple(replace(t, column=c, row=r) for t, (c, r) in zip(found, cells, strict=True)))


def _flow(rng: random.Random, found: Sequence[Thing]) -> Panel:
    start, step = rng.randrange(4), rng.choice((1, -1))
    cells = [_RING[(start + step * place) % 4] for place in range(len(found))]
    return Panel("flow", tuple(replace(t, column=c, row=r) for t, (c, r) in zip(found, cells, strict=True)))


def scene_key(scene: MatchScene) -> str:
    return f"{scene.across};" + "|".join(f"{one.kind} {things.listing(one.things, -1)}" for one in scene.panels)


# --- pictures


def picture(scene: MatchScene, rng: random.Random) -> Images:
    look = draw.look(rng)
    sheet = draw.Sheet(scene.across * scene.side * CELL, scene.down * (scene.side + 1) * CELL, look)
    frame, heading, wide = rng.choice(("box", "card", "shade")), rng.choice(("bare", "disc")), rng.uniform(17, 22)
    for place, panel in enumerate(scene.panels):
        left, top, right, bottom = (edge * CELL for edge in scene.span(place))
        if frame == "shade":
            fill = look.faint if (place % scene.across + place // scene.across) % 2 else None
            sheet.rectangle((left, top, right, bottom), fill)
        else:
            fill = (255, 255, 255) if frame == "card" else None
            sheet.rectangle((left + 1, top + 1, right - 1, bottom - 1), fill, look.faint)
        x, y = left + CELL / 2, top + CELL / 2
        if heading == "disc":
            sheet.disc(x, y, 11.5, look.ink)
        size, ink = (16, look.paper) if heading == "disc" else (20, look.ink)
        sheet.text(x, y, LETTERS[place], size, ink, bold=0.4)
        _draw_panel(sheet, scene, panel, place, wide, rng)
    return (sheet.finish(rng),)


def _draw_panel(
    sheet: draw.Sheet, scene: MatchScene, panel: Panel, place: int, wide: float, rng: random.Random
) -> None:
    for thing in _moved(scene, panel, place):
        how = things.hand(rng, thing.colour, scene.spread)
        if panel.kind == "flow":
            x, y = (thing.column + 0.5) * CELL, (thing.row + 0.5) * CELL
            sheet.rectangle((x - wide / 2, y - 8, x + wide / 2, y + 8), how.fill, sheet.look.ink)
        else:
            things.put(sheet, thing, how)
    left, top, _, _ = scene.span(place)
    for column, row, dx, dy in _arrows(panel):
        x, y = (left + column + 0.5) * CELL, (top + 1 + row + 0.5) * CELL
        sheet.line([(x - 12 * dx, y - 12 * dy), (x + 6 * dx, y + 6 * dy)], width=2)
        tip, base = (x + 13 * dx, y + 13 * dy), (x + 4 * dx, y + 4 * dy)
        sheet.polygon([tip, (base[0] + 6 * dy, base[1] + 6 * dx), (base[0] - 6 * dy, base[1] - 6 * dx)], sheet.look.ink)


def _moved(scene: MatchScene, panel: Panel, place: int) -> list[Thing]:
    """The panel's things at their cells of the picture."""
    left, top, _, _ = scene.span(place)
    return [replace(thing, column=left + thing.column, row=top + 1 + thing.row) for thing in panel.things]


def _arrows(panel: Panel) -> list[tuple[int, int, int, int]]:
    """Cell and direction of each arrow of a flow, in the panel."""
    if panel.kind != "flow":
        return []
    steps = list(zip(panel.things, panel.things[1:], strict=False))
    return [
        ((a.column + b.column) // 2, (a.row + b.row) // 2, (b.column - a.column) // 2, (b.row - a.row) // 2)
        for a, b in steps
    ]


def marks(scene: MatchScene) -> tuple[list[Mark], ...]:
    found: list[Mark] = []
    for place, panel in enumerate(scene.panels):
        left, top, _, _ = scene.span(place)
        found.append(Mark((left + 0.5) * CELL, (top + 0.5) * CELL, 18, char_label(LETTERS[place])))
        found += things.thing_marks(_moved(scene, panel, place))
        for column, row, dx, dy in _arrows(panel):
            hand = round(math.degrees(math.atan2(dx, -dy)) % 360) // 15
            found.append(Mark((left + column + 0.5) * CELL, (top + row + 1.5) * CELL, 18, label("hand", hand)))
    return (found,)


# --- questions: key = (the place of the panel that is asked for or named, what else is asked)

WORDINGS = {
    "panel": (
        "Which panel shows {text}?", "In which panel do you see {text}? Answer with its letter.",
        "Find the panel with {text}.", "{text}: which panel is it?", "Name the letter of the panel that shows {text}.",
        "One of the panels shows {text}. Which one?", "which letter goes with {text}?",
        "What is the letter of the panel that fits this: {text}?",
    ),
    "sentence": (
        "Which line fits panel {p}? {lines}", "What does panel {p} show? {lines} Give the number.",
        "Choose the number of the line that describes panel {p}. {lines}", "{lines} Which number goes with panel {p}?",
        "Panel {p} shows one of these, which? {lines}", "number of the right description of panel {p}? {lines}",
    ),
    "other": (
        "What is {rel} the {ref} in panel {p}?", "In panel {p}, what is {rel} the {ref}?",
        "Panel {p}: which thing is {rel} the {ref}?", "Look at panel {p} only. What is {rel} the {ref} there?",
        "Name the thing {rel} the {ref} in panel {p}.", "{rel} the {ref} in panel {p}: what?",
    ),
    "amount": (
        "How many {s} are in panel {p}?", "Count the {s} in panel {p}.", "Panel {p}: how many {s}?",
        "What is the number of {s} in panel {p}?", "In panel {p}, how many {s} do you see?",
        "{s} in panel {p}, how many?",
    ),
    "next": (
        "In panel {p}, where does the arrow from the {c} box lead? Name the colour.",
        "Which colour of box does the arrow from {c} point to in panel {p}?", "Panel {p}: what colour comes after {c}?",
        "Follow the arrow from the {c} box in panel {p}: what colour is the next box?",
        "What is the box that {c} points to in panel {p}, which colour?", "panel {p}, next colour after {c}?",
    ),
    "panels": (
        "How many panels show {ref}?", "In how many panels is there {ref}?",
        "Count the panels that have {ref} in them.",
        "What is the number of panels with {ref}?", "How many of the panels contain {ref}, or more than one?",
        "{ref}: in how many panels?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "panel": ("And which panel shows {text}?", "And {text}?", "And the letter of the panel with {text}?"),
    "sentence": ("And panel {p}: which of these? {lines}", "And what fits panel {p}? {lines}"),
    "other": ("And what is {rel} the {ref} in panel {p}?", "And in panel {p}, {rel} the {ref}?"),
    "amount": ("And how many {s} in panel {p}?", "And in panel {p}, how many {s}?"),
    "next": ("And where does the arrow from {c} lead in panel {p}?", "And after {c} in panel {p}?"),
    "panels": ("And in how many panels is there {ref}?", "And how many panels have {ref}?"),
}


def ask(scene: MatchScene, rng: random.Random, previous: Query | None) -> Query:
    kind = scene.panels[0].kind
    ways: dict[Callable[[MatchScene, int, random.Random], Query], int] = {_panel: 5, _sentence: 3}
    ways[{"pair": _other, "set": _amount, "flow": _next}[kind]] = 3
    if kind != "flow":
        ways[_panels] = 2
    while True:
        query = rng.choices(list(ways), list(ways.values()))[0](scene, rng.randrange(len(scene.panels)), rng)
        if previous is None or (query.kind, query.key) != (previous.kind, previous.key):
            return query


def _panel(scene: MatchScene, place: int, rng: random.Random) -> Query:
    return Query("panel", LETTERS[place], (place,), {"text": described(scene.panels[place], rng)}, "word")


def _sentence(scene: MatchScene, place: int, rng: random.Random) -> Query:
    others = [other for other in range(len(scene.panels)) if other != place]
    chosen = [place, *rng.sample(others, min(len(others), 2 if scene.side == 2 else 3))]
    rng.shuffle(chosen)
    lines = " ".join(f"{n}: {described(scene.panels[one], rng)}." for n, one in enumerate(chosen, 1))
    return Query("sentence", str(chosen.index(place) + 1), (place,), {"p": LETTERS[place], "lines": lines})


def _other(scene: MatchScene, place: int, rng: random.Random) -> Query:
    first, second = scene.panels[place].things
    relation = scene.panels[place].relation
    if rng.random() < 0.5:
        first, second, relation = second, first, {"above": "below", "left of": "right of"}[relation]
    slots = {"p": LETTERS[place], "rel": relation, "ref": second.name}
    return Query("other", first.name, (place, second.name), slots, "word")


def _amount(scene: MatchScene, place: int, rng: random.Random) -> Query:
    found = scene.panels[place].things
    thing = rng.choice(found)
    number = sum(other.name == thing.name for other in found)
    slots = {"p": LETTERS[place], "s": f"{thing.colour} {plural(thing.shape)}"}
    return Query("amount", str(number), (place, thing.name), slots)


def _next(scene: MatchScene, place: int, rng: random.Random) -> Query:
    found = scene.panels[place].things
    at = rng.randrange(len(found) - 1)
    slots = {"p": LETTERS[place], "c": found[at].colour}
    return Query("next", found[at + 1].colour, (place, found[at].colour), slots, "word")


def _panels(scene: MatchScene, place: int, rng: random.Random) -> Query:
    name = rng.choice(scene.panels[place].things).name
    number = sum(_has(panel, name) for panel in scene.panels)
    return Query("panels", str(number), (None, name), {"ref": _a(name)})


def _has(panel: Panel, name: str) -> bool:
    return any(thing.name == name for thing in panel.things)


def described(panel: Panel, rng: random.Random) -> str:
    """What the panel shows, as a question says it."""
    if panel.kind == "flow":
        return f"arrows that go from {panel.text}"
    if panel.kind == "pair":
        first, second = (_a(thing.name) for thing in panel.things)
        if rng.random() < 0.3:
            return f"{second} {'below' if panel.relation == 'above' else 'right of'} {first}"
        return f"{first} {panel.relation} {second}"
    numbers = Counter((thing.colour, thing.shape) for thing in panel.things)
    said = [
        _a(f"{colour} {shape}") if number == 1 else f"{_NUMBERS[number]} {colour} {plural(shape)}"
        for (colour, shape), number in numbers.items()
    ]
    rng.shuffle(said)
    return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]


def _a(name: str) -> str:
    return f"an {name}" if name.startswith("o") else f"a {name}"


# --- traces

_LOOK = ("I read the panels.", "Let me see what each one shows.", "Panel by panel:", "What is where?")


def solve(scene: MatchScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    compared = query.kind in ("panel", "panels")
    places = list(range(len(scene.panels))) if compared else [query.key[0]]
    if style.strategy == 2:
        places.reverse()
    said = rng.choice(_LOOK)
    if "crop" in style.tools and (style.strategy == 3 or scene.large):
        groups = _groups(scene, places)
        spans = [_around([scene.span(place) for place in group]) for group in groups]
        readings = ["\n".join(_reading(scene, query, place) for place in group) for group in groups]
        messages, views, said = things.read_parts(images[0], 0, style.image, spans, readings, said)
    elif compared and "python" in style.tools:
        code, result = _code(scene, query, places)
        return Trace((*python_call(code, result, said), answer(query.answer)))
    else:
        messages, views = list[Message](), list[View]()
        said = "\n".join([said, *(_reading(scene, query, place) for place in places)])
    if query.kind == "panels":
        said += f"\n{query.key[1]}: {query.answer}"
    return Trace((*messages, answer(query.answer, said)), tuple(views))


def _groups(scene: MatchScene, places: Sequence[int]) -> list[list[int]]:
    """Panels that are read in one crop: neighbours in a row, as many as fit nano's overview."""
    wide = max(1, OVERVIEW_SIDE // scene.side)
    groups: dict[tuple[int, int], list[int]] = {}
    for place in places:
        groups.setdefault((place // scene.across, place % scene.across // wide), []).append(place)
    return list(groups.values())


def _around(spans: Sequence[things.Span]) -> things.Span:
    lefts, tops, rights, bottoms = zip(*spans, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _reading(scene: MatchScene, query: Query, place: int) -> str:
    """One panel's line: what it shows and what follows from it."""
    panel = scene.panels[place]
    said = f"{LETTERS[place]}: {panel.text}"
    if query.kind == "panel":
        return said + (" = yes" if place == query.key[0] else "")
    if query.kind == "panels":
        return said + (f" = {query.key[1]}" if _has(panel, query.key[1]) else "")
    if query.kind == "sentence":
        return f"{said} = {query.answer}"
    if query.kind == "amount":
        return f"{said}; {query.key[1]} = {query.answer}"
    if query.kind == "next":
        return f"{said}; {query.key[1]} to {query.answer}"
    return f"{said}; {query.slots['rel']} the {query.key[1]} = {query.answer}"


def _code(scene: MatchScene, query: Query, places: Sequence[int]) -> tuple[str, str]:
    """The panels' texts, in which Python looks for what is asked."""
    panels = ",".join(f'"{LETTERS[place]}":"{scene.panels[place].text}"' for place in places)
    if query.kind == "panels":
        return f'd={{{panels}}}\nsum(["{query.key[1]}" in d[p] for p in d])', query.answer
    wanted = scene.panels[query.key[0]]
    test = f'd[p]=="{wanted.text}"'
    if wanted.kind == "set":
        numbers = Counter(thing.name for thing in wanted.things)
        test = " and ".join(f'd[p].count("{name}")=={number}' for name, number in numbers.items())
    return f"d={{{panels}}}\n[p for p in d if {test}]", str([query.answer])


MATCH = Family(
    name="match",
    summary="lettered panels and sentences: which panel shows what is said, which sentence fits a panel",
    tiers="more panels with more in them, boxes and arrows, then beyond the token cap",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
