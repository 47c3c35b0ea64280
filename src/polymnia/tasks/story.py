"""`story`: word problems whose quantities hang together: twice as many, 5 fewer than, as many as two others.

Tiers: 0 two people and one relation, 1 and 2 three people, then a person more every other tier; from 3 on
something happens afterwards (bought, lost, given away), from 5 on the sentences are out of order.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.trace import answer, python_call
from polymnia.tasks.words import NAMES, THINGS, listed, plural
from polymnia.tasks.written import compute, written


@dataclass(frozen=True, slots=True)
class Quantity:
    name: str
    relation: str
    """`is` a number; `more`, `fewer`, `times`, `half` of `others[0]`; `both`: `others[0]` and `others[1]` together."""
    others: tuple[str, ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """What happens afterwards: `buys`, `loses`, or `gives` to the other."""

    name: str
    verb: str
    number: int
    other: str = ""


@dataclass(frozen=True, slots=True)
class StoryScene:
    thing: str
    quantities: tuple[Quantity, ...]
    """Each after those it depends on."""
    events: tuple[Event, ...]
    shuffled: bool


def make_scene(rng: random.Random, tier: int) -> StoryScene:
    people = min(2 + (tier + 1) // 2, 3) if tier < 3 else min(2 + tier // 2, len(NAMES))
    happenings = 0 if tier < 3 else min(tier // 3, 6)
    high = 12 if tier == 0 else 20 + 10 * tier
    while True:
        names = rng.sample(NAMES, people)
        quantities: list[Quantity] = []
        counts: dict[str, int] = {}
        for name in names:
            quantities.append(_quantity(rng, name, counts, high))
            counts[name] = _count(quantities[-1], counts)
        events = _events(rng, names, counts, happenings)
        if all(0 < count <= 5 * high for count in counts.values()):
            return StoryScene(rng.choice(THINGS), tuple(quantities), events, tier >= 5)


def _quantity(rng: random.Random, name: str, counts: Mapping[str, int], high: int) -> Quantity:
    if not counts:
        return Quantity(name, "is", number=rng.randint(2, high))
    other = rng.choice(list(counts)) if rng.random() < 0.4 else list(counts)[-1]
    kinds = ["more", "more", "times", *(["fewer"] * 2 if counts[other] > 1 else [])]
    kinds += ["half"] if counts[other] % 2 == 0 else []
    kinds += ["both", "is"] if len(counts) > 1 else []
    kind = rng.choice(kinds)
    match kind:
        case "more":
            return Quantity(name, "more", (other,), rng.randint(1, high))
        case "fewer":
            return Quantity(name, "fewer", (other,), rng.randint(1, counts[other] - 1))
        case "times":
            return Quantity(name, "times", (other,), rng.choice((2, 2, 3, 4)))
        case "half":
            return Quantity(name, "half", (other,), 2)
        case "both":
            return Quantity(name, "both", tuple(rng.sample(list(counts), 2)))
    return Quantity(name, "is", number=rng.randint(2, high))


def _events(rng: random.Random, names: Sequence[str], counts: dict[str, int], number: int) -> tuple[Event, ...]:
    """Changes `counts`."""
    events = []
    for _ in range(number):
        name, other = rng.sample(names, 2)
        verb = rng.choice(("buys", "loses", "gives")) if counts[name] > 1 else "buys"
        change = rng.randint(1, 9 if verb == "buys" else min(9, counts[name] - 1))
        events.append(Event(name, verb, change, other if verb == "gives" else ""))
        _happen(events[-1], counts)
    return tuple(events)


def _happen(event: Event, counts: dict[str, int]) -> None:
    counts[event.name] += event.number if event.verb == "buys" else -event.number
    if event.verb == "gives":
        counts[event.other] += event.number


def _count(quantity: Quantity, counts: Mapping[str, int]) -> int:
    operation = _operation(quantity, counts)
    return compute(*operation) if operation else quantity.number


_OPERATORS = {"more": "+", "fewer": "-", "times": "*", "half": "/", "both": "+"}


def _operation(quantity: Quantity, counts: Mapping[str, int]) -> tuple[int, str, int] | None:
    """What gives the quantity, in numbers; None where it is given."""
    if quantity.relation == "is":
        return None
    second = counts[quantity.others[1]] if quantity.relation == "both" else quantity.number
    return counts[quantity.others[0]], _OPERATORS[quantity.relation], second


def final_counts(scene: StoryScene) -> dict[str, int]:
    """How many each has in the end."""
    counts: dict[str, int] = {}
    for quantity in scene.quantities:
        counts[quantity.name] = _count(quantity, counts)
    for event in scene.events:
        _happen(event, counts)
    return counts


def scene_key(scene: StoryScene) -> str:
    given = ";".join(f"{q.name} {q.relation} {'+'.join(sorted(q.others))} {q.number}" for q in scene.quantities)
    then = ";".join(f"{e.name} {e.verb} {e.number} {e.other}" for e in scene.events)
    return f"{scene.thing}:{given}:{then}"


# --- the story and its questions: key = the names whose things are asked for

_VERBS = ("has", "has", "owns", "has got", "found", "collected", "bought", "picked up", "keeps")
_SAID = {
    "is": ("{a} {v} {n} {t}.", "{a} {v} exactly {n} {t}."),
    "more": ("{a} {v} {n} more {t} than {b}.", "{a} {v} {n} {t} more than {b}."),
    "fewer": ("{a} {v} {n} fewer {t} than {b}.", "{a} {v} {n} {t} less than {b}."),
    "times": ("{a} {v} {x} as many {t} as {b}.", "Compared with {b}, {a} {v} {x} as many {t}."),
    "half": ("{a} {v} half as many {t} as {b}.", "{a} {v} only half as many {t} as {b}."),
    "both": ("{a} {v} as many {t} as {b} and {c} together.", "{a} {v} as many {t} as {b} and {c} in all."),
    "buys": ("Then {a} buys {n} {t} more.", "Later {a} gets {n} more {t}.", "After that {a} finds {n} {t} more."),
    "loses": ("Then {a} loses {n} {t}.", "Later {a} sells {n} {t}.", "After that {a} uses up {n} {t}."),
    "gives": (
        "Then {a} gives {n} {t} to {b}.", "Later {b} gets {n} {t} from {a}.", "After that {a} hands {n} {t} to {b}.",
    ),
}  # fmt: skip
_TIMES = {2: "twice", 3: "three times", 4: "four times"}

WORDINGS = {
    "one": (
        "{story} How many {t} does {a} have?", "{story} How many {t} has {a} in the end?", "{story} And {a}: how many?",
        "{story} What is the number of {t} that {a} has?", "{story} So {a} has how many?",
        "How many {t} does {a} have? {story}", "{story} How many {t} are {a}'s?",
    ),
    "total": (
        "{story} How many {t} do they have altogether?", "{story} How many {t} is that in all?",
        "{story} What do they have together?", "{story} Altogether, how many {t} do they have?", "{story} Total?",
        "{story} How many {t} do all of them have together?", "How many {t} are there in all? {story}",
    ),
    "pair": (
        "{story} How many {t} do {a} and {b} have together?", "{story} Together, {a} and {b} have how many {t}?",
        "{story} How many {t} have {a} and {b} in all?", "{story} Add up the {t} of {a} and {b}.",
    ),
    "difference": (
        "{story} How many more {t} than {b} does {a} have?", "{story} By how many {t} does {a} beat {b}?",
        "{story} {a} has more {t} than {b}: how many more?", "{story} How many {t} fewer than {a} does {b} have?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "one": ("And how many {t} does {a} have?", "How many has {a}?", "And {a}?", "What about {a}?"),
    "total": ("And how many altogether?", "How many {t} do they all have?", "And in all?"),
    "pair": ("And {a} and {b} together?", "How many do {a} and {b} have in all?"),
    "difference": ("How many more than {b} does {a} have?", "And by how many does {a} beat {b}?"),
}


def ask(scene: StoryScene, rng: random.Random, previous: Query | None) -> Query:
    counts = final_counts(scene)
    names = [quantity.name for quantity in scene.quantities]
    first, second = rng.sample(names, 2)
    if counts[first] < counts[second]:
        first, second = second, first
    kinds = ["one", "total", *(["pair"] if len(names) > 2 else [])]
    kinds += ["difference"] if counts[first] > counts[second] else []
    kind = rng.choice([one for one in kinds if previous is None or one != previous.kind])
    last = names[-1] if rng.random() < 0.6 else rng.choice(names[1:])
    asked = {"one": (last,), "total": tuple(names)}.get(kind, (first, second))
    number = counts[first] - counts[second] if kind == "difference" else sum(counts[name] for name in asked)
    slots = {"story": tell(scene, rng), "t": plural(scene.thing), "a": asked[0], "b": asked[1] if asked[1:] else ""}
    return Query(kind, str(number), asked, slots)


def tell(scene: StoryScene, rng: random.Random) -> str:
    """The sentences; what happens afterwards stays last and in order."""
    given, verb = [], rng.choice(_VERBS)
    for quantity in scene.quantities:
        number = quantity.number
        things = plural(scene.thing, number if quantity.relation in ("is", "more", "fewer") else 2)
        names = dict(zip("bc", quantity.others, strict=False))
        way = rng.choice(_SAID[quantity.relation])
        given.append(way.format(a=quantity.name, n=number, t=things, x=_TIMES.get(number, ""), v=verb, **names))
    if scene.shuffled:
        rng.shuffle(given)
    then = [
        rng.choice(_SAID[event.verb]).format(
            a=event.name, b=event.other, n=event.number, t=plural(scene.thing, event.number)
        )
        for event in scene.events
    ]
    return " ".join((*given, *then))


# --- traces


_PLANS = ("I name what each has.", "One after the other.", "First who has what.", "Each one in order.")


def solve(scene: StoryScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said = rng.choice(_PLANS)
    if "python" in style.tools:
        messages: list[Message] = python_call(code(scene, query), query.answer, said)
        return Trace((*messages, answer(query.answer)))
    return Trace((answer(query.answer, "\n".join([said, *in_writing(scene, query)])),))


def code(scene: StoryScene, query: Query) -> str:
    """Names as variables: `Ann=5`, `Bob=Ann+3`, `Ann+Bob`."""
    lines = []
    for quantity in scene.quantities:
        relation, others, number = quantity.relation, quantity.others, quantity.number
        if relation == "is":
            lines.append(f"{quantity.name}={number}")
        elif relation == "both":
            lines.append(f"{quantity.name}={others[0]}+{others[1]}")
        else:
            sign = "//" if relation == "half" else _OPERATORS[relation]
            lines.append(f"{quantity.name}={others[0]}{sign}{number}")
    for event in scene.events:
        lines.append(f"{event.name}{'+' if event.verb == 'buys' else '-'}={event.number}")
        if event.verb == "gives":
            lines.append(f"{event.other}+={event.number}")
    return "\n".join([*lines, ("-" if query.kind == "difference" else "+").join(query.key)])


def in_writing(scene: StoryScene, query: Query) -> list[str]:
    """Each quantity with its sum, then what is asked for."""
    counts: dict[str, int] = {}
    lines: list[str] = []
    for quantity in scene.quantities:
        operation = _operation(quantity, counts)
        steps = written(*operation) if operation else []
        counts[quantity.name] = _count(quantity, counts)
        lines += [*steps[:-1], f"{quantity.name}: {steps[-1] if steps else quantity.number}"]
    for event in scene.events:
        changed = [(event.name, "+" if event.verb == "buys" else "-")]
        changed += [(event.other, "+")] if event.verb == "gives" else []
        for name, sign in changed:
            lines.append(f"{name}: {written(counts[name], sign, event.number)[-1]}")
        _happen(event, counts)
    sign = "-" if query.kind == "difference" else "+"
    total = counts[query.key[0]]
    for name in query.key[1:]:
        lines += written(total, sign, counts[name])
        total = compute(total, sign, counts[name])
    return [*lines, f"{listed(query.key)}: {total}"]


STORY = Family(
    name="story",
    summary="word problems: who has how many, together, more than another",
    tiers="more people, then things that happen afterwards, then sentences out of order",
    make_scene=make_scene,
    scene_key=scene_key,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    visual=False,
)
