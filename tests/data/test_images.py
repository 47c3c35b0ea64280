"""Reading pictures from untrusted bytes, and the arithmetic of transformers' image processor."""

import contextlib
import io
import itertools
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from polymnia.data.images import (
    ImageProcessor,
    crop,
    from_data_url,
    image_digest,
    load_image,
    to_data_url,
    to_png,
    token_grid,
)
from polymnia.errors import ImageError


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# ---------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_lossless_formats_come_back_as_they_were(format: str) -> None:
    image = Image.new("RGB", (9, 7), (255, 0, 0))
    options = {"lossless": True} if format == "WEBP" else {}
    assert load_image(saved(image, format, **options)).getpixel((4, 3)) == (255, 0, 0)


def test_a_path_and_its_bytes_give_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(noise(5, 6), "PNG"))
    assert image_digest(load_image(path)) == image_digest(load_image(path.read_bytes())) == image_digest(noise(5, 6))


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert load_image(saved(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(saved(half, "PNG")).getpixel((0, 0)) == (127, 127, 127)
    palette = clear.convert("RGB").quantize(4)
    assert load_image(saved(palette, "PNG", transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    keyed = Image.new("RGB", (2, 2), (1, 2, 3))
    assert load_image(saved(keyed, "PNG", transparency=(1, 2, 3))).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((3, 3), 32768, dtype=np.uint16))
    assert load_image(saved(grey, "PNG")).getpixel((1, 1)) == (128, 128, 128)
    float_grey = Image.fromarray(np.full((3, 3), 0.5, dtype=np.float32))
    assert load_image(saved(float_grey, "TIFF")).getpixel((1, 1)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGB"])
def test_other_modes_become_rgb(mode: str) -> None:
    format = "JPEG" if mode == "CMYK" else "PNG"
    loaded = load_image(saved(Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode), format))
    assert loaded.mode == "RGB"
    assert np.asarray(loaded).min() > 250


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    assert load_image(saved(noise(8, 4), "JPEG", exif=exif)).size == (4, 8)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello, this is no picture", "not a picture"),
        (saved(noise(64, 64), "PNG")[:2000], "cannot be read"),
        (png_claiming(50_000, 50_000), "pixels"),
        (png_claiming(9_000, 9_000), "9000x9000"),
        (png_claiming(8_000, 8_000), "cannot be read"),  # at the cap, and its data is missing
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG"),
        (b"<svg></svg>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
    ],
)
def test_bad_bytes_are_refused_in_one_line(data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        load_image(data)
    assert "\n" not in str(caught.value)


def test_bad_paths_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path, Path("/dev/null"), Path("a\0b")):
        with pytest.raises(ImageError):
            load_image(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_broken_files_never_raise_anything_else(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"]))
    whole = bytearray(saved(noise(16, 16), format))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert load_image(bytes(whole[: data.draw(st.integers(1, len(whole)))])).mode == "RGB"


# ---------------------------------------------------------------------------- wire and cropping


def test_data_urls_go_both_ways() -> None:
    image = noise(6, 5)
    assert image_digest(from_data_url(to_data_url(image))) == image_digest(image)
    assert load_image(to_png(image)).tobytes() == image.tobytes()
    for bad in ("http://x/a.png", "data:image/png;base64", "data:image/png,abc", "data:image/png;base64,@@@"):
        with pytest.raises(ImageError):
            from_data_url(bad)


def test_equal_pixels_of_another_shape_have_another_digest() -> None:
    assert image_digest(Image.new("RGB", (2, 8))) != image_digest(Image.new("RGB", (4, 4)))


def test_crop_takes_thousandths_and_keeps_pixels() -> None:
    image = noise(200, 100)
    part = crop(image, 250, 100, 750, 500)
    assert part.size == (100, 40)
    assert part.tobytes() == image.crop((50, 10, 150, 50)).tobytes()
    assert crop(image, 0, 0, 1000, 1000).size == image.size
    assert crop(image, 999.9, 999.9, 1000, 1000).size == (1, 1)


@pytest.mark.parametrize(
    "box", [(500, 0, 100, 1000), (0, 0, 0, 1000), (-1, 0, 10, 10), (0, 0, 1001, 10), (0, 0, math.nan, 10)]
)
def test_boxes_that_make_no_sense_tell_the_model(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="crop"):
        crop(noise(10, 10), *box)


# ------------------------------------------------------------------------------ to tower patches


def reference_patches(
    image: Image.Image, rows: int, columns: int, patch: int = 14, frames: int = 2
) -> NDArray[np.float64]:
    """transformers' arithmetic one patch at a time: LANCZOS on bytes, /255, mean and deviation 0.5."""
    resized = image.resize((columns * patch, rows * patch), Image.Resampling.LANCZOS)
    pixels = (np.asarray(resized, dtype=np.float64) / 255 - 0.5) / 0.5
    flat = []
    for row, column in itertools.product(range(rows), range(columns)):
        square = pixels[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]  # (y, x, channel)
        flat.append(np.concatenate([square.transpose(2, 0, 1).ravel()] * frames))
    return np.stack(flat)


@pytest.mark.parametrize(("width", "height"), [(112, 112), (100, 50), (30, 300), (1, 1), (1, 500), (640, 480)])
def test_patches_equal_the_reference(width: int, height: int) -> None:
    image = noise(width, height)
    processor = ImageProcessor(max_image_tokens=64)
    found = processor.process(image)
    _, rows, columns = found.grid
    assert found.patches.shape == (rows * columns, 1176)
    assert found.patches.dtype == np.float32
    assert found.num_tokens == processor.num_tokens(width, height) == rows * columns // 4 <= 64
    np.testing.assert_allclose(found.patches, reference_patches(image, rows, columns), atol=1e-6)


def test_own_mean_and_deviation_are_used_by_channel() -> None:
    processor = ImageProcessor(image_mean=(0.0, 0.5, 1.0), image_std=(1.0, 0.5, 0.25))
    patches = processor.process(Image.new("RGB", (28, 28), (255, 255, 255))).patches.reshape(4, 2, 3, 196)
    np.testing.assert_allclose(patches[0, 1, :, 0], [1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("width", "height", "cap", "rows", "columns"),
    [
        (112, 112, 256, 4, 4),
        (100, 50, 64, 2, 4),
        (640, 480, 64, 7, 9),
        (42, 42, 256, 1, 1),
        (70, 42, 256, 2, 3),
        (1000, 10, 64, 1, 36),
        (1920, 1080, 256, 12, 21),
        (300, 200, 16, 3, 5),
        (14, 14, 16, 1, 1),
        (98, 70, 64, 3, 4),
    ],
)
def test_the_grid_is_what_transformers_gave(width: int, height: int, cap: int, rows: int, columns: int) -> None:
    """Printed by `smart_resize` of transformers 5.23, whose module needs torchvision."""
    assert token_grid(width, height, 28, cap) == (rows, columns)


@pytest.mark.parametrize(("width", "height"), [(1, 100_000), (100_000, 1), (3, 7_000)])
def test_very_long_pictures_stay_under_the_cap(width: int, height: int) -> None:
    assert 1 <= ImageProcessor(max_image_tokens=64).num_tokens(width, height) <= 64


def test_digests_tell_pictures_apart() -> None:
    processor = ImageProcessor()
    assert processor.process(noise(56, 56, 1)).digest == processor.process(noise(56, 56, 1)).digest
    assert processor.process(noise(56, 56, 1)).digest != processor.process(noise(56, 56, 2)).digest


def test_a_saved_processor_reads_back(tmp_path: Path) -> None:
    processor = ImageProcessor(max_image_tokens=99, image_mean=(0.1, 0.2, 0.3))
    processor.save_processor(tmp_path)
    assert ImageProcessor.from_folder(tmp_path) == processor
    (tmp_path / "processor_config.json").unlink()
    assert ImageProcessor.from_folder(tmp_path) == processor
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ImageError, match="processor_config"):
        ImageProcessor.from_folder(tmp_path)
