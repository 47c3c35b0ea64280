"""`arithmetic`: sums, differences, products, quotients, powers and what is built of them, as signs or in words.

Tiers: 0 two small numbers, 1 larger ones and division, 2 three numbers, 3 parentheses, 4 powers; then more
numbers and more digits. Whole numbers only: a division comes out even, or its remainder is asked for.
"""

import random
from dataclasses import dataclass

from polymnia.data.chat import Message
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.trace import answer, python_call
from polymnia.tasks.written import compute, written


@dataclass(frozen=True, slots=True)
class Operation:
    operator: str
    """One of `+ - * / % ^`."""
    left: "Expression"
    right: "Expression"


Expression = int | Operation
_LEVEL = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}


def make_scene(rng: random.Random, tier: int) -> Expression:
    if tier == 0:
        operator = rng.choice("++--*")
        a, b = (rng.randint(2, 10), rng.randint(2, 10)) if operator == "*" else (rng.randint(1, 60), rng.randint(1, 30))
        return Operation(operator, max(a, b), min(a, b)) if operator == "-" else Operation(operator, a, b)
    if tier == 1:
        return _two_numbers(rng, 250, 30, 9)
    count = 2 if tier <= 3 else 3 if tier <= 5 else tier - 2
    while True:
        expression = _grow(rng, count, tier)
        parentheses = "(" in plain(expression)
        if abs(value(expression)) < 10 ** (4 + tier // 3) and (tier > 3 or parentheses == (tier == 3)):
            return expression


def _two_numbers(rng: random.Random, high: int, factor: int, small: int) -> Operation:
    operator = rng.choice("++--**//%")
    a, b = rng.randint(10, high), rng.randint(10, high)
    c, d = rng.randint(11, factor), rng.randint(2, small)
    match operator:
        case "-":
            return Operation("-", max(a, b), min(a, b))
        case "*":
            return Operation("*", *rng.sample((c, d), 2))
        case "/":
            return Operation("/", c * d, d)
        case "%":
            return Operation("%", rng.randint(20, high), rng.randint(3, 9))
    return Operation("+", a, b)


def _grow(rng: random.Random, operations: int, tier: int) -> Expression:
    """An expression of so many operations, whose divisions come out even."""
    if operations == 0:
        return rng.randint(2, 12 if tier < 4 else 10 * tier)
    if operations == 1 and tier >= 4 and rng.random() < 0.3:
        return Operation("^", rng.randint(2, 9), rng.choice((2, 2, 3)))
    before = rng.randint(0, operations - 1)
    left, right = _grow(rng, before, tier), _grow(rng, operations - 1 - before, tier)
    operator = rng.choice("++--**/")
    size = abs(value(left)), abs(value(right))
    if operator == "/":
        divisors = [d for d in range(2, 13) if size[0] and size[0] % d == 0]
        if divisors and operations - 1 == before and value(left) > 0:
            return Operation("/", left, rng.choice(divisors))
        operator = "-"
    if operator == "*" and ((min(size) > 12 and tier < 6) or size[0] * size[1] > 10 ** (3 + tier // 3)):
        operator = "+"
    return Operation(operator, left, right)


def value(expression: Expression) -> int:
    if isinstance(expression, int):
        return expression
    return compute(value(expression.left), expression.operator, value(expression.right))


def plain(expression: Expression) -> str:
    """With as few parentheses as it takes: `12*(3+4)`."""
    if isinstance(expression, int):
        return str(expression) if expression >= 0 else f"({expression})"
    level = _LEVEL[expression.operator]
    sides = []
    for side, strict in ((expression.left, expression.operator == "^"), (expression.right, True)):
        lower = isinstance(side, Operation) and _LEVEL[side.operator] < level + strict
        # a+(b+c) and a*(b*c) need none, a*(b/c) does where a division rounds
        bare = isinstance(side, Operation) and side.operator == expression.operator and expression.operator in "+*"
        sides.append(f"({plain(side)})" if lower and not bare else plain(side))
    return f"{sides[0]}{expression.operator}{sides[1]}"


def scene_key(expression: Expression) -> str:
    """Sums and products do not depend on the order of their two sides."""
    if isinstance(expression, int):
        return str(expression)
    sides = [scene_key(expression.left), scene_key(expression.right)]
    if expression.operator in "+*":
        sides.sort()
    return f"({sides[0]}{expression.operator}{sides[1]})"


# --- questions: key = the expression to be computed

WORDINGS = {
    "value": (
        "What is {e}?", "Compute {e}.", "How much is {e}?", "{e} = ?", "Calculate {e}.", "{e}", "What does {e} equal?",
        "Work out {e}.", "Give me the value of {e}.", "{e} is what?", "solve {e}",
    ),
    "add": (
        "What is the sum of {a} and {b}?", "Add {a} and {b}.", "How much is {a} plus {b}?", "What is {a} plus {b}?",
        "{a} and {b} together make what?", "Add {b} to {a}.", "What do you get when you add {a} and {b}?",
    ),
    "subtract": (
        "What is {a} minus {b}?", "Subtract {b} from {a}.", "Take {b} away from {a}.", "What is {b} less than {a}?",
        "How much is {a} minus {b}?", "What is the difference between {a} and {b}?", "{a} take away {b}?",
    ),
    "multiply": (
        "What is {a} times {b}?", "Multiply {a} by {b}.", "What is the product of {a} and {b}?", "{a} times {b}?",
        "How much is {a} times {b}?", "What do you get when you multiply {a} and {b}?",
    ),
    "divide": (
        "What is {a} divided by {b}?", "Divide {a} by {b}.", "How many times does {b} go into {a}?",
        "How much is {a} divided by {b}?", "Split {a} into {b} equal parts: how big is one?", "{a} over {b}?",
    ),
    "remainder": (
        "What is the remainder when {a} is divided by {b}?", "{a} divided by {b}: what remains?",
        "What is {a} mod {b}?", "Divide {a} by {b} and tell me the remainder.", "What is left over from {a} / {b}?",
        "Find the rest of {a} divided by {b}.",
    ),
    "missing_add": (
        "What number plus {b} makes {a}?", "? + {b} = {a}", "{b} + ? = {a}", "What must I add to {b} to get {a}?",
        "Which number is missing: {b} + _ = {a}?", "x + {b} = {a}. What is x?",
    ),
    "missing_times": (
        "What number times {b} makes {a}?", "? * {b} = {a}", "{b} times what is {a}?",
        "Which number is missing: {b} * _ = {a}?", "By what do I multiply {b} to get {a}?", "{b}x = {a}. What is x?",
    ),
    "steps": (
        "Start with {a}, {steps}. What do you get?", "Take {a}, {steps}. Where do you end?", "{a}: {steps}. Result?",
        "I think of {a}, {steps}. What is the result?", "Begin at {a}, {steps}. What number is that?",
        "from {a} on: {steps}",
    ),
    "then": (
        "Take {a} and {steps}. What do you get?", "{a}, now {steps}.", "Start at {a} and {steps}: what comes out?",
        "What comes out of {a} when you {steps}?", "With {a}: {steps}. Result?", "{a}: {steps}, please.",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "then": (
        "And if you then {steps}?", "Now {steps}.", "And then {steps}: what is it?", "{steps}: what now?",
        "Take that and {steps}.", "OK, now {steps} and tell me the result.", "then {steps}",
    ),
}  # fmt: skip
_WORDS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "remainder"}
_STEPS = {"+": "add {n}", "-": "subtract {n}", "*": "multiply by {n}", "/": "divide by {n}", "^": "raise to power {n}"}


def ask(scene: Expression, rng: random.Random, previous: Query | None) -> Query:
    if previous is not None:
        return _then(previous, rng)
    if isinstance(scene, int):
        raise TypeError("a number alone is no problem")
    slots = {"e": _signs(plain(scene), rng)}
    kinds = ["value"]
    if isinstance(scene.left, int) and isinstance(scene.right, int) and scene.operator != "^":
        slots |= {"a": str(scene.left), "b": str(scene.right)}
        missing = {"-": ["missing_add"], "/": ["missing_times"]}.get(scene.operator, [])
        kinds = [*(["value"] if scene.operator != "%" else []), _WORDS[scene.operator], *missing]
    elif (steps := _as_steps(scene)) and rng.random() < 0.4:
        kinds, slots = ["steps"], {"a": str(steps[0]), "steps": ", then ".join(steps[1:])}
    return Query(rng.choice(kinds), str(value(scene)), scene, slots)


def _then(previous: Query, rng: random.Random) -> Query:
    """Goes on from the previous result."""
    before = int(previous.answer)
    operator, number = rng.choice(("+", "-", "*")), rng.randint(2, 9)
    if operator == "-" and abs(before) >= number:
        number = rng.randint(1, min(abs(before), 20)) if before else number
    steps = _STEPS[operator].format(n=number)
    expression = Operation(operator, before, number)
    return Query("then", str(value(expression)), expression, {"a": str(before), "steps": steps})


def _as_steps(expression: Expression) -> list[str]:
    """The first number and what is done to it, if the expression is such a chain; else nothing."""
    steps: list[str] = []
    while isinstance(expression, Operation):
        if not isinstance(expression.right, int) or expression.operator not in _STEPS:
            return []
        steps.append(_STEPS[expression.operator].format(n=expression.right))
        expression = expression.left
    return [str(expression), *steps[::-1]]


def _signs(text: str, rng: random.Random) -> str:
    """As people write it: `12 x (3 + 4)`, `12*(3+4)`."""
    if rng.random() < 0.5:
        for sign in "+-*/^":
            text = text.replace(sign, f" {sign} " if sign != "^" else sign)
        text = text.replace("( - ", "(-")
        text = text.replace("*", rng.choice("*×x")).replace("/", rng.choice("/÷"))
    return text


# --- traces


def solve(scene: Expression, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said = rng.choice(("I compute {e}.", "That is {e}.", "{e}, step by step.", "So {e}.")).format(e=plain(query.key))
    if "python" in style.tools:
        code = _stepwise(query.key) if style.strategy == 1 else python_code(query.key)
        messages: list[Message] = python_call(code, query.answer, said if rng.random() < 0.5 else "")
        return Trace((*messages, answer(query.answer)))
    return Trace((answer(query.answer, "\n".join([said, *in_writing(query.key, style.strategy == 2)])),))


def python_code(expression: Expression) -> str:
    return plain(expression).replace("/", "//").replace("^", "**")


def _stepwise(expression: Expression) -> str:
    """One operation a line: `a=3+4`, `12*a`."""
    lines: list[str] = []

    def name(part: Expression, last: bool) -> str:
        if isinstance(part, int):
            return plain(part)
        left, right = name(part.left, False), name(part.right, False)
        sign = {"/": "//", "^": "**"}.get(part.operator, part.operator)
        lines.append(f"{left}{sign}{right}" if last else f"v{len(lines)}={left}{sign}{right}")
        return f"v{len(lines) - 1}"

    name(expression, True)
    return "\n".join(lines)


def in_writing(expression: Expression, backwards: bool = False) -> list[str]:
    """One operation at a time, from the left (or the right), with the expression that is left after each."""
    lines: list[str] = []
    while isinstance(expression, Operation):
        expression, steps = _reduced(expression, backwards)
        lines += [*steps, f"= {expression if isinstance(expression, int) else plain(expression)}"]
    return lines


def _reduced(expression: Operation, backwards: bool) -> tuple[Expression, list[str]]:
    """One innermost operation done: the expression that is left, and the steps."""
    sides = [expression.left, expression.right]
    for place in (1, 0) if backwards else (0, 1):
        side = sides[place]
        if isinstance(side, Operation):
            sides[place], steps = _reduced(side, backwards)
            return Operation(expression.operator, sides[0], sides[1]), steps
    left, right = sides
    if not (isinstance(left, int) and isinstance(right, int)):
        raise AssertionError("both sides are numbers here")
    return compute(left, expression.operator, right), written(left, expression.operator, right)


ARITHMETIC = Family(
    name="arithmetic",
    summary="work out expressions, sums in words, missing numbers and remainders",
    tiers="larger numbers, then three of them, parentheses, powers, longer expressions",
    make_scene=make_scene,
    scene_key=scene_key,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    visual=False,
)
