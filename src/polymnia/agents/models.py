"""A model by its name: `nano`, a checkpoint folder, an endpoint `http://host:port/v1#name`, or one of config.toml."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from polymnia.agents.budget import Prices
from polymnia.agents.config import ModelEntry, configured_models
from polymnia.agents.events import Role
from polymnia.agents.model import ChatModel, Delta, Sampling, known_roles, known_tools
from polymnia.data.chat import Message, ToolSpec
from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.agents.local import LocalModel
    from polymnia.agents.remote import RemoteModel

NANO = "nano"
HELP = "nano, a checkpoint folder, an endpoint like http://127.0.0.1:8000/v1#name, or a model of config.toml"


@runtime_checkable
class OpenModel(ChatModel, Protocol):
    """A model that is closed after use."""

    async def aclose(self) -> None: ...


def open_model(name: str, *, api_key: str | None = None) -> OpenModel:
    """The model, ready to use; `aclose` it afterwards. `api_key` is for an endpoint given by its address.

    Raises `InputError` when the name names nothing. An endpoint is not asked yet.
    """
    if name.startswith(("http://", "https://")):
        return _endpoint(name, api_key)
    if name == NANO:
        return _local(name)
    configured = configured_models()
    if name in configured:
        return _configured(name, configured)
    if name and Path(name).is_dir():
        return _local(name)
    raise InputError(f"unknown model {name!r}: choose {HELP}")


class ConfiguredModel:
    """An endpoint with what config.toml says of it: its prices, and other models for its roles."""

    def __init__(self, model: "RemoteModel", prices: Prices | None, roles: Mapping[Role, OpenModel]) -> None:
        """`roles` are closed with this model."""
        self.name = model.name
        self.fingerprint = model.fingerprint
        self.prices = prices
        self.roles = roles
        self._model = model

    async def aclose(self) -> None:
        async with AsyncExitStack() as stack:
            for one in {id(other): other for other in self.roles.values()}.values():
                stack.push_async_callback(one.aclose)
            stack.push_async_callback(self._model.aclose)

    async def known_tools(self) -> Collection[str] | None:
        return await known_tools(self._model)

    async def known_roles(self) -> Collection[str] | None:
        return await known_roles(self._model)

    def default_temperature(self, *, parallel: bool) -> float | None:
        return self._model.default_temperature(parallel=parallel)

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        calls = self._model.stream(messages, tools=tools, sampling=sampling, n=n)
        async with aclosing(cast(AsyncGenerator[Delta, None], calls)) as deltas:
            async for delta in deltas:
                yield delta


def _configured(name: str, configured: Mapping[str, ModelEntry]) -> ConfiguredModel:
    """The model with those that play its other roles, each opened once; these have no roles of their own."""
    entry = configured[name]
    own = _endpoint(entry.address, entry.key(name))
    opened: dict[str, OpenModel] = {}
    for role, other in entry.role_names().items():
        if other in opened or other == name:
            continue
        if other not in configured and other != NANO and not Path(other).is_dir():
            raise InputError(f"config.toml: models.{name}.roles.{role} names no model: {other!r}")
        if other in configured:
            one = configured[other]
            remote = _endpoint(one.address, one.key(other))
            opened[other] = ConfiguredModel(remote, one.known_prices(), {})
        else:
            opened[other] = _local(other)
    roles = {role: opened[other] for role, other in entry.role_names().items() if other != name}
    return ConfiguredModel(own, entry.known_prices(), roles)


def _local(name: str) -> "LocalModel":
    from polymnia.agents.local import LocalModel

    if name != NANO:
        return LocalModel(Path(name))
    folder = nano_folder()
    if not (folder / "config.json").is_file():
        raise InputError(f"the packaged model {NANO} is not in this installation: name one with --model ({HELP})")
    return LocalModel(folder, name=NANO)


def nano_folder() -> Path:
    """Where the checkpoint lies that comes with the package."""
    return Path(str(files("polymnia"))) / NANO


def _endpoint(address: str, api_key: str | None) -> "RemoteModel":
    from polymnia.agents.remote import RemoteModel

    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError as error:
        raise InputError(f"model {address!r} is no address ({error}): write http://host:port/v1#name") from None
    if not host:
        raise InputError(f"model {address!r} names no host: write http://host:port/v1#name")
    if not parts.fragment:
        raise InputError(f"model {address!r} names no model of that endpoint: write {address.rstrip('#')}#name")
    return RemoteModel(parts._replace(fragment="").geturl(), parts.fragment, api_key, check_tools=True)
