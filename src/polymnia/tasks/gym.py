"""Problems of `reasoning-gym` through the interface of our families: `gym:<dataset>`, e.g. `gym:chain_sum`.

For looking at problems that no model was trained on here; they are in no mixture. Needs the extra `[gym]`, whose
version is exact because a generator that changes would change what an id names. The tier is the level of the
dataset's curriculum, up to its last; datasets without one have a single level. Traces hold the answer alone.
"""

import ast
import functools
import importlib
import random
from dataclasses import dataclass
from typing import Any

from polymnia.errors import InputError
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.trace import answer

PREFIX = "gym:"
MAX_ANSWER = 5000
"""Characters, where the true answer is shorter than half of that."""
# Their scorers run the answer as Python code (`eval`, or sympy's parser, which is one), so it is read first.
EVALUATED = frozenset({"string_insertion", "spiral_matrix", "binary_matrix", "n_queens"})
PARSED = frozenset(
    {"countdown", "puzzle24", "polynomial_multiplication", "simple_integration", "intermediate_integration"}
)
_FUNCTIONS = frozenset({"sin", "cos", "tan", "exp", "log", "sqrt", "asin", "acos", "atan", "sinh", "cosh", "tanh"})
NOT_OFFERED = {
    "composite": "made of others that a configuration names",
    "game_of_life_halting": "its scorer takes any text for False",
    "jugs": "minutes a problem from its second level on",
    "knight_swap": "its curriculum breaks its own rules",
    **dict.fromkeys(("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"), "has no answers"),
}


@dataclass(frozen=True, slots=True)
class GymScene:
    dataset: str
    tier: int
    seed: int


def gym_family(name: str) -> Family:
    """The family of a name `gym:<dataset>`. Raises InputError without reasoning-gym, or for an unknown dataset."""
    dataset = name.removeprefix(PREFIX)
    known = dataset_names()
    if dataset not in known:
        why = f" ({NOT_OFFERED[dataset]})" if dataset in NOT_OFFERED else ""
        raise InputError(f"no dataset {dataset!r} of reasoning-gym is offered{why}: see `polymnia tasks list --gym`")
    return Family(
        name=name,
        summary=f"{dataset.replace('_', ' ')} of reasoning-gym, for checks beyond the training families",
        tiers="the levels of the dataset's curriculum",
        make_scene=functools.partial(_make_scene, dataset),
        scene_key=_scene_key,
        ask=_ask,
        solve=_solve,
        wordings={"gym": ("{question}",)},
        check=_check,
        visual=False,
    )


def dataset_names() -> tuple[str, ...]:
    """What the installed reasoning-gym offers."""
    return tuple(sorted(set(_factory().DATASETS) - set(NOT_OFFERED)))


def _factory() -> Any:
    try:
        importlib.import_module("reasoning_gym")  # fills the registry
        return importlib.import_module("reasoning_gym.factory")
    except ModuleNotFoundError as error:
        raise InputError(
            f"problems named gym:... need reasoning-gym ({error.name} is missing): pip install 'polymnia[gym]'"
        ) from None


def _make_scene(dataset: str, rng: random.Random, tier: int) -> GymScene:
    return GymScene(dataset, tier, rng.getrandbits(31))


def _scene_key(scene: GymScene) -> str:
    return f"{scene.tier}/{scene.seed}"


@functools.lru_cache(maxsize=256)
def _dataset(scene: GymScene) -> Any:
    """A reasoning-gym dataset of one entry."""
    factory = _factory()
    given = {"seed": scene.seed, "size": 1}
    if not factory.has_curriculum(scene.dataset):
        return factory.create_dataset(scene.dataset, **given)
    curriculum = factory.create_curriculum(scene.dataset)
    curriculum.set_global_level(scene.tier)
    return factory.DATASETS[scene.dataset][0](config=curriculum.generate_configuration(given))


@functools.lru_cache(maxsize=256)
def _entry(scene: GymScene) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = _dataset(scene)[0]
    except (AssertionError, ValueError, RuntimeError) as error:
        where = f"{PREFIX}{scene.dataset} at tier {scene.tier}"
        raise InputError(f"reasoning-gym cannot make {where} ({error}): try a lower tier") from None
    return entry


def _ask(scene: GymScene, rng: random.Random, previous: Query | None) -> Query:
    entry = _entry(scene)
    return Query("gym", str(entry["answer"]), answer_kind="checked", text=str(entry["question"]))


def _solve(scene: GymScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    return Trace((answer(query.answer),))


def _check(scene: GymScene, query: Query, text: str) -> bool:
    """Whether reasoning-gym gives full marks."""
    if len(text) > max(MAX_ANSWER, 2 * len(query.answer)) or not _harmless(scene.dataset, query.answer, text):
        return False
    try:
        return bool(_dataset(scene).score_answer(text, _entry(scene)) == 1.0)
    except Exception:  # whatever a foreign scorer raises on an answer, it has not accepted it
        return False


def _harmless(dataset: str, truth: str, text: str) -> bool:
    """Whether a scorer may read the answer: where it would be run as code, only values and plain formulas may."""
    if text == truth or dataset not in EVALUATED | PARSED:
        return True
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return dataset in EVALUATED  # no code: rows of a board and the like, which `eval` refuses as well
    try:
        return _only_values(body) if dataset in EVALUATED else _plain_formula(body)
    except RecursionError:
        return False


def _only_values(node: ast.expr) -> bool:
    if isinstance(node, ast.List | ast.Tuple):
        return all(_only_values(one) for one in node.elts)
    return isinstance(node, ast.Constant)


def _plain_formula(node: ast.expr) -> bool:
    """Numbers, names, + - * / and small powers, the usual functions."""
    match node:
        case ast.Constant(value=int() | float()) | ast.Name():
            return not (isinstance(node, ast.Name) and node.id.startswith("_"))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            return _plain_formula(inner)
        case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
            small = isinstance(exponent, ast.Constant) and isinstance(exponent.value, int) and exponent.value <= 40
            nested = any(isinstance(one, ast.Pow) for one in ast.walk(base))
            return small and not nested and _plain_formula(base)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=left, right=right):
            return _plain_formula(left) and _plain_formula(right)
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _FUNCTIONS:
            return _plain_formula(inner)
    return False
