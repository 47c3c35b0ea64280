"""Any expression by the rules is right, everything else is wrong and harmless."""

import random

import pytest

from polymnia.tasks import Style
from polymnia.tasks.base import Query
from polymnia.tasks.countdown import COUNTDOWN, CountdownScene, Goal, check, parse, search, solve

SCENE = CountdownScene((8, 5, 3), "+-")
FULL = CountdownScene((8, 5, 3, 2), "+-*/")


def right(text: str, target: int, rule: str = "some", scene: CountdownScene = SCENE) -> bool:
    return check(scene, Query(rule, "", Goal(target, rule), {}, "checked"), text)


@pytest.mark.parametrize(
    "text", ["8-5+3", "3+8-5", " (3 + 8) - 5 ", "The answer is 8 − 5 + 3.", "8-5+3 = 6", "6 = 3+8-5", "**8-5+3**"]
)
def test_every_expression_by_the_rules_is_right(text: str) -> None:
    assert right(text, 6)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("6", "no expression"),
        ("3+3", "a number used twice"),
        ("8-2", "a number that is not given"),
        ("8-5", "another value"),
        ("3*2", "a sign that is not allowed"),
        ("8-5+3 or 8+5", "the last one counts"),
        ("0+8-5+3", "zero is not given"),
        ("8-5+3+", "cut"),
        ("8//5+5", "another operator"),
        ("8-5+0b11", "not a decimal number"),
        ("8-5+03", "a leading zero"),
        ("8-5+3.0", "not a whole number"),
        ("8-5+True+2", "a name"),
        ("__import__('os').system('x')+6", "code"),
        ("(" * 3000 + "8-5+3" + ")" * 3000, "too deep"),
        ("(" * 90 + "8-5+3", "unbalanced"),
        ("9" * 6000 + "-3", "too long"),
        ("9**9**9**9", "a power"),
        ("-" * 150 + "8-5+3", "signs"),
        ("八-五+3", "other numerals"),
        ("", "nothing"),
    ],
)
def test_everything_else_is_wrong(text: str, why: str) -> None:
    assert not right(text, 6), why


def test_division_is_exact_and_never_by_zero() -> None:
    assert right("(8/3)*3", 8, scene=CountdownScene((8, 3, 3), "+-*/"))
    assert not right("8/(5-3-2)", 4, scene=FULL)
    assert right("(5+3)/8", 1, scene=FULL)


def test_the_rules_all_and_signs() -> None:
    assert right("8-5+3", 6, "all")
    assert not right("8-5", 3, "all")
    assert right("8 - 5 + 3", 6, "signs")
    assert not right("3+8-5", 6, "signs")
    assert not right("8-(5-3)", 6, "signs")


def test_search_finds_what_there_is() -> None:
    assert search(SCENE, Goal(6, "signs")) == "8-5+3"
    assert search(SCENE, Goal(99, "some")) == ""
    assert right(search(FULL, Goal(77, "all")), 77, "all", FULL)
    assert search(FULL, Goal(9999, "some")) == ""


def test_a_trace_without_python_tries_until_it_fits() -> None:
    query = Query("some", "8-5+3", Goal(6, "some"), {}, "checked")
    last = solve(SCENE, query, (), Style(tools=frozenset()), random.Random(0)).messages[-1]
    assert last.reasoning.splitlines()[1:] == ["8+5=13, +3=16, -3=10", "8-5=3, +3=6"]
    assert last.text == "8-5+3"


def test_a_follow_up_asks_for_another_target() -> None:
    rng = random.Random(1)
    first = COUNTDOWN.ask(SCENE, rng, None)
    assert all(COUNTDOWN.ask(SCENE, rng, first).key.target != first.key.target for _ in range(20))


def test_only_sums_and_the_like_are_parsed() -> None:
    assert parse("2**3") is None
    assert parse("f(3)") is None
    assert parse("1+" * 150 + "1") is None
