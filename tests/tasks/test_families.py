"""Every family, tier and split: exact verifiers, honest traces, the same bytes from the same id, no leaks."""

import asyncio
import itertools
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymnia.data import images as operations
from polymnia.data.chat import Message
from polymnia.data.strategies import STRATEGIES
from polymnia.errors import InputError
from polymnia.tasks import (
    FAMILIES,
    SPLITS,
    Family,
    Problem,
    Style,
    family_named,
    follow_up,
    problem_from_id,
    sample,
    verify,
)
from polymnia.tasks.base import ALL_TOOLS, split_of
from polymnia.tasks.labels import IGNORE, NUM_LABELS, token_labels
from polymnia.tasks.verify import matches
from polymnia.tasks.wording import roughen
from polymnia.tools import Toolbox, default_tools

TIERS = range(10)
EVERY = [(name, tier) for name in FAMILIES for tier in TIERS]
TOOL_SETS = (ALL_TOOLS, frozenset[str](), frozenset({"python"}), ALL_TOOLS - {"python"})


def problems(name: str, tier: int, number: int, split: str = "test", seed: int = 5) -> list[Problem]:
    return [sample(FAMILIES[name], tier=tier, split=split, seed=seed, index=index) for index in range(number)]


def check_trace(problem: Problem, style: Style) -> None:
    trace = problem.solve(style, random.Random(problem.id))
    assert verify(problem, trace.messages[-1].text), (problem.id, style, trace.messages[-1].text)
    calls = [call for one in trace.messages for call in one.tool_calls]
    assert {call.name for call in calls} <= style.tools
    assert style.think or not any(one.reasoning for one in trace.messages)
    assert len(trace.views) == sum(len(one.images) for one in trace.messages)


def check_wrong_answers_fail(problem: Problem) -> None:
    assert not verify(problem, "")
    assert not verify(problem, "I do not know.")
    kind, truth = problem.query.answer_kind, problem.answer
    if kind in ("number", "code"):
        assert not verify(problem, str(int(float(truth)) + 1))
        assert verify(problem, f"The answer is {truth}.")
    if kind == "near":
        assert not verify(problem, str(float(truth) + 1.01 * problem.query.tolerance))
        assert verify(problem, f"It is {truth}.")
    if kind == "code":
        assert not verify(problem, truth + "0")
    if kind == "word":
        assert not verify(problem, truth + "x")
    if kind in ("list", "set"):
        assert not verify(problem, f"{truth}, 987654")
    if kind == "time":
        hours, minutes = truth.split(":")
        assert not verify(problem, f"{hours}:{(int(minutes) + 1) % 60:02d}")


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_traces_end_with_the_verified_answer_and_wrong_ones_fail(name: str, tier: int) -> None:
    for index, problem in enumerate(problems(name, tier, 12)):
        check_wrong_answers_fail(problem)
        for tools, think in itertools.product(TOOL_SETS, (True, False)):
            check_trace(problem, Style(index % len(STRATEGIES), tools, think))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_thousands_of_seeds(name: str) -> None:
    for tier in TIERS:
        for index in range(300 if tier < 5 else 60):
            problem = sample(FAMILIES[name], tier=tier, split=SPLITS[index % 3], seed=index, index=index)
            check_wrong_answers_fail(problem)
            check_trace(problem, Style(index % len(STRATEGIES), TOOL_SETS[index % len(TOOL_SETS)], index % 5 > 0))


def execute(problem: Problem, messages: tuple[Message, ...]) -> None:
    """Runs every call of a trace with the real tools and compares what comes back."""
    toolbox: Toolbox = default_tools()
    seen = list(problem.images)
    results = iter([one for one in messages if one.role == "tool"])
    for one in messages:
        for call in one.tool_calls:
            result = next(results)
            found = asyncio.run(toolbox.call(call, seen))
            assert not found.failed, (problem.id, call, found.text)
            assert result.text in ("", found.text), (problem.id, call)
            assert [i.tobytes() for i in found.images] == [i.tobytes() for i in result.images], (problem.id, call)
            seen += result.images


