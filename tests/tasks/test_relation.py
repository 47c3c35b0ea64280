"""Relations worked out by hand on one small board."""

import random
from dataclasses import replace

import pytest

from polymnia.tasks.base import Problem, Query, Style, sample, verify
from polymnia.tasks.relation import RELATION, STEPS, RelationScene
from polymnia.tasks.things import Thing

BOARD = RelationScene(
    3,
    3,
    (
        Thing(0, 0, "red", "star"),  # red star    .             blue circle
        Thing(2, 0, "blue", "circle"),  # green cross black square  yellow star
        Thing(0, 1, "green", "cross"),  # .           red circle    .
        Thing(1, 1, "black", "square"),
        Thing(2, 1, "yellow", "star"),
        Thing(1, 2, "red", "circle"),
    ),
    0,
)


def questions(kind: str, number: int = 400) -> list[Query]:
    asked = [RELATION.ask(BOARD, random.Random(index), None) for index in range(number)]
    return [query for query in asked if query.kind == kind]


@pytest.mark.parametrize(
    ("kind", "slots", "truth"),
    [
        ("beside", {"d": "left of", "ref": "black square"}, "green cross"),
        ("beside", {"d": "above", "ref": "green cross"}, "red star"),
        ("beside", {"d": "below", "ref": "blue circle"}, "yellow star"),
        ("between", {"a": "green cross", "b": "yellow star"}, "black square"),
        ("corner", {"corner": "upper right"}, "blue circle"),
        ("cell", {"r": "3", "c": "2"}, "red circle"),
        ("walk", {"ref": "red star", "way": "2 columns right and 1 row down"}, "yellow star"),
        ("walk", {"ref": "red circle", "way": "1 column left and 2 rows up"}, "red star"),
        ("beyond", {"lines": "rows", "d": "above", "ref": "red circle"}, "5"),
        ("beyond", {"lines": "columns", "d": "right of", "ref": "black square"}, "2"),
        ("row", {"r": "2"}, "green cross, black square, yellow star"),
    ],
)
def test_the_truth_is_what_one_sees(kind: str, slots: dict[str, str], truth: str) -> None:
    assert {query.answer for query in questions(kind, 1500) if query.slots == slots} == {truth}


def test_nearest_and_farthest_are_asked_only_where_one_is_clearly_it() -> None:
    asked = {(query.kind, query.slots["ref"]): query.answer for k in ("nearest", "farthest") for query in questions(k)}
    assert asked[("farthest", "yellow star")] == "red star"
    assert asked[("nearest", "red star")] == "green cross"
    assert ("nearest", "black square") not in asked  # three things are one cell away


def test_things_that_are_there_twice_are_never_what_a_question_starts_from() -> None:
    twice = replace(BOARD, things=(*BOARD.things, Thing(0, 2, "red", "star")))
    for index in range(300):
        query = RELATION.ask(twice, random.Random(index), None)
        assert "red star" not in (query.slots.get("ref"), query.slots.get("a"), query.slots.get("b"))


def test_the_trace_names_the_thing_then_its_place_then_the_neighbour() -> None:
    query = next(q for q in questions("beside") if q.slots == {"d": "right of", "ref": "black square"})
    trace = RELATION.solve(BOARD, query, (), Style(), random.Random(0))
    said = trace.messages[-1].reasoning
    assert said.index("black square") < said.index("b2") < said.index("c2") < said.index("yellow star")
    assert RELATION.solve(BOARD, query, (), Style(think=False), random.Random(0)).messages[-1].reasoning == ""


def test_the_verifier_takes_a_name_with_its_article_and_nothing_else() -> None:
    problem = _asked("beside")
    for right in (problem.answer, f"The {problem.answer}.", problem.answer.upper(), f"a {problem.answer}"):
        assert verify(problem, right)
    colour, shape = problem.answer.split()
    for wrong in ("", colour, shape, f"{shape} {colour}", f"{problem.answer} or red star", "é" * 9999, "[" * 9999):
        assert not verify(problem, wrong)


def test_a_follow_up_asks_something_else() -> None:
    for index in range(100):
        first = RELATION.ask(BOARD, random.Random(index), None)
        second = RELATION.ask(BOARD, random.Random(index), first)
        assert (first.kind, first.key) != (second.kind, second.key)


def _asked(kind: str) -> Problem:
    problems = (sample(RELATION, tier=0, split="test", seed=1, index=index) for index in range(200))
    return next(problem for problem in problems if problem.query.kind == kind)


def test_every_direction_is_asked() -> None:
    assert {query.slots["d"] for query in questions("beside")} == set(STEPS)
