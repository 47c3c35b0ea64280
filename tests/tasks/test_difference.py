"""Two pictures of one board: differences by hand, and that the pictures differ there and nowhere else."""

import random
from dataclasses import replace

import numpy as np
import pytest

from polymnia.tasks.base import Query, Style, follow_up, sample, verify
from polymnia.tasks.difference import DIFFERENCE, DifferenceScene
from polymnia.tasks.things import Thing

BEFORE = (Thing(0, 0, "red", "star"), Thing(2, 0, "blue", "circle"), Thing(1, 1, "green", "cross"))
AFTER = (Thing(0, 0, "red", "star"), Thing(2, 0, "black", "circle"), Thing(0, 2, "red", "square"))
SCENE = DifferenceScene(3, 3, BEFORE, AFTER, 0)  # c1 recoloured, b2 gone, a3 added


def asked() -> dict[str, Query]:
    return {query.kind: query for query in (DIFFERENCE.ask(SCENE, random.Random(seed), None) for seed in range(100))}


def test_answers_by_hand() -> None:
    assert {kind: query.answer for kind, query in asked().items()} == {
        "number": "3",
        "cells": "c1, b2, a3",
        "added": "red square",
        "gone": "green cross",
        "recoloured": "blue circle",
        "became": "black circle",
    }
    assert asked()["became"].slots == {"ref": "blue circle"}


def test_a_kind_of_change_that_happened_twice_is_not_asked_for_in_the_singular() -> None:
    twice = replace(SCENE, after=AFTER[:2])  # nothing is added; one is gone
    gone = replace(SCENE, before=(*BEFORE, Thing(2, 2, "red", "star")))  # two are gone
    kinds = {scene: {DIFFERENCE.ask(scene, random.Random(s), None).kind for s in range(100)} for scene in (twice, gone)}
    assert "added" not in kinds[twice]
    assert "gone" not in kinds[gone]


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("number", "3"),
        ("cells", "['a3', 'b2', 'c1']"),
        ("added", "['a3 red square']"),
        ("gone", "['b2 green cross']"),
        ("recoloured", "['c1 blue circle, c1 black circle']"),
    ],
)
def test_python_compares_the_two_listings(kind: str, result: str) -> None:
    trace = DIFFERENCE.solve(SCENE, asked()[kind], (), Style(), random.Random(0))
    assert trace.messages[1].text == result


def test_without_tools_the_cells_are_compared_one_by_one() -> None:
    style = Style(strategy=1, tools=frozenset())
    said = DIFFERENCE.solve(SCENE, asked()["number"], (), style, random.Random(0)).messages[-1].reasoning
    assert said.split("\n")[1:] == [
        "a1 red star",
        "a3 nothing, now red square = 1",
        "b2 green cross, now nothing = 2",
        "c1 blue circle, now black circle = 3",
        "changed: 3",
    ]


def test_crops_go_through_both_pictures() -> None:
    problem = sample(DIFFERENCE, tier=5, split="test", seed=0, index=0)
    views = problem.solve(Style(), random.Random(0)).views
    assert [view.picture for view in views if view] == [0, 1] * (len(views) // 2)
    assert [view.box for view in views[::2] if view] == [view.box for view in views[1::2] if view]


@pytest.mark.parametrize("tier", [0, 3, 6])
def test_the_pictures_differ_exactly_where_the_scene_says(tier: int) -> None:
    for index in range(40):
        scene = sample(DIFFERENCE, tier=tier, split="train", seed=1, index=index).scene
        assert scene.changes
        still = replace(scene, after=scene.before)
        first, second = DIFFERENCE.draw(still, random.Random(index))
        changed = DIFFERENCE.draw(scene, random.Random(index))[1]
        # Noise aside, an unchanged board is the same picture twice and a changed one is not.
        assert np.abs(np.asarray(first, int) - np.asarray(second, int)).max() <= 28
        assert np.abs(np.asarray(first, int) - np.asarray(changed, int)).max() > 28


def test_the_verifier_wants_all_cells_in_any_order() -> None:
    problem = replace(sample(DIFFERENCE, tier=0, split="test", seed=0, index=0), query=asked()["cells"])
    for right in ("c1, b2, a3", "A3 B2 and C1", "a3,b2,c1."):
        assert verify(problem, right)
    for wrong in ("", "a3, b2", "a3, b2, c1, c2", "a3 b2 b2 c1", "3", "a 3 b 2 c 1", "\u00e9" * 9999):
        assert not verify(problem, wrong)


def test_a_follow_up_asks_something_else() -> None:
    for index in range(60):
        problem = sample(DIFFERENCE, tier=0, split="train", seed=3, index=index)
        query = follow_up(problem, random.Random(index))
        assert (query.kind, query.key) != (problem.query.kind, problem.query.key)
