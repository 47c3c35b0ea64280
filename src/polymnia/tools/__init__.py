"""Tools that an agent can use: looking again and Python. What a tool is stands in `base`."""

from polymnia.tools.base import Tool, Toolbox, ToolContext, ToolError, ToolResult, tool
from polymnia.tools.python import python, python_tool
from polymnia.tools.visual import crop, mark, measure, rotate


def default_tools() -> Toolbox:
    """What every agent gets unless told otherwise, or its model knows fewer."""
    return Toolbox((crop, mark, measure, rotate, python_tool()))


__all__ = [
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "Toolbox",
    "crop",
    "default_tools",
    "mark",
    "measure",
    "python",
    "python_tool",
    "rotate",
    "tool",
]
