"""What `/v1/chat/completions` takes, as strict models: a field is honoured or refused, never dropped.

Written out instead of reusing the `openai` package's request types: those validate messages lazily and drop
unknown keys. Unknown keys are refused everywhere except inside `messages`, where clients echo what others
added. Fields that cannot change an answer (`user`, `metadata`, ...) are accepted; fields that would, and
that are not built, are accepted only with the value that asks for nothing (`n: 1`, `logprobs: false`).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from polymnia.data.chat import Effort
from polymnia.server.errors import ApiError

MAX_MESSAGES = 1_000
MAX_CHOICES = 16
MAX_STOPS = 4
MAX_REASON = 300
"""Characters of pydantic's reason that a client is shown; it may quote what was sent."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InHistory(BaseModel):
    """Part of a message: unknown keys are what another client or server added."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class TextContent(InHistory):
    type: Literal["text", "output_text"]
    text: str


class RefusalContent(InHistory):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(InHistory):
    url: str
    """A data URL: `data:image/png;base64,...`."""
    detail: Literal["auto", "high"] | None = None
    """Pictures are always read at the model's full token budget, so `low` is refused."""


class ImageContent(InHistory):
    type: Literal["image_url"]
    image_url: ImageUrl


def _as_parts(content: object) -> object:
    """`"text"` is short for one text part; so errors name one path, not one for each alternative."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Texts = Annotated[list[TextContent], BeforeValidator(_as_parts)]
AssistantParts = Annotated[
    list[Annotated[TextContent | RefusalContent, Field(discriminator="type")]], BeforeValidator(_as_parts)
]
Parts = Annotated[list[Annotated[TextContent | ImageContent, Field(discriminator="type")]], BeforeValidator(_as_parts)]


class FunctionCall(InHistory):
    name: str = Field(min_length=1)
    arguments: str


class CalledTool(InHistory):
    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: FunctionCall


class SystemMessage(InHistory):
    role: Literal["system", "developer"]
    content: Texts


class UserMessage(InHistory):
    role: Literal["user"]
    content: Parts


class AssistantMessage(InHistory):
    role: Literal["assistant"]
    content: AssistantParts | None = None
    reasoning_content: str | None = None
    tool_calls: list[CalledTool] | None = None


class ToolMessage(InHistory):
    role: Literal["tool"]
    tool_call_id: str
    content: Parts
    """Pictures are an extension: OpenAI's own tool messages carry text only."""


AnyMessage = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: Literal[False] | None = None

    @field_validator("parameters")
    @classmethod
    def _is_schema_of_an_object(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        properties = parameters.get("properties", {})
        if not isinstance(properties, dict) or not all(isinstance(one, dict) for one in properties.values()):
            raise ValueError("properties must be an object of JSON schemas")
        return parameters


class Tool(Strict):
    type: Literal["function"]
    function: Function


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class TextFormat(Strict):
    type: Literal["text"]


def _as_list(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOPS), BeforeValidator(_as_list)
]
Zero = Annotated[float, Field(ge=0, le=0)]


class ChatRequest(Strict):
    """The body of a chat completion."""

    model: str
    messages: list[AnyMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    stop: StopStrings | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    reasoning_effort: Effort | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: Literal[True] | None = None

    # Only the value that asks for nothing.
    logprobs: Literal[False] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None

    # Labels for the operator: no answer depends on them, and nothing is stored.
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def token_limit(self) -> int | None:
        """Tokens; `max_tokens` is the old name of `max_completion_tokens`."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


def parse_request(body: bytes) -> ChatRequest:
    """The body as a request; raises `ApiError` 400 that names the first field at fault by its path."""
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as invalid:
        raise _refusal(invalid, body) from None
    if None not in (request.max_tokens, request.max_completion_tokens) and (
        request.max_tokens != request.max_completion_tokens
    ):
        raise ApiError(400, "max_tokens and max_completion_tokens differ; send one of them.", param="max_tokens")
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options needs stream: true.", param="stream_options")
    return request


def _refusal(invalid: ValidationError, body: bytes) -> ApiError:
    error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, reason = error["type"], error["msg"][:MAX_REASON]
    if kind == "json_invalid":
        return ApiError(400, f"The body is not JSON: {reason.removeprefix('Invalid JSON: ')}.")
    path = _path(error["loc"], body, missing=kind == "missing")[:MAX_REASON]
    if kind == "extra_forbidden":
        return ApiError(400, f"Unknown field {path}: remove it.", param=path, code="unknown_field")
    if kind == "missing":
        return ApiError(400, f"Missing field {path}.", param=path, code="missing_field")
    return ApiError(400, f"Invalid {path or 'body'}: {reason}.", param=path or None, code="invalid_value")


def _path(location: tuple[int | str, ...], body: bytes, *, missing: bool) -> str:
    """`messages[0].content`: pydantic's location less the tags of unions, which are not in the body."""
    value: object = from_json(body)
    path = ""
    for index, step in enumerate(location):
        last = index == len(location) - 1
        if isinstance(step, int) and isinstance(value, list):
            path += f"[{step}]"
            value = value[step]
        elif isinstance(value, dict) and (step in value or (missing and last)):
            path += f".{step}" if path else str(step)
            value = value.get(step)
    return path