@pytest.mark.parametrize(("name", "tier"), [(name, tier) for name in FAMILIES for tier in (0, 1, 3, 6, 9)])
def test_tool_results_in_traces_are_what_the_tools_give(name: str, tier: int) -> None:
    for index, problem in enumerate(problems(name, tier, 4)):
        style = Style(strategy=index % len(STRATEGIES), images_before=len(problem.images))
        execute(problem, problem.solve(style, random.Random(1)).messages)


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_an_id_alone_regenerates_picture_and_truth(name: str, tier: int) -> None:
    for problem in problems(name, tier, 2):
        again = problem_from_id(problem.id)
        assert [one.tobytes() for one in again.images] == [one.tobytes() for one in problem.images]
        assert (again.question, again.answer) == (problem.question, problem.answer)
        style = Style()
        traces = [one.solve(style, random.Random(0)).messages for one in (problem, again)]
        assert [m.text for m in traces[0]] == [m.text for m in traces[1]]


def looks(problem: Problem) -> tuple[bytes, ...]:
    return tuple(image.tobytes() for image in problem.images) or (problem.question.encode(),)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_of_the_test_split_is_in_the_train_split(name: str) -> None:
    family = FAMILIES[name]
    drawn = {split: [one for tier in range(4) for one in problems(name, tier, 60, split)] for split in SPLITS}
    keys = {split: {family.scene_key(one.scene) for one in found} for split, found in drawn.items()}
    pictures = {split: {looks(one) for one in found} for split, found in drawn.items()}
    for first, second in itertools.combinations(SPLITS, 2):
        assert not keys[first] & keys[second]
        assert not pictures[first] & pictures[second]
    assert all(split_of(f"{name}:{key}") == split for split in SPLITS for key in keys[split])


@pytest.mark.parametrize("name", FAMILIES)
def test_base_problems_are_many_and_cannot_be_guessed(name: str) -> None:
    found = problems(name, 0, 200)
    answers = [one.answer for one in found]
    assert max(answers.count(one) for one in set(answers)) <= 0.45 * len(answers)
    assert len({FAMILIES[name].scene_key(one.scene) for one in found}) > 40


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_follow_up_questions_have_true_answers_too(name: str, tier: int) -> None:
    for index, problem in enumerate(problems(name, tier, 8)):
        next_one = replace(problem, query=follow_up(problem, random.Random(index)))
        check_trace(next_one, Style())
        check_trace(next_one, Style(tools=frozenset()))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_wording_can_be_filled(name: str) -> None:
    family = FAMILIES[name]
    slots: dict[str, set[frozenset[str]]] = {}
    for tier in TIERS:
        for problem in problems(name, tier, 30, "train"):
            slots.setdefault(problem.query.kind, set()).add(frozenset(problem.query.slots))
    for kind, found in slots.items():
        for way in (*family.wordings[kind], *family.follow_ups.get(kind, ())):
            for names in found:
                assert way.format(**dict.fromkeys(names, "x"))
    assert all(len(ways) >= 4 for ways in family.wordings.values())


def test_roughened_questions_keep_their_slots() -> None:
    rng = random.Random(0)
    for _ in range(500):
        said = roughen("Which of the {c} {s} do you see there, and what is {a}?", rng)
        assert sorted(part for part in ("{c}", "{s}", "{a}") if part in said) == ["{a}", "{c}", "{s}"]


