"""`countdown`: reach a number with given numbers, each used at most once; or find the signs between them.

Tiers: 0 three numbers with + and -, 1 and 2 also *, 3 and 4 four numbers and also /, then five, ever larger.
Answers are expressions and are checked by computing them: any that follows the rules is right.
"""

import ast
import itertools
import random
import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from polymnia.data.chat import Message
from polymnia.tasks.arithmetic import Expression, Operation, in_writing
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.trace import answer, python_call
from polymnia.tasks.words import listed

MAX_EXPRESSION = 200
"""Characters; a longer one is none of five numbers."""
MAX_ANSWER = 5000


@dataclass(frozen=True, slots=True)
class CountdownScene:
    numbers: tuple[int, ...]
    signs: str


@dataclass(frozen=True, slots=True)
class Goal:
    target: int
    rule: str
    """`some`: each number at most once; `all`: each exactly once; `signs`: in their order, only + and - to find."""


def make_scene(rng: random.Random, tier: int) -> CountdownScene:
    count = 3 if tier <= 2 else 4 if tier <= 4 else 5
    high = {0: 30, 1: 20, 2: 40, 3: 15, 4: 25}.get(tier, 5 * tier)
    return CountdownScene(tuple(rng.sample(range(2, high + 1), count)), ("+-", "+-*", "+-*", "+-*/")[min(tier, 3)])


def scene_key(scene: CountdownScene) -> str:
    """The numbers alone: every target that can be asked for is then in one split."""
    return ",".join(map(str, sorted(scene.numbers)))


# --- questions: key = Goal

