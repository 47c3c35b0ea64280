"""The odd one out: by hand, and that there is never a second one."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from polymnia.tasks.base import Query, Style, sample, verify
from polymnia.tasks.odd import ODD, Item, OddScene, make_scene

PLACES = [(column, row) for row in range(3) for column in range(3)]
STARS = tuple(Item(column, row, "red", "star") for column, row in PLACES)


def scene_with(other: Item, mode: str) -> OddScene:
    """Red stars but for b3."""
    items = (*STARS[:7], replace(other, column=1, row=2), *STARS[8:])
    return OddScene(3, 3, items, 7, mode, "red star", 0)


def truths(scene: OddScene) -> dict[str, str]:
    asked = [ODD.ask(scene, random.Random(index), None) for index in range(200)]
    return {query.kind: query.answer for query in asked}


def test_the_odd_one_by_hand() -> None:
    place = {"cell": "b3", "row": "3", "column": "2"}
    blue = scene_with(Item(0, 0, "blue", "star"), "colour")
    assert truths(blue) == {**place, "how": "colour", "what": "blue star", "usual": "red star"}
    small = scene_with(Item(0, 0, "red", "star", "small"), "size")
    assert truths(small) == {**place, "how": "size"}


def test_python_finds_it_in_the_listing() -> None:
    scene = scene_with(Item(0, 0, "blue", "star"), "colour")
    trace = ODD.solve(scene, Query("cell", "b3", answer_kind="word"), (), Style(), random.Random(0))
    assert [one.text for one in trace.messages] == ["", "['b3 blue star']", "b3"]
    short = ODD.solve(
        scene, Query("cell", "b3", answer_kind="word"), (), Style(tools=frozenset()), random.Random(0)
    ).messages[-1]
    assert "all red star, but b3 blue star" in short.reasoning


@pytest.mark.parametrize("tier", [0, 2, 4, 7])
def test_exactly_one_item_differs(tier: int) -> None:
    """Whatever else varies: one value of the mode's attribute is there once, every other value is there often."""
    for seed in range(200):
        scene = make_scene(random.Random(seed), tier)
        if scene.mode in ("rows", "columns", "turns"):
            continue
        for attribute in ("colour", "figure", "size", "facing"):
            numbers = Counter(getattr(item, attribute) for item in scene.items)
            decides = {"colour": "colour", "size": "size", "direction": "facing"}.get(scene.mode, "figure") == attribute
            single = [value for value, number in numbers.items() if number == 1]
            assert single == ([getattr(scene.one, attribute)] if decides else [])


@pytest.mark.parametrize("mode", ["rows", "columns", "turns"])
def test_a_rule_is_broken_once(mode: str) -> None:
    scenes = (make_scene(random.Random(seed), 4) for seed in range(300))
    for scene in (one for one in scenes if one.mode == mode):
        lines: dict[int, set[str]] = {}
        for item in scene.items:
            if item != scene.one:
                line = {"rows": item.row, "columns": item.column, "turns": (item.row + item.column) % 2}[mode]
                lines.setdefault(line, set()).add(item.name)
        assert all(len(names) == 1 for names in lines.values())
        line = {"rows": scene.one.row, "columns": scene.one.column, "turns": (scene.one.row + scene.one.column) % 2}[
            mode
        ]
        assert scene.one.name not in lines[line]


@pytest.mark.parametrize(("kind", "wrong"), [("cell", ["b", "3", "b33", "b3 c3", "3b"]), ("how", ["colour, shape"])])
def test_the_verifier_refuses_part_answers(kind: str, wrong: list[str]) -> None:
    problems = (sample(ODD, tier=0, split="test", seed=2, index=index) for index in range(200))
    problem = next(one for one in problems if one.query.kind == kind)
    assert verify(problem, problem.answer.upper() + ".")
    assert not any(verify(problem, text) for text in [*wrong, "", "b" * 9999, "\u0663", problem.answer * 2])


def test_a_follow_up_is_of_another_kind() -> None:
    scene = scene_with(Item(0, 0, "blue", "star"), "colour")
    first = ODD.ask(scene, random.Random(0), None)
    assert all(ODD.ask(scene, random.Random(index), first).kind != first.kind for index in range(50))
