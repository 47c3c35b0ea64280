"""Turned labels: directions by hand, and that turning back really brings the characters upright where read."""

import json
import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from polymnia.data.images import rotate
from polymnia.tasks.base import Query, Style, follow_up, sample, verify
from polymnia.tasks.turned import TURNED, Label, TurnedScene, make_scene

UPWARDS = Label("red", "K47", 14, 70, 90)  # in column a, from a4 up to a2
OVER = Label("blue", "73", 112, 14, 180)  # in row 1, from e1 back to d1
DOWNWARDS = Label("black", "PEN", 126, 98, 270)  # in column e, from e3 down to e5
SCENE = TurnedScene(140, 28, (UPWARDS, OVER, DOWNWARDS))


def read(one: Label, style: Style) -> tuple[int, str]:
    """The turn that the trace makes and what it then writes."""
    pictures = TURNED.draw(SCENE, random.Random(0))
    trace = TURNED.solve(
        SCENE, Query("read", one.text, one, {"c": one.colour}, "word"), pictures, style, random.Random(0)
    )
    calls = [call for message in trace.messages for call in message.tool_calls]
    return (json.loads(calls[-1].arguments)["degrees"] if calls else 0), trace.messages[-1].reasoning


def test_labels_are_turned_back_and_read_from_their_new_cells() -> None:
    assert read(UPWARDS, Style()) == (-90, "red\nb1 K\nc1 4\nd1 7")
    assert read(OVER, Style()) == (180, "blue\na5 7\nb5 3")
    assert read(DOWNWARDS, Style()) == (90, "black\nc1 P\nd1 E\ne1 N")


def test_without_the_tool_the_characters_are_read_where_they_are() -> None:
    assert read(OVER, Style(tools=frozenset()))[1].endswith("blue\ne1 7\nd1 3")


def test_clockwise_turns_by_hand() -> None:
    asked = [TURNED.ask(SCENE, random.Random(seed), None) for seed in range(200)]
    turns = {(query.slots["c"], query.answer) for query in asked if query.kind == "turn"}
    assert turns == {("red", "90"), ("blue", "180"), ("black", "270")}
    ends = {(query.slots["c"], query.slots["end"], query.answer) for query in asked if query.kind == "end"}
    assert {("red", "first", "K"), ("red", "last", "7"), ("black", "last", "N")} <= ends


def unlike(one: Image.Image, other: Image.Image) -> int:
    """Pixels that differ by more than noise, edges and a pixel's shift."""
    first, second = (image.filter(ImageFilter.GaussianBlur(1)).convert("L") for image in (one, other))
    return int((np.abs(np.asarray(first, int) - np.asarray(second, int)) > 60).sum())


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_label_turned_back_looks_like_one_that_was_never_turned(turn: int) -> None:
    for seed in range(10):
        upright, turned = (
            TURNED.draw(TurnedScene(140, 28, (Label("red", "F47", 70, 70, angle),)), random.Random(seed))[0]
            for angle in (0, turn)
        )
        assert unlike(rotate(turned, -turn), upright) < 0.3 * unlike(turned, upright)


@pytest.mark.parametrize("tier", [0, 2, 3, 6])
def test_every_text_shows_which_way_is_up(tier: int) -> None:
    for seed in range(100):
        for one in make_scene(random.Random(seed), tier).labels:
            assert set(one.text) - set("0125689HIMNOSWXZ")
            assert one.turn % 360 != 0


def test_labels_never_overlap() -> None:
    for tier in (0, 2, 5, 9):
        for seed in range(40):
            scene = make_scene(random.Random(seed), tier)
            spots = [one.place(i, scene.pitch) for one in scene.labels for i in range(len(one.text))]
            apart = min(abs(complex(*a) - complex(*b)) for i, a in enumerate(spots) for b in spots[:i])
            assert apart > scene.pitch * 0.9
            assert all(0 < x < scene.side and 0 < y < scene.side for x, y in spots)


def test_in_a_large_scene_the_label_is_cut_out_first() -> None:
    problem = sample(TURNED, tier=4, split="test", seed=0, index=0)
    trace = problem.solve(Style(images_before=1), random.Random(0))
    calls = [call for message in trace.messages for call in message.tool_calls]
    assert [call.name for call in calls] == ["crop", "rotate"]
    assert json.loads(calls[1].arguments)["image"] == 2
    assert [view is None for view in trace.views] == [False, True]


def test_digits_are_a_code_and_letters_a_word() -> None:
    for index in range(60):
        problem = sample(TURNED, tier=0, split="train", seed=0, index=index)
        assert verify(problem, problem.answer)
        assert verify(problem, problem.answer.lower())
        for wrong in ("", problem.answer + "0", problem.answer + " x7", "no", "\u0664", "[" * 9999):
            assert not verify(problem, wrong)


def test_a_follow_up_is_about_another_label() -> None:
    for index in range(30):
        problem = sample(TURNED, tier=0, split="train", seed=0, index=index)
        assert follow_up(problem, random.Random(index)).key != problem.query.key
