"""The `python` tool: exact computation in the sandbox."""

from typing import Annotated

from pydantic import Field

from polymnia.tools.base import ToolResult, tool
from polymnia.tools.sandbox import shared_sandbox


@tool
async def python(code: Annotated[str, Field(description="Python source")]) -> ToolResult:
    """Run Python code and read what it prints and the value of its last expression.

    A small sandboxed Python, fresh for every call: functions, classes, comprehensions, match and
    f-strings work, and so do math, json, re, datetime, random, itertools, functools, collections,
    decimal, dataclasses, bisect and csv. There is no class inheritance, no generator (yield), no
    statistics, fractions, heapq, operator or numpy, and no file, network or process. Limits: 2 seconds,
    128 MiB, 4000 characters of output.
    """
    done = await shared_sandbox().run_async(code)
    return ToolResult(done.text, failed=done.failed)
