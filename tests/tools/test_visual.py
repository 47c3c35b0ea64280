"""The tools that look again, called as models call them: with JSON, right or wrong."""

import asyncio
import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polymnia.data import images
from polymnia.data.chat import ToolCall
from polymnia.tools import Toolbox, ToolResult, crop, mark, measure, rotate

BOX = Toolbox((crop, mark, measure, rotate))


def picture() -> Image.Image:
    """200 x 100 px, red on the left and blue on the right."""
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    return image


PICTURE = picture()


def call(name: str, arguments: str, shown: Sequence[Image.Image] = (PICTURE,)) -> ToolResult:
    return asyncio.run(BOX.call(ToolCall("1", name, arguments), shown))


def look(name: str, shown: Sequence[Image.Image] = (PICTURE,), /, **arguments: object) -> ToolResult:
    return call(name, json.dumps({"image": 1, "x0": 0, "y0": 0, "x1": 500, "y1": 500} | arguments), shown)


# ------------------------------------------------------------------------------------- right calls


def test_crop_gives_the_box_at_full_resolution() -> None:
    result = look("crop", x0=500, x1=1000)
    assert (result.failed, result.text) == (False, "")
    assert result.images[0].size == (100, 50)
    assert result.images[0].getcolors() == [(5000, (0, 0, 255))]


def test_pictures_of_tools_count_too() -> None:
    first = look("crop", x0=500, x1=1000).images[0]
    second = look("crop", (picture(), first), image=2)
    assert second.images[0].size == (50, 25)
    assert second.images[0].getpixel((0, 0)) == (0, 0, 255)


def test_mark_gives_a_copy_with_the_box_on_it() -> None:
    result = look("mark", x0=250, y0=250, label="here")
    assert (result.failed, result.text) == (False, "")
    assert result.images[0].tobytes() == images.mark(PICTURE, 250, 250, 500, 500, "here").tobytes()
    assert PICTURE.tobytes() == picture().tobytes()


def test_mark_takes_a_point_and_no_label() -> None:
    result = look("mark", x0=300, y0=300, x1=300, y1=300)
    assert result.images[0].tobytes() == images.mark(PICTURE, 300, 300, 300, 300).tobytes()


def test_measure_answers_in_words() -> None:
    result = look("measure", x0=100, y0=500, x1=520)
    assert result.images == ()
    assert result.text == "distance 84 px, dx 84, dy 0, angle 0 deg, colours red #ff0000 and blue #0000ff"


def test_rotate_gives_the_whole_picture_turned() -> None:
    result = call("rotate", '{"image": 1, "degrees": 90}')
    assert result.images[0].size == (100, 200)
    assert result.images[0].getpixel((50, 199)) == (255, 0, 0)


@pytest.mark.parametrize("name", ["crop", "mark", "measure"])
def test_numbers_written_as_strings_are_numbers(name: str) -> None:
    """Markup without types carries every value as text."""
    texts = look(name, image="1", x0="120", y0=" 3 ", x1="1e3", y1="7.5")
    numbers = look(name, x0=120, y0=3, x1=1000, y1=7.5)
    assert not texts.failed
    assert texts.text == numbers.text
    assert [one.tobytes() for one in texts.images] == [one.tobytes() for one in numbers.images]


def test_a_box_of_less_than_a_pixel_shows_one() -> None:
    assert look("crop", x0=999.9, y0=999.9, x1=1000, y1=1000).images[0].size == (1, 1)
    assert not look("mark", x0=999.9, y0=999.9, x1=1000, y1=1000).failed


# ------------------------------------------------------------------------------------- wrong calls


