"""What a task family is: seeded scenes, exact verifiers, programmatic traces, leak-free splits.

A *scene* is the canonical content of a picture (what is where), a *query* one question about it.
`family/split/tier/seed/index` alone regenerates picture and truth. The split is decided by a hash of
the scene, not of the seed, so the same picture can never be in two splits.
"""

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from polymnia.data.chat import Message, message
from polymnia.errors import InputError

SPLITS = ("train", "validation", "test")
MAX_TIER = 50
"""Scenes grow with the tier; beyond this the pictures would not fit in memory."""
CELL = 28
"""Pixels a side of the square that becomes one image token (patch 14, 2x2 merge)."""


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    answer: str
    key: tuple[Any, ...]
    """What is asked, in the family's own terms; `solve` reads it."""
    is_code: bool = False
    """The answer is a string of digits: 047 is not 47."""


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
    tools: frozenset[str] = frozenset({"crop", "python"})
    think: bool = True
    """False: no reasoning (instant)."""
    image: int = 1
    """1-based index of the scene's picture in the conversation."""
    whole: bool = False
    """How training begins: lists what the picture holds and counts in the head, even with Python at hand."""


@dataclass(frozen=True, slots=True)
class Trace:
    messages: tuple[Message, ...]
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    """Scene pixels (x0, y0, x1, y1) of each picture that a tool returned."""


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    summary: str
    tiers: str
    """One line: what grows with the tier."""
    make_scene: Callable[[random.Random, int], Any]
    scene_key: Callable[[Any], str]
    draw: Callable[[Any, random.Random], Image.Image]
    ask: Callable[[Any, random.Random, Query | None], Query]
    """A query about the scene; with the previous query given, a follow-up to it."""
    solve: Callable[[Any, Query, Image.Image, Style, random.Random], Trace]
    marks: Callable[[Any], list[Mark]]
    visual: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    id: str
    family: str
    tier: int
    split: str
    scene: Any
    image: Image.Image
    query: Query

    @property
    def question(self) -> str:
        return self.query.text

    @property
    def answer(self) -> str:
        return self.query.answer

    def messages(self) -> list[Message]:
        return [message("user", self.image, self.question)]


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
    image = family.draw(scene, rng)
    return Problem(identity, family.name, tier, split, scene, image, family.ask(scene, rng, None))


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def verify(problem: Problem, answer: str) -> bool:
    """Exact: the last number in the answer is the truth; of a code (`Query.is_code`) digit by digit.

    Answers that are words must be the same word, but for case and a full stop.
    """
    expected = problem.answer
    if not _NUMBER.fullmatch(expected):
        return answer.strip().strip(".").casefold() == expected.casefold()
    if problem.query.is_code:
        numbers = _NUMBER.findall(answer)
        return bool(numbers) and numbers[-1] == expected
    numbers = _NUMBER.findall(_THOUSANDS.sub("", answer))
    return bool(numbers) and float(numbers[-1]) == float(expected)
