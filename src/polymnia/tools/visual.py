"""Tools that let a model look again: `crop`, `mark` and `rotate` return pictures, `measure` text.

All take a picture by its place in the conversation and coordinates from 0 to 1000, flat scalars that small
models can write. What they do is in `data.images`; this module says it to models and reads what they answer.
"""

from collections.abc import Callable
from typing import Annotated

from PIL import Image
from pydantic import Field

from polymnia.data import images
from polymnia.tools.base import ToolContext, ToolError, ToolResult, tool

ImageIndex = Annotated[
    int, Field(description="which picture: 1 is the first of the conversation, pictures from tools count too")
]
Across = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False, description="0 = left edge, 1000 = right edge")]
Down = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False, description="0 = top edge, 1000 = bottom edge")]
Label = Annotated[str, Field(description="a few words that name what is marked")]
Degrees = Annotated[
    float,
    Field(ge=-360, le=360, allow_inf_nan=False, description="counter-clockwise; a negative number turns clockwise"),
]


@tool
def crop(context: ToolContext, image: ImageIndex, x0: Across, y0: Down, x1: Across, y1: Down) -> ToolResult:
    """Zoom into a picture: get the box from (x0, y0) to (x1, y1) as a new picture at full resolution.

    Coordinates run from 0 to 1000 along each side of the picture, whatever its size.
    """
    return _picture(context, image, lambda picture: images.crop(picture, x0, y0, x1, y1))


@tool
def mark(
    context: ToolContext, image: ImageIndex, x0: Across, y0: Down, x1: Across, y1: Down, label: Label = ""
) -> ToolResult:
    """Draw the box from (x0, y0) to (x1, y1) on a copy of a picture and get the copy.

    Coordinates run from 0 to 1000 along each side. Equal corners draw a ring around that point. To mark several
    things, mark the copy again.
    """
    return _picture(context, image, lambda picture: images.mark(picture, x0, y0, x1, y1, label))


@tool
def measure(context: ToolContext, image: ImageIndex, x0: Across, y0: Down, x1: Across, y1: Down) -> ToolResult:
    """Measure the line from (x0, y0) to (x1, y1) of a picture, and read the colours at its two ends.

    Coordinates run from 0 to 1000 along each side. The result is in pixels of the picture: distance, dx to the
    right, dy downwards; the angle is in degrees from the horizontal, counter-clockwise.
    """
    return ToolResult(images.measure(_chosen(context, image), x0, y0, x1, y1).text)


@tool
def rotate(context: ToolContext, image: ImageIndex, degrees: Degrees) -> ToolResult:
    """Turn a picture and get the whole of it as a new, larger picture, such as to read slanted text.

    A line at the angle that `measure` gives becomes level when turned by minus that angle.
    """
    return _picture(context, image, lambda picture: images.rotate(picture, degrees))


def _picture(context: ToolContext, image: int, change: Callable[[Image.Image], Image.Image]) -> ToolResult:
    """The chosen picture changed; what cannot be done is told the model in the operation's own words."""
    picture = _chosen(context, image)
    try:
        return ToolResult(images=(change(picture),))
    except ValueError as error:
        raise ToolError(str(error)) from None


def _chosen(context: ToolContext, image: int) -> Image.Image:
    count = len(context.images)
    if not 1 <= image <= count:
        have = "is no picture" if count == 0 else "is only picture 1" if count == 1 else f"are pictures 1 to {count}"
        shown = image if abs(image) < 10**9 else "so large a number"
        raise ToolError(f"image = {shown}: there {have} in this conversation")
    return context.images[image - 1]
