"""`sorting`: put numbers, words or jobs in order; the k-th of them; what one worker needs for all jobs.

Tiers: 0 four numbers or three words or jobs; then one more every other tier, longer numbers, and words that
begin with the same letter. Jobs have hours and a deadline (a day of the month) or wait for one another.
"""

import itertools
import random
from dataclasses import dataclass
from typing import Literal

from polymnia.data.chat import Message
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.trace import answer, python_call
from polymnia.tasks.verify import AnswerKind
from polymnia.tasks.words import CHORES, NAMES, NOUNS, listed, ordinal
from polymnia.tasks.written import written

Topic = Literal["numbers", "words", "runners", "jobs", "waiting"]


@dataclass(frozen=True, slots=True)
class SortScene:
    topic: Topic
    items: tuple[str, ...]
    values: tuple[int, ...] = ()
    """What is sorted by: the number itself, a runner's seconds, a job's hours; a waiting job's place in the order."""
    days: tuple[int, ...] = ()
    """Deadlines of the jobs."""


By = Literal["value", "word", "day", "waiting", "total"]
_BY: dict[Topic, By] = {"numbers": "value", "words": "word", "runners": "value", "jobs": "day", "waiting": "waiting"}


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked: all items in order, or the one at a place (1 = first); or the total."""

    by: By
    descending: bool = False
    place: int = 0
    """0: all of them."""


def make_scene(rng: random.Random, tier: int) -> SortScene:
    topic: Topic = rng.choices(("numbers", "words", "runners", "jobs", "waiting"), (4, 3, 2, 2, 2))[0]
    extra = tier // 2 + (tier > 2)
    match topic:
        case "numbers":
            high = 99 if tier < 2 else 999 if tier < 5 else 10 ** min(3 + (tier - 2) // 3, 12)
            low = 1 if tier < 4 else -high // 2
            values = rng.sample(range(low, high + 1), 4 + extra)
            return SortScene(topic, tuple(map(str, values)), tuple(values))
        case "words":
            return SortScene(topic, tuple(_some_words(rng, 3 + extra, tier)))
        case "runners":
            names = rng.sample(NAMES, min(3 + extra, len(NAMES)))
            return SortScene(topic, tuple(names), tuple(rng.sample(range(10, 100), len(names))))
    jobs = rng.sample(CHORES, min(3 + extra, len(CHORES)))
    if topic == "waiting":
        return SortScene(topic, tuple(jobs), tuple(rng.sample(range(len(jobs)), len(jobs))))
    hours = [rng.randint(1, 9 if tier < 4 else 40) for _ in jobs]
    return SortScene(topic, tuple(jobs), tuple(hours), tuple(rng.sample(range(1, 31), len(jobs))))


def _some_words(rng: random.Random, number: int, tier: int) -> list[str]:
    """Words with different first letters at tier 0; from tier 3 on more and more that share one."""
    words = rng.sample(NOUNS, min(number, len(NOUNS)))
    while tier == 0 and len({word[0] for word in words}) < len(words):
        words = rng.sample(NOUNS, number)
    if tier >= 3:
        alike = [word for word in NOUNS if word[0] == words[0][0] and word not in words]
        words[-1:] = rng.sample(alike, 1) if alike else words[-1:]
    return words


def scene_key(scene: SortScene) -> str:
    """The items, whatever order they stand in."""
    columns = [scene.items, *(column for column in (scene.values, scene.days) if column)]
    return f"{scene.topic}:{';'.join(sorted(' '.join(map(str, row)) for row in zip(*columns, strict=True)))}"


# --- questions: key = Order

WORDINGS = {
    "numbers_all": (
        "Sort these numbers {d}: {x}.", "Put {x} in order, {d}.", "Order {x} {d}.", "{x}: sort them {d}.",
        "Arrange the numbers {x} {d}.", "Write {x} again, {d}.", "sort {x} {d}", "List {x} {d}, please.",
    ),
    "numbers_one": (
        "Which is the {k} number of {x}?", "What is the {k} of {x}?", "Find the {k} number: {x}.",
        "Among {x}, which is the {k}?", "{x}: which is the {k} one?", "Give me the {k} of these: {x}.",
    ),
    "words_all": (
        "Sort these words {d}: {x}.", "Order {x} {d}.", "Put {x} in order, {d}.", "sort {x} {d}",
        "{x}: list them {d}.", "Arrange the words {x} {d}.", "Write the words {x} {d}.",
    ),
    "words_one": (
        "Which of {x} is the {k} in the alphabet?", "Sort {x} alphabetically: which is the {k}?",
        "In a dictionary, which of {x} comes {k}?", "{x}: which word is {k} in alphabetical order?",
    ),
    "runners_all": (
        "{x}. In which order do they finish?", "{x}. List the runners from first to last.", "{x}. Rank them by time.",
        "{x}. Name them in the order of their times.", "{x}. Give the ranking, fastest first.",
    ),
    "runners_one": (
        "{x}. Who finishes {k}?", "{x}. Who is {k}?", "{x}. Which of them comes in {k}?", "Who is {k}? {x}.",
        "{x}. Name the one that finishes {k}.",
    ),
    "jobs_all": (
        "{x}. In which order are they due?", "{x}. Order the jobs by deadline, earliest first.",
        "{x}. List the jobs by the day they are due.", "{x}. What must be ready first, then next? List all.",
    ),
    "jobs_one": (
        "{x}. Which job is due {k}?", "{x}. Which one has the {k} deadline?", "{x}. Whose deadline comes {k}?",
        "{x}. By deadline, which job comes {k}?",
    ),
    "jobs_total": (
        "{x}. How many hours does one person need for all of it?", "{x}. One worker does them all: how many hours?",
        "{x}. How long is that for one worker, in hours?", "{x}. How many hours of work is that in all?",
    ),
    "waiting_all": (
        "{x}. In which order must they be done?", "{x}. Give an order that works.", "{x}. List the jobs in order.",
        "{x}. What comes first, what next? List all.", "{x}. Order them so that nothing comes too early.",
    ),
    "waiting_one": (
        "{x}. Which job must be done {k}?", "{x}. What comes {k}?", "{x}. Which is the {k} job?",
        "{x}. What is to be done {k}?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "numbers_all": ("And all of them {d}?", "Now sort them {d}.", "Put them in order {d}."),
    "numbers_one": ("And the {k}?", "Which is the {k} of them?", "What about the {k}?"),
    "words_all": ("And all of them {d}?", "Now list them {d}."),
    "words_one": ("And which comes {k}?", "Which is the {k} then?"),
    "runners_all": ("And the whole ranking?", "List all of them, fastest first."),
    "runners_one": ("And who is {k}?", "Who comes {k}?"),
    "jobs_all": ("And in which order are they due?", "Now list them by deadline."),
    "jobs_one": ("And which is due {k}?", "Which one comes {k} by deadline?"),
    "jobs_total": ("And how many hours is all of it for one worker?", "How many hours in all?"),
    "waiting_all": ("And the whole order?", "Now list all of them in order."),
    "waiting_one": ("And what comes {k}?", "Which one is {k}?"),
}
_DIRECTIONS = {
    "numbers": (
        ("in ascending order", "from smallest to largest", "smallest first", "going up"),
        ("in descending order", "from largest to smallest", "largest first", "going down"),
    ),
    "words": (
        ("alphabetically", "from A to Z", "as in a dictionary"),
        ("in reverse alphabetical order", "from Z to A"),
    ),
}


def ask(scene: SortScene, rng: random.Random, previous: Query | None) -> Query:
    query = _any_query(scene, rng)
    while previous is not None and query.key == previous.key:
        query = _any_query(scene, rng)
    return query


def _any_query(scene: SortScene, rng: random.Random) -> Query:
    one = rng.random() < 0.45
    descending = scene.topic in ("numbers", "words") and rng.random() < 0.45 and not (one and scene.topic == "words")
    place = rng.randint(1, len(scene.items)) if one else 0
    slots = {"x": told(scene, rng), "k": _place_words(scene.topic, place, descending)}
    if scene.topic in _DIRECTIONS:
        slots["d"] = rng.choice(_DIRECTIONS[scene.topic][descending])
    if scene.topic == "jobs" and rng.random() < 0.3:
        return Query("jobs_total", str(sum(scene.values)), Order("total"), slots)
    order = Order(_BY[scene.topic], descending, place)
    ranked = in_order(scene, order)
    if place:
        answer_kind: AnswerKind = "number" if scene.topic == "numbers" else "word"
        return Query(f"{scene.topic}_one", ranked[place - 1], order, slots, answer_kind)
    return Query(f"{scene.topic}_all", ", ".join(ranked), order, slots, "list")


def _place_words(topic: Topic, place: int, descending: bool) -> str:
    if topic != "numbers" or place == 0:
        return ordinal(place) if place else ""
    most = "largest" if descending else "smallest"
    return most if place == 1 else f"{ordinal(place)} {most}"


def in_order(scene: SortScene, order: Order) -> list[str]:
    if order.by == "word":
        return sorted(scene.items, reverse=order.descending)
    ranks = scene.days if order.by == "day" else scene.values
    return [item for _, item in sorted(zip(ranks, scene.items, strict=True), reverse=order.descending)]


def told(scene: SortScene, rng: random.Random) -> str:
    """The items with what is known of them."""
    items, values = scene.items, scene.values
    match scene.topic:
        case "runners":
            return rng.choice(
                (
                    ", ".join(f"{name} runs {value} s" for name, value in zip(items, values, strict=True)),
                    "Times: " + ", ".join(f"{name} {value} s" for name, value in zip(items, values, strict=True)),
                    listed([f"{name} needs {value} seconds" for name, value in zip(items, values, strict=True)]),
                )
            )
        case "jobs":
            rows = list(zip(items, values, scene.days, strict=True))
            return rng.choice(
                (
                    "Jobs: " + ", ".join(f"{job} ({hours} h, due on day {day})" for job, hours, day in rows),
                    ", ".join(f"{job} takes {hours} h and is due on day {day}" for job, hours, day in rows),
                )
            )
        case "waiting":
            clues = [f"{before} {rng.choice(_BEFORE)} {after}" for before, after in _waits(scene)]
            rng.shuffle(clues)
            return ", ".join(clues)
    return rng.choice((listed(items), ", ".join(items), " ".join(items)))


_BEFORE = ("comes before", "must be done before", "has to be finished before")


def _waits(scene: SortScene) -> list[tuple[str, str]]:
    """Neighbours in the order, so that only one order is possible."""
    ranked = in_order(scene, Order("waiting"))
    return list(itertools.pairwise(ranked))


# --- traces


_PLANS = ("I put them in order.", "First in order.", "One after the other.", "I sort them.")


def solve(scene: SortScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    order: Order = query.key
    said = rng.choice(_PLANS) if order.by != "total" else rng.choice(("I add up the hours.", "All hours together."))
    if "python" in style.tools and order.by != "waiting":
        code, result = program(scene, query)
        messages: list[Message] = python_call(code, result, said)
        return Trace((*messages, answer(query.answer)))
    return Trace((answer(query.answer, "\n".join([said, *in_writing(scene, order, style.strategy == 2)])),))


def program(scene: SortScene, query: Query) -> tuple[str, str]:
    """Code that sorts, and what its last value looks like."""
    order: Order = query.key
    if order.by == "total":
        return "+".join(map(str, scene.values)), query.answer
    numbers = scene.topic == "numbers"
    if numbers:
        given = f"[{','.join(scene.items)}]"
    elif scene.topic == "words":
        given = f'"{" ".join(scene.items)}".split()'
    else:
        values = scene.days if order.by == "day" else scene.values
        pairs = ",".join(f'({value},"{item}")' for value, item in zip(values, scene.items, strict=True))
        given = f"[{pairs}]"
    code = f"sorted({given}{',reverse=True' if order.descending else ''})"
    paired = scene.topic not in ("numbers", "words")
    ranked = in_order(scene, order)
    if order.place:
        code += f"[{order.place - 1}]" + ("[1]" if paired else "")
        return code, query.answer if numbers else repr(query.answer)
    if paired:
        code = f"[b for a,b in {code}]"
    return code, str([int(item) for item in ranked]) if numbers else str(ranked)


def in_writing(scene: SortScene, order: Order, backwards: bool) -> list[str]:
    """Without Python: the next one is picked from those that are left, from the first or from the last on."""
    if order.by == "total":
        lines, total = [], scene.values[0]
        for hours in scene.values[1:]:
            lines += written(total, "+", hours)
            total += hours
        return lines
    if order.by == "waiting":
        ranked = in_order(scene, order)
        return [f"{ranked[0]} waits for nothing.", *(f"{before}, then {after}" for before, after in _waits(scene))]
    ranked = in_order(scene, order)
    values = dict(zip(scene.items, scene.days if order.by == "day" else scene.values, strict=False))
    left, lines = list(scene.items), []
    picks = ranked[::-1] if backwards else ranked
    if order.place:
        picks = picks[: len(picks) - order.place + 1 if backwards else order.place]
    for pick in picks:
        shown = [item if item == str(values.get(item, item)) else f"{item} {values[item]}" for item in left]
        lines.append(f"{' '.join(shown)}: {pick}")
        left.remove(pick)
    return [*lines, ", ".join(picks[::-1] if backwards else picks)]


SORTING = Family(
    name="sorting",
    summary="order numbers, words, runners and jobs; find the k-th; hours for one worker",
    tiers="more items, longer numbers, words that begin alike",
    make_scene=make_scene,
    scene_key=scene_key,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    visual=False,
)
