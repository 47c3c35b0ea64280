"""The stream that nano learns from: conversations about task problems, made on the spot from a seed.

Example `index` is a pure function of (mixture, index), so the stream needs no storage, no order file, and
resumes anywhere. Each example trains one turn: the last of a conversation that may hold earlier questions
about the same pictures, or about other ones. The same problems appear with all tools, with fewer and without
any, so that a comparison without tools is fair; some questions lie outside all families.
"""

import functools
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from polymnia.data.chat import Effort, Message, ToolSpec, message
from polymnia.data.images import ImageProcessor
from polymnia.data.strategies import STRATEGIES
from polymnia.data.template import encode_conversation
from polymnia.data.tokenizer import Tokenizer
from polymnia.tasks import FAMILIES, Family, Problem, Style, View, follow_up, sample
from polymnia.tasks.labels import IGNORE, token_labels
from polymnia.tasks.offtopic import off_topic
from polymnia.tools import default_tools
from polymnia.train.packing import Example

_T = TypeVar("_T")
NO_PICTURE = "I see no picture. Please add one."
PLACE_COLUMNS = 8
"""The second auxiliary label is the token's place: row * PLACE_COLUMNS + column, none beyond so many of either."""

ALL = ("crop", "mark", "measure", "rotate", "python")


@dataclass(frozen=True)
class Mixture:
    """What the stream is made of; weights need not sum to 1."""

    seed: int
    families: dict[str, float]
    tiers: tuple[float, ...] = (0.46, 0.2, 0.15, 0.11, 0.05, 0.03)
    """Weight of each tier."""
    easy_until: int = 0
    """Examples at the start of the stream during which most problems are of tiers 0 and 1."""
    efforts: dict[Effort, float] = field(
        default_factory=lambda: {"minimal": 0.1, "low": 0.04, "medium": 0.72, "high": 0.1, "xhigh": 0.04}
    )
    tools: dict[tuple[str, ...], float] = field(
        default_factory=lambda: {ALL: 0.74, (): 0.09, ("python",): 0.1, ALL[:4]: 0.03, ("crop", "python"): 0.04}
    )
    strategies: tuple[float, ...] = (0.49, 0.17, 0.17, 0.17)
    follow_up: float = 0.2
    """Share of conversations with an earlier question about the same problem."""
    second_problem: float = 0.1
    """Share of conversations with an earlier question about another problem."""
    whole_turn: float = 0.25
    """Share of the earlier turns that keep their tool calls and pictures, as a served conversation does."""
    no_picture: float = 0.01
    off_topic: float = 0.04
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
    views: list[tuple[Problem, View | None]]
    """For each picture, in order of appearance: its problem and the part of it that it shows, None = no plain part."""


def make_conversation(mixture: Mixture, index: int) -> Conversation:
    rng = random.Random(f"mixture/{mixture.seed}/{index}")
    effort, tools = _pick(rng, mixture.efforts), _pick(rng, mixture.tools)
    strategy = rng.choices(range(len(STRATEGIES)), mixture.strategies)[0] if effort != "minimal" else 0
    specs = tuple(one for one in default_tools().specs if one.name in tools)
    problem = _problem(mixture, rng, index)
    chat = _Chat([message("system", STRATEGIES[strategy])] if strategy else [])
    style = Style(strategy, frozenset(tools), effort != "minimal")
    fate = rng.random()
    if fate < mixture.off_topic:
        return _off_topic(chat, problem, specs, effort, rng)
    if fate < mixture.off_topic + mixture.no_picture and problem.family.visual:
        chat.messages += [message("user", problem.question), message("assistant", NO_PICTURE)]
        return Conversation(chat.messages, len(chat.messages) - 1, specs, effort, "no picture", [])
    if rng.random() < mixture.second_problem:
        chat.turn(_problem(mixture, rng, index), style, rng, whole=rng.random() < mixture.whole_turn)
    if rng.random() < mixture.follow_up:
        first = chat.turn(problem, style, rng, whole=rng.random() < mixture.whole_turn)
        later = replace(problem, query=follow_up(problem, rng))
        loss_from = chat.ask(later, style, rng, image=first)
    else:
        loss_from = chat.ask(problem, style, rng)
    return Conversation(chat.messages, loss_from, specs, effort, problem.family.name, chat.views)


