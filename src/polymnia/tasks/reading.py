"""Named values read off a picture: questions about them, and the traces that read, then compute.

`line`, `pie` and `gauge` give what is seen (`Seen`) and ask with `compose`; `solve` looks the values up one by one,
lists them, or zooms in part by part. Computing is left to Python, or written out in small steps (`working`).
How the values are drawn, and tables, whose places need two headers, are the families' own.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Images, Query, Style, Trace, View
from polymnia.tasks.trace import answer, crop_call, python_call, thousandths

Op = Literal[
    "read", "sum", "difference", "apart", "total", "spread", "top", "bottom", "highest", "lowest", "above", "below",
    "over", "rest",
]  # fmt: skip
"""`apart`: the absolute difference. `top`, `bottom`: a value; `highest`, `lowest`: whose it is. `above`, `below`: how
many are beyond the limit. `over`: of pairs, in how many the first is larger. `rest`: what is missing to 100."""
WHOLE = frozenset({"total", "spread", "top", "bottom", "highest", "lowest", "above", "below", "over"})
"""Operations on all values in question: they are listed rather than looked up."""
NAMING = frozenset({"highest", "lowest"})
"""Operations whose answer is a name."""
OVERVIEW_TOKENS = 36
"""Image tokens that nano sees of one picture; a larger one is read in parts."""

T = TypeVar("T")
Cell = tuple[int, int]
"""(column, row) of an image token."""
Part = tuple[int, int, int, int]
"""First column and row, and the ones after the last."""


@dataclass(frozen=True, slots=True)
class Seen:
    name: str
    """Its last word is the answer to "which": `M`, or `red M`."""
    term: str
    """The value, or how it comes from what is read: `7`, `20+5*7`."""
    value: int
    name_at: Cell
    value_at: Cell
    note: str = ""
    """What leads from the name to the value: the colour of a legend's entry."""


class Task(NamedTuple):
    """What is asked: `Query.key` of the families that read values."""

    op: Op
    names: tuple[str, ...]
    """Of what has to be read, in the order of the question, or as it stands in the picture."""
    limit: int = 0


# --- questions


def compose(
    kind: str,
    op: Op,
    names: Sequence[str],
    values: Mapping[str, int],
    rng: random.Random,
    slots: Mapping[str, str] = {},
) -> Query | None:
    """A query about these names' values; None where it has no single answer (two are highest) or none is more.

    The slots `a`, `b` (names) and `k` (a limit) are filled here; a difference is taken from the larger value.
    """
    names, limit = list(names), 0
    if op == "difference":
        names.sort(key=lambda name: -values[name])
    numbers = [values[name] for name in names]
    if op in ("above", "below"):
        if len(set(numbers)) < 2:
            return None
        limit = rng.choice(sorted(set(numbers))[:-1] if op == "above" else sorted(set(numbers))[1:])
    if op == "difference" and numbers[0] == numbers[1]:
        return None
    if op in NAMING and numbers.count(max(numbers) if op == "highest" else min(numbers)) > 1:
        return None
    filled = {**dict(zip("ab", names, strict=False)), "k": str(limit), **slots}
    result = outcome(op, names, numbers, limit)
    return Query(kind, result, Task(op, tuple(names), limit), filled, "word" if op in NAMING else "number")


def outcome(op: Op, names: Sequence[str], numbers: Sequence[int], limit: int = 0) -> str:
    """The truth, straight from the numbers."""
    if op in NAMING:
        chosen = max(numbers) if op == "highest" else min(numbers)
        return names[list(numbers).index(chosen)].split()[-1]
    return str(_number(op, numbers, limit))


def _number(op: Op, numbers: Sequence[int], limit: int) -> int:
    if op in ("sum", "total", "read"):
        return sum(numbers)
    if op in ("difference", "apart"):
        return abs(numbers[0] - numbers[1])
    if op == "rest":
        return 100 - numbers[0]
    if op == "spread":
        return max(numbers) - min(numbers)
    if op in ("top", "bottom"):
        return max(numbers) if op == "top" else min(numbers)
    if op == "over":
        return sum(first > second for first, second in _pairs(numbers))
    return sum(number > limit if op == "above" else number < limit for number in numbers)


# --- computing


