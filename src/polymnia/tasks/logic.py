"""`logic`: who is tallest, who sits where, who lies, who surely belongs to a group.

Tiers: 0 three people and just enough clues; then more people, clues that say less each, statements about two,
longer chains of groups. That one solution only fits the clues is proven by trying all of them.
"""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from polymnia.data.chat import Message
from polymnia.tasks import logic_groups as groups
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.logic_groups import GroupScene
from polymnia.tasks.trace import answer, python_call
from polymnia.tasks.words import NAMES, listed, ordinal

TRIED = 7
"""People in a row at most, so that all orders can be tried (5040)."""


@dataclass(frozen=True, slots=True)
class Clue:
    """What is known: in an order or row, `before`, `next` (directly before), `beside`, `end`, `at` a place; of
    statements by `a`, that `b` `lies`, is `honest`, or that `either` `b` or `c` lies."""

    kind: str
    a: str
    b: str = ""
    c: str = ""
    place: int = 0
    """0-based."""


@dataclass(frozen=True, slots=True)
class LogicScene:
    topic: Literal["order", "row", "liars"]
    names: tuple[str, ...]
    """As they are named, in no telling order."""
    clues: tuple[Clue, ...]
    solution: tuple[str, ...]
    """The order or row, first to last; of liars the one who is unlike the others."""
    theme: int = 0
    """Of an order, what it is about (only a manner of speaking); of liars: 0 one lies, 1 one is honest."""


Scene = LogicScene | GroupScene


def make_scene(rng: random.Random, tier: int) -> Scene:
    return rng.choice((_order, _row, _liars, groups.make_scene))(rng, tier)


