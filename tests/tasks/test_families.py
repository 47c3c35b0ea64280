"""Every family, tier and split: exact verifiers, honest traces, the same bytes from the same id, no leaks."""

import asyncio
import json
import random
from dataclasses import replace

import pytest

from polymnia.data.images import crop
from polymnia.data.strategies import STRATEGIES
from polymnia.errors import InputError
from polymnia.tasks import FAMILIES, SPLITS, Problem, Style, family_named, problem_from_id, sample, verify
from polymnia.tasks.base import split_of
from polymnia.tasks.labels import IGNORE, NUM_LABELS, token_labels
from polymnia.tools import ToolContext, python

EVERY = [(name, tier) for name in FAMILIES for tier in range(10)]


def problems(name: str, tier: int, number: int = 30, split: str = "test") -> list[Problem]:
    return [sample(FAMILIES[name], tier=tier, split=split, seed=5, index=index) for index in range(number)]


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_trace_ends_with_the_verified_answer_and_a_wrong_one_fails(name: str, tier: int) -> None:
    rng = random.Random(0)
    for problem in problems(name, tier, 20):
        for strategy in range(len(STRATEGIES)):
            for tools in ({"crop", "python"}, set(), {"crop"}, {"python"}):
                for think in (True, False):
                    style = Style(strategy, frozenset(tools), think)
                    trace = FAMILIES[name].solve(problem.scene, problem.query, problem.image, style, rng)
                    assert verify(problem, trace.messages[-1].text)
                    assert {call.name for one in trace.messages for call in one.tool_calls} <= tools
        assert not verify(problem, str(int(problem.answer) + 1))
        assert not verify(problem, "")
        assert verify(problem, f"The answer is {problem.answer}.")


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_tool_results_in_traces_are_what_the_tools_give(name: str, tier: int) -> None:
    for problem in problems(name, tier, 6):
        trace = FAMILIES[name].solve(problem.scene, problem.query, problem.image, Style(3), random.Random(1))
        results = [one for one in trace.messages if one.role == "tool"]
        calls = [call for one in trace.messages for call in one.tool_calls]
        assert len(results) == len(calls)
        for call, result in zip(calls, results, strict=True):
            arguments = json.loads(call.arguments)
            if call.name == "python":
                assert asyncio.run(python.call(call.arguments, ToolContext())).text == result.text
            else:
                region = crop(problem.image, *(arguments[edge] for edge in ("x0", "y0", "x1", "y1")))
                assert region.tobytes() == result.images[0].tobytes()


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_an_id_alone_regenerates_picture_and_truth(name: str, tier: int) -> None:
    for problem in problems(name, tier, 3):
        again = problem_from_id(problem.id)
        assert again.image.tobytes() == problem.image.tobytes()
        assert (again.question, again.answer) == (problem.question, problem.answer)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_scene_is_in_two_splits(name: str) -> None:
    family = FAMILIES[name]
    keys = {
        split: {family.scene_key(one.scene) for tier in range(4) for one in problems(name, tier, 60, split)}
        for split in SPLITS
    }
    assert not keys["train"] & keys["test"]
    assert not keys["validation"] & keys["test"]
    assert all(split_of(f"{name}:{key}") == split for split in SPLITS for key in keys[split])


@pytest.mark.parametrize(("name", "tier"), EVERY)
def test_follow_up_questions_have_true_answers_too(name: str, tier: int) -> None:
    family = FAMILIES[name]
    for index, problem in enumerate(problems(name, tier, 20)):
        query = family.ask(problem.scene, random.Random(index), problem.query)
        trace = family.solve(problem.scene, query, problem.image, Style(), random.Random(index))
        assert trace.messages[-1].text == query.answer


def test_counting_by_hand() -> None:
    from polymnia.tasks.count import CountScene, Thing, _query

    things = (Thing(0, 0, "red", "circle"), Thing(1, 0, "red", "star"), Thing(2, 3, "blue", "circle"))
    scene = CountScene(4, things, 0)
    answers = [
        _query(scene, c, s, "").answer for c, s in (("red", None), (None, "circle"), ("red", "star"), (None, None))
    ]
    assert answers == ["2", "2", "1", "3"]


def test_codes_keep_their_leading_zeros() -> None:
    problem = next(one for one in problems("detail", 0, 60) if one.answer.startswith("0"))
    assert verify(problem, problem.answer)
    assert not verify(problem, problem.answer.lstrip("0") or "x")


def problem_with(answer: str, *, is_code: bool) -> Problem:
    one = problems("detail", 0, 1)[0]
    return replace(one, query=replace(one.query, answer=answer, is_code=is_code))


@pytest.mark.parametrize(
    ("truth", "is_code", "right", "wrong"),
    [
        ("37", False, ["37", "37.0", "The sum is 37.", "30 + 7 = 37"], ["3,7", "38", "37 or 38", "thirty-seven", ""]),
        ("1200", False, ["1,200", "1200"], ["1,2", "1,20"]),
        ("0", False, ["0", "0.0", "there are 0"], ["", "none", "10"]),
        ("-4", False, ["-4"], ["4"]),
        ("047", True, ["047", "It reads 047."], ["47", "0,47", "047.0"]),
        ("123", True, ["123"], ["12,3", "123.0", "0123"]),
    ],
)
def test_the_verifier_takes_the_right_and_refuses_the_wrong(
    truth: str, is_code: bool, right: list[str], wrong: list[str]
) -> None:
    problem = problem_with(truth, is_code=is_code)
    assert [verify(problem, text) for text in right] == [True] * len(right)
    assert [verify(problem, text) for text in wrong] == [False] * len(wrong)


def test_token_labels_name_what_is_in_each_token() -> None:
    for name in FAMILIES:
        for problem in problems(name, 0, 10):
            columns, rows = (min(side // 28, 6) for side in problem.image.size)
            found = token_labels(FAMILIES[name].marks(problem.scene), (0, 0, *problem.image.size), (rows, columns))
            assert len(found) == rows * columns
            assert all(IGNORE <= label < NUM_LABELS for label in found)
            assert any(label > 0 for label in found)


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
