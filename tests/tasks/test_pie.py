"""Pie charts: shares, their arithmetic, and where slices lie."""

import random

import pytest

from polymnia.tasks import Style, sample
from polymnia.tasks.pie import PIE, RADIUS, Pie, PieScene, spot

PIE_ONE = Pie(("red", "blue", "green"), ("red", "blue", "green"), (50, 30, 20), 0)
SCENE = PieScene((PIE_ONE,), "colours", printed=True)


def test_answers_by_hand() -> None:
    found = {}
    for seed in range(300):
        query = PIE.ask(SCENE, random.Random(seed), None)
        found[query.kind, *query.key.names] = query.answer
    assert found["read", "blue"] == "30"
    assert found["rest", "blue"] == "70"
    assert found["difference", "red", "green"] == "30"
    assert found["sum", "blue", "green"] == found["sum", "green", "blue"] == "50"
    assert {answer for (kind, *_), answer in found.items() if kind == "highest"} == {"red"}
    assert {answer for (kind, *_), answer in found.items() if kind == "lowest"} == {"green"}


def test_the_first_half_of_a_pie_that_starts_above_lies_on_the_right() -> None:
    assert PIE_ONE.span(0) == (0, 180)
    x, _ = spot(SCENE, PIE_ONE, 0)
    assert x > SCENE.middle
    x, y = spot(SCENE, PIE_ONE, 1)  # from below to the left
    assert x < SCENE.middle < y


@pytest.mark.parametrize("tier", range(10))
def test_shares_add_up_and_every_spot_is_in_its_slice(tier: int) -> None:
    for index in range(30):
        scene = sample(PIE, tier=tier, split="train", seed=1, index=index).scene
        for pie in scene.pies:
            assert sum(pie.shares) == 100
            assert all(one != other for one, other in zip(pie.colours, pie.colours[1:] + pie.colours[:1], strict=True))
            for place in range(len(pie.names)):
                x, y = spot(scene, pie, place)
                assert (x - scene.middle) ** 2 + (y - scene.middle) ** 2 < RADIUS[scene.layout] ** 2


def test_a_legend_leads_from_the_letter_by_its_colour_to_the_slice() -> None:
    scene = PieScene((Pie(("M", "K"), ("red", "blue"), (70, 30), 0),), "legend", printed=False)
    query = next(q for q in (PIE.ask(scene, random.Random(seed), None) for seed in range(99)) if q.key.names == ("K",))
    trace = PIE.solve(scene, query, PIE.draw(scene, random.Random(0)), Style(), random.Random(0))
    said = trace.messages[0].reasoning
    assert said.index("g2") < said.index("blue") < said.index("30")
    assert trace.messages[-1].text == query.answer