@dataclass
class _Chat:
    """A conversation being written, and what each of its pictures shows."""

    messages: list[Message]
    views: list[tuple[Problem, View | None]] = field(default_factory=list)

    def turn(self, problem: Problem, style: Style, rng: random.Random, *, whole: bool) -> int:
        """An earlier question and its answer, with the trace's calls if `whole`; returns its first picture's index."""
        first = len(self.views) + 1
        if whole and style.think:
            self.ask(problem, style, rng)
        else:
            self._pictures(problem)
            self.messages += [*problem.messages(), message("assistant", problem.answer)]
        return first

    def ask(self, problem: Problem, style: Style, rng: random.Random, image: int | None = None) -> int:
        """A question and the trace that answers it; returns where the trace begins.

        `image`: where the problem's pictures stand already, for a further question about them.
        """
        if image is None:
            image = len(self.views) + 1
            self._pictures(problem)
            self.messages += problem.messages()
        else:
            self.messages.append(message("user", problem.question))
        begin = len(self.messages)
        trace = problem.solve(replace(style, image=image, images_before=len(self.views)), rng)
        self.messages += trace.messages
        self.views += [(problem, view) for view in trace.views]
        return begin

    def _pictures(self, problem: Problem) -> None:
        self.views += [(problem, View(at, (0, 0, *one.size))) for at, one in enumerate(problem.images)]


def _off_topic(
    chat: _Chat, problem: Problem, specs: tuple[ToolSpec, ...], effort: Effort, rng: random.Random
) -> Conversation:
    """A question that lies outside the families, sometimes with a picture of one or after a real question."""
    if rng.random() < 0.15:
        chat.turn(problem, Style(), rng, whole=False)
    question, reply = off_topic(rng)
    pictures = problem.images if not chat.views and rng.random() < 0.4 else ()
    if pictures:
        chat._pictures(problem)
    chat.messages += [message("user", *pictures, question), message("assistant", reply)]
    return Conversation(chat.messages, len(chat.messages) - 1, specs, effort, "off topic", chat.views)


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
    labels = [
        _labels(problem, view, (rows // 2, columns // 2))
        for (problem, view), (_, rows, columns) in zip(conversation.views, grids, strict=True)
    ]
    return Example(
        np.asarray(ids, np.int32),
        np.asarray(loss_mask, np.bool_),
        [picture.patches for picture in pictures],
        grids,
        np.concatenate(labels) if labels else None,
        conversation.family,
    )


def _labels(problem: Problem, view: View | None, grid: tuple[int, int]) -> NDArray[np.int64]:
    """(tokens, 2): what is centred in each token of the picture, and the token's place."""
    rows, columns = grid
    marks = problem.family.marks(problem.scene)
    content = [IGNORE] * (rows * columns)
    if view is not None and view.picture < len(marks):
        content = token_labels(marks[view.picture], view.box, grid)
    most = PLACE_COLUMNS
    places = [r * most + c if max(r, c) < most else IGNORE for r in range(rows) for c in range(columns)]
    return np.stack([np.asarray(content), np.asarray(places)], axis=1)


def _problem(mixture: Mixture, rng: random.Random, index: int) -> Problem:
    family: Family = FAMILIES[_pick(rng, mixture.families)]
    weights = mixture.tiers
    if index < mixture.easy_until and rng.random() < 0.7:
        weights = weights[:2]
    tier = rng.choices(range(len(weights)), weights)[0]
    return sample(family, tier=tier, split="train", seed=mixture.seed, index=rng.getrandbits(48))


def _pick(rng: random.Random, weights: dict[_T, float]) -> _T:
    return rng.choices(list(weights), list(weights.values()))[0]


@functools.cache
def _loaded(folder: Path, max_image_tokens: int) -> tuple[Tokenizer, ImageProcessor]:
    return Tokenizer.from_folder(folder), ImageProcessor(max_image_tokens=max_image_tokens)
