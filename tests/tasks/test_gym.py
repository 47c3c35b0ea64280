"""reasoning-gym's problems behind our interface; most of it runs only where the extra [gym] is installed."""

import inspect
import random
import sys

import pytest

from polymnia.errors import InputError
from polymnia.tasks import FAMILIES, Style, family_named, problem_from_id, sample, verify
from polymnia.tasks.gym import EVALUATED, PARSED, _harmless, dataset_names


def test_a_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(InputError, match=r"pip install 'polymnia\[gym\]'"):
        family_named("gym:chain_sum")


def test_it_is_no_training_family() -> None:
    assert not any(name.startswith("gym:") for name in FAMILIES)


@pytest.mark.parametrize(
    ("dataset", "text", "harmless"),
    [
        ("chain_sum", "__import__('os')", True),  # compared as text, never run
        ("n_queens", "[['Q', '_'], ['_', 'Q']]", True),
        ("n_queens", "Q _\n_ Q", True),
        ("n_queens", "[().__class__]", False),
        ("spiral_matrix", "print(1)", False),
        ("countdown", "(3+4)*5 - 2/7", True),
        ("countdown", "__import__('os').getcwd()", False),
        ("countdown", "9**9**9", False),
        ("countdown", "99999999!", False),
        ("simple_integration", "x**3/3 + sin(x) + C", True),
        ("simple_integration", "x.__class__", False),
        ("simple_integration", "(lambda: x)()", False),
        ("puzzle24", "(" * 400 + "1" + ")" * 400, False),
    ],
)
def test_answers_that_a_scorer_would_run_are_read_first(dataset: str, text: str, harmless: bool) -> None:
    assert _harmless(dataset, "truth", text) == harmless


class TestInstalled:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("reasoning_gym")

    @pytest.mark.parametrize("name", ["chain_sum", "spell_backward", "countdown", "syllogism", "leg_counting"])
    @pytest.mark.parametrize("tier", [0, 3])
    def test_ids_regenerate_and_answers_are_scored(self, name: str, tier: int) -> None:
        for index in range(3):
            problem = sample(family_named(f"gym:{name}"), tier=tier, split="test", seed=1, index=index)
            again = problem_from_id(problem.id)
            assert (again.id, again.question, again.answer) == (problem.id, problem.question, problem.answer)
            assert verify(again, problem.answer)
            assert not verify(again, "")
            assert not verify(again, "no such answer")
            assert verify(problem, problem.solve(Style(), random.Random(0)).messages[-1].text)

    def test_another_right_expression_is_right(self) -> None:
        problem = problem_from_id("gym:countdown/test/0/0/0")
        assert verify(problem, f"({problem.answer})")

    def test_unknown_and_unfit_datasets_are_refused(self) -> None:
        with pytest.raises(InputError, match="tasks list --gym"):
            family_named("gym:nope")
        with pytest.raises(InputError, match="has no answers"):
            family_named("gym:rush_hour")

    def test_a_level_that_cannot_be_made_is_one_clear_line(self) -> None:
        with pytest.raises(InputError, match="try a lower tier"):
            sample(family_named("gym:caesar_cipher"), tier=9, split="test", seed=0, index=0)

    def test_every_scorer_that_runs_code_is_known(self) -> None:
        """Read off the source: a new version may evaluate answers elsewhere."""
        factory = pytest.importorskip("reasoning_gym.factory")
        running = set()
        for name in dataset_names():
            source = inspect.getsource(factory.DATASETS[name][0].score_answer)
            if "eval(answer" in source or ("parse_expr(answer" in source and "sympy" in _module_source(factory, name)):
                running.add(name)
        assert running == EVALUATED | PARSED


def _module_source(factory: object, name: str) -> str:
    dataset: type = getattr(factory, "DATASETS")[name][0]  # noqa: B009
    return inspect.getsource(sys.modules[dataset.__module__])
