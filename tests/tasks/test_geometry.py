"""Figures and points by hand: areas, perimeters, distances and angles, and how near an answer must be."""

import random
from dataclasses import replace

import pytest

from polymnia.tasks import Problem, sample, verify
from polymnia.tasks.base import ALL_TOOLS, Style
from polymnia.tasks.geometry import GEOMETRY, GeometryScene, make_scene, marks, question
from polymnia.tasks.labels import char_label, colour_label

# A right angle at A: 56 px to B on the right, 84 px down to C; D is 45 degrees from both.
POINTS = GeometryScene(6, {"A": (14, 14), "B": (70, 14), "C": (14, 98), "D": (98, 98)}, {}, False)
# An L of four squares and a bar of two.
FIGURES = GeometryScene(
    6, {}, {"red": frozenset({(0, 0), (0, 1), (0, 2), (1, 2)}), "blue": frozenset({(4, 4), (4, 5)})}, False
)


def problem(scene: GeometryScene, kind: str, *names: str) -> Problem:
    one = sample(GEOMETRY, tier=0, split="test", seed=0, index=0)
    query = question(scene, kind, *names)
    assert query is not None
    return replace(one, scene=scene, images=GEOMETRY.draw(scene, random.Random(0)), query=query)


@pytest.mark.parametrize(
    ("scene", "kind", "names", "answer"),
    [
        (POINTS, "distance", "AB", "56.0"),
        (POINTS, "path", "BAC", "140.0"),
        (POINTS, "angle", "BAC", "90"),
        (POINTS, "angle", "CAD", "45"),
        (POINTS, "widest", "CBA", "A"),
        (FIGURES, "area", ("red",), "4"),
        (FIGURES, "perimeter", ("red",), "10"),
        (FIGURES, "perimeter", ("blue",), "6"),
        (FIGURES, "larger", ("red", "blue"), "2"),
    ],
)
def test_answers_and_the_ways_to_them(scene: GeometryScene, kind: str, names: tuple[str, ...], answer: str) -> None:
    one = problem(scene, kind, *names)
    assert one.answer == answer
    for strategy in range(4):
        for tools in (ALL_TOOLS, frozenset[str](), frozenset({"measure"}), frozenset({"python"})):
            trace = one.solve(Style(strategy, tools), random.Random(strategy))
            assert verify(one, trace.messages[-1].text)


def test_questions_with_unclear_answers_are_not_asked() -> None:
    assert question(FIGURES, "larger", "blue", "red") is None
    line = replace(POINTS, points={"A": (14, 14), "B": (70, 14), "C": (154, 14)})
    assert question(line, "angle", "A", "B", "C") is None
    even = replace(POINTS, points={"A": (14, 14), "B": (98, 14), "C": (56, 87)})
    assert question(even, "widest", "A", "B", "C") is None


def test_an_answer_must_be_near() -> None:
    one = problem(POINTS, "distance", "A", "B")
    for right in ("56", "About 57.5 pixels.", "52", "60 px"):
        assert verify(one, right)
    for wrong in ("", "51.9", "60.1", "fifty-six", "56 or 70", "-56", "9" * 5000, "nan", "inf"):
        assert not verify(one, wrong)


def test_a_length_is_measured_between_the_cells_that_were_named() -> None:
    trace = problem(POINTS, "distance", "A", "B").solve(Style(), random.Random(0))
    assert "A a1, B c1" in trace.messages[0].reasoning
    assert trace.messages[1].text.startswith("distance 56")


def test_figures_have_no_holes_and_do_not_touch() -> None:
    for seed in range(200):
        scene = make_scene(random.Random(seed), 9)
        for cells in scene.figures.values():
            beside = {(x + dx, y + dy) for x, y in cells for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0))}
            assert not any(other & beside for other in scene.figures.values() if other is not cells)
            around = {(x, y) for x in range(-1, scene.side + 1) for y in range(-1, scene.side + 1)} - cells
            reached = [(-1, -1)]
            for x, y in reached:
                reached += [
                    cell
                    for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1))
                    if cell in around and cell not in reached
                ]
            assert len(reached) == len(around)


def test_marks_name_points_and_filled_squares() -> None:
    assert [one.label for one in marks(POINTS)[0]] == [char_label(name) for name in "ABCD"]
    assert [one.label for one in marks(FIGURES)[0]] == [colour_label("fill", "red")] * 4 + [
        colour_label("fill", "blue")
    ] * 2
