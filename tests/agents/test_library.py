"""`from polymnia import contemplate`: three ways to ask."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import polymnia
from agents.endpoint import says, serving, stream
from agents.scripted import ScriptedModel
from polymnia import contemplate
from polymnia.errors import ImageError, InputError


def test_the_answer_alone() -> None:
    done = contemplate("How many?", images=[Image.new("L", (8, 8))], model=ScriptedModel.saying("7")).result()
    assert (done.answer, done.reason) == ("7", "consensus")


def test_within_a_running_loop_as_in_a_notebook() -> None:
    async def cell() -> tuple[str, str, str]:
        asked = contemplate("How many?", model=ScriptedModel.saying("7"), level="quick")
        events = [event.type async for event in asked]
        return asked.result().answer, (await asked).answer, events[-1]

    assert asyncio.run(cell()) == ("7", "7", "run_finished")


def test_a_model_by_name_is_opened_and_closed(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    with serving() as endpoint:
        endpoint.reply = lambda body, number: stream(says("20"))
        assert contemplate("How many?", images=[picture], model=f"{endpoint.url}#m").result().answer == "20"


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ImageError):
        contemplate("How many?", images=["nowhere.png"])
    with pytest.raises(InputError, match="unknown model 'nobody'"):
        contemplate("How many?", model="nobody").result()
    with pytest.raises(AttributeError):
        polymnia.nothing  # noqa: B018


def test_the_package_itself_stays_light() -> None:
    code = "import sys, polymnia; print(sorted(name for name in sys.modules if name.startswith(('polymnia', 'PIL'))))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "['polymnia']"
