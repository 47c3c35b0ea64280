"""`POLYMNIA_HOME/config.toml`: models by name, with address, key, prices, and who plays their other roles.

    [models.strong]
    url = "https://api.example.com/v1"
    model = "the endpoint's name for it"
    key_env = "EXAMPLE_KEY"             # the variable that holds the key; the key itself stays out of files
    prices = { prompt = 0.5, completion = 1.5 }         # dollars for a million tokens
    roles = { refine = "cheap", aggregate = "strong" }  # where it proposes

Strict: what is not known is an error of one line. Other parts of the program read other tables of the file.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polymnia.agents.budget import Prices
from polymnia.agents.events import Role
from polymnia.errors import InputError

OTHER_TABLES = frozenset({"database_url", "mcp"})
OtherRole = Literal["refine", "aggregate", "judge"]
"""Whoever is asked for by name proposes."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceEntry(_Strict):
    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)


class ModelEntry(_Strict):
    """One model of the file."""

    url: Annotated[str, Field(pattern=r"^https?://[^#]+$")]
    model: Annotated[str, Field(min_length=1)]
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    prices: PriceEntry | None = None
    roles: dict[OtherRole, str] = Field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.url}#{self.model}"

    def key(self, name: str) -> str | None:
        """The key; raises `InputError` when its variable is not set."""
        if self.key_env is None:
            return None
        if key := os.environ.get(self.key_env):
            return key
        raise InputError(f"the model {name} needs its key: set {self.key_env}")

    def known_prices(self) -> Prices | None:
        return None if self.prices is None else Prices(self.prices.prompt, self.prices.completion)

    def role_names(self) -> Mapping[Role, str]:
        return dict(self.roles.items())


class _File(_Strict):
    models: dict[str, ModelEntry] = Field(default_factory=dict)


def configured_models(path: Path | None = None) -> dict[str, ModelEntry]:
    """The models by name; none without the file. Raises `InputError` that names file, field and remedy."""
    if path is None:
        from polymnia.store import home  # brings the database's packages, which few commands need

        path = home() / "config.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): allow reading it") from None
    except ValueError as error:  # bad TOML, or no UTF-8
        raise InputError(f"{path} is not TOML ({error}): correct it") from None
    try:
        models = _File.model_validate({name: one for name, one in values.items() if name not in OTHER_TABLES}).models
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        said = "unknown field: remove it" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(f"{path}: {field}: {said}") from None
    for name in models:
        if name == "nano" or any(letter in name for letter in "/\\#:") or not name.strip():
            raise InputError(f"{path}: models.{name} cannot be told from other models: give it another name")
    return models
