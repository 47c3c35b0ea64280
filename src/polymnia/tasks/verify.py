"""Whether an answer states the truth, by the kind of answer; a sentence around it does not matter.

What needs the scene (a path, an expression) is checked by the family itself (`Family.check`).
"""

import re
from collections.abc import Callable
from typing import Literal

AnswerKind = Literal["number", "code", "word", "list", "set", "time", "near", "checked"]
"""`number`: 1200 = 1,200 = 1200.0. `code`: digit by digit, 047 is not 47. `word`: but for case, article and
punctuation. `list`, `set`: entries in this, or in any order. `time`: hours and minutes. `near`: a number within
the query's tolerance. `checked`: by the family."""

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TIME = re.compile(r"(?<!\d)(\d{1,2}):(\d{2})(?!\d)")
_ENTRY = re.compile(r"-?\d+(?:\.\d+)?|[^\W\d_]+\d*", re.UNICODE)
_SKIPPED_WORDS = frozenset({"and", "then", "the", "an"})


def matches(kind: AnswerKind, truth: str, answer: str, tolerance: float = 0.0) -> bool:
    """Whether `answer` states `truth`. An answer may be a sentence: of several numbers the last one counts."""
    if kind == "near":
        found = last_number(answer)
        return found is not None and abs(found - float(truth)) <= tolerance
    return _CHECKS[kind](truth, answer)


def last_number(text: str) -> float | None:
    numbers = _NUMBER.findall(_THOUSANDS.sub("", text))
    return float(numbers[-1]) if numbers else None


def entries(text: str) -> list[str]:
    """`"A, then B and 12"` -> `["a", "b", "12"]`."""
    found = [entry.casefold() for entry in _ENTRY.findall(text)]
    return [entry for entry in found if entry not in _SKIPPED_WORDS]


def _number(truth: str, answer: str) -> bool:
    return last_number(answer) == float(truth)


def _code(truth: str, answer: str) -> bool:
    numbers = _NUMBER.findall(answer)
    return bool(numbers) and numbers[-1] == truth


def _word(truth: str, answer: str) -> bool:
    return _plain(answer) == _plain(truth) != ""


def _plain(text: str) -> str:
    words = text.strip().strip(".!").strip().casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words)


def _list(truth: str, answer: str) -> bool:
    return entries(answer) == entries(truth)


def _set(truth: str, answer: str) -> bool:
    return sorted(entries(answer)) == sorted(entries(truth))


def _time(truth: str, answer: str) -> bool:
    found = _TIME.findall(answer)
    wanted = _TIME.findall(truth)[-1]
    return bool(found) and [int(part) for part in found[-1]] == [int(part) for part in wanted]


_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "number": _number,
    "code": _code,
    "word": _word,
    "list": _list,
    "set": _set,
    "time": _time,
}
