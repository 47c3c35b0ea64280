"""Panels and sentences: by hand, and that one sentence never fits two panels."""

import random

import pytest

from polymnia.tasks.base import Query, Style, sample, verify
from polymnia.tasks.match import MATCH, MatchScene, Panel, described, make_scene
from polymnia.tasks.things import Thing

STAR, CIRCLE, CROSS = ("red", "star"), ("blue", "circle"), ("orange", "cross")
ABOVE = Panel("pair", (Thing(0, 0, *STAR), Thing(0, 1, *CIRCLE)))
BELOW = Panel("pair", (Thing(1, 0, *CIRCLE), Thing(1, 1, *STAR)))
LEFT = Panel("pair", (Thing(0, 1, *STAR), Thing(1, 1, *CIRCLE)))
THREE = Panel("set", (Thing(0, 0, *CROSS), Thing(1, 0, *STAR), Thing(1, 1, *CROSS)))
FLOW = Panel("flow", (Thing(2, 0, "red", "square"), Thing(0, 0, "blue", "square"), Thing(0, 2, "green", "square")))
PAIRS = MatchScene(3, 2, (ABOVE, BELOW, LEFT), 0)


def sentences(panel: Panel) -> set[str]:
    return {described(panel, random.Random(seed)) for seed in range(30)}


def test_sentences_by_hand() -> None:
    assert sentences(ABOVE) == {"a red star above a blue circle", "a blue circle below a red star"}
    assert sentences(LEFT) == {"a red star left of a blue circle", "a blue circle right of a red star"}
    assert sentences(THREE) == {"two orange crosses and a red star", "a red star and two orange crosses"}
    assert sentences(FLOW) == {"arrows that go from red to blue to green"}


def answers(scene: MatchScene) -> dict[tuple[str, ...], str]:
    asked = [MATCH.ask(scene, random.Random(seed), None) for seed in range(600)]
    return {(query.kind, *query.slots.values()): query.answer for query in asked}


def test_answers_by_hand() -> None:
    pairs = answers(PAIRS)
    assert pairs["panel", "a red star above a blue circle"] == "A"
    assert pairs["panel", "a red star below a blue circle"] == "B"
    assert pairs["panel", "a blue circle right of a red star"] == "C"
    assert pairs["other", "A", "below", "red star"] == "blue circle"
    assert pairs["other", "C", "left of", "blue circle"] == "red star"
    assert pairs["panels", "a red star"] == "3"
    assert answers(MatchScene(1, 2, (THREE, THREE), 0))["amount", "A", "orange crosses"] == "2"
    assert answers(MatchScene(1, 3, (FLOW, FLOW), 0))["next", "B", "red"] == "blue"


def test_the_right_line_has_the_number_of_the_answer() -> None:
    for seed in range(300):
        query = MATCH.ask(PAIRS, random.Random(seed), None)
        if query.kind == "sentence":
            line = query.slots["lines"].split(". ")[int(query.answer) - 1].rstrip(".")
            panel = PAIRS.panels["ABC".index(query.slots["p"])]
            assert line == f"{query.answer}: {line[3:]}"
            assert line[3:] in sentences(panel)


@pytest.mark.parametrize("tier", [0, 1, 3, 6, 12])
def test_no_sentence_fits_two_panels(tier: int) -> None:
    for seed in range(60):
        scene = make_scene(random.Random(seed), tier)
        if scene.panels[0].kind == "set":
            said = [tuple(sorted(t.name for t in panel.things)) for panel in scene.panels]
            assert len({len(names) for names in said}) == 1  # so that none has all that another has, and more
        else:
            said = [tuple(sorted(sentences(panel))) for panel in scene.panels]
        assert len(set(said)) == len(said)


def test_python_finds_the_panel_and_a_crop_shows_only_the_one_asked_about() -> None:
    query = Query("panel", "B", (1,), {"text": "a red star below a blue circle"}, "word")
    trace = MATCH.solve(PAIRS, query, (), Style(), random.Random(0))
    assert [one.text for one in trace.messages] == ["", "['B']", "B"]
    problems = (sample(MATCH, tier=4, split="test", seed=0, index=index) for index in range(50))
    problem = next(one for one in problems if one.query.kind == "other")
    trace = problem.solve(Style(), random.Random(0))
    assert [view.box[2] - view.box[0] for view in trace.views if view] == [3 * 28]


def test_the_verifier_refuses_other_letters() -> None:
    problems = (sample(MATCH, tier=0, split="test", seed=0, index=index) for index in range(50))
    problem = next(one for one in problems if one.query.kind == "panel")
    assert verify(problem, problem.answer.lower() + ".")
    for wrong in ("", "Z", "A, B, C", problem.answer * 2, "\U0001f170", "x" * 99_999):
        assert not verify(problem, wrong)


def test_a_follow_up_asks_something_else() -> None:
    for seed in range(60):
        first = MATCH.ask(PAIRS, random.Random(seed), None)
        second = MATCH.ask(PAIRS, random.Random(seed), first)
        assert (first.kind, first.key) != (second.kind, second.key)