def expression(task: Task, read: Sequence[tuple[str, str]]) -> str:
    """Python for the task; `read` holds (name, term) in the order in which they were written down."""
    terms = [term for _, term in read]
    listed = ",".join(terms)
    match task.op:
        case "sum" | "total" | "read":
            return "+".join(terms)
        case "difference":
            return f"{terms[0]}-{_grouped(terms[1])}"
        case "apart":
            return f"abs({terms[0]}-{_grouped(terms[1])})"
        case "rest":
            return f"100-{terms[0]}"
        case "spread":
            return f"v=[{listed}]\nmax(v)-min(v)"
        case "top" | "bottom":
            return f"{'max' if task.op == 'top' else 'min'}({listed})"
        case "highest" | "lowest":
            pairs = ",".join(f'({term},"{name.split()[-1]}")' for name, term in read)
            return f"{'max' if task.op == 'highest' else 'min'}({pairs})[1]"
        case "over":
            pairs = ",".join(f"({first},{second})" for first, second in _pairs(terms))
            return f"len([1 for a,b in [{pairs}] if a>b])"
    return f"len([n for n in [{listed}] if n{'>' if task.op == 'above' else '<'}{task.limit}])"


def by_hand(task: Task, read: Sequence[tuple[str, str, int]]) -> str:
    """The same in small written steps: terms first, then a running sum, best or count. `read`: name, term, value."""
    lines = [f"{term}={value}" for _, term, value in read if term != str(value)]
    names, numbers = [name for name, _, _ in read], [value for _, _, value in read]
    match task.op:
        case "sum" | "total" | "read":
            lines += [
                f"{so_far}+{_bracketed(n)}={so_far + n}"
                for so_far, n in zip(_running(numbers), numbers[1:], strict=False)
            ]
        case "difference" | "apart":
            larger, smaller = max(numbers), min(numbers)
            lines.append(f"{larger}-{_bracketed(smaller)}={larger - smaller}")
        case "rest":
            lines.append(f"100-{numbers[0]}={100 - numbers[0]}")
        case "spread":
            lines += [
                f"largest {max(numbers)}, smallest {min(numbers)}",
                f"{max(numbers)}-{_bracketed(min(numbers))}={_spread(numbers)}",
            ]
        case "top" | "bottom" | "highest" | "lowest":
            best = max if task.op in ("top", "highest") else min
            for end in range(1, len(numbers) + 1):
                chosen = best(numbers[:end])
                lines.append(f"{numbers[end - 1]}: {task.op} {names[numbers.index(chosen)]} {chosen}")
        case "over":
            count = 0
            for first, second in _pairs(numbers):
                count += first > second
                lines.append(f"{first}{'>' if first > second else '<'}{second}: {count}")
        case "above" | "below":
            count = 0
            for number in numbers:
                count += number > task.limit if task.op == "above" else number < task.limit
                lines.append(f"{number}: {count} {task.op} {task.limit}")
    return "\n".join(lines)


