"""`config.toml`: models by name, their keys, prices and roles."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.endpoint import Endpoint, Json, says, serving, stream
from polymnia.agents.budget import Limits
from polymnia.agents.config import configured_models
from polymnia.agents.models import ConfiguredModel, open_model
from polymnia.agents.run import answer, outcome
from polymnia.data.chat import message
from polymnia.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMNIA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def endpoints() -> Iterator[tuple[Endpoint, Endpoint]]:
    with serving() as one, serving() as other:
        yield one, other


def write(folder: Path, text: str) -> None:
    (folder / "config.toml").write_text(text, encoding="utf-8")


def test_without_a_file_there_are_no_models(folder: Path) -> None:
    assert not list(folder.iterdir())
    assert configured_models() == {}


def test_each_role_is_played_by_its_model_with_its_own_key(
    folder: Path, endpoints: tuple[Endpoint, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    strong, cheap = endpoints
    monkeypatch.setenv("STRONG_KEY", "key-of-strong")
    write(
        folder,
        f"""
        database_url = "sqlite:///elsewhere.db"
        [models.strong]
        url = "{strong.url}"
        model = "large"
        key_env = "STRONG_KEY"
        prices = {{ prompt = 1000, completion = 2000 }}
        roles = {{ refine = "cheap", judge = "cheap" }}
        [models.cheap]
        url = "{cheap.url}"
        model = "small"
        prices = {{ prompt = 10, completion = 20 }}
        """,
    )

    def propose(body: Json, number: int) -> object:
        return stream(says("final" if "give the final answer" in str(body["messages"]) else f"word {number}"))

    strong.reply = propose  # type: ignore[assignment]
    cheap.reply = lambda body, number: stream(says(f"thing {number}"))

    async def ask() -> tuple[str, float | None]:
        model = open_model("strong", api_key="for-addresses-only")
        assert isinstance(model, ConfiguredModel)
        try:
            limits = Limits(cost=100)
            done = await outcome(answer([message("user", "Who?")], model=model, tools=(), limits=limits))
        finally:
            await model.aclose()
        return done.answer, done.cost

    said, cost = asyncio.run(ask())
    assert said == "final"
    assert {body["model"] for body in strong.bodies} == {"large"}
    assert {body["model"] for body in cheap.bodies} == {"small"}
    assert any("give your own answer" in str(body["messages"]) for body in cheap.bodies)
    assert any("mean the same" in str(body["messages"]) for body in cheap.bodies)
    assert {one["authorization"] for one in strong.headers} == {"Bearer key-of-strong"}
    assert {one["authorization"] for one in cheap.headers} == {"Bearer none"}
    paid = len(strong.bodies) * (3 * 1000 + 2 * 2000) + len(cheap.bodies) * (3 * 10 + 2 * 20)
    assert cost == pytest.approx(paid / 1e6)


ENTRY = '[models.big]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[models", "is not TOML"),
        ("colour = 'red'\n", "colour: unknown field: remove it"),
        ("[models.big]\nmodel = 'm'\n", "models.big.url: Field required"),
        (ENTRY + "key = 'secret'\n", "models.big.key: unknown field: remove it"),
        (ENTRY.replace("http:", "ftp:"), "models.big.url"),
        (ENTRY + "roles = { propose = 'big' }\n", "models.big.roles.propose"),
        (ENTRY + "prices = { prompt = -1, completion = 1 }\n", "models.big.prices.prompt"),
        (ENTRY.replace("big", "nano"), "models.nano cannot be told from other models"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(folder: Path, text: str, part: str) -> None:
    write(folder, text)
    with pytest.raises(InputError) as caught:
        open_model("big")
    assert part in str(caught.value)
    assert "config.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_key_that_is_not_set_and_a_role_that_nobody_can_play(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, ENTRY + "key_env = 'BIG_KEY'\n")
    monkeypatch.delenv("BIG_KEY", raising=False)
    with pytest.raises(InputError, match="the model big needs its key: set BIG_KEY"):
        open_model("big")
    write(folder, ENTRY + "roles = { judge = 'nobody' }\n")
    with pytest.raises(InputError, match=r"models\.big\.roles\.judge names no model: 'nobody'"):
        open_model("big")
