"""Line charts: hand-made charts have the answers one reads off them, and traces name the right cells."""

import random

import pytest

from polymnia.tasks import Style
from polymnia.tasks.line import LINE, LineScene
from polymnia.tasks.reading import Op, Task, by_hand, compose, expression, outcome

ONE = LineScene(("A", "B", "C", "D"), ("red",), ((1, 5, 0, 7),), 8, 1, 0)
TWO = LineScene(("Jan", "Feb", "Mar"), ("red", "blue"), ((2, 10, 6), (8, 4, 0)), 20, 5, 0)


def asked(scene: LineScene, kind: str) -> list[tuple[dict[str, str], str]]:
    """Slots and answer of many questions of a kind."""
    queries = [LINE.ask(scene, random.Random(seed), None) for seed in range(400)]
    return [(dict(query.slots), query.answer) for query in queries if query.kind == kind]


def test_the_answers_of_a_chart_are_what_one_reads_off_it() -> None:
    height = {"A": 1, "B": 5, "C": 0, "D": 7}
    assert {answer for _, answer in asked(ONE, "highest")} == {"D"}
    assert {answer for _, answer in asked(ONE, "lowest")} == {"C"}
    assert {answer for _, answer in asked(ONE, "spread")} == {"7"}
    assert all(answer == str(height[slots["a"]]) for slots, answer in asked(ONE, "read"))
    assert {(slots["a"], slots["b"], answer) for slots, answer in asked(ONE, "fall")} == {
        ("A", "C", "1"),
        ("B", "C", "5"),
    }
    assert {slots["k"]: answer for slots, answer in asked(ONE, "above")} == {"0": "3", "1": "2", "5": "1"}


def test_of_two_lines_the_one_in_question_counts_and_levels_are_worth_the_unit() -> None:
    assert {(slots["c"], answer) for slots, answer in asked(TWO, "highest_of")} == {("red", "Feb"), ("blue", "Jan")}
    assert {(slots["a"], answer) for slots, answer in asked(TWO, "apart")} == {
        ("Jan", "30"),
        ("Feb", "30"),
        ("Mar", "30"),
    }
    assert {(slots["c"], answer) for slots, answer in asked(TWO, "over")} == {("red", "2"), ("blue", "1")}


def test_a_trace_names_the_cell_of_the_name_and_of_the_point() -> None:
    images = LINE.draw(ONE, random.Random(0))
    query = compose("read", "read", ["B"], {"B": 5}, random.Random(0))
    assert query is not None
    trace = LINE.solve(ONE, query, images, Style(), random.Random(0))
    # B is the second name, so in column c of row 5; level 5 of 8 lies in the upper half of the second row.
    assert "c5" in trace.messages[0].reasoning
    assert "c2" in trace.messages[0].reasoning
    assert trace.messages[-1].text == "5"


def test_a_follow_up_is_another_question() -> None:
    for seed in range(50):
        first = LINE.ask(ONE, random.Random(seed), None)
        assert LINE.ask(ONE, random.Random(seed), first).key != first.key


@pytest.mark.parametrize(
    ("op", "numbers", "result"),
    [
        ("sum", (3, 4), "7"),
        ("difference", (9, 4), "5"),
        ("apart", (4, 9), "5"),
        ("total", (1, 2, 3), "6"),
        ("spread", (5, 2, 9), "7"),
        ("top", (5, 2, 9), "9"),
        ("bottom", (5, 2, 9), "2"),
        ("highest", (5, 2, 9), "C"),
        ("lowest", (5, 2, 9), "B"),
        ("above", (5, 2, 9), "2"),
        ("below", (5, 2, 9), "1"),
        ("over", (5, 2, 1, 9), "1"),
    ],
)
def test_operations_by_hand(op: Op, numbers: tuple[int, ...], result: str) -> None:
    limit = {"above": 4, "below": 5}.get(op, 0)
    names = "ABCD"[: len(numbers)]
    assert outcome(op, names, numbers, limit) == result
    written = by_hand(
        Task(op, tuple(names), limit), [(name, str(n), n) for name, n in zip(names, numbers, strict=True)]
    )
    assert result in written.splitlines()[-1]


def test_a_question_with_two_answers_is_not_asked() -> None:
    values = {"A": 4, "B": 4}
    assert compose("highest", "highest", "AB", values, random.Random(0)) is None
    assert compose("above", "above", "AB", values, random.Random(0)) is None


def test_terms_that_are_computed_keep_their_brackets() -> None:
    assert expression(Task("difference", ("A", "B")), [("A", "20+5*3"), ("B", "20+5*1")]) == "20+5*3-(20+5*1)"
