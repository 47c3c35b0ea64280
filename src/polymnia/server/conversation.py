"""From the wire's messages and tools to the inside's, pictures decoded.

Decoding is bounded: pictures a request, pixels a request (`data.images` bounds each picture by itself).
Pictures come as data URLs only; nothing is fetched.
"""

from collections.abc import Sequence

from polymnia.data.chat import ImagePart, Message, Part, TextPart, ToolCall, ToolSpec
from polymnia.data.images import from_data_url
from polymnia.errors import ImageError
from polymnia.server.errors import ApiError
from polymnia.server.schema import (
    AnyMessage,
    AssistantMessage,
    ChatRequest,
    ImageContent,
    RefusalContent,
    TextContent,
    ToolMessage,
)

MAX_IMAGES = 64
MAX_PIXELS = 128_000_000
"""Of all pictures of a request; 3 bytes each once decoded."""


class PictureReader:
    """Decodes the pictures of one request and counts what they take."""

    def __init__(self) -> None:
        self._count = 0
        self._pixels = 0

    def read(self, url: str, param: str) -> ImagePart:
        scheme = url[:8].lower()
        if scheme.startswith(("http:", "https:")):
            message = "Pictures are not fetched from the network; send a data URL: data:image/png;base64,..."
            raise ApiError(400, message, param=param, code="remote_image")
        self._count += 1
        if self._count > MAX_IMAGES:
            raise ApiError(400, f"More than {MAX_IMAGES} pictures in one request; send fewer.", param=param)
        try:
            image = from_data_url(url)
        except ImageError as error:
            raise ApiError(400, str(error), param=param, code="invalid_image") from None
        self._pixels += image.width * image.height
        if self._pixels > MAX_PIXELS:
            message = f"The pictures have more than {MAX_PIXELS:,} pixels together; send smaller or fewer."
            raise ApiError(400, message, param=param, code="invalid_image")
        return ImagePart(image)


def to_messages(request: ChatRequest) -> list[Message]:
    """The conversation; raises `ApiError` 400. Slow where pictures are many: call it in a thread."""
    if request.messages[-1].role not in ("user", "tool"):
        raise ApiError(400, "The last message must be a user's or a tool's.", param="messages")
    reader = PictureReader()
    called: dict[str, str] = {}
    messages = [_message(one, f"messages[{index}]", reader, called) for index, one in enumerate(request.messages)]
    if messages[-1].role == "user" and not messages[-1].text.strip():
        raise ApiError(400, "The question is empty; write what you want to know.", param="messages")
    return messages


def _message(one: AnyMessage, param: str, reader: PictureReader, called: dict[str, str]) -> Message:
    """`called` maps the ids of the tool calls so far to the tools' names, and grows."""
    content = _parts(one.content or (), f"{param}.content", reader)
    if isinstance(one, AssistantMessage):
        calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in one.tool_calls or ())
        called.update((call.id, call.name) for call in calls)
        return Message("assistant", content, reasoning=one.reasoning_content or "", tool_calls=calls)
    if isinstance(one, ToolMessage):
        if one.tool_call_id not in called:
            message = "No earlier assistant message has a tool call with this id."
            raise ApiError(400, message, param=f"{param}.tool_call_id")
        return Message("tool", content, tool_call_id=one.tool_call_id, name=called[one.tool_call_id])
    return Message("user" if one.role == "user" else "system", content)


def _parts(
    parts: Sequence[TextContent | ImageContent | RefusalContent], param: str, reader: PictureReader
) -> tuple[Part, ...]:
    return tuple(_part(part, f"{param}[{index}].image_url.url", reader) for index, part in enumerate(parts))


def _part(part: TextContent | ImageContent | RefusalContent, param: str, reader: PictureReader) -> Part:
    if isinstance(part, ImageContent):
        return reader.read(part.image_url.url, param)
    return TextPart(part.text if isinstance(part, TextContent) else part.refusal)


def to_tools(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """The client's own tools, none when it forbids their use."""
    if request.tool_choice == "none":
        return ()
    functions = [tool.function for tool in request.tools or ()]
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise ApiError(400, "Two tools have the same name.", param="tools")
    return tuple(ToolSpec(one.name, one.description, one.parameters) for one in functions)
