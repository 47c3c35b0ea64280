"""Tables: answers computed by hand, words beside numbers, and traces that name the cells they read."""

import random

import pytest

from polymnia.tasks import Query, Style
from polymnia.tasks.table import TABLE, TableScene

NUMBERS = TableScene(("P", "Q"), ("A", "B", "C"), (("4", "9"), ("7", "0"), ("7", "3")), (1, 1, 1))
WORDS = TableScene(("City", "Tea"), ("Ana", "Ben", "Eva"), (("Oslo", "12"), ("Rome", "30"), ("Oslo", "8")), (2, 2, 1))


def questions(scene: TableScene) -> dict[tuple[str, ...], str]:
    """Answers by kind and slots."""
    queries = [TABLE.ask(scene, random.Random(seed), None) for seed in range(1500)]
    return {(query.kind, *(query.slots[slot] for slot in _slots(query))): query.answer for query in queries}


def _slots(query: Query) -> list[str]:
    return [slot for slot in ("a", "b", "c", "v", "k") if f"{{{slot}}}" in TABLE.wordings[query.kind][0]]


def test_answers_of_a_table_of_numbers_by_hand() -> None:
    found = questions(NUMBERS)
    assert found["cell", "B", "P"] == "7"
    assert found["sum", "A", "C", "Q"] == "12"
    assert found["difference", "A", "C", "Q"] == "6"
    assert found["row_total", "A"] == "13"
    assert found["column_total", "P"] == "18"
    assert found["column_highest", "Q"] == "A"
    assert found["column_lowest", "Q"] == "B"
    assert found["column_top", "P"] == "7"
    assert found["row_highest", "B"] == "P"
    assert found["above", "4"] == "3"
    assert found["column_above", "Q", "0"] == "2"
    assert found["find", "P", "4"] == "A"


def test_what_has_two_answers_is_not_asked() -> None:
    found = questions(NUMBERS)
    assert ("column_highest", "P") not in found  # B and C both have 7
    assert ("find", "P", "7") not in found
    assert not any(kind == "difference" and {a, b} == {"B", "C"} and c == "P" for kind, a, b, c in
                   (key for key in found if len(key) == 4))  # fmt: skip


def test_words_are_looked_up_and_counted_and_never_added() -> None:
    found = questions(WORDS)
    assert found["cell", "Ben", "City"] == "Rome"
    assert found["times", "City", "Oslo"] == "2"
    assert found["find", "City", "Rome"] == "Ben"
    assert found["row_total", "Ana"] == "12"
    assert ("column_total", "City") not in found


def test_a_trace_goes_by_both_headers_to_the_cell() -> None:
    images = TABLE.draw(NUMBERS, random.Random(0))
    query = next(
        query
        for query in (TABLE.ask(NUMBERS, random.Random(seed), None) for seed in range(500))
        if query.kind == "cell" and dict(query.slots)["a"] == "C" and dict(query.slots)["c"] == "Q"
    )
    said = TABLE.solve(NUMBERS, query, images, Style(), random.Random(0)).messages[-1].reasoning
    assert "Q heads c1." in said
    assert "C is at a4: c4 is 3." in said
    zoomed = TABLE.solve(NUMBERS, query, images, Style(strategy=3), random.Random(0))
    assert [message.text for message in zoomed.messages][-1] == "3"
    assert "C is at a2: c2 is 3." in zoomed.messages[-1].reasoning  # in the crop of the lower two rows


@pytest.mark.parametrize("tools", [frozenset[str](), frozenset({"python"})])
def test_a_count_of_words_ends_with_its_number(tools: frozenset[str]) -> None:
    images = TABLE.draw(WORDS, random.Random(0))
    query = next(q for q in (TABLE.ask(WORDS, random.Random(s), None) for s in range(500)) if q.kind == "times")
    trace = TABLE.solve(WORDS, query, images, Style(tools=tools), random.Random(0))
    assert trace.messages[-1].text == query.answer
