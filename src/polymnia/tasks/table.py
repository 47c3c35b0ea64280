"""`table`: tables with row and column headers: look up cells, sum, find, count, the largest of a row or column.

Tiers: 0 has 3 columns and up to 4 rows of single digits or letters under letters, 1 and 2 have up to 5 by 5 numbers
up to 20; from 3 on rows are names, columns words, numbers have two digits and one column holds words; from 6 on
numbers have up to three digits, and rows are added tier by tier. Large tables are read in bands of rows.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from polymnia.data.chat import Message
from polymnia.tasks import draw
from polymnia.tasks.base import CELL, Family, Images, Mark, Query, Style, Trace, View
from polymnia.tasks.labels import LETTERS, char_label, label
from polymnia.tasks.reading import OVERVIEW_TOKENS, Op, Part, Task, compose, computed, is_large, part_call, place, spans
from polymnia.tasks.trace import answer, python_call

ITEMS = ("Tea", "Oil", "Jam", "Egg", "Fig", "Nut", "Pea", "Rye", "Ham", "Bun", "Ale", "Soy")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WORD_COLUMNS = {
    "City": ("Rome", "Oslo", "Bern", "Lima", "Cairo", "Quito"),
    "Team": ("red", "blue", "green", "white"),
    "Size": ("small", "large", "tiny", "huge"),
}
PEOPLE = (
    "Ana", "Ben", "Cara", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivan", "Jo", "Kim", "Leo", "Mia", "Ned", "Olga", "Pia",
    "Quin", "Rosa", "Sam", "Tom", "Uma", "Vic", "Wes", "Yara", "Zoe",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableScene:
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    """By row, then by column."""
    widths: tuple[int, ...]
    """Image tokens of the row headers and of each column."""

    def is_words(self, column: int) -> bool:
        return not self.cells[0][column].isdigit()

    def left(self, column: int) -> int:
        """First token of a column; -1 is the row headers' own."""
        return sum(self.widths[: column + 1])


def make_scene(rng: random.Random, tier: int) -> TableScene:
    if tier < 3:
        return _small(rng, tier)
    height = rng.randint(*{3: (4, 5), 4: (5, 7)}.get(tier, (tier + 2, tier + 4)))
    number = rng.randint(*{3: (3, 4)}.get(tier, (4, 5)))
    columns = rng.sample(ITEMS, number) if rng.random() < 0.6 else list(DAYS[:number])
    most, width = (99, 1) if tier < 6 else (999, 2)
    rows = rng.sample(PEOPLE, height) if height <= len(PEOPLE) and rng.random() < 0.6 else _made_up(rng, height)
    cells = [[str(rng.randint(1, most)) for _ in columns] for _ in rows]
    widths = [2, *[width] * number]
    if rng.random() < 0.7:
        header = rng.choice(list(WORD_COLUMNS))
        at = rng.choice((0, number))
        columns.insert(at, header)
        widths.insert(at + 1, 2)
        for row in cells:
            row.insert(at, rng.choice(WORD_COLUMNS[header]))
    return TableScene(tuple(columns), tuple(rows), tuple(map(tuple, cells)), tuple(widths))


def _small(rng: random.Random, tier: int) -> TableScene:
    """Letters as headers, one token a cell."""
    number, height = {0: (3, rng.randint(3, 4)), 1: (4, rng.randint(4, 5)), 2: (5, 5)}[tier]
    names = rng.sample(LETTERS, number + height + 4)
    if rng.random() < 0.25:
        cells = [[rng.choice(names[-4:]) for _ in range(number)] for _ in range(height)]
    else:
        cells = [[str(rng.randint(0, 9 if tier == 0 else 20)) for _ in range(number)] for _ in range(height)]
    columns, rows = names[:number], names[number : number + height]
    return TableScene(tuple(columns), tuple(rows), tuple(map(tuple, cells)), (1,) * (number + 1))


def _made_up(rng: random.Random, number: int) -> list[str]:
    """Names that nobody knows by heart."""
    names: dict[str, None] = {}
    while len(names) < number:
        name = rng.choice("BDFGKLMNRSTVZ") + rng.choice("aeiou") + rng.choice("lmnrs") + rng.choice("aeio")
        names[name] = None
    return list(names)


def scene_key(scene: TableScene) -> str:
    return f"{scene.columns};{scene.rows};{scene.cells}"


