"""What runs within the bubblewrap sandbox: a model's code from stdin, as a plain script of one process.

Its source is handed to an interpreter that has the standard library only, so it imports nothing else. What the
code prints goes to stdout; how it ended goes to stderr as one line of JSON, where printing cannot hide it.
"""

import ast
import json
import os
import random
import sys
import traceback
from typing import Any

SITE = "/site"
"""Where numpy lies when it is there."""
SOURCE = "<code>"


def main() -> None:
    code = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    ending = os.dup(2)
    os.dup2(1, 2)  # the code's own stderr is read together with what it prints
    sys.path.append(SITE)
    random.seed(0)  # the same code gives the same result in every run
    process = os.getpid()
    failed, text = run(code, int(sys.argv[1]))
    if os.getpid() != process:  # a fork that the code made came to the end of it, too
        os._exit(0)
    try:
        sys.stdout.flush()
    finally:
        os.write(ending, json.dumps({"failed": failed, "text": text}).encode() + b"\n")
        os._exit(0)


def run(code: str, limit: int) -> tuple[bool, str]:
    """Whether it failed, and the value of the last expression or the error, in at most about `limit` characters."""
    try:
        tree = ast.parse(code, SOURCE)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(tree, SOURCE, "exec"), namespace)  # noqa: S102 - in the sandbox this is the purpose
        if not isinstance(last, ast.Expr):
            return False, ""
        value = eval(compile(ast.Expression(last.value), SOURCE, "eval"), namespace)  # noqa: S307 - as above
        return False, "" if value is None else cut(repr(value), limit)
    except BaseException as error:
        return True, cut(explain(error), limit)


def explain(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero (line 2)`."""
    if isinstance(error, SyntaxError):
        line, said = error.lineno, error.msg
    else:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == SOURCE]
        line, said = (lines[-1] if lines else None), str(error)
    named = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return named if line is None else f"{named} (line {line})"


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... (value cut)"


if __name__ == "__main__":
    main()
