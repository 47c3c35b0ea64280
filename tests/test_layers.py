"""The decision that keeps the project comprehensible: a layer imports only what the table below allows.

Read off the source with `ast`, so that imports inside functions count too. The base install (agents and
server against remote endpoints) is tried for real, in a process where torch cannot be imported.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "polymnia"

ALLOWED: dict[str, set[str]] = {
    "model": set(),
    "store": set(),
    "data": {"model.config"},
    "tools": {"data"},
    "tasks": {"data", "tools"},
    "engine": {"model", "data"},
    "train": {"model", "store", "data", "tools", "tasks", "engine"},
    "agents": {"store", "data", "tools"},
    "evals": {"store", "data", "tools", "tasks", "agents"},
    "server": {"store", "data", "tools", "agents"},
    "cli": {"model", "store", "data", "tools", "tasks", "engine", "train", "agents", "evals", "server"},
}
# Agents reach the engine through one client only.
EXCEPTIONS: dict[str, set[str]] = {"agents/local.py": {"model", "engine"}}

WITHOUT_TORCH = ("store", "data", "tools", "tasks", "agents", "server")
# Where the name to import is not the name to install.
DISTRIBUTION = {"PIL": "pillow", "starlette": "fastapi", "anyio": "fastapi", "pydantic_core": "pydantic"}


class Import(NamedTuple):
    file: str
    """Relative to the package."""
    line: int
    module: str


def layers() -> list[str]:
    return sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py"))


def imports(layer: str) -> Iterator[Import]:
    for path in sorted((PACKAGE / layer).rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (Import(file, node.lineno, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}:{node.lineno} uses a relative import"
                # `from polymnia import x` names the module in the alias.
                names = [f"polymnia.{name.name}" for name in node.names] if node.module == "polymnia" else [node.module]
                yield from (Import(file, node.lineno, str(name)) for name in names)


def allows(allowed: set[str], inner: str) -> bool:
    """Whether `inner` ("data.chat") is one of the modules allowed, or within one."""
    return any(inner == name or inner.startswith(f"{name}.") for name in allowed)


def test_the_table_names_every_layer() -> None:
    assert set(layers()) <= set(ALLOWED)


@pytest.mark.parametrize("layer", layers())
def test_a_layer_imports_only_what_the_table_allows(layer: str) -> None:
    wrong = []
    for found in imports(layer):
        if not found.module.startswith("polymnia."):
            continue
        inner = found.module.removeprefix("polymnia.")
        allowed = {layer, "errors"} | ALLOWED[layer] | EXCEPTIONS.get(found.file, set())
        if not allows(allowed, inner):
            wrong.append(f"{found.file}:{found.line} imports polymnia.{inner}")
    assert not wrong


@pytest.mark.parametrize("layer", WITHOUT_TORCH)
def test_the_base_install_declares_what_the_base_layers_import(layer: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.split(r"[<>=!~ \[]", requirement)[0].replace("-", "_") for requirement in declared}
    undeclared = []
    for found in imports(layer):
        top = found.module.split(".")[0]
        if top == "polymnia" or top in sys.stdlib_module_names:
            continue
        if DISTRIBUTION.get(top, top) not in names:
            undeclared.append(f"{found.file}:{found.line} imports {top}")
    assert not undeclared


def without_torch(code: str) -> "subprocess.CompletedProcess[str]":
    """Runs `code` in a process where what the extras bring cannot be imported."""
    blocked = "import sys\nfor name in ('torch', 'safetensors', 'transformers'): sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + code], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_whole_base_install_imports_without_torch() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for layer in WITHOUT_TORCH
        for path in sorted((PACKAGE / layer).rglob("*.py"))
    ]
    result = without_torch("\n".join(f"import {module}" for module in modules))
    assert result.returncode == 0, result.stderr


def test_agents_and_server_import_without_torch() -> None:
    result = without_torch("import polymnia.agents, polymnia.server")
    assert result.returncode == 0, result.stderr
