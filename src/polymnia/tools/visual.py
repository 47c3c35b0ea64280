"""Tools that put pictures into the context, so that a model can look again: `crop`."""

from typing import Annotated

from pydantic import Field

from polymnia.data import images
from polymnia.tools.base import ToolContext, ToolError, ToolResult, tool

ImageIndex = Annotated[
    int, Field(description="which picture: 1 is the first of the conversation, pictures from tools count too")
]
Across = Annotated[float, Field(ge=0, le=1000, description="0 = left edge, 1000 = right edge")]
Down = Annotated[float, Field(ge=0, le=1000, description="0 = top edge, 1000 = bottom edge")]


@tool
def crop(context: ToolContext, image: ImageIndex, x0: Across, y0: Down, x1: Across, y1: Down) -> ToolResult:
    """Zoom into a picture: get the box from (x0, y0) to (x1, y1) as a new picture at full resolution.

    Coordinates run from 0 to 1000 along each side of the picture, whatever its size.
    """
    count = len(context.images)
    if not 1 <= image <= count:
        have = "there is no picture" if count == 0 else f"there are pictures 1 to {count}"
        raise ToolError(f"picture {image} does not exist: {have} in this conversation")
    try:
        return ToolResult(images=(images.crop(context.images[image - 1], x0, y0, x1, y1),))
    except ValueError as error:  # a reversed or empty box, in words for the model
        raise ToolError(str(error)) from None
