"""Clocks by hand: times, minutes between, minutes on and back, and what an answer must say."""

import random
from dataclasses import replace

import pytest

from polymnia.tasks import Problem, follow_up, sample, verify
from polymnia.tasks.base import ALL_TOOLS, Style
from polymnia.tasks.clock import CLOCK, Clock, ClockScene, marks, question
from polymnia.tasks.labels import char_label, label

FOUR, SEVEN, NOON = Clock("K", 4 * 60 + 45), Clock("M", 7 * 60 + 15), Clock("P", 5)


def problem(*clocks: Clock, kind: str, span: int = 0) -> Problem:
    one = sample(CLOCK, tier=0, split="test", seed=0, index=0)
    scene = ClockScene(clocks, len(clocks), True, False, (30,))
    return replace(one, scene=scene, images=CLOCK.draw(scene, random.Random(0)), query=question(kind, clocks, span))


@pytest.mark.parametrize(
    ("clocks", "kind", "span", "answer"),
    [
        ((FOUR,), "time", 0, "4:45"),
        ((NOON,), "time", 0, "12:05"),
        ((FOUR,), "hand", 0, "9"),
        ((Clock("A", 60),), "hand", 0, "12"),
        ((FOUR, SEVEN), "until", 0, "150"),
        ((SEVEN, FOUR), "until", 0, "570"),
        ((FOUR, Clock("A", 4 * 60 + 30)), "until", 0, "705"),
        ((FOUR, Clock("A", 4 * 60 + 50)), "until", 0, "5"),
        ((FOUR,), "later", 30, "5:15"),
        ((NOON,), "earlier", 10, "11:55"),
        ((SEVEN,), "later", 300, "12:15"),
    ],
)
def test_answers_and_the_steps_to_them(clocks: tuple[Clock, ...], kind: str, span: int, answer: str) -> None:
    one = problem(*clocks, kind=kind, span=span)
    assert one.answer == answer
    for tools in (ALL_TOOLS, frozenset[str]()):
        assert one.solve(Style(tools=tools), random.Random(1)).messages[-1].text == answer


def test_counting_up_goes_by_the_full_hours() -> None:
    steps = problem(FOUR, SEVEN, kind="until").solve(Style(tools=frozenset()), random.Random(0)).messages[0].reasoning
    assert steps.endswith("4:45 to 5:00: 15, 2 h: 120, then 15. 15+120+15=150")


def test_a_late_answer_or_another_way_to_write_a_time() -> None:
    one = problem(NOON, kind="time")
    assert verify(one, "It is 12:05.")
    for wrong in ("0:05", "12.05", "five past twelve", "12:050", "５:05", "12:05 or 1:05", "9" * 10_000 + ":05"):
        assert not verify(one, wrong)


def test_marks_name_the_hands_and_the_letter() -> None:
    (found,) = marks(ClockScene((FOUR,), 1, True, False, ()))
    assert [one.label for one in found] == [label("hand", 9), label("hand", 18), char_label("K")]
    assert [(one.x // 28, one.y // 28) for one in found] == [(1, 1), (0, 1), (1, 3)]


def test_a_follow_up_asks_something_else() -> None:
    for index in range(40):
        one = sample(CLOCK, tier=1, split="train", seed=0, index=index)
        query = follow_up(one, random.Random(index))
        assert (query.kind, query.key) != (one.query.kind, one.query.key)
