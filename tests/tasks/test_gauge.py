"""Gauges: readings from their scales, and traces that compute them from steps."""

import asyncio
import random

import pytest

from polymnia.tasks import Query, Style
from polymnia.tasks.gauge import GAUGE, Gauge, GaugeScene
from polymnia.tasks.reading import Task
from polymnia.tools import ToolContext, python

DIAL = Gauge("M", dial=True, low=20, unit=5, count=10, step=7, tick=1, zone=0)
BAR = Gauge("K", dial=False, low=0, unit=1, count=10, step=4, tick=1, zone=0)
NEGATIVE = Gauge("T", dial=False, low=-10, unit=1, count=10, step=3, tick=5, zone=0)
SCENE = GaugeScene((DIAL, BAR, NEGATIVE), 3)


def test_a_reading_is_the_start_of_the_scale_and_its_steps() -> None:
    assert [gauge.value for gauge in SCENE.gauges] == [55, 4, -7]
    assert [gauge.term for gauge in SCENE.gauges] == ["20+5*7", "4", "-10+3"]


def test_answers_by_hand() -> None:
    expected = {
        ("sum", "M", "K"): "59",
        ("difference", "M", "K"): "51",
        ("difference", "K", "T"): "11",
        ("sum", "M", "T"): "48",
        ("highest",): "M",
        ("lowest",): "T",
        ("total",): "52",
    }
    found = {}
    for seed in range(300):
        query = GAUGE.ask(SCENE, random.Random(seed), None)
        named = query.key.names if query.kind in ("sum", "difference") else ()
        found[query.kind, *named] = query.answer
    assert {key: found.get(key) for key in expected} == expected


def test_a_trace_reads_steps_and_leaves_the_arithmetic_to_python() -> None:
    images = GAUGE.draw(SCENE, random.Random(0))
    query = next(
        query
        for query in (GAUGE.ask(SCENE, random.Random(seed), None) for seed in range(300))
        if query.key.op == "difference" and query.key.names == ("M", "T")
    )
    first = GAUGE.solve(SCENE, query, images, Style(), random.Random(0)).messages[0]
    assert "20+5*7-(-10+3)" in first.tool_calls[0].arguments
    assert "b3" in first.reasoning  # the name of the dial in the first slot
    assert "i3" in first.reasoning  # the name beside the bar in the third
    by_hand = GAUGE.solve(SCENE, query, images, Style(tools=frozenset()), random.Random(0)).messages[0]
    assert "20+5*7=55" in by_hand.reasoning
    assert "55-(-7)=62" in by_hand.reasoning


def test_two_gauges_are_not_asked_which_is_higher() -> None:
    pair = GaugeScene((DIAL, BAR), 2)
    assert {GAUGE.ask(pair, random.Random(seed), None).kind for seed in range(100)} == {"read", "sum", "difference"}


@pytest.mark.parametrize("count", [10, 20])
def test_the_measured_angle_of_every_needle_gives_its_step(count: int) -> None:
    for step in range(count + 1):
        scene = GaugeScene((Gauge("M", True, 50, 5, count, step, count // 2, 0), BAR), 2)
        query = Query("read", str(50 + 5 * step), Task("read", ("M",)))
        images = GAUGE.draw(scene, random.Random(step))
        trace = GAUGE.solve(scene, query, images, Style(images_before=1), random.Random(0))
        called = [call for one in trace.messages for call in one.tool_calls]
        assert [call.name for call in called] == ["measure", "python"]
        assert asyncio.run(python.call(called[1].arguments, ToolContext())).text == query.answer
