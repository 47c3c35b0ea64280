"""Tools that an agent can use: `crop` and `python`. What a tool is stands in `base`."""

from polymnia.tools.base import Tool, Toolbox, ToolContext, ToolError, ToolResult, tool
from polymnia.tools.python import python
from polymnia.tools.visual import crop


def default_tools() -> Toolbox:
    """What every agent gets unless told otherwise."""
    return Toolbox((crop, python))


__all__ = ["Tool", "ToolContext", "ToolError", "ToolResult", "Toolbox", "crop", "default_tools", "python", "tool"]