@pytest.mark.parametrize("name", ["crop", "mark", "measure"])
@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"image": 0}, "image = 0: there is only picture 1 in this conversation"),
        ({"image": 2}, "image = 2: there is only picture 1"),
        ({"image": -10}, "image = -10: "),
        ({"image": 10**30}, "so large a number"),
        ({"image": 1.5}, "image = 1.5: it should be a valid integer"),
        ({"image": 1e30}, "image = 1e+30: "),
        ({"image": None}, "image = null: it should be a valid integer (which picture: 1 is the first"),
        ({"image": "first"}, 'image = "first": it should be a valid integer'),
        ({"x1": 1001}, "x1 = 1001: it should be less than or equal to 1000 (0 = left edge, 1000 = right edge)"),
        ({"y0": -1}, "y0 = -1: it should be greater than or equal to 0 (0 = top edge, 1000 = bottom edge)"),
        ({"x1": 10**9}, "x1 = 1000000000: it should be less"),
        ({"x0": math.nan}, "x0 = NaN: it should be a finite number"),
        ({"y1": math.inf}, "y1 = Infinity: it should be a finite number"),
        ({"x0": "nan"}, 'x0 = "nan": it should be a finite number'),
        ({"x0": "abc"}, 'x0 = "abc": it should be a valid number'),
        ({"x0": None}, "x0 = null: it should be a valid number"),
        ({"x0": [0, 0, 500, 500]}, "x0 = [0, 0, 500, 500]: it should be a valid number"),
        ({"box": [1, 2]}, "box is not a parameter; the parameters are image, x0, y0, x1, y1"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_the_rule(name: str, wrong: dict[str, object], part: str) -> None:
    result = look(name, **wrong)
    assert result.failed
    assert result.text.startswith("Error: ")
    assert part in result.text
    assert result.images == ()


@pytest.mark.parametrize(
    ("name", "box", "part"),
    [
        ("crop", {"x0": 600, "x1": 400}, "crop(x0=600, y0=0, x1=400, y1=500): the box is empty or reversed; x0 < x1"),
        ("crop", {"y0": 900, "y1": 100}, "the box is empty or reversed"),
        ("crop", {"x0": 500, "x1": 500}, "the box is empty or reversed"),
        ("mark", {"x0": 600, "x1": 400}, "mark(x0=600, y0=0, x1=400, y1=500): the box is reversed; x0 <= x1"),
        ("mark", {"label": ["a"]}, 'label = ["a"]: it should be a valid string'),
    ],
)
def test_a_box_that_makes_no_sense_is_explained(name: str, box: dict[str, object], part: str) -> None:
    result = look(name, **box)
    assert result.failed
    assert part in result.text


@pytest.mark.parametrize("degrees", [math.nan, -math.inf, 361, 10**9, "much", None, [90]])
def test_a_turn_that_makes_no_sense_is_explained(degrees: object) -> None:
    result = call("rotate", json.dumps({"image": 1, "degrees": degrees}))
    assert result.failed
    assert f"degrees = {json.dumps(degrees)}: it should be" in result.text


@pytest.mark.parametrize("name", ["crop", "mark", "measure", "rotate"])
@pytest.mark.parametrize(
    "arguments", ["", "{}", "null", "[]", "7", "not json", '{"image": 1', "{" * 5000, "\ud800", "\0"]
)
def test_arguments_that_are_no_call_at_all_are_explained(name: str, arguments: str) -> None:
    result = call(name, arguments)
    assert result.failed
    assert "image" in result.text


def test_without_any_picture() -> None:
    assert "image = 1: there is no picture in this conversation" in look("crop", ()).text


# ---------------------------------------------------------------------------------------- anything

numbers = st.integers() | st.floats() | st.integers(-5, 1005) | st.floats(-1, 1001)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text() | st.just("9" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["image", "x0", "y0", "x1", "y1", "label", "degrees"])
close = st.fixed_dictionaries({"image": st.integers(0, 3)} | dict.fromkeys(["x0", "y0", "x1", "y1"], numbers))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["crop", "mark", "measure", "rotate"]),
    st.one_of(
        st.dictionaries(names | st.text(), numbers | anything, max_size=8).map(json.dumps),
        close.map(json.dumps),
        anything.map(json.dumps),
        st.text(st.characters()),
    ),
)
def test_whatever_a_model_writes_is_a_result(name: str, arguments: str) -> None:
    result = call(name, arguments, (PICTURE, Image.new("RGB", (1, 1)), Image.new("RGB", (3, 700))))
    assert result.failed == result.text.startswith("Error: ")
    assert "\n" not in result.text
    assert len(result.text) < 1500
    if not result.failed:
        assert bool(result.images) != bool(result.text)
        assert all(one.width and one.height for one in result.images)
