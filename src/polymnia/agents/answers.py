"""Which answers mean the same, how sure the leader is, and who wins: pure functions.

Stopping rule: Adaptive-Consistency (arXiv 2305.11860). Where exact and numeric comparison end, a judge may have found
meanings equal (`judge.py`); what it found comes in as a mapping of meanings.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

_NUMBER = re.compile(r"([-+]?)(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?", re.ASCII)
_CODE = re.compile(r"[-+]?0\d", re.ASCII)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_STATED = re.compile(
    r"(?:^|\b)(?:the\s+)?(?:final\s+)?answer(?:\s+is\s*:?|\s*:)\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE
)
_NOTHING: Mapping[str, str] = MappingProxyType({})
_WRAPPING = " \t\n\"'`*_$!"


@dataclass(frozen=True, slots=True)
class Vote:
    agent: int
    answer: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Votes for the same thing, in the order of their agents."""

    votes: tuple[Vote, ...]

    @property
    def answer(self) -> str:
        return self.votes[0].answer

    @property
    def agents(self) -> tuple[int, ...]:
        return tuple(vote.agent for vote in self.votes)

    @property
    def weight(self) -> float:
        return math.fsum(vote.weight for vote in self.votes)


def meaning(answer: str) -> str:
    """What an answer comes down to: equal strings mean equal answers.

    `"7"`, `"7.0"`, `"**7**."` and `"The answer is 7"` are one; `"047"` stays apart from `"47"`, since it is a
    code and no quantity.
    """
    boxed, stated = _BOXED.findall(answer), _STATED.findall(answer)
    claim = boxed[-1] if boxed else stated[-1] if stated else answer
    plain = unicodedata.normalize("NFKC", claim).strip(_WRAPPING).rstrip(".").strip(_WRAPPING)
    # A minus sign is often typeset; NFKC leaves it as it is.
    plain = " ".join(plain.replace("\N{MINUS SIGN}", "-").casefold().split())
    if (number := _NUMBER.fullmatch(plain)) and not _CODE.match(plain):
        return _canonical(*number.groups(default=""))
    return plain or " ".join(answer.split())


def _canonical(sign: str, whole: str, fraction: str) -> str:
    """Equal numbers written equally, at any length."""
    fraction = fraction.rstrip("0")
    number = whole.replace(",", "") + (f".{fraction}" if fraction else "")
    return f"-{number}" if sign == "-" and number != "0" else number


def is_number(answer: str) -> bool:
    """Whether the answer comes down to a plain number: such are equal or different, and need no judge."""
    return _NUMBER.fullmatch(meaning(answer)) is not None


def states_answer(text: str) -> bool:
    """Whether an unfinished text already says what its answer is."""
    return bool(_BOXED.search(text) or _STATED.search(text))


def grouped(votes: Sequence[Vote], same: Mapping[str, str] = _NOTHING) -> list[Group]:
    """Heaviest group first; equal ones by their earliest agent. `same`: meanings that a judge found equal to others."""
    sides: dict[str, list[Vote]] = {}
    for vote in sorted(votes, key=lambda vote: vote.agent):
        key = meaning(vote.answer)
        sides.setdefault(same.get(key, key), []).append(vote)
    groups = [Group(tuple(side)) for side in sides.values()]
    return sorted(groups, key=lambda group: (-group.weight, group.agents[0]))


def weighted(answers: Mapping[int, tuple[str, float | None]]) -> list[Vote]:
    """Votes from (answer, mean log-probability) by agent: weight exp(mean log-probability), or 1 for
    everybody when some model does not tell."""
    told = all(logprob is not None for _, logprob in answers.values())
    return [
        Vote(agent, answer, math.exp(logprob) if told and logprob is not None else 1.0)
        for agent, (answer, logprob) in answers.items()
    ]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the most frequent answer is ahead, by heads."""

    answer: str
    count: int
    second: int
    posterior: float
    distinct: int


def standing(votes: Sequence[Vote], same: Mapping[str, str] = _NOTHING) -> Standing:
    """The state of a non-empty vote."""
    groups = sorted(grouped(votes, same), key=lambda group: (-len(group.votes), group.agents[0]))
    count, second = len(groups[0].votes), len(groups[1].votes) if len(groups) > 1 else 0
    return Standing(groups[0].answer, count, second, lead_posterior(count, second), len(groups))


def lead_posterior(count: int, second: int) -> float:
    """P(Beta(count+1, second+1) > 1/2): how sure it is that the leader beats the second in the long run.

    Equal to P(Binomial(count+second+1, 1/2) <= count), hence exact in integers.
    """
    n = count + second + 1
    return sum(math.comb(n, k) for k in range(count + 1)) / (1 << n)
