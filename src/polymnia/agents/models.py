"""A model by its name: `nano`, a checkpoint folder, or an endpoint `http://host:port/v1#name`."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.agents.local import LocalModel
    from polymnia.agents.remote import RemoteModel

NANO = "nano"
HELP = "nano, a checkpoint folder, or an endpoint like http://127.0.0.1:8000/v1#name"


def open_model(name: str, *, api_key: str | None = None) -> "LocalModel | RemoteModel":
    """The model, ready to use; `aclose` it afterwards. `api_key` is for endpoints.

    Raises `InputError` when the name names nothing. An endpoint is not asked yet.
    """
    if name.startswith(("http://", "https://")):
        return _endpoint(name, api_key)
    from polymnia.agents.local import LocalModel

    if name == NANO:
        folder = nano_folder()
        if not (folder / "config.json").is_file():
            raise InputError(f"the packaged model {NANO} is not in this installation: name one with --model ({HELP})")
        return LocalModel(folder, name=NANO)
    if not name or not Path(name).is_dir():
        raise InputError(f"unknown model {name!r}: choose {HELP}")
    return LocalModel(Path(name))


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
    return RemoteModel(parts._replace(fragment="").geturl(), parts.fragment, api_key)