@pytest.mark.parametrize("family", [one for one in FAMILIES.values() if one.visual], ids=lambda one: one.name)
def test_token_labels_name_what_is_in_each_token(family: Family) -> None:
    labelled = False
    for problem in problems(family.name, 0, 10):
        found = family.marks(problem.scene)
        assert len(found) in (0, len(problem.images))
        for marks, image in zip(found, problem.images, strict=False):
            columns, rows = (min(side // 28, 6) for side in image.size)
            labels = token_labels(marks, (0, 0, *image.size), (rows, columns))
            assert len(labels) == rows * columns
            assert all(IGNORE <= label < NUM_LABELS for label in labels)
            labelled = labelled or any(label > 0 for label in labels)
    assert labelled


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_and_text_families_say_which_they_are(name: str) -> None:
    assert all(bool(one.images) == FAMILIES[name].visual for one in problems(name, 1, 3))


@pytest.mark.parametrize(
    ("kind", "truth", "right", "wrong"),
    [
        ("number", "37", ["37", "37.0", "The sum is 37.", "30 + 7 = 37"], ["3,7", "38", "37 or 38", "seven", ""]),
        ("number", "1200", ["1,200", "1200"], ["1,2", "1,20"]),
        ("number", "0", ["0", "0.0", "there are 0"], ["", "none", "10"]),
        ("number", "-4", ["-4"], ["4"]),
        ("code", "047", ["047", "It reads 047."], ["47", "0,47", "047.0"]),
        ("code", "123", ["123"], ["12,3", "123.0", "0123"]),
        ("word", "red star", ["red star", "The red star.", "Red Star"], ["star", "red stars", ""]),
        ("list", "3, 5, 9", ["3, 5, 9", "3 5 9", "3, then 5 and 9"], ["5, 3, 9", "3, 5", "359", ""]),
        ("list", "A, C, B", ["A, C, B", "a c b"], ["A, B, C", "C, B"]),
        ("set", "A, C", ["C and A", "A, C"], ["A", "A, C, C", "A, B"]),
        ("time", "3:05", ["3:05", "It is 03:05."], ["3:50", "3.05", "305", "13:05"]),
    ],
)
def test_the_verifier_takes_the_right_and_refuses_the_wrong(
    kind: str, truth: str, right: list[str], wrong: list[str]
) -> None:
    assert [matches(kind, truth, text) for text in right] == [True] * len(right)  # type: ignore[arg-type]
    assert [matches(kind, truth, text) for text in wrong] == [False] * len(wrong)  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_no_answer_breaks_a_verifier(text: str) -> None:
    for name in FAMILIES:
        assert verify(problem_from_id(f"{name}/test/1/0/0"), text) in (True, False)


def test_counting_by_hand() -> None:
    from polymnia.tasks.count import CountScene, Thing, counting

    things = (Thing(0, 0, "red", "circle"), Thing(1, 0, "red", "star"), Thing(2, 3, "blue", "circle"))
    scene = CountScene(4, things, 0)
    kinds = (("red", None), (None, "circle"), ("red", "star"), (None, None))
    assert [counting(scene, c, s).answer for c, s in kinds] == ["2", "2", "1", "3"]


def test_codes_keep_their_leading_zeros() -> None:
    problem = next(one for one in problems("detail", 0, 60) if one.answer.startswith("0"))
    assert verify(problem, problem.answer)
    assert not verify(problem, problem.answer.lstrip("0") or "x")


def test_a_crop_shows_what_the_trace_then_reads() -> None:
    problem = problems("detail", 0, 1)[0]
    trace = problem.solve(Style(), random.Random(0))
    arguments = json.loads(trace.messages[0].tool_calls[0].arguments)
    region = operations.crop(problem.images[0], *(arguments[edge] for edge in ("x0", "y0", "x1", "y1")))
    assert region.tobytes() == trace.messages[1].images[0].tobytes()


def test_wrong_names_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="choose one of count"):
        family_named("nope")
    with pytest.raises(InputError, match="family/split/tier/seed/index"):
        problem_from_id("count/test/0")
    for tier in (-1, 100_000):
        with pytest.raises(InputError, match="tiers are integers from 0 up"):
            sample(FAMILIES["count"], tier=tier, split="test", seed=0, index=0)
    with pytest.raises(InputError, match="validation"):
        sample(FAMILIES["count"], tier=0, split="dev", seed=0, index=0)
