"""Pictures: read from files and the wire, cut up, and made into the patches that the tower reads.

`load_image` is the one door through which foreign bytes come in: what it returns is RGB, upright and
of bounded size, and what it refuses is an `ImageError` of one line. `ImageProcessor` follows
transformers' `MuseGlimmerImageProcessor` number for number, in numpy and PIL alone. `crop`, `mark`, `measure`
and `rotate` are what the tools of `tools.visual` do, pure and exact to the byte. Video is not covered.
"""

import base64
import binascii
import colorsys
import hashlib
import io
import itertools
import json
import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from polymnia.errors import ImageError

RGB = tuple[int, int, int]

MAX_PIXELS = 64_000_000
"""Width times height in the header; more is refused before any pixel is decoded."""
MAX_BYTES = 128 * 2**20
"""Size of the file itself."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""What may be opened (JPEG covers MPO). Of PIL's others some start programs (EPS), have no magic bytes (TGA), or
are decoded before their size can be checked (ICO)."""


# ---------------------------------------------------------------------------------------- reading


def load_image(source: bytes | Path) -> Image.Image:
    """The first frame of a picture as RGB, EXIF orientation applied, transparency laid over white.

    Raises ImageError, naming the input and a remedy, when it is missing, empty, broken or too large.
    """
    name = str(source) if isinstance(source, Path) else "The picture"
    data = _read(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError(f"{name} is empty; give a PNG, JPEG, WebP or GIF file.")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name} has {len(data):,} bytes, more than {MAX_BYTES:,}; give a smaller file.")
    _refuse_by_name(data, name)
    try:
        return _decode(data, name)
    except ImageError:
        raise
    except Exception as error:  # foreign bytes: PIL's decoders raise nearly anything, from struct.error to IndexError
        raise ImageError(f"{name} cannot be read as a picture ({_brief(error)}); save it again as PNG.") from error


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise ImageError(f"{path} does not exist; check the path.")
        if not path.is_file():
            raise ImageError(f"{path} is not a file; give the path of a picture.")
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path} has more than {MAX_BYTES:,} bytes; give a smaller file.")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ImageError(f"{path} cannot be opened ({_brief(error)}); check the path and its permissions.") from error


def _refuse_by_name(data: bytes, name: str) -> None:
    """Formats that people send and that PIL does not read get their own name in the message."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    found = ""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        # An AVIF file may call itself mif1 too; its compatible brands tell.
        found = "" if b"avif" in data[:64] else "a HEIC picture"
    elif start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in start):
        found = "an SVG drawing"
    elif start.startswith(b"%pdf"):
        found = "a PDF document"
    if found:
        raise ImageError(f"{name} is {found}, which is not supported; save it as PNG or JPEG.")


def _decode(data: bytes, name: str) -> Image.Image:
    with warnings.catch_warnings():
        # PIL's warnings are about foreign bytes: what matters of them is an error of ours below.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name} is larger than {MAX_PIXELS:,} pixels; scale it down.") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{name} is not a picture of a known format; give a PNG, JPEG, WebP or GIF.") from error
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"{name} is {width}x{height}, more than {MAX_PIXELS:,} pixels; scale it down.")
            if width < 1 or height < 1:
                raise ImageError(f"{name} is {width}x{height}: it has no pixels; give another picture.")
            image.load()
            upright = ImageOps.exif_transpose(image)
            return to_rgb(upright)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode as RGB: alpha over white, 16 bits scaled (PIL itself would clip them to white)."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy() if type(image) is not Image.Image else image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if image.mode != "I" or values.max(initial=0) > 255:
            values = values >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        floats = np.nan_to_num(np.asarray(image, dtype=np.float64))
        floats = floats * 255 if floats.max(initial=0) <= 1 else floats
        image = Image.fromarray(floats.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _brief(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return text[:120] or type(error).__name__


# ----------------------------------------------------------------------------------- on the wire


def image_digest(image: Image.Image) -> str:
    """SHA-256 over size and RGB bytes: equal pictures are equal whatever file they came from."""
    rgb = to_rgb(image)
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, "PNG")
    return buffer.getvalue()


def to_data_url(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(to_png(image)).decode("ascii")


def from_data_url(url: str) -> Image.Image:
    """The picture in a `data:image/...;base64,...` URL; raises ImageError."""
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise ImageError(f"{url[:40]!r} is not a base64 data URL; send data:image/png;base64,...")
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"The data URL's base64 is broken ({_brief(error)}); encode the picture again.") from error
    return load_image(data)


# ------------------------------------------------------------------------------------ looking again

STROKE, CASING = (0x0B, 0x5F, 0xA5), (0xFF, 0xFF, 0xFF)
"""Of marks: dark blue in white, so that one of the two stands out from any ground."""
MAX_LABEL = 32
"""Characters of a mark's label that are drawn."""


