"""How questions are said: a wording filled with its slots, sometimes clumsily, as people type.

Only a wording's own words are roughened (case, punctuation, fillers, a slip of the keys), never its slots,
so that the question stays the same. Does not cover what is asked (`Family.wordings`).
"""

import random
import re
from collections.abc import Mapping, Sequence

CLUMSY = 0.3
"""Share of questions that are said clumsily."""

_OPENERS = (
    "hi, ", "hey ", "hello! ", "please ", "pls ", "ok so ", "quick one: ", "question: ", "can you tell me ",
    "I need to know: ", "so ", "um, ", "help me: ", "could you say: ", "just tell me: ",
)  # fmt: skip
_CLOSERS = (" please", " pls", " thanks", " thx", "??", " Thank you.", " I can't tell", " ty")
_SHORT = {
    "what is": "whats", "how many": "how mny", "you": "u", "are": "r", "please": "plz", "which": "wich",
    "there": "ther", "do not": "dont", "the": "teh",
}  # fmt: skip
_SLOT = re.compile(r"(\{\w+\})")


def say(rng: random.Random, ways: Sequence[str], slots: Mapping[str, str]) -> str:
    """One of `ways`, filled."""
    way = rng.choice(ways)
    if rng.random() < CLUMSY:
        way = roughen(way, rng)
    return way.format(**slots)


def roughen(way: str, rng: random.Random) -> str:
    """The wording with one or two of the flaws that people's questions have; its {slots} stay."""
    for flaw in rng.sample((_lower, _bare, _open, _close, _slip, _shorten), rng.randint(1, 2)):
        way = flaw(way, rng)
    return way


def _lower(way: str, rng: random.Random) -> str:
    return "".join(part if _SLOT.fullmatch(part) else part.lower() for part in _SLOT.split(way))


def _bare(way: str, rng: random.Random) -> str:
    return way.rstrip("?.!")


def _open(way: str, rng: random.Random) -> str:
    opener = rng.choice(_OPENERS)
    return opener + (way if way.startswith("{") else way[0].lower() + way[1:])


def _close(way: str, rng: random.Random) -> str:
    return way.rstrip("?.!") + rng.choice(_CLOSERS)


def _slip(way: str, rng: random.Random) -> str:
    """Two neighbouring letters of one word swapped, or one of them lost."""
    places = [m for m in re.finditer(r"[a-z]{4,}", way) if not re.search(r"\{\w*$", way[: m.start()])]
    if not places:
        return way
    word = rng.choice(places)
    at = rng.randrange(word.start(), word.end() - 1)
    swapped = way[at + 1] + way[at] if rng.random() < 0.5 else way[at]
    return way[:at] + swapped + way[at + 2 :]


def _shorten(way: str, rng: random.Random) -> str:
    fitting = [words for words in _SHORT if re.search(rf"\b{words}\b", way, re.IGNORECASE)]
    if not fitting:
        return way
    words = rng.choice(fitting)
    return re.sub(rf"\b{words}\b", _SHORT[words], way, count=1, flags=re.IGNORECASE)
