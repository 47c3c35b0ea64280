"""Calendar and clock by hand, and the same found by Python's calendar and in writing."""

import datetime
import random
from dataclasses import replace

import pytest

from polymnia.tasks import Style, sample, verify
from polymnia.tasks.base import Query
from polymnia.tasks.dates import DATES, DateScene, amount, check, clock, said_date


def day(year: int, month: int, number: int) -> int:
    return datetime.date(year, month, number).toordinal()


def asked(scene: DateScene, kind: str) -> Query:
    rng = random.Random(0)
    while (query := DATES.ask(scene, rng, None)).kind != kind:
        pass
    return query


def thoughts(scene: DateScene, query: Query) -> list[str]:
    style = Style(tools=frozenset())
    return DATES.solve(scene, query, (), style, random.Random(0)).messages[-1].reasoning.splitlines()[1:]


LEAP = DateScene("between", (day(2024, 2, 20), day(2024, 3, 5)))


@pytest.mark.parametrize(
    ("scene", "kind", "answer"),
    [
        (DateScene("units", (3, 20), "hours", "minutes"), "units", "200"),
        (DateScene("units", (3, 20), "hours", "minutes"), "whole", "3"),
        (DateScene("units", (5, 0), "dollars", "cents"), "back", "5"),
        (DateScene("weekday", (5, 9), who="Ann"), "weekday", "Monday"),
        (DateScene("weekday", (0, 1), who="Ann"), "weekday_before", "Sunday"),
        (LEAP, "between", "14"),
        (LEAP, "after", "5 March 2024"),
        (DateScene("clock", (23 * 60 + 50, 75), who="Ann"), "end", "1:05"),
        (DateScene("clock", (23 * 60 + 50, 75), who="Ann"), "lasts", "75"),
        (DateScene("clock", (9 * 60, 65), who="Ann"), "begin", "9:00"),
    ],
)
def test_answers_by_hand(scene: DateScene, kind: str, answer: str) -> None:
    assert asked(scene, kind).answer == answer


def test_written_steps_by_hand() -> None:
    assert thoughts(LEAP, asked(LEAP, "between")) == ["February: 29-20: 9-0=9 (9), 2-2=0 (9)", "March 5: 9+5=14"]
    weekday = DateScene("weekday", (5, 9), who="Ann")
    assert thoughts(weekday, asked(weekday, "weekday"))[1:] == ["9 days are 2 days", "Saturday, 1 Sunday, 2 Monday"]
    late = DateScene("clock", (9 * 60 + 50, 75), who="Ann")
    assert thoughts(late, asked(late, "end")) == [
        "1 hour: 10:50", "minutes: 50+15: 0+5=5 (5), 5+1=6 (65)", "an hour more: 65-60: 5-0=5 (5), 6-6=0 (5)",
        "so 11:05",
    ]  # fmt: skip
    years = DateScene("between", (day(2003, 5, 4), day(2005, 5, 9)))
    assert thoughts(years, asked(years, "between"))[-1].endswith("(736)")


@pytest.mark.parametrize("text", ["5 March 2024", "It is the 5th of March 2024.", "March 5, 2024", "2024-03-05"])
def test_a_date_may_be_written_in_the_usual_ways(text: str) -> None:
    assert check(LEAP, asked(LEAP, "after"), text)


@pytest.mark.parametrize(
    "text",
    ["6 March 2024", "5 March", "5 March 2024 or 6 March 2024", "2024-05-03", "", "5 Marchxyzxyzxyz 2024", "3/5/24"],
)
def test_another_or_no_date_is_wrong(text: str) -> None:
    assert not check(LEAP, asked(LEAP, "after"), text)


def test_small_words() -> None:
    assert [amount(1, unit) for unit in ("hours", "feet", "inches", "pence")] == [
        "1 hour",
        "1 foot",
        "1 inch",
        "1 penny",
    ]
    assert clock(24 * 60 + 5) == "0:05"
    assert said_date(datetime.date(2024, 3, 5)) == "5 March 2024"


def test_times_are_checked_as_times() -> None:
    problem = sample(DATES, tier=0, split="train", seed=0, index=0)
    problem = replace(problem, query=replace(problem.query, answer="9:05", answer_kind="time"))
    assert verify(problem, "It is over at 09:05.")
    assert not verify(problem, "9:50")
