"""What an agent asks of a model: one call, streamed.

Implementations: `local.LocalModel` (our engine in this process) and `remote.RemoteModel` (any
OpenAI-compatible endpoint). `models.open_model` chooses by name. Tests use scripted ones.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from polymnia.data.chat import Effort, Message, ToolCall, ToolSpec

FinishReason = Literal["stop", "tool_calls", "length"]
UNATTESTED = "unattested"
"""The fingerprint of a model whose weights cannot be seen."""


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float | None = 1.0
    """0 is greedy; None leaves it to the model."""
    top_p: float = 1.0
    max_tokens: int | None = None
    """Of one answer, reasoning included; None: what the context leaves."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """The visible text ends before the first of these."""
    effort: Effort = "medium"


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Generated tokens, those of the reasoning included."""
    reasoning_tokens: int = 0
    estimated: bool = False
    """True where the endpoint reported nothing and the text's length had to do."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Delta:
    """One piece of sample `index`. A sample ends with exactly one delta that has a `finish_reason`."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    tool_call: ToolCall | None = None
    """Always whole: a call is passed on when its last piece has come."""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    mean_logprob: float | None = None
    """With the finish reason: mean log-probability of the tokens of this sample, where the model tells."""


class ChatModel(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """The weights digest, or `UNATTESTED`."""
        ...

    def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        """`n` samples of the next assistant turn. Ends the work when the iterator or its task is closed.

        Raises `InputError` (the conversation does not fit) and `EndpointError` (no answer to be had).
        """
        ...


@runtime_checkable
class ToolKnowledge(Protocol):
    """Models that may say with which tools they were trained; others confuse them."""

    async def known_tools(self) -> Collection[str] | None:
        """Names; None where the model does not say."""
        ...


async def known_tools(model: ChatModel) -> Collection[str] | None:
    return await model.known_tools() if isinstance(model, ToolKnowledge) else None


@runtime_checkable
class RoleKnowledge(Protocol):
    """Models that may say for which roles they were trained; small ones can do nothing with the others' prompts."""

    async def known_roles(self) -> Collection[str] | None:
        """Names of `events.Role`; None where the model does not say, which is taken for all."""
        ...


@runtime_checkable
class Accompanied(Protocol):
    """Models that come with others for some roles."""

    @property
    def roles(self) -> Mapping[Any, ChatModel]: ...


async def known_roles(model: ChatModel) -> Collection[str] | None:
    return await model.known_roles() if isinstance(model, RoleKnowledge) else None


@runtime_checkable
class TemperatureDefaults(Protocol):
    """Models that know at which temperature they answer best."""

    def default_temperature(self, *, parallel: bool) -> float | None:
        """For a lone agent, or for one of several in parallel; None leaves it to the endpoint."""
        ...
