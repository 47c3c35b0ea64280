"""Crop, mark, measure and rotate as pure operations; `tests/data/test_images.py` has the rest of the module."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polymnia.data.images import CASING, STROKE, colour_name, image_digest, mark, measure, rotate


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def ground(width: int, height: int, colour: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def test_a_marked_box_is_a_stroke_in_a_casing_and_leaves_the_rest_alone() -> None:
    picture = ground(200, 100)
    marked = mark(picture, 250, 200, 750, 800)
    row = [marked.getpixel((x, 50)) for x in range(47, 54)]
    assert row == [(0, 0, 0), CASING, STROKE, STROKE, CASING, (0, 0, 0), (0, 0, 0)]
    assert marked.getpixel((100, 19)) == marked.getpixel((100, 20)) == STROKE
    assert marked.getpixel((150, 50)) == STROKE
    assert marked.getpixel((100, 50)) == (0, 0, 0)
    assert picture.getcolors() == [(20_000, (0, 0, 0))]


def test_the_stroke_grows_with_the_picture() -> None:
    row = np.asarray(mark(ground(4000, 1000), 250, 0, 750, 1000))[500, :2000, 2]
    assert (row == STROKE[2]).sum() == 8
    assert (row == CASING[2]).sum() == 8


def test_a_point_is_a_ring_around_it() -> None:
    marked = mark(ground(100, 100), 500, 500, 500, 500)
    assert marked.getpixel((50, 50)) == (0, 0, 0)
    assert marked.getpixel((50, 40)) == (0, 0, 0)
    assert marked.getpixel((50, 41)) == CASING
    assert marked.getpixel((50, 43)) == STROKE


def test_a_mark_at_the_edge_is_drawn_whole() -> None:
    marked = mark(ground(60, 40), 0, 0, 1000, 1000)
    for corner in ((1, 1), (58, 1), (1, 38), (58, 38)):
        assert marked.getpixel(corner) == STROKE


@pytest.mark.parametrize(
    ("where", "box"),
    [
        ("above", (200, 300, 500, 700)),
        ("below", (200, 0, 500, 700)),
        ("right", (0, 0, 300, 1000)),
        ("left", (700, 0, 1000, 1000)),
        ("within", (0, 0, 1000, 1000)),
    ],
)
def test_a_label_stands_outside_of_the_box_where_there_is_room(where: str, box: tuple[int, int, int, int]) -> None:
    picture = ground(200, 200)
    added = np.asarray(mark(picture, *box, label="A")) != np.asarray(mark(picture, *box))
    rows, columns = added.any(axis=2).nonzero()
    x0, y0, x1, y1 = (edge // 5 for edge in box)
    outside = {
        "above": rows.max() < y0,
        "below": rows.min() >= y1,
        "right": columns.min() >= x1,
        "left": columns.max() < x0,
    }
    assert [name for name, holds in outside.items() if holds] == ([] if where == "within" else [where])


def test_labels_are_cut_and_hold_no_control_characters() -> None:
    picture, box = ground(400, 200), (300, 400, 600, 800)
    assert mark(picture, *box, label=" \n\t ").tobytes() == mark(picture, *box).tobytes()
    assert mark(picture, *box, label="a\n\u202e\ud800b").tobytes() == mark(picture, *box, label="a b").tobytes()
    assert mark(picture, *box, label="x" * 99).tobytes() == mark(picture, *box, label="x" * 29 + "...").tobytes()


def test_marks_are_the_same_bytes_as_ever() -> None:
    """A change of the drawing (or of Pillow's built-in font) changes what trained models have seen."""
    digest = image_digest(mark(ground(200, 100, (200, 180, 40)), 100, 300, 400, 900, label="plate 7"))
    assert digest[:16] == "317a3cf94c34effd"


coordinates = st.floats(0, 1000) | st.integers(0, 1000) | st.sampled_from((0, 500, 1000))


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.tuples(*[coordinates] * 4), st.text(max_size=40))
def test_any_box_can_be_marked_and_any_line_measured(
    width: int, height: int, box: tuple[float, float, float, float], label: str
) -> None:
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    picture = ground(width, height)
    assert mark(picture, x0, y0, x1, y1, label).size == (width, height)
    measured = measure(picture, *box)
    assert measured.distance <= math.hypot(width, height) * 1.0001
    assert -180 < measured.angle <= 180
    assert "-0" not in measured.text.replace("-0.", "")