def _order(rng: random.Random, tier: int) -> LogicScene:
    """Neighbours are compared, so one order is left; from tier 3 on some others as well."""
    names = tuple(rng.sample(NAMES, min(3 + (tier + 1) // 2, len(NAMES))))
    clues = [Clue("before", a, b) for a, b in itertools.pairwise(names)]
    more = [Clue("before", a, b) for a, b in itertools.combinations(names, 2) if Clue("before", a, b) not in clues]
    clues += rng.sample(more, min(len(more), max(0, tier - 2)))
    rng.shuffle(clues)
    return LogicScene("order", tuple(rng.sample(names, len(names))), tuple(clues), names, rng.randrange(len(_THEMES)))


def _row(rng: random.Random, tier: int) -> LogicScene:
    """True clues that tell something new are added until all rows but one are ruled out."""
    row = tuple(rng.sample(NAMES, min(3 + (tier + 1) // 2, TRIED)))
    names = tuple(rng.sample(row, len(row)))
    kinds = ("before", "next", "beside", "end", "at") if tier < 4 else ("before", "next", "beside", "end")
    true = [clue for clue in _row_clues(row) if clue.kind in kinds]
    left, clues = list(itertools.permutations(names)), list[Clue]()
    while len(left) > 1:
        clue = rng.choice([clue for clue in true if clue.kind == rng.choice(kinds)] or true)
        fitting = [one for one in left if holds(clue, one)]
        if len(fitting) < len(left):
            left, clues = fitting, [*clues, clue]
        elif len(left) == 2:  # a mirror image that only such a clue tells apart
            true = [clue for clue in true if clue.kind in ("before", "next", "at")] or true
    return LogicScene("row", names, tuple(clues), left[0])


def _row_clues(row: Sequence[str]) -> list[Clue]:
    clues = [Clue("before", a, b) for a, b in itertools.combinations(row, 2)]
    for a, b in itertools.pairwise(row):
        clues += [Clue("next", a, b), Clue("beside", a, b), Clue("beside", b, a)]
    clues += [Clue("end", row[0]), Clue("end", row[-1])]
    return clues + [Clue("at", name, place=place) for place, name in enumerate(row)]


def holds(clue: Clue, order: Sequence[str]) -> bool:
    """Whether an order or row obeys the clue."""
    at = order.index(clue.a)
    match clue.kind:
        case "at":
            return at == clue.place
        case "end":
            return at in (0, len(order) - 1)
        case "before":
            return at < order.index(clue.b)
        case "next":
            return at + 1 == order.index(clue.b)
    return abs(at - order.index(clue.b)) == 1


def _liars(rng: random.Random, tier: int) -> LogicScene:
    theme = int(rng.random() < 0.35)
    while True:
        names = tuple(rng.sample(NAMES, min(3 + tier // 2, len(NAMES))))
        odd = rng.choice(names)
        clues = tuple(_statement(rng, name, names, odd, theme, tier) for name in names)
        if fitting(names, clues, theme) == [odd]:
            return LogicScene("liars", names, clues, (odd,), theme)


def _statement(rng: random.Random, name: str, names: Sequence[str], odd: str, theme: int, tier: int) -> Clue:
    """What somebody says, true for the honest ones and false for the others."""
    honest = (name == odd) == bool(theme)
    while True:
        b, c = rng.sample([one for one in names if one != name], 2)
        kinds = ("lies", "honest") if theme or tier < 2 else ("lies", "honest", "either")
        clue = Clue(rng.choice(kinds), name, b)
        clue = replace(clue, c=c) if clue.kind == "either" else clue
        if says_true(clue, odd, theme) == honest:
            return clue


def says_true(clue: Clue, odd: str, theme: int) -> bool:
    """Whether a statement is true when `odd` is the one unlike the others."""
    lies = [(name == odd) != bool(theme) for name in (clue.b, clue.c) if name]
    return not lies[0] if clue.kind == "honest" else any(lies)


def fitting(names: Sequence[str], clues: Sequence[Clue], theme: int) -> list[str]:
    """Those who can be the odd one: every honest one's statement is then true and every other's false."""
    return [
        odd for odd in names if all(says_true(clue, odd, theme) == ((clue.a == odd) == bool(theme)) for clue in clues)
    ]


def scene_key(scene: Scene) -> str:
    if isinstance(scene, GroupScene):
        return groups.scene_key(scene)
    clues = sorted(f"{clue.a} {clue.kind} {clue.b} {clue.c} {clue.place}" for clue in scene.clues)
    mode = scene.theme if scene.topic == "liars" else ""
    return f"{scene.topic}{mode}:{','.join(sorted(scene.names))}:{';'.join(clues)}"


# --- questions: key = the place that is asked for (0-based), or None for all

_THEMES = (
    ("taller", "shorter", "tallest", "shortest"), ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"), ("richer", "poorer", "richest", "poorest"),
    ("heavier", "lighter", "heaviest", "lightest"),
)  # fmt: skip
_SAID: Mapping[str, tuple[str, ...]] = {
    "before": ("{a} sits somewhere to the left of {b}", "{b} sits somewhere to the right of {a}"),
    "next": ("{a} sits directly to the left of {b}", "{b} is the next one to the right of {a}"),
    "beside": ("{a} sits beside {b}", "{a} and {b} are neighbours"),
    "end": ("{a} sits at one end", "{a} has only one neighbour"),
    "at": ("{a} sits on seat {n}", "seat {n} is {a}'s"),
    "lies": ('{a} says "{b} lies"', "{a} says that {b} is a liar", '"{b} is lying", says {a}'),
    "honest": ('{a} says "{b} tells the truth"', "{a} says that {b} is honest", '"{b} never lies", says {a}'),
    "either": ('{a} says "{b} or {c} lies"', "{a} says that one of {b} and {c} is a liar"),
}
WORDINGS = {
    "order_one": (
        "{x}. Who is the {k}?", "{x}. Which of them is the {k}?", "Who is the {k}? {x}.", "{x}. Name the {k} of them.",
        "{x}. Tell me who the {k} one is.", "{x}. the {k}?",
    ),
    "order_all": (
        "{x}. Order them from {k} to {l}.", "{x}. List all from {k} to {l}.", "{x}. Name them, the {k} first.",
        "{x}. Put them in order, {k} first.",
    ),
    "row_one": (
        "{x}. Who sits on seat {n}?", "{x}. Who has the {k} seat from the left?", "{x}. Whose seat is number {n}?",
        "{x}. Who is {k} from the left?", "{x}. Name the one on seat {n}.",
    ),
    "row_all": (
        "{x}. Who sits where, from left to right?", "{x}. Name them from left to right.",
        "{x}. List the row from left to right.", "{x}. In which order do they sit, seen from the left?",
    ),
    "liar": (
        "{x}. Exactly one of them lies. Who?", "{x}. Just one is a liar. Who is it?", "{x}. One of them lies: which?",
        "Only one of these lies. {x}. Who is the liar?", "{x}. All but one tell the truth. Who does not?",
    ),
    "honest": (
        "{x}. Exactly one of them tells the truth. Who?", "{x}. Just one is honest. Who is it?",
        "{x}. All but one lie. Who tells the truth?", "Only one of these is honest. {x}. Who?",
    ),
    "truthful": (
        "{x}. Exactly one of them lies. Name all who tell the truth.",
        "{x}. One of them lies. Who are the honest ones?",
        "{x}. Just one lies. List those who do not.", "{x}. All but one tell the truth. Which ones do?",
    ),
    "lying": (
        "{x}. Exactly one of them tells the truth. Name all who lie.", "{x}. Only one is honest. Who are the liars?",
        "{x}. Just one is honest. List those who are not.", "{x}. All but one lie. Which ones do?",
    ),
    **groups.WORDINGS,
}  # fmt: skip
FOLLOW_UPS = {
    "order_one": ("And the {k}?", "Who is the {k} then?", "And who is the {k}?"),
    "order_all": ("Now list all from {k} to {l}.", "And all of them, the {k} first?"),
    "row_one": ("And on seat {n}?", "Who is {k} from the left?", "And seat {n}?"),
    "row_all": ("Now name them all from left to right.", "And the whole row, from the left?"),
    "truthful": ("And who tells the truth?", "Name the honest ones."),
    "lying": ("And who lies?", "Name all the liars."),
    "liar": ("So who is the liar?", "And who lies?"),
    "honest": ("So who is the honest one?", "And who tells the truth?"),
    **groups.FOLLOW_UPS,
}


def ask(scene: Scene, rng: random.Random, previous: Query | None) -> Query:
    if isinstance(scene, GroupScene):
        return groups.ask(scene, rng, previous)
    query = _ASK[scene.topic](scene, rng)
    while previous is not None and (query.kind, query.key) == (previous.kind, previous.key):
        query = _ASK[scene.topic](scene, rng)
    return query


def _ask_order(scene: LogicScene, rng: random.Random) -> Query:
    up, down, top, bottom = _THEMES[scene.theme]
    said = [rng.choice((f"{c.a} is {up} than {c.b}", f"{c.b} is {down} than {c.a}")) for c in scene.clues]
    slots = {"x": _joined(said, rng)}
    if rng.random() < 0.2:
        return Query("order_all", ", ".join(scene.solution), None, {**slots, "k": top, "l": bottom}, "list")
    place = rng.randrange(len(scene.names))
    from_end = len(scene.names) - 1 - place
    at, most = (place, top) if place <= from_end else (from_end, bottom)
    words = f"{ordinal(at + 1)} {most}" if at else most
    return Query("order_one", scene.solution[place], place, {**slots, "k": words}, "word")


def _ask_row(scene: LogicScene, rng: random.Random) -> Query:
    said = [_say(clue, rng) for clue in scene.clues]
    some = listed(scene.names)
    intro = rng.choice((f"{some} sit in a row", f"{some} sit side by side on seats 1 to {len(scene.names)}"))
    slots = {"x": f"{intro}, seat 1 on the left. {_joined(said, rng)}"}
    if rng.random() < 0.2:
        return Query("row_all", ", ".join(scene.solution), None, slots, "list")
    place = rng.randrange(len(scene.names))
    slots |= {"n": str(place + 1), "k": ordinal(place + 1)}
    return Query("row_one", scene.solution[place], place, slots, "word")


def _ask_liars(scene: LogicScene, rng: random.Random) -> Query:
    slots = {"x": ". ".join(_say(clue, rng) for clue in scene.clues)}
    one, others = ("honest", "lying") if scene.theme else ("liar", "truthful")
    if rng.random() < 0.8:
        return Query(one, scene.solution[0], 0, slots, "word")
    return Query(others, ", ".join(name for name in scene.names if name not in scene.solution), None, slots, "set")


_ASK: dict[str, Callable[[LogicScene, random.Random], Query]] = {
    "order": _ask_order,
    "row": _ask_row,
    "liars": _ask_liars,
}


def _say(clue: Clue, rng: random.Random) -> str:
    return rng.choice(_SAID[clue.kind]).format(a=clue.a, b=clue.b, c=clue.c, n=clue.place + 1)


def _joined(said: Sequence[str], rng: random.Random) -> str:
    return rng.choice((". ", ", ", "; ")).join(said)


# --- traces


def solve(scene: Scene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    if isinstance(scene, GroupScene):
        return groups.solve(scene, query, style, rng)
    said = rng.choice(("I try all that fits.", "What fits all clues?", "Let me see who fits.", "I go by the clues."))
    chained = scene.topic == "order" and (style.strategy >= 2 or len(scene.names) > TRIED)
    if "python" in style.tools and not chained:
        code, result = program(scene, query)
        messages: list[Message] = python_call(code, result, said)
        return Trace((*messages, answer(query.answer)))
    lines = {"order": _chain, "row": _tries, "liars": _suppose}[scene.topic](scene)
    return Trace((answer(query.answer, "\n".join([said, *lines])),))


def program(scene: LogicScene, query: Query) -> tuple[str, str]:
    """Code that tries all, and what its last value looks like."""
    names = ",".join(f'"{name}"' for name in scene.names)
    if scene.topic == "liars":
        equal, unequal = ("!=", "==") if scene.theme else ("==", "!=")
        tests = [f'({_claim(clue, equal, unequal)})==(x{unequal}"{clue.a}")' for clue in scene.clues]
        code = f"[x for x in [{names}] if {' and '.join(tests)}][0]"
        return code, repr(scene.solution[0])
    tests = [_test(clue, len(scene.names)) for clue in scene.clues]
    code = f"from itertools import permutations as P\n[p for p in P([{names}]) if {' and '.join(tests)}][0]"
    if query.key is None:
        return code, str(scene.solution)
    return f"{code}[{query.key}]", repr(scene.solution[query.key])


def _claim(clue: Clue, equal: str, unequal: str) -> str:
    if clue.kind == "either":
        return f'x in ("{clue.b}","{clue.c}")'
    return f'x{equal if clue.kind == "lies" else unequal}"{clue.b}"'


def _test(clue: Clue, number: int) -> str:
    first, second = f'p.index("{clue.a}")', f'p.index("{clue.b}")'
    match clue.kind:
        case "at":
            return f"{first}=={clue.place}"
        case "end":
            return f"{first} in (0,{number - 1})"
        case "before":
            return f"{first}<{second}"
        case "next":
            return f"{first}+1=={second}"
    return f"abs({first}-{second})==1"


def _chain(scene: LogicScene) -> list[str]:
    """Every clue the same way round, then linked."""
    return [", ".join(f"{clue.a} > {clue.b}" for clue in scene.clues), " > ".join(scene.solution)]


def _tries(scene: LogicScene) -> list[str]:
    """Small rows in every order until one fits; larger ones: the clues in short, then the row."""
    if len(scene.names) > 3:
        return [", ".join(_short(clue) for clue in scene.clues), " ".join(scene.solution)]
    lines = []
    for order in itertools.permutations(scene.names):
        broken = next((clue for clue in scene.clues if not holds(clue, order)), None)
        lines.append(f"{' '.join(order)}: {f'no, {_short(broken)}' if broken else 'fits'}")
        if broken is None:
            break
    return lines


def _short(clue: Clue) -> str:
    match clue.kind:
        case "at":
            return f"{clue.a} {clue.place + 1}"
        case "end":
            return f"{clue.a} end"
    return f"{clue.a} {({'before': '..', 'next': '>', 'beside': '~'})[clue.kind]} {clue.b}"


def _suppose(scene: LogicScene) -> list[str]:
    """Each in turn as the odd one: whose words then do not fit?"""
    lines = []
    for odd in scene.names:
        wrong = [
            clue.a
            for clue in scene.clues
            if says_true(clue, odd, scene.theme) != ((clue.a == odd) == bool(scene.theme))
        ]
        alone = "honest" if scene.theme else "lies"
        lines.append(f"{odd} {alone}? {f'no, what {wrong[0]} says' if wrong else 'fits'}")
        if not wrong:
            break
    return lines


LOGIC = Family(
    name="logic",
    summary="orders, seats, liars and groups: who, from what is said",
    tiers="more people, clues that say less, longer chains of groups",
    make_scene=make_scene,
    scene_key=scene_key,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    visual=False,
)
