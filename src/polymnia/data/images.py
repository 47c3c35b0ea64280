"""Pictures: read from files and the wire, cut up, and made into the patches that the tower reads.

`load_image` is the one door through which foreign bytes come in: what it returns is RGB, upright and
of bounded size, and what it refuses is an `ImageError` of one line. `ImageProcessor` follows
transformers' `MuseGlimmerImageProcessor` number for number, in numpy and PIL alone. Video and the
drawing of marks are not covered (`tools.visual`).
"""

import base64
import binascii
import hashlib
import io
import itertools
import json
import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from polymnia.errors import ImageError

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


def crop(image: Image.Image, x0: float, y0: float, x1: float, y1: float) -> Image.Image:
    """A box of the picture at full resolution; coordinates run from 0 to 1000 on both axes.

    Edges are rounded to pixels, at least one pixel stays. Raises ValueError with text for the model.
    """
    box = (x0, y0, x1, y1)
    if not all(math.isfinite(value) and 0 <= value <= 1000 for value in box):
        raise ValueError(f"crop{box}: every coordinate must be between 0 and 1000.")
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"crop{box}: the box is empty or reversed; x0 < x1 and y0 < y1 are needed.")
    left, right = _pixels(x0, x1, image.width)
    top, bottom = _pixels(y0, y1, image.height)
    return image.crop((left, top, right, bottom))


def _pixels(start: float, stop: float, size: int) -> tuple[int, int]:
    """From 0-1000 to pixel edges (first, one past the last), never empty."""
    first = min(round(start * size / 1000), size - 1)
    return first, max(round(stop * size / 1000), first + 1)


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
        """Reads `processor_config.json` or `preprocessor_config.json` of a checkpoint folder."""
        for name in ("processor_config.json", "preprocessor_config.json"):
            path = Path(folder) / name
            if not path.is_file():
                continue
            fields = json.loads(path.read_text(encoding="utf-8"))
            fields = fields.get("image_processor", fields)
            if "patch_size" in fields:
                return _from_fields(fields)
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