def _pairs(items: Sequence[T]) -> list[tuple[T, T]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _grouped(term: str) -> str:
    return f"({term})" if "+" in term or term.startswith("-") else term


def _bracketed(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"


def _running(numbers: Sequence[int]) -> list[int]:
    return list(itertools.accumulate(numbers))


def _spread(numbers: Sequence[int]) -> int:
    return max(numbers) - min(numbers)


def computed(query: Query, task: Task, read: Sequence[tuple[str, str, int]], style: Style, said: str) -> list[Message]:
    """The end of a trace: what was said, then the computation (if there is one), then the answer."""
    code = expression(task, [(name, term) for name, term, _ in read])
    if code == query.answer:
        return [answer(query.answer, said)]
    if "python" in style.tools:
        result = f"'{query.answer}'" if task.op in NAMING else query.answer
        return [*python_call(code, result, said), answer(query.answer)]
    return [answer(query.answer, f"{said}\n{by_hand(task, read)}")]


# --- looking


def spans(first: int, last: int, most: int) -> list[tuple[int, int]]:
    """first..last cut into at least two pieces (where there are two) of at most `most`."""
    length = last - first
    pieces = min(length, max(2, -(-length // most)))
    return list(itertools.pairwise(first + round(piece * length / pieces) for piece in range(pieces + 1)))


def place(cell: Cell, part: Part | None = None) -> str:
    return draw.cell_name(cell[0] - (part[0] if part else 0), cell[1] - (part[1] if part else 0))


def is_large(image_size: tuple[int, int]) -> bool:
    """More tokens than are seen at full resolution."""
    return (image_size[0] // CELL) * (image_size[1] // CELL) > OVERVIEW_TOKENS


def part_call(images: Images, style: Style, part: Part, said: str) -> tuple[list[Message], View]:
    """`crop` of a part, in cells, of the problem's first picture."""
    x0, y0, x1, y1 = (edge * CELL for edge in part)
    width, height = images[0].size
    shares = [thousandths(x0, width), thousandths(y0, height), thousandths(x1, width), thousandths(y1, height)]
    turn, _ = crop_call(images[0], style.image, shares, said)
    return turn, View(0, (x0, y0, x1, y1))


def solve(
    seen: Sequence[Seen], query: Query, images: Images, style: Style, parts: Sequence[Part], said: str, phrase: str
) -> Trace:
    """Reads what the query needs and computes.

    `seen` is everything, in reading order; `said` opens the reasoning; `phrase` is how one value that was looked up is
    told: {n}, the name, its cell {c}, its note {k}, the value's cell {p} and the value {v}.
    """
    if not style.think:
        return Trace((answer(query.answer),))
    task: Task = query.key
    named = {one.name: one for one in seen}
    order = _order(task, style.strategy)
    wanted = [named[name] for name in order]
    large, whole = is_large(images[0].size), task.op in WHOLE
    messages: list[Message] = []
    views: list[View | None] = []
    if "crop" in style.tools and len(parts) > 1 and (large or style.strategy == 3):
        messages, views, said = _by_parts(wanted, images, style, parts, said, "" if whole else phrase)
        # Listed in the order in which the parts were read.
        wanted.sort(key=lambda one: _part_of(one, parts), reverse=style.strategy == 2)
        shuffled = len(wanted) > 1
    else:
        everything = style.strategy == 1 and not whole and len(seen) <= 12
        shuffled = everything or order != task.names
        told = [_tell(one, phrase, large) for one in wanted]
        if whole or everything:
            told = [_item(one, large) for one in (seen if everything else wanted)]
        said = "\n".join([said, *told])
    if shuffled and not whole:
        # What was read is repeated in the order of the question, from where the expression copies it.
        said += "\nSo " + ", ".join(f"{name} is {named[name].term}" for name in task.names) + "."
        wanted = [named[name] for name in task.names]
    read = [(one.name, one.term, one.value) for one in wanted]
    return Trace((*messages, *computed(query, task, read, style, said)), tuple(views))


def _order(task: Task, strategy: int) -> tuple[str, ...]:
    if strategy != 2:
        return task.names
    if task.op == "over":  # pairs stay pairs
        return tuple(itertools.chain.from_iterable(_pairs(task.names)[::-1]))
    return task.names[::-1]


def _by_parts(
    wanted: Sequence[Seen], images: Images, style: Style, parts: Sequence[Part], said: str, phrase: str
) -> tuple[list[Message], list[View | None], str]:
    """Crops part after part and writes down what of the wanted is there, until all is found; lists without a phrase."""
    messages: list[Message] = []
    views: list[View | None] = []
    left = list(wanted)
    for part in parts[::-1] if style.strategy == 2 else parts:
        turn, view = part_call(images, style, part, said)
        messages += turn
        views.append(view)
        here = [one for one in left if _part_of(one, (part,)) == 0]
        said = "\n".join(_tell(one, phrase, False, part) if phrase else _item(one, False, part) for one in here)
        if not here and phrase:
            said = f"No {' or '.join(one.name for one in left)} here."
        left = [one for one in left if one not in here]
        if not left:
            break
    return messages, views, said


def _part_of(one: Seen, parts: Sequence[Part]) -> int:
    """The first of the parts that holds the name; their number where none does."""
    column, row = one.name_at
    holding = (place for place, (x0, y0, x1, y1) in enumerate(parts) if x0 <= column < x1 and y0 <= row < y1)
    return next(holding, len(parts))


def _tell(one: Seen, phrase: str, nowhere: bool, part: Part | None = None) -> str:
    """A value that was looked up; without its cells where they are too small to name."""
    if nowhere:
        return f"{one.name} reads {one.term}."
    return phrase.format(n=one.name, c=place(one.name_at, part), p=place(one.value_at, part), v=one.term, k=one.note)


def _item(one: Seen, nowhere: bool, part: Part | None = None) -> str:
    """`c5 M c2 7` in a listing, place before content."""
    if nowhere:
        return f"{one.name} {one.term}"
    words = [place(one.name_at, part), one.name, one.note]
    if one.value_at != one.name_at:
        words.append(place(one.value_at, part))
    return " ".join(word for word in (*words, one.term) if word)
