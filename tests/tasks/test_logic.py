"""One solution only fits, found here by other means than the generator's; traces and verifiers by hand."""

import itertools
import random

import pytest

from polymnia.tasks import Style, sample, verify
from polymnia.tasks.base import Query
from polymnia.tasks.logic import LOGIC, Clue, LogicScene, fitting, holds, make_scene, program, solve
from polymnia.tasks.logic_groups import GroupScene, Rule, follows

ROW = LogicScene("row", ("Ann", "Bob", "Eva"), (Clue("next", "Eva", "Ann"), Clue("end", "Bob")), ("Bob", "Eva", "Ann"))


def test_clues_of_a_row_by_hand() -> None:
    row = ("Ann", "Bob", "Eva")
    true = [Clue("before", "Ann", "Eva"), Clue("next", "Bob", "Eva"), Clue("beside", "Bob", "Ann"), Clue("end", "Eva")]
    false = [Clue("before", "Eva", "Ann"), Clue("next", "Ann", "Eva"), Clue("beside", "Eva", "Ann"), Clue("end", "Bob")]
    assert [holds(clue, row) for clue in [*true, *false]] == [True] * 4 + [False] * 4
    assert holds(Clue("at", "Bob", place=1), row)


def test_liars_by_hand() -> None:
    clues = [Clue("lies", "Ann", "Bob"), Clue("lies", "Bob", "Ann"), Clue("honest", "Eva", "Ann")]
    assert fitting(["Ann", "Bob", "Eva"], clues, 0) == ["Bob"]
    assert fitting(["Ann", "Bob", "Eva"], clues, 1) == ["Bob"]  # were Ann the honest one, Eva's words would be true too
    assert fitting(["Ann", "Bob", "Eva"], [Clue("either", "Ann", "Bob", "Eva"), *clues[1:]], 0) == ["Bob"]


@pytest.mark.parametrize("tier", [0, 2, 5, 8])
def test_one_order_only_obeys_the_clues(tier: int) -> None:
    for seed in range(40):
        scene = make_scene(random.Random(seed), tier)
        if isinstance(scene, LogicScene) and scene.topic != "liars" and len(scene.names) <= 6:
            orders = itertools.permutations(scene.names)
            assert [one for one in orders if all(holds(clue, one) for clue in scene.clues)] == [scene.solution]


def entailed(scene: GroupScene, told: str) -> set[tuple[str, bool]]:
    """All that holds in every world that obeys the rules, by trying all worlds."""
    names = sorted({told, *(one for rule in scene.rules for one in (rule.a, rule.b))})
    worlds = [dict(zip(names, bits, strict=True)) for bits in itertools.product((True, False), repeat=len(names))]
    obeying = [
        world
        for world in worlds
        if world[told] and all(not world[rule.a] or world[rule.b] == (rule.kind == "every") for rule in scene.rules)
    ]
    assert obeying
    return {(name, value) for name in names for value in (True, False) if all(w[name] == value for w in obeying)}


@pytest.mark.parametrize("tier", [0, 2, 4, 7])
def test_what_follows_is_all_that_is_sure(tier: int) -> None:
    tried = 0
    for seed in range(80):
        scene = make_scene(random.Random(seed), tier)
        if isinstance(scene, GroupScene):
            tried += 1
            for _, group in scene.people:
                assert set(follows(scene.rules, group)) == entailed(scene, group)
    assert tried > 10


def test_what_follows_by_hand() -> None:
    rules = [Rule("every", "baker", "singer"), Rule("no", "runner", "singer")]
    assert follows(rules, "baker") == [("baker", True), ("singer", True), ("runner", False)]
    assert follows(rules, "runner") == [("runner", True), ("singer", False), ("baker", False)]


def test_programs_and_tries_by_hand() -> None:
    code, result = program(ROW, Query("row_one", "Eva", 1))
    assert code.endswith('if p.index("Eva")+1==p.index("Ann") and p.index("Bob") in (0,2)][0][1]')
    assert result == "'Eva'"
    query = Query("row_all", "Bob, Eva, Ann", None, {}, "list")
    last = solve(ROW, query, (), Style(tools=frozenset()), random.Random(0)).messages[-1]
    assert last.reasoning.splitlines()[1:] == [
        "Ann Bob Eva: no, Eva > Ann", "Ann Eva Bob: no, Eva > Ann", "Bob Ann Eva: no, Eva > Ann", "Bob Eva Ann: fits",
    ]  # fmt: skip


def test_names_are_checked_as_words_and_sets() -> None:
    found = [sample(LOGIC, tier=1, split="train", seed=1, index=index) for index in range(80)]
    one = next(problem for problem in found if problem.query.kind == "liar")
    assert verify(one, one.answer.lower())
    assert not verify(one, ", ".join(one.scene.names))
    all_of_them = next(problem for problem in found if problem.query.kind == "truthful")
    names = all_of_them.answer.split(", ")
    assert verify(all_of_them, " and ".join(names[::-1]))
    assert not verify(all_of_them, names[0])


def test_a_follow_up_about_an_order_keeps_its_theme() -> None:
    found = (sample(LOGIC, tier=0, split="train", seed=2, index=index) for index in range(60))
    problem = next(one for one in found if one.query.kind == "order_one")
    rng = random.Random(0)
    words = {LOGIC.ask(problem.scene, rng, problem.query).slots["k"].split()[-1] for _ in range(30)}
    assert len(words | {problem.query.slots["k"].split()[-1]}) <= 2
