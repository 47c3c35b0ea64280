"""What a task family is: seeded scenes, exact verifiers, programmatic traces, leak-free splits.

A *scene* is the canonical content of a problem (what is where, or what is given), a *query* one question
about it. `family/split/tier/seed/index` alone regenerates pictures and truth. The split is decided by a hash
of the scene, not of the seed, so no picture and no text problem can ever be in two splits.
"""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from polymnia.data.chat import Message, message
from polymnia.errors import InputError
from polymnia.tasks import wording
from polymnia.tasks.verify import AnswerKind, matches

SPLITS = ("train", "validation", "test")
MAX_TIER = 50
"""Scenes grow with the tier; beyond this the pictures would not fit in memory."""
CELL = 28
"""Pixels a side of the square that becomes one image token (patch 14, 2x2 merge)."""
ALL_TOOLS = frozenset({"crop", "mark", "measure", "rotate", "python"})

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels."""
Wordings = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Query:
    kind: str
    """Which of the family's questions; a key of its `wordings`."""
    answer: str
    key: Any = None
    """What is asked, in the family's own terms; `solve` reads it."""
    slots: Mapping[str, str] = field(default_factory=dict)
    """What the wording is filled with."""
    answer_kind: AnswerKind = "number"
    tolerance: float = 0.0
    """Of an answer of the kind `near`."""
    text: str = ""
    """The question as asked; `sample` and `follow_up` word it unless `ask` did."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something to see at (x, y), in scene pixels; `label` is its class in `tasks.labels`."""

    x: float
    y: float
    size: float
    label: int


@dataclass(frozen=True, slots=True)
class Style:
    """How a trace goes about a question."""

    strategy: int = 0
    """Index into `data.strategies.STRATEGIES`."""
    tools: frozenset[str] = ALL_TOOLS
    think: bool = True
    """False: no reasoning (instant)."""
    image: int = 1
    """1-based index of the problem's first picture in the conversation."""
    images_before: int = 0
    """Pictures in the conversation when the trace begins; the next one from a tool has this index + 1."""


@dataclass(frozen=True, slots=True)
class View:
    """What a picture that a tool returned shows: a box of one of the problem's pictures."""

    picture: int
    """0-based, among the problem's pictures"""
    box: Box


@dataclass(frozen=True, slots=True)
class Trace:
    messages: tuple[Message, ...]
    views: tuple[View | None, ...] = ()
    """One for each picture that a tool returned; None = not a plain part of a picture (turned, marked)."""


Images = tuple[Image.Image, ...]


def no_marks(scene: Any) -> tuple[list[Mark], ...]:
    return ()


def no_pictures(scene: Any, rng: random.Random) -> Images:
    return ()


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    summary: str
    tiers: str
    """One line: what grows with the tier."""
    make_scene: Callable[[random.Random, int], Any]
    scene_key: Callable[[Any], str]
    """The canonical problem as text: equal keys are the same problem."""
    ask: Callable[[Any, random.Random, Query | None], Query]
    """A query about the scene, without text; with the previous query given, a follow-up to it."""
    solve: Callable[[Any, Query, Images, Style, random.Random], Trace]
    wordings: Wordings
    """Ways to ask, by kind of query, with {slots}."""
    follow_ups: Wordings = field(default_factory=dict)
    """Ways to ask it after another question about the same scene; a kind that is missing is asked in full."""
    draw: Callable[[Any, random.Random], Images] = no_pictures
    marks: Callable[[Any], tuple[list[Mark], ...]] = no_marks
    """What is to be seen in each picture, for the auxiliary labels."""
    check: Callable[[Any, Query, str], bool] | None = None
    """For `answer_kind="checked"`: whether an answer holds, by simulation."""
    visual: bool = True
    zoom: bool = False
    """The pictures hold detail that needs the visual tools."""


@dataclass(frozen=True, slots=True)
class Problem:
    id: str
    family: Family
    tier: int
    split: str
    scene: Any
    images: Images
    query: Query

    @property
    def question(self) -> str:
        return self.query.text

    @property
    def answer(self) -> str:
        return self.query.answer

    def messages(self) -> list[Message]:
        return [message("user", *self.images, self.question)]

    def solve(self, style: Style, rng: random.Random) -> Trace:
        return self.family.solve(self.scene, self.query, self.images, style, rng)


def split_of(scene_key: str) -> str:
    bucket = int.from_bytes(hashlib.sha256(scene_key.encode()).digest()[:4], "big") % 100
    return "train" if bucket < 90 else "validation" if bucket < 95 else "test"


def sample(family: Family, *, tier: int, split: str, seed: int, index: int) -> Problem:
    """Problem `index` of the seed's stream in the split. The same arguments give the same bytes."""
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 0 <= tier <= MAX_TIER:
        raise InputError(f"tier {tier} is out of range: tiers are integers from 0 up, at most {MAX_TIER} here")
    identity = f"{family.name}/{split}/{tier}/{seed}/{index}"
    rng = random.Random(identity)
    scene = family.make_scene(rng, tier)
    while split_of(f"{family.name}:{family.scene_key(scene)}") != split:
        scene = family.make_scene(rng, tier)
    images = family.draw(scene, rng)
    query = family.ask(scene, rng, None)
    query = _worded(query, family.wordings[query.kind], rng)
    return Problem(identity, family, tier, split, scene, images, query)


def follow_up(problem: Problem, rng: random.Random) -> Query:
    """Another question about the same scene, worded as one that follows the problem's."""
    query = problem.family.ask(problem.scene, rng, problem.query)
    ways = problem.family.follow_ups.get(query.kind) or problem.family.wordings[query.kind]
    return _worded(query, ways, rng)


def _worded(query: Query, ways: Sequence[str], rng: random.Random) -> Query:
    return query if query.text else replace(query, text=wording.say(rng, ways, query.slots))


def verify(problem: Problem, answer: str) -> bool:
    """Whether the answer is right: exact, by the query's kind of answer, or by the family's own check."""
    if problem.query.answer_kind == "checked":
        if problem.family.check is None:
            raise TypeError(f"family {problem.family.name} has no check for its answers")
        return problem.family.check(problem.scene, problem.query, answer)
    return matches(problem.query.answer_kind, problem.answer, answer, problem.query.tolerance)
