"""Ways through mazes by hand: what answers are read as, walls that stop them, traces that turn back."""

import random
from dataclasses import replace

import pytest

from polymnia.tasks import Problem, sample, verify
from polymnia.tasks.base import ALL_TOOLS, Style
from polymnia.tasks.labels import char_label, label
from polymnia.tasks.maze import MAZE, MazeScene, marks, question
from polymnia.tasks.paths import carved, in_order, parts, read_moves, shortest_ways

OPENINGS = {(0, 0): "R", (1, 0): "RDL", (2, 0): "L", (0, 1): "R", (1, 1): "UL", (2, 1): "D", (2, 2): "U"}
"""
A - + - .      from A right, then down, then left to B; C and D are walled off
    |
B - +   C
        |
        D
"""
OPEN = OPENINGS | {(0, 2): "", (1, 2): ""}
SCENE = MazeScene(3, 3, OPEN, {"A": (0, 0), "B": (0, 1), "C": (2, 1), "D": (2, 2)})


def problem(kind: str, a: str, b: str = "") -> Problem:
    one = sample(MAZE, tier=0, split="test", seed=0, index=0)
    return replace(one, scene=SCENE, images=MAZE.draw(SCENE, random.Random(0)), query=question(SCENE, kind, a, b))


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("RRD", "RRD"),
        ("r r d", "RRD"),
        ("right, right, then down.", "RRD"),
        ("Go east and then south", "RD"),
        ("The way is R R D.", "RRD"),
        ("", None),
        ("the way", None),
        ("2 right", None),
        ("R2 D1", None),
        ("turn right at the hedge", None),
        ("R" * 20_001, None),
        ("→→↓", None),
    ],
)
def test_moves_as_people_write_them(text: str, moves: str | None) -> None:
    assert read_moves(text) == moves


def test_walls_stop_an_answer() -> None:
    one = problem("path", "A", "B")
    assert one.answer == "R D L"
    for right in ("RDL", "right down left", "R R L D L"):
        assert verify(one, right)
    for wrong in ("D", "RD", "R D L L", "R D L R", "L R D L", "", "B", "R" * 100_000, "R D L 1"):
        assert not verify(one, wrong)


def test_the_open_sides_in_any_order() -> None:
    one = problem("open", "A")
    assert one.answer == "right"
    assert verify(one, "R")
    assert verify(one, "right.")
    assert not verify(one, "right, right")
    assert not verify(one, "right and down")


def test_one_door_can_be_reached() -> None:
    one = problem("exit", "A")
    assert one.answer == "B"
    for style in (Style(), Style(1), Style(tools=frozenset())):
        assert one.solve(style, random.Random(0)).messages[-1].text == "B"


def test_a_dead_end_is_turned_back_from_and_the_steps_are_counted() -> None:
    said = problem("length", "A", "B").solve(Style(tools=frozenset()), random.Random(0)).messages[0].reasoning
    assert said.splitlines()[1:] == ["a1 R b1 R c1 end; b1 D b2 L a2", "a1=0 b1=1 b2=2 a2=3"]
    assert "python" in [
        call.name
        for one in problem("length", "A", "B").solve(Style(1, ALL_TOOLS), random.Random(0)).messages
        for call in one.tool_calls
    ]


def test_marks_name_walls_and_letters() -> None:
    (found,) = marks(SCENE)
    at = {(int(one.x // 28), int(one.y // 28)): one.label for one in found}
    assert at[0, 0] == char_label("A")
    assert at[1, 0] == label("walls", 1)  # north alone
    assert at[0, 2] == label("walls", 15)


def test_any_two_cells_of_a_carved_maze_have_one_way() -> None:
    for seed in range(30):
        maze = carved(random.Random(seed), 5, 4)
        assert len(shortest_ways(maze, (0, 0))) == 20
        assert sum(len(moves) for moves in maze.values()) == 2 * 19


def test_parts_cover_the_grid_once_and_orders_differ() -> None:
    boxes = parts(13, 7)
    cells = [(x, y) for left, top, right, bottom in boxes for x in range(left, right) for y in range(top, bottom)]
    assert sorted(cells) == [(x, y) for x in range(13) for y in range(7)]
    assert all(right - left <= 6 and bottom - top <= 6 for left, top, right, bottom in boxes)
    assert in_order([(0, 0), (1, 0), (0, 1)], 1) == [(0, 0), (0, 1), (1, 0)]
    assert in_order([(0, 0), (1, 0), (0, 1)], 2) == [(0, 1), (1, 0), (0, 0)]
