"""Which answers are one, who leads, and when that is sure enough."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymnia.agents.answers import Vote, grouped, lead_posterior, meaning, standing, weighted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", " 7. "),
        ("7", "7.0"),
        ("7", "+7"),
        ("7", "**7**"),
        ("7", "`7`."),
        ("7", "The answer is 7"),
        ("7", "The answer is **7**."),
        ("7", "First I count.\nFinal answer: 7"),
        ("7", r"So we get $\boxed{7}$, as I said."),
        ("-0", "0"),
        ("-3", "\N{MINUS SIGN}3"),
        ("1,234", "1234"),
        ("0.50", "0.5"),
        ("Red circle", "red  circle."),
        ("7", "\N{FULLWIDTH DIGIT SEVEN}"),
    ],
)
def test_the_same_thing_said_differently(one: str, other: str) -> None:
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "8"),
        ("7", "-7"),
        ("7", "70"),
        ("047", "47"),  # a code on a plate, not a quantity
        ("1,23", "123"),
        ("red", "blue"),
        ("7%", "7"),
        (".5", "5"),
        ("10" * 30, "10" * 29 + "11"),  # further than a decimal's precision
        ("", "7"),
        ("!", "*"),
    ],
)
def test_different_things(one: str, other: str) -> None:
    assert meaning(one) != meaning(other)


@given(st.text(max_size=80))
def test_every_text_has_a_meaning_that_stays(text: str) -> None:
    assert meaning(text) == meaning(f" {text} ")


@given(st.integers(), st.integers())
def test_integers_are_equal_exactly_when_written_so(one: int, other: int) -> None:
    assert (meaning(f"{one}.") == meaning(f"{other:,}")) == (one == other)


@pytest.mark.parametrize(
    ("count", "second", "posterior"),
    [(3, 0, 15 / 16), (4, 0, 31 / 32), (6, 1, 247 / 256), (8, 2, 1981 / 2048), (1, 1, 1 / 2), (0, 0, 1 / 2)],
)
def test_the_posterior_by_hand(count: int, second: int, posterior: float) -> None:
    assert lead_posterior(count, second) == posterior


@pytest.mark.parametrize("score", [(4, 0), (6, 1), (8, 2), (9, 3)])
def test_what_stops_a_run_at_95_percent(score: tuple[int, int]) -> None:
    count, second = score
    assert lead_posterior(count, second) >= 0.95
    assert lead_posterior(count - 1, second) < 0.95


@pytest.mark.parametrize("score", [(6, 0), (9, 1), (11, 2)])
def test_what_would_stop_a_run_at_99_percent(score: tuple[int, int]) -> None:
    count, second = score
    assert lead_posterior(count, second) >= 0.99
    assert lead_posterior(count - 1, second) < 0.99


@pytest.mark.parametrize(("count", "second"), [(4, 0), (6, 1), (5, 3)])
def test_the_posterior_against_the_integral(count: int, second: int) -> None:
    steps = 20_000
    density = [((i + 0.5) / steps) ** count * (1 - (i + 0.5) / steps) ** second for i in range(steps)]
    assert math.isclose(lead_posterior(count, second), sum(density[steps // 2 :]) / sum(density), rel_tol=1e-6)


def test_groups_weigh_what_their_votes_weigh() -> None:
    votes = [Vote(0, "3", 0.4), Vote(1, "5", 0.9), Vote(2, "3.0", 0.4), Vote(3, "four", 0.1)]
    groups = grouped(votes)
    assert [(group.answer, group.agents) for group in groups] == [("5", (1,)), ("3", (0, 2)), ("four", (3,))]
    assert groups[1].weight == pytest.approx(0.8)


def test_a_tie_goes_to_the_earliest_agent_however_they_finished() -> None:
    assert grouped([Vote(3, "b"), Vote(1, "a"), Vote(2, "b"), Vote(0, "a")])[0].agents == (0, 1)
    assert grouped([Vote(3, "a"), Vote(1, "b"), Vote(2, "a"), Vote(0, "b")])[0].answer == "b"


def test_weights_are_probabilities_or_all_one() -> None:
    told = weighted({0: ("a", math.log(0.5)), 1: ("b", 0.0)})
    assert [vote.weight for vote in told] == pytest.approx([0.5, 1.0])
    assert [vote.weight for vote in weighted({0: ("a", None), 1: ("b", math.log(0.5))})] == [1, 1]


def test_the_standing_counts_heads() -> None:
    lead = standing([Vote(0, "3", 0.1), Vote(1, "5", 0.9), Vote(2, "3", 0.1)])
    assert (lead.answer, lead.count, lead.second) == ("3", 2, 1)
