"""Written arithmetic, digit by digit, as one does it on paper: for traces without the Python tool.

`347+85: 7+5=12 (2), 4+8+1=13 (32), 3+1=4 (432)`: every step is one a table knows, and the parenthesis carries
what is found so far, so that nothing needs to be remembered. Does not cover fractions.
"""

OPERATORS = "+-*/%^"
_TENS = (10, 100, 1000)


def compute(a: int, operator: str, b: int) -> int:
    """`/` is exact or rounds down, `%` the remainder, `^` a power."""
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return a // b
        case "%":
            return a % b
        case "^":
            return int(a**b)
        case _:
            raise ValueError(f"unknown operator {operator!r}")


def written(a: int, operator: str, b: int) -> list[str]:
    """Lines that compute; the last one holds the value at its end, in parentheses unless it was one step."""
    shown = f"{a}{operator}{b}" if b >= 0 else f"{a}{operator}({b})"
    result = compute(a, operator, b)
    if operator == "^":
        return _power(a, b)
    if operator in "*/" and b in _TENS:  # only zeros or digits at the end change
        return [f"{shown}={result}"]
    if operator in "/%":
        return [f"{a}/{b}: {_division(a, b)}"] if a >= 10 or operator == "%" else [f"{shown}={result}"]
    x, y = abs(a), abs(b)
    if x < 10 and y < 10:
        return [f"{shown}={result}"]
    if operator == "*":
        lines, positive = _product(x, y), f"{x}*{y}"
    elif (operator == "+") == ((a < 0) == (b < 0)):  # the sizes add up
        lines, positive = [f"{x}+{y}: {_sum(x, y)}"], f"{x}+{y}"
    else:
        x, y = max(x, y), min(x, y)
        lines, positive = [f"{x}-{y}: {_difference(x, y)}"], f"{x}-{y}"
    return lines if positive == shown else [*lines, f"{shown}={result}"]


def _digits(number: int) -> list[int]:
    """From the ones up."""
    return [int(digit) for digit in str(number)[::-1]]


def _sum(a: int, b: int) -> str:
    one, other, carry = _digits(a), _digits(b), 0
    steps, done = [], ""
    for place in range(max(len(one), len(other))):
        parts = [digits[place] for digits in (one, other) if place < len(digits)] + [1] * carry
        carry, digit = divmod(sum(parts), 10)
        done = f"{digit}{done}"
        if place + 1 >= max(len(one), len(other)) and carry:
            done = f"1{done}"
        steps.append(f"{'+'.join(map(str, parts))}={sum(parts)} ({done})")
    return ", ".join(steps)


def _difference(a: int, b: int) -> str:
    """a >= b >= 0."""
    one, other, borrowed = _digits(a), _digits(b), 0
    steps, done = [], ""
    for place, digit in enumerate(one):
        less = (other[place] if place < len(other) else 0) + borrowed
        taken = "".join(f"-{part}" for part in (*other[place : place + 1], *[1] * borrowed))
        borrowed = int(digit < less)
        left = digit + 10 * borrowed - less
        done = f"{left}{done}"
        if place + 1 == len(one):
            done = done.lstrip("0") or "0"
        steps.append(f"{digit + 10 * borrowed}{taken}={left} ({done})")
    return ", ".join(steps)


def _product(a: int, b: int) -> list[str]:
    """a, b >= 0: row by row for each digit of b, rows added as they come."""
    if a < b:
        a, b = b, a
    lines, total = [f"{a}*{b}:"] if b >= 10 else [], 0
    for place, digit in enumerate(_digits(b)):
        if digit == 0 and b >= 10:
            continue
        row = a * digit
        lines.append(f"{a}*{digit}: {_row(a, digit)}")
        if place:
            row *= 10**place
            if total:
                lines.append(f"{row}+{total}: {_sum(row, total)}")
        total += row
    return lines if b < 10 else [*lines, f"{a}*{b} ({total})"]


def _row(a: int, digit: int) -> str:
    carry, steps, done = 0, [], ""
    digits = _digits(a)
    for place, one in enumerate(digits):
        found = one * digit + carry
        last = place + 1 == len(digits)
        done = f"{found if last else found % 10}{done}"
        steps.append(f"{one}*{digit}{f'+{carry}' if carry else ''}={found} ({int(done) if last else done})")
        carry = found // 10
    return ", ".join(steps)


def _division(a: int, b: int) -> str:
    """a >= 0, b > 0; the rest is named when there is one."""
    rest, steps, done = 0, [], ""
    for digit in str(a):
        part = rest * 10 + int(digit)
        count, rest = divmod(part, b)
        if done or count:
            done += str(count)
            steps.append(f"{part}/{b}={count} rest {rest} ({done})")
    return ", ".join(steps) or f"{a}/{b}=0 rest {a} (0)"


def _power(base: int, exponent: int) -> list[str]:
    lines, value = [f"{base}^{exponent}: {'*'.join([str(base)] * exponent)}"], base
    for _ in range(exponent - 1):
        lines += written(value, "*", base)
        value *= base
    return lines
