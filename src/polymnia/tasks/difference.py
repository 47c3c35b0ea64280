"""`difference`: two pictures of one board, and what changed: added, gone, another colour, another shape.

Tiers: 0 has 9 to 12 cells with 3 to 5 things and 1 to 3 changes, 1 and 2 have more of all, 3 and 4 have 6x6
(and things that swap places); from 5 on both pictures are larger than nano's overview and are read part by
part. A difference is a cell that does not hold the same in both, so that its number is never in doubt.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace

from polymnia.data.chat import Message
from polymnia.tasks import draw, things
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import COLOURS, SHAPES
from polymnia.tasks.things import MAX_COLUMNS, OVERVIEW_SIDE, Hand, Thing
from polymnia.tasks.trace import answer, python_call


@dataclass(frozen=True, slots=True)
class DifferenceScene:
    columns: int
    rows: int
    before: tuple[Thing, ...]
    """Row by row; so is `after`."""
    after: tuple[Thing, ...]
    spread: int

    @property
    def changes(self) -> list["Change"]:
        """Row by row."""
        first, second = _at(self.before), _at(self.after)
        places = sorted({*first, *second}, key=lambda place: (place[1], place[0]))
        pairs = [(place, first.get(place), second.get(place)) for place in places]
        return [Change(draw.cell_name(*place), old, new) for place, old, new in pairs if old != new]


@dataclass(frozen=True, slots=True)
class Change:
    cell: str
    old: Thing | None
    new: Thing | None

    @property
    def kind(self) -> str:
        if self.old is None or self.new is None:
            return "added" if self.old is None else "gone"
        return "recoloured" if self.old.shape == self.new.shape else "other"

    @property
    def seen(self) -> str:
        """`b2 red star, now blue star`"""
        return f"{self.cell} {self.old.name if self.old else 'nothing'}, now {self.new.name if self.new else 'nothing'}"


def make_scene(rng: random.Random, tier: int) -> DifferenceScene:
    side = tier + 2
    columns, rows, low, high, most, spread = {
        0: (*rng.choice(((3, 3), (4, 3), (3, 4))), 3, 5, 3, 2),
        1: (4, 4, 5, 8, 3, 2),
        2: (5, rng.choice((4, 5)), 7, 11, 4, 3),
        3: (6, 6, 10, 15, 5, 3),
        4: (6, 6, 14, 20, 6, 4),
    }.get(tier, (min(side, MAX_COLUMNS), side, 3 * tier, 4 * tier, tier + 2, 4))
    number = rng.randint(low, high)
    colours, shapes = rng.sample(COLOURS, rng.randint(4, 7)), rng.sample(SHAPES, rng.randint(3, 6))
    places = [(place % columns, place // columns) for place in rng.sample(range(columns * rows), number)]
    before = {place: Thing(*place, rng.choice(colours), rng.choice(shapes)) for place in places}
    after = dict(before)
    empty = [(c, r) for r in range(rows) for c in range(columns) if (c, r) not in before]
    rng.shuffle(places)
    rng.shuffle(empty)
    for _ in range(rng.randint(1, most)):
        _change(rng, after, places, empty, tier)
    return DifferenceScene(columns, rows, _sorted(before), _sorted(after), spread)


def _change(
    rng: random.Random,
    after: dict[tuple[int, int], Thing],
    places: list[tuple[int, int]],
    empty: list[tuple[int, int]],
    tier: int,
) -> None:
    """One more change, at a place taken off `places` or `empty` so that none is changed twice."""
    kinds = ["add", "remove", "colour", "colour", "shape"] + (["swap"] if tier >= 3 else [])
    kind = rng.choice(kinds)
    if kind == "add":
        place = empty.pop()
        after[place] = Thing(*place, rng.choice(COLOURS), rng.choice(SHAPES))
        return
    place = places.pop()
    thing = after[place]
    if kind == "remove":
        del after[place]
    elif kind == "colour":
        after[place] = replace(thing, colour=rng.choice([other for other in COLOURS if other != thing.colour]))
    elif kind == "swap" and (others := [other for other in places if after[other].name != thing.name]):
        other = others[0]
        places.remove(other)
        after[place], after[other] = Thing(*place, *_look(after[other])), Thing(*other, *_look(thing))
    else:
        after[place] = replace(thing, shape=rng.choice([other for other in SHAPES if other != thing.shape]))


def _look(thing: Thing) -> tuple[str, str]:
    return thing.colour, thing.shape


def _at(found: tuple[Thing, ...]) -> dict[tuple[int, int], Thing]:
    return {(thing.column, thing.row): thing for thing in found}


def _sorted(found: dict[tuple[int, int], Thing]) -> tuple[Thing, ...]:
    return tuple(things.ordered(found.values(), 0))


def scene_key(scene: DifferenceScene) -> str:
    return f"{scene.columns}x{scene.rows};{things.listing(scene.before)}|{things.listing(scene.after)}"


def pictures(scene: DifferenceScene, rng: random.Random) -> Images:
    look, board = draw.look(rng), rng.choice(things.BOARDS)
    hands: dict[tuple[int, int], Hand] = {}
    drawn = []
    for found in (scene.before, scene.after):
        sheet = draw.Sheet(scene.columns * CELL, scene.rows * CELL, look)
        things.board(sheet, (0, 0, scene.columns, scene.rows), board)
        for thing in found:
            how = things.hand(rng, thing.colour, scene.spread)
            kept = hands.setdefault((thing.column, thing.row), how)
            # What changes its colour or shape stays as large and where it was.
            same = thing in scene.before
            things.put(sheet, thing, kept if same else replace(kept, fill=how.fill))
        drawn.append(sheet.finish(rng))
    return tuple(drawn)


def marks(scene: DifferenceScene) -> tuple[list[Mark], ...]:
    return things.thing_marks(scene.before), things.thing_marks(scene.after)


# --- questions: key = the change that is asked for, where it is one

_NAMED = "Columns are a, b, c ... from the left, rows 1, 2, 3 ... from the top."
WORDINGS = {
    "number": (
        "In how many places do the two pictures differ?", "How many places are not the same in both pictures?",
        "Compare the two pictures: in how many places is there a difference?", "number of places that changed?",
        "Count the places where the second picture is not like the first.", "How many spots have changed between them?",
        "Find the differences. In how many places are they?",
    ),
    "cells": (
        f"Which cells are not the same in both pictures? {_NAMED}", f"Name every cell that changed. {_NAMED}",
        f"Where do the two pictures differ? Give all the cells. {_NAMED}", f"{_NAMED} List the cells that changed.",
        f"Compare the pictures and name the cells with a difference. {_NAMED}", f"all changed cells, please. {_NAMED}",
    ),
    "added": (
        "What was added in the second picture?", "Which thing is new in the second picture, where there was nothing?",
        "One thing came into an empty place: what is it?",
        "What is new in the second picture, in a place that was empty?",
        "Something appeared on an empty spot. What?", "what got added?",
    ),
    "gone": (
        "What was taken away?", "Which thing of the first picture is gone, its place now empty?",
        "Something has left its place empty in the second picture. What was it?",
        "What was there at first and left an empty place?",
        "One place is empty now that was not. What was there?", "what was removed?",
    ),
    "recoloured": (
        "Which thing only changed its colour? Say what it was in the first picture.",
        "One thing kept its shape and place but not its colour. What was it at first?",
        "What got another colour? Describe it as in the first picture.",
        "Name the thing whose colour alone changed, as the first picture shows it.",
        "which thing was recoloured (as it looked before)?",
        "Something was painted over. What did it look like before?",
    ),
    "became": (
        "What is in the second picture in the place where the first has the {ref}?", "What did the {ref} turn into?",
        "The {ref} of the first picture is no longer there. What is in its place now?",
        "Look where the {ref} was in the first picture. What is there in the second?",
        "in place of the {ref} there is now what?", "What has taken the place of the {ref}?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "number": ("And in how many places do they differ?", "So how many places changed?"),
    "cells": (f"And which cells are they? {_NAMED}", f"Name the changed cells. {_NAMED}"),
    "added": ("And what was added?", "And what is new on an empty place?"),
    "gone": ("And what was taken away?", "And what is gone?"),
    "recoloured": ("And what only changed its colour? Say what it was at first.",),
    "became": ("And what is now where the {ref} was?", "And what did the {ref} turn into?"),
}


def ask(scene: DifferenceScene, rng: random.Random, previous: Query | None) -> Query:
    changes = scene.changes
    found = [Query("number", str(len(changes)))] * 3
    cells = Query("cells", ", ".join(change.cell for change in changes), answer_kind="set")
    if len(changes) <= 6:  # longer lists only when there is nothing else to ask
        found += [cells] * 4
    for kind, number in Counter(change.kind for change in changes).items():
        if number == 1 and kind in WORDINGS:
            change = next(change for change in changes if change.kind == kind)
            thing = change.new if kind == "added" else change.old
            assert thing is not None
            found += [Query(kind, thing.name, change, answer_kind="word")] * 3
    numbers = Counter(thing.name for thing in scene.before)
    for change in changes:
        if change.old and change.new and numbers[change.old.name] == 1:
            found += [Query("became", change.new.name, change, {"ref": change.old.name}, "word")] * 2
    if previous is not None:
        found = [query for query in found if (query.kind, query.key) != (previous.kind, previous.key)]
    return rng.choice(found or [cells])


# --- traces

_LOOK = ("I compare the two pictures.", "First one, then the other.", "Let me see what is in each.", "Cell by cell:")


def solve(scene: DifferenceScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said, large = rng.choice(_LOOK), max(scene.columns, scene.rows) > OVERVIEW_SIDE
    if "crop" in style.tools and (style.strategy == 3 or large):
        return _by_parts(scene, query, images, style, said)
    if query.kind == "became":
        return Trace((answer(query.answer, f"{said}\n{_conclusion(scene, query)}"),))
    if "python" in style.tools and not large:
        code, result = _code(scene, query, style.strategy)
        return Trace((*python_call(code, result, said), answer(query.answer)))
    lines = _compared(scene, style.strategy)
    return Trace((answer(query.answer, "\n".join([said, *lines, _conclusion(scene, query)])),))


def _by_parts(scene: DifferenceScene, query: Query, images: Images, style: Style, said: str) -> Trace:
    """The same part of both pictures one after the other: what the first holds, then what the second changes."""
    messages: list[Message] = []
    views: list[View] = []
    for span in things.parts(scene.columns, scene.rows):
        for place, found in enumerate((scene.before, scene.after)):
            there = things.inside(found, span)
            said_next = things.listing(there) or "nothing"
            if place:
                said_next = "; ".join(one.seen for one in scene.changes if _is_in(one, span)) or "the same"
            index = style.image + place
            turn, seen, said = things.read_parts(images[place], place, index, [span], [said_next], said)
            messages += turn
            views += seen
    messages.append(answer(query.answer, f"{said}\n{_conclusion(scene, query)}"))
    return Trace(tuple(messages), tuple(views))


def _is_in(change: Change, span: things.Span) -> bool:
    return bool(things.inside([thing for thing in (change.old, change.new) if thing], span))


def _compared(scene: DifferenceScene, strategy: int) -> list[str]:
    """Every cell that holds something in either picture; the changed ones with a running number."""
    first, second = _at(scene.before), _at(scene.after)
    order = things.ordered({**first, **second}.values(), strategy)
    lines, number = [], 0
    for thing in order:
        old, new = first.get((thing.column, thing.row)), second.get((thing.column, thing.row))
        line = f"{thing.cell} {old.name if old else 'nothing'}"
        if old != new:
            number += 1
            line += f", now {new.name if new else 'nothing'} = {number}"
        lines.append(line)
    return lines


def _conclusion(scene: DifferenceScene, query: Query) -> str:
    if query.kind == "number":
        return f"changed: {query.answer}"
    if query.kind == "cells":
        return f"cells: {query.answer}"
    if query.kind == "became":
        change: Change = query.key
        return f"{query.slots['ref']} {change.cell}; second picture {change.cell} {query.answer}"
    return f"{query.kind}: {query.key.seen}"


def _code(scene: DifferenceScene, query: Query, strategy: int) -> tuple[str, str]:
    """What is in each picture, and Python compares: `{x[:2] for x in set(a)^set(b)}` are the changed cells."""
    lists = "\n".join(
        f'{name}="{things.listing(found, strategy)}".split(";")'
        for name, found in (("a", scene.before), ("b", scene.after))
    )
    changed = "{x[:2] for x in set(a)^set(b)}"
    if query.kind == "number":
        return f"{lists}\nlen({changed})", query.answer
    if query.kind == "cells":
        return f"{lists}\nsorted({changed})", str(sorted(change.cell for change in scene.changes))
    change: Change = query.key
    if query.kind == "recoloured":
        seen = f"{change.old.seen if change.old else ''}, {change.new.seen if change.new else ''}"
        same = "x!=y and x[:2]==y[:2] and x.split()[2]==y.split()[2]"
        return f'{lists}\n[x+", "+y for x in a for y in b if {same}]', str([seen])
    one, other = ("b", "a") if query.kind == "added" else ("a", "b")
    thing = change.new or change.old
    assert thing is not None
    return f"{lists}\n[x for x in {one} if x[:2] not in [y[:2] for y in {other}]]", str([thing.seen])


DIFFERENCE = Family(
    name="difference",
    summary="two pictures of one board: how many places differ, which, what was added, removed or recoloured",
    tiers="more things and changes on a larger board, swaps, off the cells' centres",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=pictures,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