def crop(image: Image.Image, x0: float, y0: float, x1: float, y1: float) -> Image.Image:
    """A box of the picture at full resolution; coordinates run from 0 to 1000 on both axes.

    Edges are rounded to pixels, at least one pixel stays. Raises ValueError with text for the model.
    """
    box = (x0, y0, x1, y1)
    _check_box("crop", box)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"crop{_named(box)}: the box is empty or reversed; x0 < x1 and y0 < y1 are needed.")
    left, right = _pixels(x0, x1, image.width)
    top, bottom = _pixels(y0, y1, image.height)
    return image.crop((left, top, right, bottom))


def mark(image: Image.Image, x0: float, y0: float, x1: float, y1: float, label: str = "") -> Image.Image:
    """A copy of the picture with a box drawn on it, or a ring where both corners are the same point.

    The stroke is 2 px in a casing of 1 px more on either side, twice that from 1500 px on, and so on. The label
    stands outside the box where there is room. Raises ValueError with text for the model.
    """
    box = (x0, y0, x1, y1)
    _check_box("mark", box)
    if x1 < x0 or y1 < y0:
        raise ValueError(f"mark{_named(box)}: the box is reversed; x0 <= x1 and y0 <= y1 are needed.")
    marked = to_rgb(image).copy()
    width, height = marked.size
    unit = max(1, round(max(width, height) / 1000))
    reach = 7 * unit if (x0, y0) == (x1, y1) else 0  # a ring around a point leaves the point itself visible
    left, right = round(x0 * width / 1000) - reach, round(x1 * width / 1000) + reach
    top, bottom = round(y0 * height / 1000) - reach, round(y1 * height / 1000) + reach
    # Moved inwards where the stroke would lie outside of the picture.
    left, right = (min(max(edge, 2 * unit), width - 2 * unit) for edge in (left, right))
    top, bottom = (min(max(edge, 2 * unit), height - 2 * unit) for edge in (top, bottom))
    pen = ImageDraw.Draw(marked)
    for colour, half in ((CASING, 2 * unit), (STROKE, unit)):
        frame = (left - half, top - half, right + half - 1, bottom + half - 1)
        (pen.ellipse if reach else pen.rectangle)(frame, outline=colour, width=2 * half)
    outer = (left - 2 * unit, top - 2 * unit, right + 2 * unit, bottom + 2 * unit)
    _draw_label(pen, marked.size, outer, label, unit)
    return marked


def _draw_label(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], box: tuple[int, int, int, int], label: str, unit: int
) -> None:
    """A chip above, below, right or left of the box; within it where none of these fits the picture."""
    shown = "".join(letter for letter in " ".join(label.split()) if letter.isprintable())
    shown = shown if len(shown) <= MAX_LABEL else shown[: MAX_LABEL - 3] + "..."
    if not shown:
        return
    font = ImageFont.load_default(14 * unit)
    width, height = math.ceil(pen.textlength(shown, font)) + 8 * unit, 20 * unit
    left, top, right, bottom = box
    x, y = max(0, min(left, size[0] - width)), max(0, min(top, size[1] - height))
    places = ((x, top - height), (x, bottom), (right, y), (left - width, y))
    inside = (place for place in places if _fits(place, (width, height), size))
    x, y = next(inside, (x, y))
    pen.rectangle((x, y, x + width - 1, y + height - 1), STROKE, CASING, unit)
    pen.text((x + width / 2, y + height / 2), shown, CASING, font, anchor="mm")


def _fits(place: tuple[int, int], chip: tuple[int, int], size: tuple[int, int]) -> bool:
    return all(start >= 0 and start + length <= end for start, length, end in zip(place, chip, size, strict=True))


@dataclass(frozen=True, slots=True)
class Measurement:
    """A line on a picture, in pixels of the picture."""

    dx: float
    """To the right."""
    dy: float
    """Downwards, as coordinates run."""
    colours: tuple[RGB, RGB]
    """Of the pixels under its start and its end."""

    @property
    def distance(self) -> float:
        return math.hypot(self.dx, self.dy)

    @property
    def angle(self) -> float:
        """Degrees from the horizontal, counter-clockwise as one sees it, above -180 and up to 180."""
        return math.degrees(math.atan2(0.0 - self.dy, self.dx))

    @property
    def text(self) -> str:
        """What the model reads."""
        first, second = (f"{colour_name(colour)} #{bytes(colour).hex()}" for colour in self.colours)
        dx, dy, distance, angle = (_short(value) for value in (self.dx, self.dy, self.distance, self.angle))
        return f"distance {distance} px, dx {dx}, dy {dy}, angle {angle} deg, colours {first} and {second}"