WORDINGS = {
    "some": (
        "Use {n} to make {t}. Each number may be used at most once; allowed: {s}.",
        "Make {t} from the numbers {n}, each at most once, with {s}.",
        "How can you get {t} from {n}? You may use {s}, and no number twice.",
        "Write an expression that equals {t} using {n} (each at most once) and {s}.",
        "Numbers: {n}. Target: {t}. Signs: {s}. Use no number twice.", "Reach {t} with {n}. Use {s}. No number twice!",
        "countdown: {n}, target {t}, signs {s}", "Give me {t} out of {n} by {s}; not all of them must be used.",
    ),
    "all": (
        "Use all of the numbers {n}, each once, to make {t}. Allowed: {s}.",
        "Make {t} from {n}: every number exactly once, with {s}.",
        "How do you get {t} when each of {n} must be used once? Signs: {s}.",
        "Write an expression for {t} that uses each of {n} exactly once, with {s}.",
        "Numbers: {n}, all to be used. Target: {t}. Signs: {s}.", "all of {n} must go in, result {t}, signs {s}",
    ),
    "signs": (
        "Put + or - between {n}, in this order, to get {t}.", "{b} = {t}: which signs, + or -, are missing?",
        "Fill in + and -: {b} = {t}", "Keep the order {n} and set plus or minus signs so that the result is {t}.",
        "Which signs (+ or -) belong in {b} = {t}? Write it out.",
        "{b} makes {t}, but the plus and minus signs are lost: write them in.",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "some": ("And {t}?", "Now make {t} from the same numbers.", "How about {t}?", "The same numbers, but {t}."),
    "all": ("And {t}, with all of them?", "Now use all of them to make {t}.", "With every number: {t}?"),
    "signs": ("And which signs give {t} for {n}?", "In the order {n}: which signs make {t}?", "Now {b} = {t}: + or -?"),
}


def ask(scene: CountdownScene, rng: random.Random, previous: Query | None) -> Query:
    rule = rng.choices(("some", "all", "signs"), (5, 2, 3))[0]
    taken = {*scene.numbers, previous.key.target if previous else 0}
    found = ""
    while not found:
        goal = Goal(_target(scene, rng, rule), rule)
        if 0 < goal.target <= 8 * max(scene.numbers) and goal.target not in taken:
            found = search(scene, goal)
    words = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
    signs = listed(rng.choice((list(scene.signs), [words[sign] for sign in scene.signs])))
    numbers = " ".join(map(str, scene.numbers)) if rng.random() < 0.4 else listed([str(n) for n in scene.numbers])
    slots = {"n": numbers, "t": str(goal.target), "s": signs, "b": " _ ".join(map(str, scene.numbers))}
    return Query(rule, found, goal, slots, "checked")


def _target(scene: CountdownScene, rng: random.Random, rule: str) -> int:
    """What random operations on (some of) the numbers give; 0 when a division would not come out even."""
    values = list(scene.numbers)
    if rule == "signs":
        return values[0] + sum(rng.choice((1, -1)) * value for value in values[1:])
    rng.shuffle(values)
    values = values[: len(values) if rule == "all" else rng.randint(2, len(values))]
    while len(values) > 1:
        a, b = values.pop(rng.randrange(len(values))), values.pop(rng.randrange(len(values)))
        sign = rng.choice(scene.signs)
        if sign == "/" and (b == 0 or a % b):
            return 0
        values.append(a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a // b)
    return values[0]


# --- the search: natively, and as the program of which a trace fills in the numbers

_SIGNS_PROGRAM = '[e for {loops} for e in [f"{form}"] if eval(e)=={t}][0]'
_THREE_PROGRAM = """from itertools import permutations as P
[e for a,b,c in P({n}) for o in "{s}" for p in "{s}" for e in [{forms}] if eval(e)=={t}][0]"""
_TWO, _FLAT, _FULL = "{a}{o}{b}", ("{a}{o}{b}{p}{c}",), ("({a}{o}{b}){p}{c}", "{a}{o}({b}{p}{c})")
_PROGRAM = """def f(v):
 {test}
 for i in range(len(v)):
  for j in range(i):
   (b,y),(a,x)=sorted([v[i],v[j]])
   w=[(a+b,f"({x}+{y})"),(a-b,f"({x}-{y})"),(a*b,f"({x}*{y})")]
   if b and a%b==0: w.append((a//b,f"({x}/{y})"))
   for c in w:
    e=f(v[:j]+v[j+1:i]+v[i+1:]+[c])
    if e: return e
f([(n,str(n)) for n in {n}])[1:-1]"""
_TESTS = {
    "some": "for n,e in v:\n  if n=={t}: return e",
    "all": "if len(v)==1: return v[0][1] if v[0][0]=={t} else 0",
}
_LETTERS = "opqrstuvw"


def program(scene: CountdownScene, goal: Goal) -> str:
    """Python code whose value is `search`'s."""
    numbers, target = str(list(scene.numbers)).replace(" ", ""), str(goal.target)
    if goal.rule == "signs":
        letters = _LETTERS[: len(scene.numbers) - 1]
        form = "".join(f"{n}{{{letter}}}" for n, letter in zip(scene.numbers, letters, strict=False))
        loops = " for ".join(f'{letter} in "+-"' for letter in letters)
        return _SIGNS_PROGRAM.format(loops=loops, form=f"{form}{scene.numbers[-1]}", t=target)
    if len(scene.numbers) == 3:
        forms = ",".join(f'f"{form}"' for form in _forms(scene, goal))
        return _THREE_PROGRAM.format(n=numbers, s=scene.signs, forms=forms, t=target)
    return _PROGRAM.replace("{test}", _TESTS[goal.rule]).replace("{n}", numbers).replace("{t}", target)


def search(scene: CountdownScene, goal: Goal) -> str:
    """The first expression found; empty when there is none."""
    if goal.rule == "signs":
        for signs in itertools.product("+-", repeat=len(scene.numbers) - 1):
            text = "".join(f"{n}{sign}" for n, sign in zip(scene.numbers, (*signs, ""), strict=True))
            if _equals(text, goal.target):
                return text
        return ""
    if len(scene.numbers) == 3:
        for a, b, c in itertools.permutations(scene.numbers):
            for o, p in itertools.product(scene.signs, repeat=2):
                for form in _forms(scene, goal):
                    text = form.format(a=a, b=b, c=c, o=o, p=p)
                    if _equals(text, goal.target):
                        return text
        return ""
    return _combine([(n, str(n)) for n in scene.numbers], goal)[1:-1]


def _forms(scene: CountdownScene, goal: Goal) -> tuple[str, ...]:
    whole = _FLAT if scene.signs == "+-" else _FULL
    return whole if goal.rule == "all" else (_TWO, *whole)


def _combine(values: list[tuple[int, str]], goal: Goal) -> str:
    """`_PROGRAM`'s `f`, word for word."""
    if goal.rule == "some":
        for number, text in values:
            if number == goal.target:
                return text
    elif len(values) == 1:
        return values[0][1] if values[0][0] == goal.target else ""
    for i in range(len(values)):
        for j in range(i):
            (b, y), (a, x) = sorted([values[i], values[j]])
            made = [(a + b, f"({x}+{y})"), (a - b, f"({x}-{y})"), (a * b, f"({x}*{y})")]
            if b and a % b == 0:
                made.append((a // b, f"({x}/{y})"))
            for one in made:
                found = _combine([*values[:j], *values[j + 1 : i], *values[i + 1 :], one], goal)
                if found:
                    return found
    return ""


# --- expressions are parsed, never run


def parse(text: str) -> Expression | None:
    """A tree of whole numbers and + - * /; None for everything else."""
    if len(text) > MAX_EXPRESSION:
        return None
    try:
        return _tree(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


_NODES: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def _tree(node: ast.expr) -> Expression:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))) if not isinstance(number, bool):
            return -number
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _NODES:
            return Operation(_NODES[type(sign)], _tree(left), _tree(right))
    raise ValueError("neither a whole number nor + - * /")


def exact(expression: Expression) -> Fraction:
    """Raises ZeroDivisionError."""
    if isinstance(expression, int):
        return Fraction(expression)
    left, right = exact(expression.left), exact(expression.right)
    match expression.operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return left / right


def _leaves(expression: Expression) -> list[int]:
    if isinstance(expression, int):
        return [expression]
    return [*_leaves(expression.left), *_leaves(expression.right)]


def _signs(expression: Expression) -> set[str]:
    if isinstance(expression, int):
        return set()
    return {expression.operator} | _signs(expression.left) | _signs(expression.right)


def _equals(text: str, target: int) -> bool:
    expression = parse(text)
    try:
        return expression is not None and exact(expression) == target
    except ZeroDivisionError:
        return False


_WRITTEN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_RUN = re.compile(r"[-0-9+*/(). ]+")
_OPERATES = re.compile(r"[0-9)] *[-+*/] *[-(0-9]")


def check(scene: CountdownScene, query: Query, text: str) -> bool:
    """Whether the last expression of the answer makes the target by the rules."""
    runs = [run.strip(" .*") for run in _RUN.findall(text.translate(_WRITTEN)[:MAX_ANSWER])]
    runs = [run for run in runs if _OPERATES.search(run)]
    expression = parse(runs[-1]) if runs and len(text) <= MAX_ANSWER else None
    if expression is None or not _equals(runs[-1], query.key.target) or not _signs(expression) <= set(scene.signs):
        return False
    if query.key.rule == "signs":
        order = "[+-]".join(map(str, scene.numbers))
        return re.fullmatch(order, runs[-1].replace(" ", "")) is not None
    used, given = Counter(abs(n) for n in _leaves(expression)), Counter(scene.numbers)
    return used == given if query.key.rule == "all" else used <= given


# --- traces


def solve(scene: CountdownScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said = rng.choice(("I try what makes {t}.", "Python tries all for {t}.", "A search for {t}.", "{t} by trying."))
    said = said.format(t=query.key.target) if "python" in style.tools else f"I try what makes {query.key.target}."
    if "python" in style.tools:
        messages: list[Message] = python_call(program(scene, query.key), repr(query.answer), said)
        return Trace((*messages, answer(query.answer)))
    if len(scene.numbers) == 3 and (scene.signs == "+-" or query.key.rule == "signs"):
        lines, found = _by_signs(scene, query.key, style.strategy == 2)
        return Trace((answer(found, "\n".join([said, *lines])),))
    return Trace((answer(query.answer, "\n".join([said, *_some_tries(scene, query, style, rng)])),))


def _by_signs(scene: CountdownScene, goal: Goal, backwards: bool) -> tuple[list[str], str]:
    """Two numbers with + and -, the third to each result, until the target comes: the lines and the expression."""
    numbers = scene.numbers if goal.rule == "signs" else tuple(sorted(scene.numbers, reverse=True))
    triples = [(0, 1, 2)] if goal.rule == "signs" else [(0, 1, 2), (0, 2, 1), (1, 2, 0)]
    lines: list[str] = []
    for first, second, third in triples[::-1] if backwards else triples:
        a, b, c = numbers[first], numbers[second], numbers[third]
        for sign, two in (("+", a + b), ("-", a - b)):
            lines.append(f"{a}{sign}{b}={two}")
            if two == goal.target and goal.rule == "some":
                return lines, f"{a}{sign}{b}"
            for other, three in (("+", two + c), ("-", two - c)):
                lines[-1] += f", {other}{c}={three}"
                if three == goal.target:
                    return lines, f"{a}{sign}{b}{other}{c}"
    raise AssertionError(f"{goal} cannot be reached from {scene.numbers}")


def _some_tries(scene: CountdownScene, query: Query, style: Style, rng: random.Random) -> list[str]:
    """A guess or two that fail, then the expression that does it, worked out."""
    lines = []
    for _ in range(rng.randint(1, 2)):
        a, b, c = rng.sample(scene.numbers, 3)
        value = (a + b) * c if "*" in scene.signs and query.key.rule != "signs" else a + b + c
        text = f"({a}+{b})*{c}" if value != a + b + c else f"{a}+{b}+{c}"
        if value != query.key.target:
            lines.append(f"{text}={value}, no")
    expression = parse(query.answer)
    if expression is None:
        raise AssertionError(f"{query.answer} is no expression")
    return [*lines, query.answer, *in_writing(expression, style.strategy == 2)]


COUNTDOWN = Family(
    name="countdown",
    summary="reach a target with given numbers, or find the signs between them",
    tiers="more signs, then more and larger numbers",
    make_scene=make_scene,
    scene_key=scene_key,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    check=check,
    visual=False,
)
