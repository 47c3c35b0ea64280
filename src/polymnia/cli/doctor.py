"""`polymnia doctor`: what works on this machine, what does not and why, a line each.

Everything is tried for real where that is cheap: sandboxes run code, the database is opened, endpoints are asked.
Nothing is downloaded or changed but for the database, which is made if it is not there.
"""

import asyncio
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polymnia.cli.options import KEY_VARIABLE, Debug, Json
from polymnia.cli.output import print_json, print_text
from polymnia.errors import InputError, PolymniaError

if TYPE_CHECKING:
    from polymnia.agents.probe import Finding

GIB = 2**30
MIN_FREE_BYTES = GIB
INSTALL_LOCAL = 'pip install "polymnia[local]"'


def doctor(
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"An endpoint http://host:port/v1#name to try as well (key: ${KEY_VARIABLE}), or a model of "
            "config.toml; give it again for more. Without it all of config.toml are tried.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Say what works on this machine; exit code 0 when nano or an endpoint does."""
    works = False
    for finding in diagnose(model or []):
        works |= finding.ok and (finding.check == "nano" or finding.check.endswith(": answers"))
        if json:
            told = {"check": finding.check, "ok": finding.ok, "detail": finding.detail, "remedy": finding.remedy}
            print_json(told)
        else:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print_text(f"{'ok ' if finding.ok else 'not'}  {finding.check}: {finding.detail}{remedy}")
    return 0 if works else 1


def diagnose(models: list[str]) -> "Iterator[Finding]":
    """The findings as they are made; what a check did not expect is a finding, too."""
    from polymnia.agents.probe import Finding

    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", python),
        ("torch", torch),
        ("nano", nano),
        ("sandbox", sandbox),
        ("monty", monty),
        ("bubblewrap", bubblewrap),
        ("database", database),
        ("disk", disk),
        ("llama.cpp", llama_cpp),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # a diagnosis names what is broken, it does not break
            yield Finding(name, False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    yield from endpoints(models)


def python() -> "Finding":
    from polymnia.agents.probe import Finding

    known = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} on {sys.platform} {platform.machine()}, polymnia {version('polymnia')}"
    return Finding("python", known, detail, "" if known else "install Python 3.11 or newer")


def torch() -> "Finding":
    from polymnia.agents.probe import Finding

    try:
        import torch
    except ImportError as error:
        return Finding("torch", False, f"cannot be imported ({error}): models run on endpoints only", INSTALL_LOCAL)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads = torch.get_num_threads()
    return Finding("torch", True, f"{torch.__version__}, {threads} threads, {', '.join(gpus) or 'no GPU'}")


def nano() -> "Finding":
    """Its weights are those of its card, and there is torch to run them."""
    import json

    from polymnia.agents.models import nano_folder
    from polymnia.agents.probe import Finding
    from polymnia.model.digest import folder_digest

    folder = nano_folder()
    if not (folder / "config.json").is_file():
        return Finding("nano", False, "its weights are not in this installation", "install polymnia again")
    try:
        digest = folder_digest(folder)
        expected = json.loads((folder / "card.json").read_text(encoding="utf-8"))["weights_digest"]
    except (PolymniaError, OSError, ValueError, KeyError) as error:
        return Finding("nano", False, f"cannot be read ({error})", "install polymnia again")
    if digest != expected:
        said = f"weights {digest[:12]} are not those of its card, {str(expected)[:12]}"
        return Finding("nano", False, said, "install polymnia again")
    if importlib.util.find_spec("torch") is None:
        return Finding("nano", False, f"weights {digest[:12]} as in its card, but no torch to run them", INSTALL_LOCAL)
    return Finding("nano", True, f"weights {digest[:12]}, as in its card")


def sandbox() -> "Finding":
    """Which one runs a model's Python."""
    from polymnia.agents.probe import Finding
    from polymnia.tools.backend import VARIABLE, chosen

    try:
        found = chosen()
    except InputError as error:
        detail, _, remedy = str(error).partition(": ")
        return Finding("sandbox", False, detail, remedy)
    fallen_back = found.setting == "bubblewrap" and found.sandbox.name != "bubblewrap"
    detail = f"{found.sandbox.name} runs Python ({VARIABLE}={found.setting})"
    return Finding("sandbox", not fallen_back, detail, found.why if fallen_back else "")


def monty() -> "Finding":
    from polymnia.agents.probe import Finding
    from polymnia.tools.sandbox import Sandbox

    one = Sandbox(workers=1)
    done = one.run("6 * 7")
    one.close()
    return Finding("monty", done.text == "42", f"6 * 7 gives {done.text}")


def bubblewrap() -> "Finding":
    from polymnia.agents.probe import Finding
    from polymnia.tools.bubblewrap import probe

    found = probe()
    if isinstance(found, str):
        return Finding("bubblewrap", False, found, "Monty runs Python; docs/sandbox.md tells where bubblewrap works")
    numpy = "with numpy" if found.interpreter.packages else "without numpy"
    return Finding("bubblewrap", True, f"{found.interpreter.python} {numpy}, its fences hold")


def database() -> "Finding":
    from polymnia.agents.probe import Finding

    try:
        from polymnia.store import open_store
    except ImportError as error:
        return Finding("database", False, f"cannot be opened ({error}): runs are not kept", "install polymnia again")

    async def count() -> int:
        async with await open_store() as store:
            return len(await store.list_runs(limit=None))

    try:
        runs = asyncio.run(count())
    except PolymniaError as error:
        detail, _, remedy = str(error).rpartition(": ")
        return Finding("database", False, detail or remedy, remedy if detail else "")
    return Finding("database", True, f"opens, {runs} runs kept")


def disk() -> "Finding":
    from polymnia.agents.probe import Finding
    from polymnia.store import HOME_VARIABLE, home

    folder = home().absolute()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(there).free
    enough = free >= MIN_FREE_BYTES and os.access(there, os.W_OK)
    remedy = "" if enough else f"make room, allow writing, or set {HOME_VARIABLE} to another folder"
    return Finding("disk", enough, f"{free / GIB:.1f} GiB free in {_short(folder)}", remedy)


def llama_cpp() -> "Finding":
    from polymnia.agents.probe import Finding

    try:
        found = version("xllamacpp")
    except PackageNotFoundError:
        return Finding("llama.cpp", False, "not installed, needed only for GGUF files", 'pip install "polymnia[gguf]"')
    return Finding("llama.cpp", True, f"xllamacpp {found}")


def endpoints(models: list[str]) -> "Iterator[Finding]":
    """Those that were named, else those of config.toml."""
    from polymnia.agents.config import configured_models
    from polymnia.agents.probe import Finding, probe_endpoint

    try:
        configured = configured_models()
    except PolymniaError as error:
        yield Finding("config.toml", False, str(error))
        configured = {}
    for name in models or configured:
        entry = configured.get(name)
        address, _, model = (entry.address if entry else name).partition("#")
        if not address.startswith(("http://", "https://")) or not model:
            yield Finding(name, False, "is no endpoint", "write http://host:port/v1#name, or a model of config.toml")
            continue
        try:
            key = entry.key(name) if entry else os.environ.get(KEY_VARIABLE)
        except InputError as error:
            yield Finding(f"{name}: key", False, *str(error).split(": ", 1))
            continue
        yield from asyncio.run(probe_endpoint(name, address, model, key))


def _short(folder: Path) -> str:
    return str(folder).replace(str(Path.home()), "~", 1)
