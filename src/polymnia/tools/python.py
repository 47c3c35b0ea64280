"""The `python` tool: exact computation in the sandbox that this process has chosen (`backend.py`)."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from polymnia.tools.backend import chosen
from polymnia.tools.base import Tool, ToolResult, tool
from polymnia.tools.bubblewrap import Bubblewrap


@tool
async def python(code: Annotated[str, Field(description="Python source")]) -> ToolResult:
    """Run Python code and read what it prints and the value of its last expression.

    A small sandboxed Python, fresh for every call: functions, classes, comprehensions, match and
    f-strings work, and so do math, json, re, datetime, random, itertools, functools, collections,
    decimal, dataclasses, bisect and csv. There is no class inheritance, no generator (yield), no
    statistics, fractions, heapq, operator or numpy, and no file, network or process. Limits: 2 seconds,
    128 MiB, 4000 characters of output.
    """
    done = await chosen().sandbox.run_async(code)
    return ToolResult(done.text, failed=done.failed)


def python_tool() -> Tool:
    """The tool, described as the sandbox is that will run its code; the words above are Monty's."""
    sandbox = chosen().sandbox
    if not isinstance(sandbox, Bubblewrap):
        return python
    return replace(python, spec=replace(python.spec, description=sandbox.description))
