"""Names of models."""

from pathlib import Path

import pytest

from polymnia.agents.models import nano_folder, open_model
from polymnia.agents.remote import RemoteModel
from polymnia.errors import InputError


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("http://127.0.0.1:8000/v1#nano", "http://127.0.0.1:8000/v1", "nano"),
        ("https://host/v1#org/model:contemplating", "https://host/v1", "org/model:contemplating"),
        ("http://[::1]:80/v1#m", "http://[::1]:80/v1", "m"),
    ],
)
def test_an_endpoint_with_the_name_of_its_model(name: str, url: str, model: str) -> None:
    found = open_model(name)
    assert isinstance(found, RemoteModel)
    assert (found.url, found.name, found.fingerprint) == (url, model, "unattested")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("http://127.0.0.1:8000/v1", "names no model of that endpoint: write http://127.0.0.1:8000/v1#name"),
        ("http://127.0.0.1:8000/v1#", "names no model of that endpoint"),
        ("http:///v1#m", "names no host"),
        ("http://host:port/v1#m", "is no address"),
        ("http://[::1/v1#m", "is no address"),
        ("gpt-17", "unknown model 'gpt-17': choose nano, a checkpoint folder, an endpoint like"),
        ("", "unknown model ''"),
    ],
)
def test_names_that_name_nothing(name: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        open_model(name)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json cannot be read: name the folder of a checkpoint"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="is not JSON"):
        open_model(str(tmp_path))


def test_nano_lies_in_the_package() -> None:
    assert nano_folder().parts[-2:] == ("polymnia", "nano")
