"""Maps by hand: directions followed, the first landmark in line, ways round what is blocked."""

import random
from dataclasses import replace

from polymnia.tasks import Problem, sample, verify
from polymnia.tasks.base import Query, Style
from polymnia.tasks.labels import char_label, colour_label
from polymnia.tasks.route import ROUTE, RouteScene, beside, following, marks, question

# K . M .
# . # # .
# . . P S
SCENE = RouteScene(4, 3, {"K": (0, 0), "M": (2, 0), "P": (2, 2), "S": (3, 2)}, frozenset({(1, 1), (2, 1)}), 2, 0)
OPEN = replace(SCENE, blocked=frozenset())


def problem(scene: RouteScene, query: Query | None) -> Problem:
    assert query is not None
    one = sample(ROUTE, tier=0, split="test", seed=0, index=0)
    return replace(one, scene=scene, images=ROUTE.draw(scene, random.Random(0)), query=query)


def test_directions_are_followed_leg_by_leg() -> None:
    query = following(OPEN, "K", "RRDDR", compass=True)
    assert query is not None
    assert query.slots["d"] == "2 east, 2 south and 1 east"
    assert query.answer == "S"
    said = problem(OPEN, query).solve(Style(), random.Random(0)).messages[0].reasoning
    assert said.endswith("right b1 c1, down c2 c3, right d3: S")


def test_the_first_landmark_in_line_unless_something_is_in_the_way() -> None:
    assert problem(SCENE, beside(SCENE, "K", "R")).answer == "M"
    assert beside(SCENE, "P", "U") is None
    assert problem(OPEN, beside(OPEN, "P", "U")).answer == "M"
    assert beside(OPEN, "K", "L") is None


def test_ways_go_round_what_is_blocked() -> None:
    one = problem(SCENE, question(SCENE, "walk", "M", "P"))
    assert one.answer == "R D D L"
    assert verify(one, "right, down, down, left")
    assert verify(one, "L L D D R R")
    for wrong in ("D D", "R D D", "R R D D L L", "", "P", "R D D L L", "U R D D L"):
        assert not verify(one, wrong)
    for style in (Style(), Style(2), Style(tools=frozenset())):
        assert one.solve(style, random.Random(0)).messages[-1].text == "R D D L"
    assert problem(SCENE, question(SCENE, "steps", "M", "P")).answer == "4"
    assert problem(OPEN, question(OPEN, "steps", "M", "P")).answer == "2"


def test_a_walled_in_landmark_is_not_asked_for() -> None:
    walled = replace(SCENE, blocked=frozenset({(1, 0), (0, 1)}))
    assert question(walled, "walk", "K", "S") is None
    assert problem(walled, question(walled, "compass", "K", "S")).answer == "southeast"


def test_squares_and_compass() -> None:
    assert problem(SCENE, question(SCENE, "square", "P", "K")).answer == "c3"
    directions = {(a, b): problem(OPEN, question(OPEN, "compass", a, b)).answer for a in "KP" for b in "MS"}
    assert directions == {("K", "M"): "east", ("K", "S"): "southeast", ("P", "M"): "north", ("P", "S"): "east"}


def test_landmarks_can_be_shapes_and_answers_may_have_an_article() -> None:
    scene = RouteScene(2, 1, {"red star": (0, 0), "blue cross": (1, 0)}, frozenset(), 1, 0)
    one = problem(scene, following(scene, "blue cross", "L"))
    assert one.query.slots["a"] == "the blue cross"
    assert verify(one, "The red star.")
    assert not verify(one, "the star")


def test_marks_name_landmarks_and_blocked_squares() -> None:
    (found,) = marks(SCENE)
    at = {(int(one.x // 28), int(one.y // 28)): one.label for one in found}
    assert at == {
        (0, 0): char_label("K"),
        (2, 0): char_label("M"),
        (2, 2): char_label("P"),
        (3, 2): char_label("S"),
        (1, 1): colour_label("fill", "black"),
        (2, 1): colour_label("fill", "black"),
    }