# --- drawing


def picture(scene: TableScene, rng: random.Random) -> Images:
    large = len(scene.rows) > 6
    look = draw.look(rng, max_tilt=1.0)
    if large or len(scene.columns) > 5:
        look = replace(look, tilt=0.0)
    width, height = sum(scene.widths) * CELL, (len(scene.rows) + 1) * CELL
    sheet = draw.Sheet(width, height, look)
    style, filled = rng.choice(("ruled", "striped", "plain")), rng.random() < 0.3
    _ground(sheet, scene, style, filled)
    lines = [("", *scene.columns), *((name, *cells) for name, cells in zip(scene.rows, scene.cells, strict=True))]
    longest = max(len(cell) for line in scene.cells for cell in line)
    size = rng.randint(17, 20) if longest == 1 else rng.randint(15, 17)
    for column, tokens in enumerate(scene.widths):
        x = (scene.left(column - 1) + tokens / 2) * CELL + rng.uniform(-1, 1)
        for row, line in enumerate(lines):
            header = row == 0 or column == 0
            ink = look.paper if filled and row == 0 else look.ink
            _text(sheet, x, (row + 0.5) * CELL, line[column], size, tokens * CELL - 3, ink, header)
    return (sheet.finish(rng),)


def _ground(sheet: draw.Sheet, scene: TableScene, style: str, filled: bool) -> None:
    width, height = sheet.width, sheet.height
    if style == "striped":
        for row in range(1, len(scene.rows) + 1, 2):
            sheet.rectangle((0, row * CELL, width, (row + 1) * CELL), _tint(sheet.look))
    if style == "ruled":
        for row in range(1, len(scene.rows) + 1):
            sheet.line([(0, row * CELL), (width, row * CELL)], sheet.look.faint, 1)
        for column in range(len(scene.columns)):
            x = scene.left(column) * CELL
            sheet.line([(x, 0), (x, height)], sheet.look.faint, 1)
    if filled:
        sheet.rectangle((0, 0, width, CELL), sheet.look.ink)
    else:
        sheet.line([(0, CELL), (width, CELL)], width=1.4)
    if style != "striped":
        x = scene.left(0) * CELL
        sheet.line([(x, CELL if filled else 0), (x, height)], width=1.2)


