"""What a tool is: a typed function whose JSON schema comes from its signature.

    @tool
    def crop(context: ToolContext, image: Annotated[int, Field(description="which picture")], ...) -> Image: ...

The docstring is what the model reads, a leading `context` parameter is filled in by the agent and is
not part of the schema. Nothing that a model writes makes a call raise: unknown names, malformed
arguments and `ToolError`s come back as results that it can read, and that name the parameter, its value and the
rule. A tool's own bug does raise. Plain functions run in threads: pictures take their time.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from polymnia.data.chat import ToolCall, ToolSpec
from polymnia.data.parser import MALFORMED

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class ToolError(Exception):
    """What the model did wrong, in words written for the model."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    images: Sequence[Image.Image] = ()
    """The conversation's pictures in order of appearance, those from tools included; image 1 is `images[0]`."""


@dataclass(frozen=True, slots=True, eq=False)
class ToolResult:
    text: str = ""
    images: tuple[Image.Image, ...] = ()
    failed: bool = False


ToolFunction = Callable[..., ToolResult] | Callable[..., Awaitable[ToolResult]]
MAX_EXPLAINED = 6
"""Of the mistakes in one call, so many are told."""
MAX_SHOWN = 60
"""Characters of a wrong value that are told."""


@dataclass(frozen=True, slots=True)
class Tool:
    spec: ToolSpec
    function: ToolFunction
    arguments: type[BaseModel]
    wants_context: bool

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        """Run with the arguments (a JSON object as text)."""
        if said := _malformed(arguments):
            return ToolResult(f"Error: {said}", failed=True)
        try:
            # Some models write nothing at all for a call without arguments.
            given = self.arguments.model_validate_json(arguments.strip() or "{}")
            values = {name: getattr(given, name) for name in self.arguments.model_fields}
            given_context = (context,) if self.wants_context else ()
            if inspect.iscoroutinefunction(self.function):
                done: ToolResult = await self.function(*given_context, **values)
                return done
            plain = cast(Callable[..., ToolResult], self.function)
            return await asyncio.to_thread(plain, *given_context, **values)
        except ValidationError as error:
            return ToolResult(_explain(error, self.spec), failed=True)
        except ToolError as error:
            return ToolResult(f"Error: {error}", failed=True)


def tool(function: ToolFunction) -> Tool:
    """A tool from a typed function. Raises `TypeError` when a parameter has no type."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    wants_context = "context" in parameters
    fields: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name == "context":
            continue
        if name not in hints:
            raise TypeError(f"parameter {name!r} of tool {function.__name__!r} has no type")
        required = parameter.default is inspect.Parameter.empty
        fields[name] = (hints[name], ... if required else parameter.default)
    # Markup that carries no types gives `code=7` as a number; the signature knows better.
    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
    arguments = create_model(function.__name__, __config__=config, **fields)
    spec = ToolSpec(function.__name__, inspect.getdoc(function) or "", _schema(arguments))
    return Tool(spec, function, arguments, wants_context)


class Toolbox:
    """The tools of a run, by name, in the order in which models are told of them."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self.tools: tuple[Tool, ...] = tuple(tools)
        self.specs: tuple[ToolSpec, ...] = tuple(one.spec for one in tools)
        self._tools = {one.spec.name: one for one in tools}
        if len(self._tools) != len(tools):
            raise ValueError("two tools have the same name")

    async def call(self, call: ToolCall, images: Sequence[Image.Image]) -> ToolResult:
        """The call's result; mistakes of the model become `failed` results."""
        if call.name not in self._tools:
            known = ", ".join(self._tools) or "none"
            said = f"Error: there is no tool {_cut(repr(call.name))}; the tools are: {known}"
            return ToolResult(said, failed=True)
        return await self._tools[call.name].call(call.arguments, ToolContext(images))


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(json.dumps(arguments.model_json_schema()))
    schema.pop("title", None)
    for one in schema.get("properties", {}).values():
        one.pop("title", None)  # pydantic repeats the parameter's name there: tokens for nothing
    schema.setdefault("properties", {})
    return schema


def _malformed(arguments: str) -> str:
    """What the parser has to say of a call that it could not read; empty for all other calls."""
    if MALFORMED not in arguments:
        return ""
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return ""
    return str(given[MALFORMED]) if isinstance(given, dict) and list(given) == [MALFORMED] else ""


def _explain(error: ValidationError, spec: ToolSpec) -> str:
    """One line for the model: which parameter is wrong, its value, the rule."""
    found = error.errors(include_url=False, include_context=False)
    lines = [_mistake(one, spec) for one in found[:MAX_EXPLAINED]]
    lines += [f"and {len(found) - MAX_EXPLAINED} more"] if len(found) > MAX_EXPLAINED else []
    return f"Error: wrong arguments for {spec.name}: {'; '.join(lines)}"


def _mistake(one: "ErrorDetails", spec: ToolSpec) -> str:
    parameters: dict[str, Any] = spec.parameters["properties"]
    names = ", ".join(parameters) or "none"
    rule = one["msg"].replace("Input should be", "it should be")
    if not one["loc"]:
        return f"{rule}; write a JSON object with the parameters {names}"
    name = ".".join(_cut(str(part)) if str(part).isidentifier() else _shown(part) for part in one["loc"])
    if one["type"] == "missing":
        return f"{name} is missing"
    if one["type"] == "extra_forbidden":
        return f"{name} is not a parameter; the parameters are {names}"
    description = parameters.get(name, {}).get("description")
    return f"{name} = {_shown(one['input'])}: {rule}" + (f" ({description})" if description else "")


def _shown(value: Any) -> str:
    try:
        return _cut(json.dumps(value))
    except (ValueError, TypeError, RecursionError):  # ValueError: an integer of more than 4300 digits
        return "a value that cannot be shown"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
