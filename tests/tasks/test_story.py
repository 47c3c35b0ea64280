"""Quantities that depend on each other, by hand; the program and the written steps agree with them."""

import random

from polymnia.tasks import Style, sample
from polymnia.tasks.base import Query
from polymnia.tasks.story import STORY, Event, Quantity, StoryScene, code, final_counts, in_writing, tell

SCENE = StoryScene(
    "apple",
    (
        Quantity("Ann", "is", number=6),
        Quantity("Bob", "half", ("Ann",), 2),
        Quantity("Eva", "both", ("Ann", "Bob")),
        Quantity("Max", "fewer", ("Eva",), 4),
    ),
    (Event("Eva", "gives", 2, "Max"), Event("Bob", "buys", 5)),
    False,
)


def test_counts_by_hand() -> None:
    assert final_counts(SCENE) == {"Ann": 6, "Bob": 8, "Eva": 7, "Max": 7}


def test_the_program_has_a_line_for_each_sentence() -> None:
    query = Query("total", "28", ("Ann", "Bob", "Eva", "Max"))
    expected = ["Ann=6", "Bob=Ann//2", "Eva=Ann+Bob", "Max=Eva-4", "Eva-=2", "Max+=2", "Bob+=5", "Ann+Bob+Eva+Max"]
    assert code(SCENE, query).splitlines() == expected


def test_written_steps_by_hand() -> None:
    lines = in_writing(SCENE, Query("difference", "1", ("Bob", "Eva")))
    assert lines == [
        "Ann: 6", "Bob: 6/2=3", "Eva: 6+3=9", "Max: 9-4=5", "Eva: 9-2=7", "Max: 5+2=7", "Bob: 3+5=8", "8-7=1",
        "Bob and Eva: 1",
    ]  # fmt: skip


def test_every_number_and_name_is_told() -> None:
    for seed in range(50):
        told = tell(SCENE, random.Random(seed))
        assert all(word in told for word in ("Ann", "Bob", "Eva", "Max", "6", "4", "2", "5", "half", "apples"))


def test_what_happens_afterwards_is_told_last() -> None:
    for index in range(30):
        problem = sample(STORY, tier=6, split="train", seed=0, index=index)
        told = tell(problem.scene, random.Random(index))
        starts = [told.rfind(word) for word in ("Then ", "Later ", "After that ")]
        assert max(starts) > max(told.find(f" {word} ") for word in ("fewer", "half", "twice"))


def test_a_follow_up_asks_something_else() -> None:
    problem = sample(STORY, tier=1, split="train", seed=0, index=0)
    for seed in range(20):
        query = STORY.ask(problem.scene, random.Random(seed), problem.query)
        assert query.kind != problem.query.kind
        trace = STORY.solve(problem.scene, query, (), Style(tools=frozenset()), random.Random(seed))
        assert trace.messages[-1].text == query.answer