def _tint(look: draw.Look) -> draw.RGB:
    r, g, b = ((9 * paper + ink) // 10 for paper, ink in zip(look.paper, look.ink, strict=True))
    return r, g, b


def _text(sheet: draw.Sheet, x: float, y: float, text: str, size: int, room: int, ink: draw.RGB, header: bool) -> None:
    """Centred, and smaller where it would be wider than `room` pixels; headers of one letter are large and bold."""
    if header and len(text) == 1:
        sheet.text(x, y, text, 20, ink, bold=0.5)
        return
    length = draw.font(sheet.look.font, size * sheet.scale).getlength(text) / sheet.scale
    sheet.text(x, y, text, min(size, size * room / max(length, 1)), ink)


def marks(scene: TableScene) -> tuple[list[Mark], ...]:
    found = []
    lines = [("", *scene.columns), *((name, *cells) for name, cells in zip(scene.rows, scene.cells, strict=True))]
    for row, line in enumerate(lines):
        for column, text in enumerate(line):
            x, y = (scene.left(column - 1) + scene.widths[column] / 2) * CELL, (row + 0.5) * CELL
            if len(text) == 1:
                found.append(Mark(x, y, 20, char_label(text)))
            elif text.isdigit() and int(text) <= 20:
                found.append(Mark(x, y, 20, label("value", int(text))))
    return (found,)


# --- questions

WORDINGS = {
    "cell": (
        "What stands in row {a}, column {c}?", "What is in row {a} under {c}?", "Look up row {a}, column {c}.",
        "What does the table say for {a} and {c}?", "Which entry is in column {c} of row {a}?", "row {a}, column {c}?",
        "In the line of {a}, what is the entry under {c}?", "table entry for {a} / {c}?",
    ),
    "sum": (
        "In column {c}, what do {a} and {b} add up to?", "Under {c}, how much are rows {a} and {b} together?",
        "Add the entries of {a} and {b} in column {c}.", "Column {c}: what is row {a} plus row {b}?",
        "What do rows {a} and {b} make together in column {c}?", "{a} plus {b} under {c}?",
    ),
    "difference": (
        "In column {c}, how much more does {a} have than {b}?", "Under {c}, by how much is {a} above {b}?",
        "Column {c}: what is row {a} minus row {b}?",
        "How much larger is the entry of {a} than that of {b} under {c}?",
        "Subtract the entry of {b} from that of {a} in column {c}.", "{a} minus {b} under {c}?",
    ),
    "row_total": (
        "What is the sum of row {a}?", "Add up row {a}.", "What do the numbers in row {a} come to?",
        "How much is row {a} in total?", "Total of the line of {a}?", "sum of the numbers beside {a}?",
    ),
    "column_total": (
        "What is the sum of column {c}?", "Add up column {c}.", "What do the numbers under {c} come to?",
        "How much is column {c} in total?", "Total of everything under {c}?", "sum of column {c}?",
    ),
    "column_highest": (
        "Which row has the largest number in column {c}?", "Who or what is top in column {c}?",
        "In which row is the entry under {c} largest?", "Name the row with the most under {c}.",
        "Row of the maximum in column {c}?", "under {c}, which row is highest?",
    ),
    "column_lowest": (
        "Which row has the smallest number in column {c}?", "In which row is the entry under {c} smallest?",
        "Name the row with the least under {c}.", "Row of the minimum in column {c}?",
        "under {c}, which row is lowest?", "Who or what is last in column {c}, by number?",
    ),
    "column_top": (
        "What is the largest number in column {c}?", "What is the maximum under {c}?",
        "How high does column {c} go?", "The biggest entry of column {c} is what?", "max of column {c}?",
        "Give me the highest number under {c}.",
    ),
    "row_highest": (
        "In which column is row {a} largest?", "Which column holds the largest number of row {a}?",
        "Under which header is the biggest entry of {a}?", "Name the column where {a} has the most.",
        "Row {a} is highest in which column?", "column of the maximum of row {a}?",
    ),
    "above": (
        "How many numbers in the table are above {k}?", "How many entries are larger than {k}?",
        "Count the numbers over {k} in the whole table.", "How many cells hold more than {k}?",
        "In how many cells is the number greater than {k}?", "numbers above {k}: how many?",
    ),
    "column_above": (
        "How many numbers in column {c} are above {k}?", "In how many rows is {c} more than {k}?",
        "Count the entries under {c} that exceed {k}.", "How many rows have more than {k} under {c}?",
        "Column {c}: how many entries over {k}?", "numbers above {k} in column {c}?",
    ),
    "find": (
        "Which row has {v} in column {c}?", "In which row does {v} stand under {c}?",
        "Find the row with {v} under {c}.",
        "Whose entry in column {c} is {v}?", "Where in column {c} is {v}, in which row?", "{v} under {c}: which row?",
    ),
    "times": (
        "How many times is {v} in column {c}?", "How many rows have {v} under {c}?",
        "Count the rows with {v} in column {c}.",
        "How often does {v} stand under {c}?", "In how many rows is the entry of {c} {v}?", "{v} under {c}: how many?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "cell": ("And row {a}, column {c}?", "What about {a} under {c}?", "and {a} / {c}?"),
    "row_total": ("And the sum of row {a}?", "What is row {a} in total, then?"),
    "column_total": ("And the sum of column {c}?", "What is column {c} in total, then?"),
    "column_highest": ("And which row is largest under {c}?", "Which row leads in column {c}?"),
    "above": ("And how many are above {k} in the whole table?", "How many of all the numbers are over {k}?"),
    "find": ("And which row has {v} under {c}?", "Where does {v} stand in column {c}?"),
}


class Asked(NamedTuple):
    """What is asked: `Query.key`."""

    task: Task | None
    """What is computed of the numbers; None: a cell is looked up, or rows are searched."""
    rows: tuple[int, ...]
    """That are read, in the order of the question."""
    columns: tuple[int, ...]
    wanted: str = ""
    """The entry that is searched for."""


MOST_CELLS = 20
"""Beyond this nobody counts through a whole table cell by cell."""
Axis = Literal["cells", "row", "column", "all"]
_NUMERIC: dict[str, tuple[Op, Axis, int]] = {
    "sum": ("sum", "cells", 3),
    "difference": ("difference", "cells", 3),
    "row_total": ("total", "row", 2),
    "column_total": ("total", "column", 2),
    "column_highest": ("highest", "column", 3),
    "column_lowest": ("lowest", "column", 2),
    "column_top": ("top", "column", 2),
    "row_highest": ("highest", "row", 2),
    "above": ("above", "all", 2),
    "column_above": ("above", "column", 2),
}
"""Operation, what of the table it is about, and how often it is asked."""


def ask(scene: TableScene, rng: random.Random, previous: Query | None) -> Query:
    kinds = {"cell": 5, "find": 4, "times": 1, **{kind: weight for kind, (_, _, weight) in _NUMERIC.items()}}
    while True:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        query = _computed(scene, kind, rng) if kind in _NUMERIC else _searched(scene, kind, rng)
        if query and (previous is None or query.key != previous.key):
            return query


def _searched(scene: TableScene, kind: str, rng: random.Random) -> Query | None:
    row, column = rng.randrange(len(scene.rows)), rng.randrange(len(scene.columns))
    entry = scene.cells[row][column]
    slots = {"a": scene.rows[row], "c": scene.columns[column], "v": entry}
    if kind == "cell":
        answer_kind: Literal["word", "number"] = "word" if scene.is_words(column) else "number"
        return Query(kind, entry, Asked(None, (row,), (column,)), slots, answer_kind)
    times = sum(line[column] == entry for line in scene.cells)
    key = Asked(None, tuple(range(len(scene.rows))), (column,), entry)
    if kind == "times":
        return Query(kind, str(times), key, slots) if scene.is_words(column) else None
    return Query(kind, scene.rows[row], key, slots, "word") if times == 1 else None


def _computed(scene: TableScene, kind: str, rng: random.Random) -> Query | None:
    op, axis, _ = _NUMERIC[kind]
    numeric = [column for column in range(len(scene.columns)) if not scene.is_words(column)]
    if not numeric or (axis == "all" and len(scene.rows) * len(numeric) > MOST_CELLS):
        return None
    everything = range(len(scene.rows))
    rows = rng.sample(everything, {"cells": 2, "row": 1}.get(axis, len(everything)))
    rows = rows if axis == "cells" else sorted(rows)
    columns = numeric if axis in ("row", "all") else [rng.choice(numeric)]
    values = _named(scene, rows, columns, axis)
    slots = {"c": scene.columns[columns[0]]} | ({"a": scene.rows[rows[0]]} if axis == "row" else {})
    query = compose(kind, op, list(values), values, rng, slots)
    if query is None:
        return None
    task: Task = query.key
    if axis == "cells":  # a difference may have turned them around
        rows = [scene.rows.index(name) for name in task.names]
    return replace(query, key=Asked(task, tuple(rows), tuple(columns)))


def _named(scene: TableScene, rows: Sequence[int], columns: Sequence[int], axis: Axis) -> Mapping[str, int]:
    if axis in ("cells", "column"):
        return {scene.rows[row]: int(scene.cells[row][columns[0]]) for row in rows}
    if axis == "row":
        return {scene.columns[column]: int(scene.cells[rows[0]][column]) for column in columns}
    return {f"{scene.rows[r]} {scene.columns[c]}": int(scene.cells[r][c]) for r in rows for c in columns}


# --- traces

_LOOK = ("I go to the place in the table.", "Reading the table:", "Row and column first.", "Let me look it up.")


def trace(scene: TableScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    asked: Asked = query.key
    backwards = style.strategy == 2 and len(asked.rows) > 1
    rows = asked.rows[::-1] if backwards else asked.rows
    large = is_large(images[0].size)
    said = rng.choice(_LOOK)
    messages: list[Message] = []
    views: list[View | None] = []
    if "crop" in style.tools and (large or style.strategy == 3):
        messages, views, said, rows = _by_bands(scene, query, images, style, said)
    else:
        read = [*_heads(scene, asked, large, None), *(_line(scene, asked, row, large) for row in rows)]
        if len(rows) == 1 and style.strategy == 2 and len(read) == 2:  # the row first, then the column
            spot, _, cell = read[1].partition(": ")
            read = [f"{spot}.", read[0], cell]
        said = "\n".join([said, *read])
    if asked.task and asked.task.op in ("sum", "difference") and rows != asked.rows:
        rows = asked.rows
        said += "\nSo " + ", ".join(f"{scene.rows[row]} is {scene.cells[row][asked.columns[0]]}" for row in rows) + "."
    if asked.task:
        numbers = [
            (scene.columns[column] if len(asked.rows) == 1 else scene.rows[row], scene.cells[row][column], number)
            for row in rows
            for column in asked.columns
            for number in (int(scene.cells[row][column]),)
        ]
        return Trace((*messages, *computed(query, asked.task, numbers, style, said)), tuple(views))
    if query.kind == "times":
        return Trace((*messages, *_counted(scene, query, rows, style, said)), tuple(views))
    if query.kind == "find":
        said += f"\n{asked.wanted} is with {query.answer}."
    return Trace((*messages, answer(query.answer, said)), tuple(views))


def _counted(scene: TableScene, query: Query, rows: Sequence[int], style: Style, said: str) -> list[Message]:
    """How often an entry stands in a column."""
    entries = [scene.cells[row][query.key.columns[0]] for row in rows]
    wanted = query.key.wanted
    if "python" in style.tools:
        return [
            *python_call(f'"{" ".join(entries)}".split().count("{wanted}")', query.answer, said),
            answer(query.answer),
        ]
    counts = [f"{entry}: {entries[: place + 1].count(wanted)} {wanted}" for place, entry in enumerate(entries)]
    return [answer(query.answer, "\n".join([said, *counts]))]


def _by_bands(
    scene: TableScene, query: Query, images: Images, style: Style, said: str
) -> tuple[list[Message], list[View | None], str, tuple[int, ...]]:
    """Zooms into bands of rows, from the headers down, until all rows are read; also the order in which they were."""
    asked: Asked = query.key
    width = sum(scene.widths)
    messages: list[Message] = []
    views: list[View | None] = []
    found: list[int] = []
    for first, last in spans(0, len(scene.rows) + 1, max(1, OVERVIEW_TOKENS // width)):
        part = (0, first, width, last)
        turn, view = part_call(images, style, part, said)
        messages += turn
        views.append(view)
        lines = _heads(scene, asked, False, part) if first == 0 else []
        here = [row for row in asked.rows if first <= row + 1 < last]
        lines += [_line(scene, asked, row, False, part) for row in here]
        if not here and len(asked.rows) < len(scene.rows):
            lines.append(f"No {' or '.join(scene.rows[row] for row in asked.rows if row not in found)} here.")
        said = "\n".join(lines)
        found += here
        if len(found) == len(asked.rows):
            break
    return messages, views, said, tuple(found)


def _heads(scene: TableScene, asked: Asked, nowhere: bool, part: Part | None) -> list[str]:
    """Where the column in question is, if it is one; where the cells are too small to name, nothing."""
    if len(asked.columns) > 1 or nowhere:
        return []
    return [f"{scene.columns[asked.columns[0]]} heads {place((scene.left(asked.columns[0]), 0), part)}."]


def _line(scene: TableScene, asked: Asked, row: int, nowhere: bool, part: Part | None = None) -> str:
    """What is read in a row: `a3 B c3 7` in a listing, `B is at a3: c3 is 7.` where the row is looked for."""
    name = scene.rows[row]
    at = "" if nowhere else place((0, row + 1), part)
    cells = []
    for column in asked.columns:
        where = "" if nowhere else place((scene.left(column), row + 1), part)
        header = scene.columns[column] if asked.task and asked.task.op == "highest" and len(asked.rows) == 1 else ""
        cells.append(" ".join(word for word in (where, header, scene.cells[row][column]) if word))
    if len(asked.columns) == 1 and len(asked.rows) == len(scene.rows):
        return " ".join(word for word in (at, name, *cells) if word)
    if len(asked.columns) > 1:
        return f"{at} {name}: {', '.join(cells)}".strip()
    return f"{name} is at {at}: {cells[0].replace(' ', ' is ', 1)}." if at else f"{name} has {cells[0]}."


TABLE = Family(
    name="table",
    summary="tables: look up cells, sum and compare rows and columns, find and count entries",
    tiers="more rows and columns, two and three digits, names and words, far more rows than the overview holds",
    make_scene=make_scene,
    scene_key=scene_key,
    draw=picture,
    ask=ask,
    solve=trace,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    marks=marks,
)
