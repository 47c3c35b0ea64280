"""Expressions keep their meaning when printed, and written arithmetic is right to the last digit."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymnia.tasks import Style, sample
from polymnia.tasks.arithmetic import (
    ARITHMETIC,
    Operation,
    in_writing,
    make_scene,
    plain,
    python_code,
    scene_key,
    value,
)
from polymnia.tasks.countdown import parse
from polymnia.tasks.written import compute, written

TWELVE = Operation("*", 12, Operation("+", 3, 4))


def test_values_and_parentheses_by_hand() -> None:
    assert (plain(TWELVE), value(TWELVE)) == ("12*(3+4)", 84)
    minus = Operation("-", 20, Operation("-", 8, 3))
    assert (plain(minus), value(minus)) == ("20-(8-3)", 15)
    assert plain(Operation("+", 1, Operation("+", 2, 3))) == "1+2+3"
    assert python_code(Operation("/", Operation("^", 2, 3), 4)) == "2**3//4"


@pytest.mark.parametrize("tier", [2, 3, 6, 9])
def test_what_is_printed_means_what_is_computed(tier: int) -> None:
    compared = 0
    for seed in range(200):
        scene = make_scene(random.Random(seed), tier)
        if "^" not in plain(scene) and (read := parse(plain(scene))) is not None:
            assert value(read) == value(scene)
            compared += 1
    assert compared > 50


def test_the_order_of_a_sums_sides_makes_no_new_problem() -> None:
    assert scene_key(Operation("+", 3, 5)) == scene_key(Operation("+", 5, 3))
    assert scene_key(Operation("-", 3, 5)) != scene_key(Operation("-", 5, 3))


def test_written_arithmetic_by_hand() -> None:
    assert written(347, "+", 85) == ["347+85: 7+5=12 (2), 4+8+1=13 (32), 3+1=4 (432)"]
    assert written(52, "-", 17) == ["52-17: 12-7=5 (5), 5-1-1=3 (35)"]
    assert written(34, "*", 7) == ["34*7: 4*7=28 (8), 3*7+2=23 (238)"]
    assert written(84, "/", 4) == ["84/4: 8/4=2 rest 0 (2), 4/4=1 rest 0 (21)"]
    assert written(3, "-", 8) == ["3-8=-5"]


@given(st.integers(-9999, 9999), st.sampled_from("+-*"), st.integers(-9999, 9999))
def test_written_lines_end_with_the_value(a: int, operator: str, b: int) -> None:
    last = written(a, operator, b)[-1]
    assert last.endswith((f"={compute(a, operator, b)}", f"({compute(a, operator, b)})"))


@given(st.integers(0, 99999), st.integers(1, 99))
def test_division_names_quotient_and_rest(a: int, b: int) -> None:
    assert f"rest {a % b} ({a // b})" in written(a, "%", b)[-1]


def test_an_expression_is_reduced_one_operation_at_a_time() -> None:
    assert in_writing(Operation("*", 2, Operation("+", 3, 4))) == ["3+4=7", "= 2*7", "2*7=14", "= 14"]


def test_a_follow_up_goes_on_from_the_result() -> None:
    problem = sample(ARITHMETIC, tier=0, split="train", seed=0, index=0)
    query = ARITHMETIC.ask(problem.scene, random.Random(0), problem.query)
    assert query.key.left == int(problem.answer)
    trace = ARITHMETIC.solve(problem.scene, query, (), Style(), random.Random(0))
    assert trace.messages[-1].text == query.answer