def measure(image: Image.Image, x0: float, y0: float, x1: float, y1: float) -> Measurement:
    """The line from (x0, y0) to (x1, y1), 0 to 1000 on both axes, in any direction; both ends may be one point.

    Raises ValueError with text for the model.
    """
    _check_box("measure", (x0, y0, x1, y1))
    rgb = to_rgb(image)
    width, height = rgb.size
    places = [
        (min(int(x * width / 1000), width - 1), min(int(y * height / 1000), height - 1))
        for x, y in ((x0, y0), (x1, y1))
    ]
    start, end = (cast(RGB, rgb.getpixel(place)) for place in places)
    return Measurement((x1 - x0) * width / 1000, (y1 - y0) * height / 1000, (start, end))


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """The picture turned counter-clockwise (negative: clockwise), whole: the canvas grows.

    Quarter turns move pixels and change none; at other angles the new corners get the border's median colour.
    Raises ValueError with text for the model.
    """
    if not (math.isfinite(degrees) and -360 <= degrees <= 360):
        raise ValueError(f"rotate(degrees={degrees:g}): degrees must be between -360 and 360.")
    if degrees % 90 == 0:
        quarters = int(degrees // 90) % 4
        return image.transpose(_QUARTERS[quarters - 1]) if quarters else image.copy()
    rgb = to_rgb(image)
    across, down = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    pixels = (rgb.width * across + rgb.height * down) * (rgb.width * down + rgb.height * across)
    if pixels > MAX_PIXELS:
        raise ValueError(f"rotate(degrees={degrees:g}): the turned picture would be too large; crop it first.")
    return rgb.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_border_colour(rgb))


_QUARTERS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def _border_colour(rgb: Image.Image) -> RGB:
    values = np.asarray(rgb)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])  # (pixels, channel)
    red, green, blue = (int(part) for part in np.median(border, axis=0))
    return red, green, blue


def colour_name(colour: RGB) -> str:
    """The plain English word for it, one of twelve."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    if value < 0.2:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.85 else "grey"
    degrees = hue * 360
    name = next(name for end, name in _HUES if degrees < end)
    if name in ("red", "pink") and saturation < 0.5 and value > 0.75:
        return "pink"
    return "brown" if name == "orange" and value < 0.65 else name


_HUES = (
    (15, "red"),
    (40, "orange"),
    (68, "yellow"),
    (165, "green"),
    (195, "cyan"),
    (255, "blue"),
    (310, "purple"),
    (345, "pink"),
    (361, "red"),
)
"""Each from where the one before ends, in degrees of hue."""


def _check_box(name: str, box: tuple[float, float, float, float]) -> None:
    if not all(math.isfinite(value) and 0 <= value <= 1000 for value in box):
        raise ValueError(f"{name}{_named(box)}: every coordinate must be between 0 and 1000.")


def _named(box: tuple[float, float, float, float]) -> str:
    return "({})".format(
        ", ".join(f"{name}={value:g}" for name, value in zip(("x0", "y0", "x1", "y1"), box, strict=True))
    )


def _pixels(start: float, stop: float, size: int) -> tuple[int, int]:
    """From 0-1000 to pixel edges (first, one past the last), never empty."""
    first = min(round(start * size / 1000), size - 1)
    return first, max(round(stop * size / 1000), first + 1)


def _short(value: float) -> str:
    """One decimal, none where it is 0."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


# ------------------------------------------------------------------------------ to tower patches


