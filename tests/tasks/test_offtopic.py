"""Questions outside the families: many to train on, a hundred others to test with."""

import json
import random
from pathlib import Path

import pytest

from polymnia.tasks.offtopic import _GROUPS, CAN_DO, SLOTS, declines, off_topic, overlap, words

TEST_QUESTIONS = Path(__file__).parents[2] / "benchmarks" / "offtopic.json"
NEAR = 0.6
"""Share of words in common from which on a test question counts as one of the training's."""


def hand_written() -> list[str]:
    return [entry["question"] for entry in json.loads(TEST_QUESTIONS.read_text(encoding="utf-8"))]


def training_questions() -> set[str]:
    """Every template with every value of its slots in turn, and what the generator itself says."""
    rng = random.Random(0)
    found = {off_topic(rng)[0] for _ in range(12000)}
    longest = max(map(len, SLOTS.values()))
    for ways in _GROUPS:
        for way in ways:
            for turn in range(longest):
                found.add(way.format(**{name: values[turn % len(values)] for name, values in SLOTS.items()}))
    return found


def test_the_same_seed_says_the_same() -> None:
    assert off_topic(random.Random(7)) == off_topic(random.Random(7))


def test_training_questions_are_many() -> None:
    assert sum(map(len, _GROUPS)) > 300
    assert len(training_questions()) > 5000


def test_no_test_question_is_asked_in_training() -> None:
    asked = {words(question) for question in training_questions()}
    for question in hand_written():
        own = words(question)
        nearest = max(asked, key=lambda one: overlap(one, own))
        assert overlap(nearest, own) < NEAR, (question, sorted(nearest))


def test_there_are_a_hundred_test_questions() -> None:
    entries = json.loads(TEST_QUESTIONS.read_text(encoding="utf-8"))
    assert len(entries) == len({entry["question"].casefold() for entry in entries}) == 100
    assert sum(entry["picture"] for entry in entries) == 30
    assert all(set(entry) == {"question", "picture"} and entry["question"].strip() for entry in entries)


@pytest.mark.parametrize("text", [*CAN_DO, CAN_DO[0].upper(), CAN_DO[2].replace("Sorry, ", "")])
def test_saying_what_it_can_do_is_declining(text: str) -> None:
    assert declines(text)


@pytest.mark.parametrize(
    "text", ["", "12", "red star", "Ann, Bob, Eva", "I can only see three.", "A chart and a clock"]
)
def test_an_answer_is_not(text: str) -> None:
    assert not declines(text)
