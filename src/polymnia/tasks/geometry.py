"""`geometry`: lengths and angles between lettered points in pixels and degrees, figures in squares.

A picture shows either points (measured) or figures on squared paper (counted). Tiers: 0 to 2 have 3 or 4 points in
the middles of cells and rectangles, from 2 on figures of any outline; from 3 on points stand anywhere with their
letters beside them; from 6 on the paper is larger than nano's overview, with more points and figures.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, LETTERS, char_label, colour_label
from polymnia.tasks.paths import MAX_COLUMNS, STEPS, Cell, crop_parts, in_order, step
from polymnia.tasks.trace import answer, measure_call, python_call, thousandths

Point = tuple[int, int]
"""In pixels."""
BESIDE = 15
"""Pixels from a point to the letter beside it."""
CLEAR = 12.0
"""Degrees by which the largest angle is the largest, and by which angles differ from 0 and 180."""


@dataclass(frozen=True, slots=True)
class GeometryScene:
    side: int
    """Of the paper, in cells."""
    points: Mapping[str, Point]
    figures: Mapping[str, frozenset[Cell]]
    """By colour; empty where there are points."""
    beside: bool
    """Letters stand beside their points, not on them."""


def make_scene(rng: random.Random, tier: int) -> GeometryScene:
    side = 6 if tier < 6 else min(tier + 1, MAX_COLUMNS)
    if rng.random() < 0.5:
        number = min(2 + tier // 3, len(COLOURS))
        return GeometryScene(side, {}, _figures(rng, side, number, tier), False)
    number = {0: 3, 1: rng.choice((3, 4))}.get(tier, min(4 + tier // 4, len(LETTERS)))
    while True:
        points = [_point(rng, side, tier) for _ in range(number)]
        near = min(math.dist(a, b) for a, b in itertools.combinations(points, 2))
        if near >= 1.9 * CELL * min(1, 4 / number) and max(_corners(points[:3])) < 180 - CLEAR:
            break
    letters = sorted(rng.sample(LETTERS, number))
    return GeometryScene(side, dict(zip(letters, points, strict=True)), {}, tier >= 3)


def _point(rng: random.Random, side: int, tier: int) -> Point:
    if tier < 3:
        return rng.randrange(side) * CELL + CELL // 2, rng.randrange(side) * CELL + CELL // 2
    return rng.randint(26, side * CELL - 26), rng.randint(26, side * CELL - 26)


def _figures(rng: random.Random, side: int, number: int, tier: int) -> dict[str, frozenset[Cell]]:
    """Figures that do not touch each other: rectangles, then rectangles that have grown here and there."""
    figures: dict[str, frozenset[Cell]] = {}
    taken: set[Cell] = set()
    colours = rng.sample(COLOURS, number)
    while len(figures) < number:
        width, height = rng.randint(1, 4 + tier // 6), rng.randint(1, 4 + tier // 6)
        left, top = rng.randrange(side - width + 1), rng.randrange(side - height + 1)
        cells = {(x, y) for x in range(left, left + width) for y in range(top, top + height)}
        if len(cells) < 2 or cells & taken:
            if rng.random() < 0.02:  # it may be that no more fits
                figures, taken = {}, set()
            continue
        for _ in range(rng.randint(1, min(1 + tier, 8)) if tier >= 2 else 0):
            grown = step(rng.choice(sorted(cells)), rng.choice("URDL"))
            if 0 <= grown[0] < side and 0 <= grown[1] < side and grown not in taken:
                cells.add(grown)
        if _has_hole(cells):
            continue
        figures[colours[len(figures)]] = frozenset(cells)
        taken |= cells | {step(cell, move) for cell in cells for move in STEPS}
    return dict(sorted(figures.items()))


def _has_hole(cells: set[Cell]) -> bool:
    """Whether the figure goes all round a square that is not its own: its outline would be two lines."""
    low, high = min(min(cell) for cell in cells) - 1, max(max(cell) for cell in cells) + 1
    outside, seen = [(low, low)], {(low, low)}
    while outside:
        cell = outside.pop()
        for move in STEPS:
            after = step(cell, move)
            if low <= min(after) and max(after) <= high and after not in cells | seen:
                seen.add(after)
                outside.append(after)
    return len(seen) + len(cells) < (high - low + 1) ** 2


def scene_key(scene: GeometryScene) -> str:
    points = ";".join(f"{name}{point}" for name, point in scene.points.items())
    figures = ";".join(f"{colour}{sorted(cells)}" for colour, cells in scene.figures.items())
    return f"{scene.side};{points};{figures}"


def _turn(a: Point, b: Point, c: Point) -> float:
    """Degrees of the angle at b between the ways to a and c."""
    one, two = (math.atan2(p[1] - b[1], p[0] - b[0]) for p in (a, c))
    degrees = abs(math.degrees(one - two))
    return min(degrees, 360 - degrees)


def _corners(points: Sequence[Point]) -> list[float]:
    a, b, c = points
    return [_turn(c, a, b), _turn(a, b, c), _turn(b, c, a)]


# --- pictures


def picture(scene: GeometryScene, rng: random.Random) -> Images:
    look = replace(draw.look(rng), tilt=0.0)  # lengths and places are exact
    size = scene.side * CELL
    sheet = draw.Sheet(size, size, look, scale=2 if scene.side <= 12 else 1)
    paper = (
        rng.choice(("squares", "fine", "dots", "plain")) if scene.points else rng.choice(("squares", "squares", "dots"))
    )
    if scene.points:
        _draw_paper(sheet, paper)
        _draw_points(sheet, scene, rng)
    else:
        _draw_figures(sheet, scene, rng)
        _draw_paper(sheet, paper)
    return (sheet.finish(rng),)


def _draw_paper(sheet: draw.Sheet, kind: str) -> None:
    pitch = CELL // 2 if kind == "fine" else CELL
    faint = sheet.look.faint
    if kind in ("squares", "fine"):
        for at in range(0, sheet.width + 1, pitch):
            edge = min(at, sheet.width - 1)
            sheet.line([(edge, 0), (edge, sheet.height)], faint)
            sheet.line([(0, edge), (sheet.width, edge)], faint)
    elif kind == "dots":
        for x in range(0, sheet.width + 1, pitch):
            for y in range(0, sheet.height + 1, pitch):
                sheet.disc(x, y, 1.2, faint)


def _draw_points(sheet: draw.Sheet, scene: GeometryScene, rng: random.Random) -> None:
    colour = draw.shade(rng.choice(("red", "blue", "green", "purple", "black")), rng)
    outline = list(scene.points.values())
    x, y = (sum(point[axis] for point in outline) / len(outline) for axis in (0, 1))
    outline.sort(key=lambda point: math.atan2(point[1] - y, point[0] - x))
    lines = rng.choice(("closed", "closed", "open", "none"))
    width = rng.choice((1.2, 1.8, 2.4))
    if lines != "none":
        sheet.line([*outline, outline[0]] if lines == "closed" else outline, colour, width)
    filled = rng.random() < 0.5
    for name, (u, v) in scene.points.items():
        if scene.beside:
            sheet.disc(u, v, 3.2, colour if filled else sheet.look.paper, colour, 1.2)
            sheet.text(*_letter_place(scene, name), name, 16, bold=0.3)
        else:
            sheet.disc(u, v, 10.5, colour if filled else sheet.look.paper, colour, 1.5)
            sheet.text(u, v, name, 16, (255, 255, 255) if filled else sheet.look.ink, bold=0.3)


def _letter_place(scene: GeometryScene, name: str) -> tuple[float, float]:
    """Outwards from the middle of all points, inside the picture."""
    x, y = scene.points[name]
    u, v = (sum(point[axis] for point in scene.points.values()) / len(scene.points) for axis in (0, 1))
    away = math.hypot(x - u, y - v) or 1.0
    edge = scene.side * CELL - 10
    return (
        min(max(x + BESIDE * (x - u) / away, 10), edge),
        min(max(y + BESIDE * (y - v) / away if away > 1 else y - BESIDE, 10), edge),
    )


def _draw_figures(sheet: draw.Sheet, scene: GeometryScene, rng: random.Random) -> None:
    outlined = rng.random() < 0.4
    for colour, cells in scene.figures.items():
        shade = draw.shade(colour, rng)
        fill = shade if not outlined or colour == "black" else _mixed(shade, sheet.look.paper)
        for x, y in cells:
            sheet.rectangle((x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL), fill)
        for x, y in cells if outlined else ():
            for move, (dx, dy) in STEPS.items():
                if step((x, y), move) not in cells:
                    left, top = (x + (dx > 0)) * CELL - (dx > 0) * 2, (y + (dy > 0)) * CELL - (dy > 0) * 2
                    box = (left, top, left + (2 if dx else CELL), top + (2 if dy else CELL))
                    sheet.rectangle(box, shade)


def _mixed(shade: draw.RGB, paper: draw.RGB) -> draw.RGB:
    red, green, blue = ((3 * a + 2 * b) // 5 for a, b in zip(shade, paper, strict=True))
    return red, green, blue


def marks(scene: GeometryScene) -> tuple[list[Mark], ...]:
    found = []
    for name, point in scene.points.items():
        x, y = _letter_place(scene, name) if scene.beside else point
        found.append(Mark(x, y, 16, char_label(name)))
    for colour, cells in scene.figures.items():
        found += [Mark((u + 0.5) * CELL, (v + 0.5) * CELL, 26, colour_label("fill", colour)) for u, v in sorted(cells)]
    return (found,)


# --- questions: key = the names of the points or figures

WORDINGS = {
    "distance": (
        "How many pixels is {a} from {b}?", "How far apart are the points {a} and {b}, in pixels?",
        "What is the length from {a} to {b} in pixels?", "Measure the distance between {a} and {b} (pixels).",
        "{a} to {b}: how many px?", "distance of point {a} from point {b} in px",
        "How long is a line from {a} to {b}, in pixels?",
    ),
    "angle": (
        "How many degrees has the angle at {b} between {a} and {c}?", "What is the angle {a}{b}{c}, in degrees?",
        "Measure the angle at {b} from {a} to {c}.",
        "At point {b}, how large is the angle between the ways to {a} and {c}?",
        "angle at {b} between {a} and {c}?", "Standing at {b}, how many degrees are there between {a} and {c}?",
    ),
    "widest": (
        "In the triangle {a}{b}{c}, at which corner is the largest angle?",
        "Which angle of the triangle {a}, {b}, {c} is the largest: at {a}, {b} or {c}?",
        "Points {a}, {b} and {c} make a triangle. Where is its widest angle?",
        "triangle {a}{b}{c}: which corner has the biggest angle?",
        "Of the corners {a}, {b} and {c} of a triangle, which is the most open?",
    ),
    "path": (
        "How many pixels long is the path from {a} over {b} to {c}?",
        "From {a} straight to {b} and on to {c}: how many pixels?",
        "What is the length in pixels of {a}-{b}-{c}?", "Add the distances {a} to {b} and {b} to {c}, in pixels.",
        "length of the path {a} {b} {c} in px?",
    ),
    "area": (
        "What is the area of the {a} figure in squares?", "How many squares does the {a} figure cover?",
        "Count the squares of the {a} figure.", "area of the {a} shape, in squares?",
        "The {a} area is how many squares large?",
        "How large is the {a} figure? Give its area in squares.",
    ),
    "perimeter": (
        "What is the perimeter of the {a} figure, in sides of squares?",
        "How long is the outline of the {a} figure, counted in squares' sides?",
        "perimeter of the {a} shape?", "Walk once round the {a} figure: how many sides of squares is that?",
        "Give the perimeter of the {a} figure. One side of a square is 1.",
        "How many sides of squares make the border of the {a} figure?",
    ),
    "larger": (
        "By how many squares is the {a} figure larger than the {b} one?",
        "How many squares more does the {a} figure cover than the {b} figure?",
        "Area of the {a} figure minus area of the {b} figure, in squares?",
        "{a} area minus {b} area: how many squares?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "distance": ("And from {a} to {b}, in pixels?", "How many pixels between {a} and {b}?"),
    "angle": ("And the angle at {b} between {a} and {c}?", "How many degrees is the angle {a}{b}{c}?"),
    "path": ("And the path {a}-{b}-{c} in pixels?", "How many pixels from {a} over {b} to {c}?"),
    "area": ("And the area of the {a} figure?", "How many squares is the {a} one?"),
    "perimeter": (
        "And the perimeter of the {a} figure?", "How long is the outline of the {a} one, in sides of squares?",
    ),
    "larger": ("And how many squares more does {a} cover than {b}?", "By how many squares is {a} larger than {b}?"),
}  # fmt: skip


def ask(scene: GeometryScene, rng: random.Random, previous: Query | None) -> Query:
    while True:
        if scene.points:
            kind = rng.choices(("distance", "angle", "widest", "path"), (4, 3, 1, 1))[0]
            names = rng.sample(list(scene.points), 2 if kind == "distance" else 3)
        else:
            kind = rng.choices(("area", "perimeter", "larger"), (4, 3, 2))[0]
            names = rng.sample(list(scene.figures), 2 if kind == "larger" else 1)
        query = question(scene, kind, *names)
        if query and (previous is None or (query.kind, query.key) != (previous.kind, previous.key)):
            return query


def question(scene: GeometryScene, kind: str, *names: str) -> Query | None:
    """None where the answer would be unclear."""
    slots = dict(zip("abc", names, strict=False))
    if scene.figures:
        areas = [len(scene.figures[name]) for name in names]
        if kind == "larger":
            return Query(kind, str(areas[0] - areas[1]), names, slots) if areas[0] > areas[1] else None
        number = areas[0] if kind == "area" else len(_borders(scene.figures[names[0]]))
        return Query(kind, str(number), names, slots)
    points = [scene.points[name] for name in names]
    if kind in ("distance", "path"):
        pixels = sum(math.dist(a, b) for a, b in itertools.pairwise(points))
        return Query(kind, f"{pixels:.1f}", names, slots, "near", round(max(4.0, 0.04 * pixels), 1))
    corners = _corners(points)
    if kind == "angle":
        clear = CLEAR < corners[1] < 180 - CLEAR
        return Query(kind, str(round(corners[1])), names, slots, "near", 4.0) if clear else None
    first, second = sorted(corners, reverse=True)[:2]
    return Query(kind, names[corners.index(first)], names, slots, "word") if first - second > CLEAR else None


def _borders(cells: frozenset[Cell]) -> list[tuple[Cell, str]]:
    return [(cell, move) for cell in sorted(cells) for move in STEPS if step(cell, move) not in cells]


# --- traces

_MEASURE = ("{w}. I measure.", "{w}. Now the ruler.", "First the places: {w}.", "{w}. Let me measure that.")
_COUNT = (
    "I list the squares of {w}.",
    "Square by square, {w}:",
    "Which squares are {w}?",
    "I count the squares that are {w}.",
)


def solve(scene: GeometryScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    if scene.figures:
        return _count(scene, query, images, style, rng)
    places = ", ".join(f"{name} {_place(scene, name)}" for name in query.key)
    if "measure" in style.tools:
        return _measure(scene, query, images[0], style, rng.choice(_MEASURE).format(w=places))
    if "python" in style.tools and query.kind in ("distance", "path"):
        points = [scene.points[name] for name in query.key]
        terms = [f"math.hypot({c - a},{d - b})" for (a, b), (c, d) in itertools.pairwise(points)]
        result = round(sum(math.dist(a, b) for a, b in itertools.pairwise(points)), 1)
        return Trace((*python_call(f"import math\nround({'+'.join(terms)},1)", result, places), answer(str(result))))
    return Trace((answer(query.answer, f"{places}. By eye: {query.answer}"),))


def _place(scene: GeometryScene, name: str) -> str:
    """The cell of a point in a cell's middle, else its coordinates from 0 to 1000."""
    x, y = scene.points[name]
    if not scene.beside:
        return draw.cell_name(x // CELL, y // CELL)
    return f"({thousandths(x, scene.side * CELL)},{thousandths(y, scene.side * CELL)})"


def _measure(scene: GeometryScene, query: Query, picture: Image.Image, style: Style, said: str) -> Trace:
    """One line, two lines from a corner, two along a path, or the three sides of a triangle."""
    a, b, *more = query.key
    c = more[0] if more else ""
    lines = {"distance": [(a, b)], "angle": [(b, a), (b, c)], "path": [(a, b), (b, c)]}.get(
        query.kind, [(b, c), (c, a), (a, b)]
    )
    messages: list[Message] = []
    found: list[str] = []
    for start, end in lines[::-1] if style.strategy == 2 else lines:
        x0, y0, x1, y1 = (thousandths(at, picture.width) for at in (*scene.points[start], *scene.points[end]))
        turn, measured = measure_call(picture, style.image, (x0, y0, x1, y1), said)
        messages += turn
        found.append(measured.text)
        said = ""
    if query.kind == "distance":
        return Trace((*messages, answer(_part(found[0], "distance"))))
    code, result, spoken = _conclusion(query, found[::-1] if style.strategy == 2 else found)
    if "python" in style.tools:
        messages += python_call(code, repr(result) if query.kind == "widest" else result)
        spoken = ""
    return Trace((*messages, answer(result, spoken)))


def _conclusion(query: Query, found: Sequence[str]) -> tuple[str, str, str]:
    """Code, its result, and the same in words."""
    lengths = [_part(text, "distance") for text in found]
    if query.kind == "path":
        total = str(round(sum(float(length) if "." in length else int(length) for length in lengths), 1))
        code = "+".join(lengths)
        return f"round({code},1)", total, f"{code}={total}"
    if query.kind == "widest":
        pairs = ",".join(f'({length},"{name}")' for length, name in zip(lengths, query.key, strict=True))
        return f"max([{pairs}])[1]", query.answer, f"The side across from {query.answer} is the longest."
    one, two = (_part(text, "angle") for text in found)
    degrees = round(abs(float(one) - float(two)), 1)
    result = str(round(min(degrees, 360 - degrees)))
    said = f"From {one} to {two}: {degrees}" + (f", 360-{degrees}={result}" if degrees > 180 else "")
    return f"a=abs({one}-({two}))\nround(min(a,360-a))", result, said


def _part(text: str, name: str) -> str:
    """`distance` or `angle` as the tool wrote it."""
    return text.partition(f"{name} ")[2].split()[0]


def _count(scene: GeometryScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    """Lists the squares of the figures asked for; Python counts them, or a running count does."""
    messages: list[Message] = []
    views: list[View] = []
    listed = [in_order(scene.figures[colour], style.strategy) for colour in query.key]
    if scene.side > 6 and "crop" in style.tools:
        cells = [cell for figure in listed for cell in figure]
        messages, views = crop_parts(images[0], style.image, (scene.side, scene.side), cells, "I look closer.")
    said = rng.choice(_COUNT).format(w=" and ".join(query.key))
    names = [[draw.cell_name(*cell) for cell in figure] for figure in listed]
    if "python" in style.tools:
        messages += python_call(_count_code(query.kind, names), query.answer, said)
        return Trace((*messages, answer(query.answer)), tuple(views))
    lines = [said]
    for colour, figure in zip(query.key, listed, strict=True):
        number, words = 0, []
        for cell in figure:
            number += 1 if query.kind != "perimeter" else sum(c == cell for c, _ in _borders(scene.figures[colour]))
            words.append(f"{draw.cell_name(*cell)}={number}")
        lines.append(f"{colour}: {' '.join(words)}")
    if query.kind == "larger":
        first, second = (len(figure) for figure in listed)
        lines.append(f"{first}-{second}={query.answer}")
    return Trace((*messages, answer(query.answer, "\n".join(lines))), tuple(views))


def _count_code(kind: str, names: Sequence[Sequence[str]]) -> str:
    squares = [f'"{" ".join(figure)}".split()' for figure in names]
    if kind == "perimeter":
        beside = "chr(ord(c[0])+x)+str(int(c[1:])+y)"
        return f"s={squares[0]}\nsum([{beside} not in s for c in s for x,y in [(0,1),(0,-1),(1,0),(-1,0)]])"
    return "-".join(f"len({figure})" for figure in squares)


GEOMETRY = Family(
    name="geometry",
    summary="measure lengths and angles between points, count areas and perimeters in squares",
    tiers="more points and figures, points anywhere, figures of any outline, larger paper",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