def test_a_measurement_in_words() -> None:
    picture = ground(200, 100, (214, 40, 40))
    picture.paste((255, 255, 255), (100, 0, 200, 100))
    assert measure(picture, 100, 500, 520, 500).text == (
        "distance 84 px, dx 84, dy 0, angle 0 deg, colours red #d62828 and white #ffffff"
    )
    assert measure(picture, 1000, 0, 0, 1000).text == (
        "distance 223.6 px, dx -200, dy 100, angle -153.4 deg, colours white #ffffff and red #d62828"
    )


@pytest.mark.parametrize(
    ("line", "angle"),
    [
        ((0, 0, 1000, 0), "0"),
        ((0, 1000, 1000, 0), "45"),
        ((500, 900, 500, 100), "90"),
        ((1000, 300, 0, 300), "180"),
        ((500, 100, 500, 900), "-90"),
        ((400, 400, 400, 400), "0"),
    ],
)
def test_angles_run_counter_clockwise(line: tuple[float, float, float, float], angle: str) -> None:
    assert f"angle {angle} deg" in measure(ground(50, 50), *line).text


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((214, 40, 40), "red"),
        ((255, 165, 0), "orange"),
        ((240, 200, 20), "yellow"),
        ((34, 150, 62), "green"),
        ((0, 255, 255), "cyan"),
        ((38, 84, 214), "blue"),
        ((150, 50, 180), "purple"),
        ((255, 192, 203), "pink"),
        ((255, 20, 147), "pink"),
        ((139, 69, 19), "brown"),
        ((25, 25, 28), "black"),
        ((0, 0, 0), "black"),
        ((128, 128, 128), "grey"),
        ((250, 246, 236), "white"),
    ],
)
def test_colours_have_their_everyday_names(colour: tuple[int, int, int], name: str) -> None:
    assert colour_name(colour) == name


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_every_colour_has_a_name(colour: tuple[int, int, int]) -> None:
    assert colour_name(colour).isalpha()


def test_quarter_turns_are_counter_clockwise_and_lose_nothing() -> None:
    picture = noise(30, 20)
    turned = rotate(picture, 90)
    assert turned.size == (20, 30)
    assert turned.getpixel((0, 29)) == picture.getpixel((0, 0))  # the upper left corner goes to the lower left
    assert rotate(turned, 270).tobytes() == rotate(turned, -90).tobytes() == picture.tobytes()
    assert rotate(rotate(picture, 180), -180).tobytes() == rotate(picture, 360).tobytes() == picture.tobytes()


def test_other_turns_grow_the_canvas_and_fill_it_with_the_borders_colour() -> None:
    picture = ground(100, 100, (240, 230, 220))
    picture.paste((0, 0, 255), (40, 40, 60, 60))
    turned = rotate(picture, 45)
    assert turned.size == (142, 142)
    assert turned.getpixel((0, 0)) == (240, 230, 220)
    assert turned.getpixel((71, 71)) == (0, 0, 255)


def test_a_line_is_level_after_turning_back_by_its_angle() -> None:
    """`rotate` and `measure` count angles the same way."""
    picture = ground(100, 100, (255, 255, 255))
    picture.paste((255, 0, 0), (45, 45, 55, 55))
    picture.paste((0, 0, 255), (70, 20, 80, 30))  # up and to the right of the middle, at 45 degrees
    blue = (np.asarray(rotate(picture, -45)) == (0, 0, 255)).all(axis=2).nonzero()
    red = (np.asarray(rotate(picture, -45)) == (255, 0, 0)).all(axis=2).nonzero()
    assert abs(blue[0].mean() - red[0].mean()) < 1
    assert blue[1].mean() > red[1].mean()


def test_looking_again_in_vain_tells_the_model_why() -> None:
    picture = ground(10, 10)
    with pytest.raises(ValueError, match=r"mark\(x0=500, y0=0, x1=100, y1=1000\): the box is reversed"):
        mark(picture, 500, 0, 100, 1000)
    for turn in (math.nan, math.inf, 361, 1e9):
        with pytest.raises(ValueError, match="degrees must be between -360 and 360"):
            rotate(picture, turn)
    for look in (mark, measure):
        for wrong in (-1, 1001, math.nan, -math.inf, 1e9):
            with pytest.raises(ValueError, match="every coordinate must be between 0 and 1000"):
                look(picture, 0, 0, wrong, 10)
    with pytest.raises(ValueError, match="too large; crop it first"):
        rotate(Image.new("RGB", (40_000, 100)), 45)
