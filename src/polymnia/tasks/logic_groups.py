"""The part of `logic` about groups: every baker is a singer, no singer is a runner; who is surely what?

A person's groups follow from the one that is told by rules of two groups each, forwards (`every`), across
(`no`) and backwards (not a singer, so not a baker). Every group could have members, so nothing else follows.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from polymnia.tasks.base import Query, Style, Trace
from polymnia.tasks.trace import answer
from polymnia.tasks.words import GROUPS, NAMES


@dataclass(frozen=True, slots=True)
class Rule:
    kind: str
    """`every` a is a b, or `no` a is a b."""
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class GroupScene:
    rules: tuple[Rule, ...]
    people: tuple[tuple[str, str], ...]
    """Name and the group that is told of it."""


Fact = tuple[str, bool]
"""A group, and whether one is in it or surely not."""


def make_scene(rng: random.Random, tier: int) -> GroupScene:
    number = min(3 + tier // 2, len(GROUPS))
    while True:
        found = rng.sample(GROUPS, number)
        rules = [Rule("every", a, rng.choice(found[: place + 1])) for place, a in enumerate(found[1:])]
        rules = rules if tier < 2 else rules[: max(2, number - 1 - tier // 3)]
        for _ in range((tier + 1) // 3):
            rules.append(Rule("no", *rng.sample(found, 2)))
        names = rng.sample(NAMES, min(3 + tier // 3, len(NAMES)))
        people = tuple((name, rng.choice(found)) for name in names)
        rng.shuffle(rules)
        scene = GroupScene(tuple(rules), people)
        if all(_possible(rules, one) for one in found) and _targets(scene):
            return scene


def follows(rules: Sequence[Rule], group: str) -> list[Fact]:
    """All that is sure of a member of the group, in the order in which it is found."""
    facts: list[Fact] = [(group, True)]
    for one, inside in facts:  # grows while it is read
        for rule in rules:
            new: Fact | None = None
            if rule.kind == "every" and inside and rule.a == one:
                new = rule.b, True
            elif rule.kind == "every" and not inside and rule.b == one:
                new = rule.a, False
            elif rule.kind == "no" and inside and one in (rule.a, rule.b):
                new = rule.b if rule.a == one else rule.a, False
            if new and new not in facts:
                facts.append(new)
    return facts


def _possible(rules: Sequence[Rule], group: str) -> bool:
    facts = follows(rules, group)
    return not any((one, not inside) in facts for one, inside in facts)


def _targets(scene: GroupScene) -> dict[Fact, str]:
    """The facts that are sure of one person only, and are not told outright."""
    sure: dict[Fact, list[str]] = {}
    for name, group in scene.people:
        for fact in follows(scene.rules, group)[1:]:
            sure.setdefault(fact, []).append(name)
    told = {(group, True) for _, group in scene.people}
    return {fact: names[0] for fact, names in sure.items() if len(names) == 1 and fact not in told}


def scene_key(scene: GroupScene) -> str:
    rules = sorted(f"{rule.kind} {rule.a} {rule.b}" for rule in scene.rules)
    return f"groups:{';'.join(rules)}:{';'.join(sorted(map(' '.join, scene.people)))}"


# --- questions: key = the fact that is asked for, or a name

WORDINGS = {
    "member": (
        "{x} Who is surely a {g}?", "{x} Who of them must be a {g}?", "{x} One of them is certainly a {g}: who?",
        "{x} Of whom can you say that he or she is a {g}?", "{x} So who is a {g}?", "Who must be a {g}? {x}",
    ),
    "outsider": (
        "{x} Who is surely not a {g}?", "{x} Who of them cannot be a {g}?", "{x} One of them is certainly no {g}: who?",
        "{x} Who can be ruled out as a {g}?", "{x} So who is not a {g}?",
    ),
    "groups_of": (
        "{x} What is {n} for sure? List all.", "{x} Which of these must {n} be? Name all.",
        "{x} Name everything that {n} surely is.", "{x} List all that {n} is, from what is said.",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "member": ("And who is surely a {g}?", "And a {g}?"),
    "outsider": ("And who is surely not a {g}?", "And who cannot be a {g}?"),
    "groups_of": ("And what is {n} for sure? List all.", "And {n}: what is sure? List all."),
}
_RULES = {
    "every": (
        "Every {a} is a {b}.",
        "All {a}s are {b}s.",
        "Each {a} is also a {b}.",
        "If you are a {a}, you are a {b}.",
    ),
    "no": ("No {a} is a {b}.", "A {a} is never a {b}.", "No {b} is a {a}."),
}


def ask(scene: GroupScene, rng: random.Random, previous: Query | None) -> Query:
    query = _any_query(scene, rng)
    while previous is not None and (query.kind, query.key) == (previous.kind, previous.key):
        query = _any_query(scene, rng)
    return query


def _any_query(scene: GroupScene, rng: random.Random) -> Query:
    said = [rng.choice(_RULES[rule.kind]).format(a=rule.a, b=rule.b) for rule in scene.rules]
    said += [f"{name} is a {group}." for name, group in scene.people]
    slots = {"x": " ".join(said)}
    if rng.random() < 0.2:
        name, group = rng.choice(scene.people)
        surely = [one for one, inside in follows(scene.rules, group) if inside]
        return Query("groups_of", ", ".join(surely), name, {**slots, "n": name}, "set")
    fact, name = rng.choice(list(_targets(scene).items()))
    return Query("member" if fact[1] else "outsider", name, fact, {**slots, "g": fact[0]}, "word")


# --- traces


def solve(scene: GroupScene, query: Query, style: Style, rng: random.Random) -> Trace:
    """What follows for each person, until the one that is asked for."""
    said = rng.choice(("I follow the rules for each.", "What is each of them?", "One person after the other."))
    people = scene.people[::-1] if style.strategy == 2 else scene.people
    lines = []
    for name, group in people:
        if query.kind == "groups_of" and name != query.key:
            continue
        words = [one if inside else f"not {one}" for one, inside in follows(scene.rules, group)]
        lines.append(f"{name}: {', '.join(words)}")
        if name == query.answer:
            break
    return Trace((answer(query.answer, "\n".join([said, *lines])),))