@dataclass(frozen=True)
class ProcessedImage:
    patches: NDArray[np.float32]
    """(rows * columns, temporal * 3 * patch * patch), raster order, each row laid out (temporal, channel, y, x)."""
    grid: tuple[int, int, int]
    """Patches in time, height, width; time is 1 for a picture."""
    num_tokens: int
    """Image tokens in the prompt: patches after the tower's merge."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the tower sees; the key of prefix caches."""
        return hashlib.sha256(repr(self.grid).encode() + self.patches.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """Resize to a grid of whole tokens under a cap, normalise, cut into patches."""

    patch_size: int = 14
    """Pixels."""
    merge_size: int = 2
    """Patches on one side of an image token."""
    temporal_patch_size: int = 2
    """Frames in a patch; a picture is repeated."""
    max_image_tokens: int = 256
    """Image tokens of one picture at most."""
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @staticmethod
    def from_folder(folder: Path) -> "ImageProcessor":
        """Reads `processor_config.json` or `preprocessor_config.json` of a checkpoint folder.

        Raises ImageError when there is none, or none that can be used.
        """
        for name in ("processor_config.json", "preprocessor_config.json"):
            path = Path(folder) / name
            if not path.is_file():
                continue
            try:
                fields = json.loads(path.read_bytes())
                fields = fields.get("image_processor", fields)
                if "patch_size" in fields:
                    return _from_fields(fields)
            except (ValueError, TypeError, AttributeError) as error:  # no JSON, no object, no numbers
                raise ImageError(f"{path} is no image processor ({error}): export the model again") from None
        raise ImageError(f"{folder} has no processor_config.json with an image processor; export the model again.")

    def save_processor(self, folder: Path) -> None:
        """Writes both files that transformers, vLLM and SGLang look for."""
        fields = {
            "image_processor_type": "MuseGlimmerImageProcessor",
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
            "max_image_tokens": self.max_image_tokens,
            "merge_size": self.merge_size,
            "patch_size": self.patch_size,
            "resample": int(Image.Resampling.LANCZOS),
            "rescale_factor": 1 / 255,
            "temporal_patch_size": self.temporal_patch_size,
        }
        whole = {"processor_class": "MuseGlimmerProcessor", "image_processor": fields}
        Path(folder, "processor_config.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        flat = {"processor_class": "MuseGlimmerProcessor", **fields}
        Path(folder, "preprocessor_config.json").write_text(json.dumps(flat, indent=2) + "\n", encoding="utf-8")

    def num_tokens(self, width: int, height: int) -> int:
        """Image tokens that a picture of this size in pixels takes."""
        rows, columns = token_grid(width, height, self.patch_size * self.merge_size, self.max_image_tokens)
        return rows * columns

    def process(self, image: Image.Image) -> ProcessedImage:
        image = to_rgb(image)
        token = self.patch_size * self.merge_size
        token_rows, token_columns = token_grid(image.width, image.height, token, self.max_image_tokens)
        size = (token_columns * token, token_rows * token)
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        side = self.patch_size
        rows, columns = size[1] // side, size[0] // side
        pixels = np.asarray(image).reshape(rows, side, columns, side, 3)
        planes = np.ascontiguousarray(pixels.transpose(0, 2, 4, 1, 3))  # (rows, columns, channel, y, x), bytes still
        values = planes.reshape(rows * columns, 3, side * side).astype(np.float32)
        values -= np.array(self.image_mean, np.float32)[:, None] * np.float32(255)
        values /= np.array(self.image_std, np.float32)[:, None] * np.float32(255)
        out = np.empty((rows * columns, self.temporal_patch_size, 3 * side * side), np.float32)
        out[:] = values.reshape(rows * columns, 1, 3 * side * side)
        return ProcessedImage(out.reshape(rows * columns, -1), (1, rows, columns), token_rows * token_columns)


def _from_fields(fields: dict[str, Any]) -> ImageProcessor:
    # Names missing from a file mean transformers' defaults, whose cap is larger than ours.
    values: dict[str, Any] = {"max_image_tokens": 4096}
    for name in ("patch_size", "merge_size", "temporal_patch_size", "max_image_tokens"):
        if name in fields:
            values[name] = int(fields[name])
            if values[name] < 1:
                raise ValueError(f"{name} is {fields[name]}")
    for name in ("image_mean", "image_std"):
        if name in fields:
            values[name] = tuple(fields[name])
    return ImageProcessor(**values)


def token_grid(width: int, height: int, token: int, max_tokens: int) -> tuple[int, int]:
    """(rows, columns) of image tokens: the whole grid nearest to the picture's aspect under the cap.

    transformers' `smart_resize`, ties included; the one departure is that a very long picture is cut
    to `max_tokens` where the original forgets its own cap.
    """
    rows, columns = height / token, width / token
    if rows * columns > max_tokens:
        ratio = columns / rows
        rows = (max_tokens / ratio) ** 0.5
        columns = rows * ratio
    # A set on purpose: its order decides ties in the original, and it is the same for equal small integers.
    floors = itertools.product([math.floor(rows), math.ceil(rows)], [math.floor(columns), math.ceil(columns)])
    grids = [(r, c) for r, c in list(set(floors)) if r >= 1 and c >= 1 and r * c <= max_tokens]
    if not grids:
        grids = [(min(max(1, round(rows)), max_tokens), min(max(1, round(columns)), max_tokens))]
    return min(grids, key=lambda grid: abs(grid[0] / grid[1] - height / width))
