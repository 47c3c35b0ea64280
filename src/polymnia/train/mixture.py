"""The stream that nano learns from: conversations about task pictures, made on the spot from a seed.

Example `index` is a pure function of (mixture, index), so the stream needs no storage, no order file, and
resumes anywhere. Each example trains one turn: the last of a conversation that may hold earlier questions
about the same picture, or about another one. The same pictures appear with tools, with fewer tools and
without any, so that a comparison without tools is fair.
"""

import functools
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from polymnia.data.chat import Effort, Message, ToolSpec, message
from polymnia.data.images import ImageProcessor
from polymnia.data.strategies import STRATEGIES
from polymnia.data.template import encode_conversation
from polymnia.data.tokenizer import Tokenizer
from polymnia.tasks import FAMILIES, Family, Problem, Style, sample
from polymnia.tasks.labels import token_labels
from polymnia.tools import crop, python
from polymnia.train.packing import Example

_T = TypeVar("_T")
NO_PICTURE = "I see no picture. Please add one."
PLACE_COLUMNS = 8
"""The second auxiliary label is the token's place: row * PLACE_COLUMNS + column."""


@dataclass(frozen=True)
class Mixture:
    """What the stream is made of; weights need not sum to 1."""

    seed: int
    families: dict[str, float]
    tiers: dict[str, tuple[float, ...]]
    """Weight of each tier, by family."""
    easy_until: int = 0
    """Examples at the start of the stream during which most problems are of tiers 0 and 1."""
    whole_until: int = 0
    """Examples at the start whose traces count in the head, before they leave that to Python."""
    efforts: dict[Effort, float] = field(
        default_factory=lambda: {"minimal": 0.12, "low": 0.04, "medium": 0.7, "high": 0.1, "xhigh": 0.04}
    )
    tools: dict[tuple[str, ...], float] = field(
        default_factory=lambda: {("crop", "python"): 0.74, (): 0.14, ("crop",): 0.06, ("python",): 0.06}
    )
    strategies: tuple[float, ...] = (0.49, 0.17, 0.17, 0.17)
    follow_up: float = 0.22
    """Share of conversations with an earlier question about the same picture."""
    second_picture: float = 0.12
    """Share of conversations with an earlier question about another picture."""
    no_picture: float = 0.01
    max_image_tokens: int = 36


@dataclass(frozen=True)
class Conversation:
    """One conversation, whole, and what its pictures show."""

    messages: list[Message]
    loss_from: int
    """Index of the first message whose assistant tokens are trained."""
    tools: tuple[ToolSpec, ...]
    effort: Effort
    family: str
    views: list[tuple[Problem, tuple[int, int, int, int]]]
    """For each picture, in order of appearance: its problem and the part of the scene that it shows."""


TOOLS = {one.spec.name: one.spec for one in (crop, python)}


def make_conversation(mixture: Mixture, index: int) -> Conversation:
    rng = random.Random(f"mixture/{mixture.seed}/{index}")
    family = FAMILIES[_pick(rng, mixture.families)]
    effort = _pick(rng, mixture.efforts)
    tools = _pick(rng, mixture.tools)
    strategy = rng.choices(range(len(STRATEGIES)), mixture.strategies)[0] if effort != "minimal" else 0
    problem = _problem(mixture, family, rng, index)
    messages = [message("system", STRATEGIES[strategy])] if strategy else []
    specs = tuple(TOOLS[name] for name in tools)
    if rng.random() < mixture.no_picture:
        messages += [message("user", problem.question), message("assistant", NO_PICTURE)]
        return Conversation(messages, len(messages) - 1, specs, effort, "no picture", [])
    views: list[tuple[Problem, tuple[int, int, int, int]]] = []
    shape = rng.random()
    if shape < mixture.second_picture:
        other = _problem(mixture, FAMILIES[_pick(rng, mixture.families)], rng, index)
        messages += [*other.messages(), message("assistant", other.answer)]
        views.append((other, (0, 0, *other.image.size)))
    query = problem.query
    first = message("user", problem.image, query.text)
    views.append((problem, (0, 0, *problem.image.size)))
    if mixture.second_picture <= shape < mixture.second_picture + mixture.follow_up:
        messages += [first, message("assistant", query.answer)]
        query = family.ask(problem.scene, rng, query)
        first = message("user", query.text)
    messages.append(first)
    whole = index < mixture.whole_until
    style = Style(strategy, frozenset(tools), effort != "minimal", image=len(views), whole=whole)
    trace = family.solve(problem.scene, query, problem.image, style, rng)
    views += [(problem, box) for box in trace.boxes]
    return Conversation([*messages, *trace.messages], len(messages), specs, effort, family.name, views)


def make_example(mixture: Mixture, tokenizer_folder: Path, index: int) -> Example:
    """Example `index` of the stream; give the first two by `functools.partial`."""
    conversation = make_conversation(mixture, index)
    tokenizer, processor = _loaded(tokenizer_folder, mixture.max_image_tokens)
    pictures = [processor.process(image) for one in conversation.messages for image in one.images]
    grids = [picture.grid for picture in pictures]
    image_tokens = [rows * columns // 4 for _, rows, columns in grids]
    ids, loss_mask = encode_conversation(
        tokenizer,
        conversation.messages,
        tools=conversation.tools,
        effort=conversation.effort,
        image_tokens=image_tokens,
        loss_from=conversation.loss_from,
    )
    labels = []
    for (problem, box), (_, rows, columns) in zip(conversation.views, grids, strict=True):
        token_grid = rows // 2, columns // 2
        content = token_labels(FAMILIES[problem.family].marks(problem.scene), box, token_grid)
        places = [row * PLACE_COLUMNS + column for row in range(token_grid[0]) for column in range(token_grid[1])]
        labels.append(np.stack([content, places], axis=1))
    return Example(
        np.asarray(ids, np.int32),
        np.asarray(loss_mask, np.bool_),
        [picture.patches for picture in pictures],
        grids,
        np.concatenate(labels) if labels else None,
        conversation.family,
    )


def _problem(mixture: Mixture, family: Family, rng: random.Random, index: int) -> Problem:
    weights = list(mixture.tiers[family.name])
    if index < mixture.easy_until and rng.random() < 0.7:
        weights = weights[:2]
    tier = rng.choices(range(len(weights)), weights)[0]
    return sample(family, tier=tier, split="train", seed=mixture.seed, index=rng.getrandbits(48))


def _pick(rng: random.Random, weights: dict[_T, float]) -> _T:
    return rng.choices(list(weights), list(weights.values()))[0]


@functools.cache
def _loaded(folder: Path, max_image_tokens: int) -> tuple[Tokenizer, ImageProcessor]:
    return Tokenizer.from_folder(folder), ImageProcessor(max_image_tokens=max_image_tokens)
