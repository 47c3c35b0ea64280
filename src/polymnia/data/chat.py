"""The conversation as Polymnia holds it inside: OpenAI-shaped messages as plain dataclasses.

Pictures are decoded once, at the edge (`data.images.load_image`), and travel as RGB
`PIL.Image.Image`. This module does not render to tokens (`data.template`), parse what a model
emits (`data.parser`) or read JSON from the wire (`server.schema`, `agents.remote`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ImagePart:
    image: Image.Image
    """RGB, orientation already applied."""


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """A JSON object as text, as on OpenAI's wire."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: tuple[Part, ...] = ()
    reasoning: str = ""
    """Only on assistant messages: what was written `to=self`."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """Only on tool messages: the call that this answers."""
    name: str = ""
    """Only on tool messages: the tool that answered."""

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[Image.Image, ...]:
        return tuple(part.image for part in self.content if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model is told of it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments, an object."""


def message(role: Role, *parts: str | Image.Image | Part, **fields: Any) -> Message:
    """`message("user", picture, "How many?")`: strings and pictures become parts."""
    content = tuple(
        TextPart(part) if isinstance(part, str) else ImagePart(part) if isinstance(part, Image.Image) else part
        for part in parts
    )
    return Message(role, content, **fields)


def all_images(messages: Sequence[Message]) -> list[Image.Image]:
    """The conversation's pictures in order of appearance, those from tools included (image 1 first)."""
    return [image for one in messages for image in one.images]
