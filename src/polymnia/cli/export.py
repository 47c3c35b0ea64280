"""`polymnia export`: a checkpoint for other programs.

Files are written apart and moved to their folder when all of them are whole, so a failure leaves nothing
behind. What they hold is the affair of `model.huggingface` and `model.gguf`.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from polymnia.cli.options import Debug, Json, checkpoint_folder
from polymnia.cli.output import print_json, print_text
from polymnia.errors import InputError, RunError

app = typer.Typer(
    help="A checkpoint for transformers, vLLM and SGLang (hf) or llama.cpp (gguf).", rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="FOLDER", help="A checkpoint folder, or nano.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the files; made if it is not there.")]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that holds files; those so named go.")]

_DTYPES = {"f32": "f32", "fp32": "f32", "f16": "f16", "fp16": "f16", "bf16": "bf16"}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@app.command()
def hf(
    name: Name,
    out: Out,
    max_shard_size: Annotated[str, typer.Option(metavar="SIZE", help="The largest file of weights.")] = "5GB",
    dtype: Annotated[
        str | None, typer.Option(metavar="<bf16|f16|fp32>", help="Of the weights. [default: as they are]")
    ] = None,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write a Hugging Face folder: weights, config, tokenizer, processor, template, card."""
    folder, shard_bytes = checkpoint_folder(name), parse_size(max_shard_size)
    kind = None if dtype is None else parse_dtype(dtype)
    if out.exists() and out.resolve() == folder.resolve():
        raise InputError(f"{out} is the checkpoint itself: name another folder")
    with staged(out, force, stale="model*.safetensors*") as stage:
        from polymnia.model.huggingface import export_folder

        digest = export_folder(folder, stage, kind, shard_bytes)
        files = sizes(stage)
    report(out, files, digest, json)
    return 0


@app.command()
def gguf(
    name: Name,
    out: Out,
    dtype: Annotated[str, typer.Option(metavar="<f16|bf16|f32>", help="Of the matrices; vectors are f32.")] = "f16",
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write two files for llama.cpp, FOLDER.gguf (text) and mmproj-FOLDER.gguf (pictures)."""
    folder, kind = checkpoint_folder(name), parse_dtype(dtype)
    with staged(out, force) as stage:
        from polymnia.model.gguf import export_gguf

        digest = export_gguf(folder, stage, folder.resolve().name, kind)
        files = sizes(stage)
    report(out, files, digest, json)
    return 0


@contextmanager
def staged(out: Path, force: bool, stale: str | None = None) -> Iterator[Path]:
    """A new folder to write into, whose files move to `out` in the end; on any error it goes and `out` stays.

    It lies in `out` where that exists (which may be a disk of its own), else beside it.

    `stale`: a pattern of files in `out` that would mix with the new ones and go when these come.
    Raises InputError when `out` cannot be a folder, or holds files and `force` is not set.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder to write into")
    if not force and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: name another folder, or --force replaces files in it")
    stage = (out if out.exists() else out.parent) / f".{out.name}.{os.getpid()}.part"
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError('exporting needs the extra "local": pip install "polymnia[local]"') from None
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror}): name another folder") from None
    try:
        yield stage
        _move(stage, out, stale)
    except OSError as error:
        raise RunError(f"{out} cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move(stage: Path, out: Path, stale: str | None) -> None:
    if stage.parent != out:
        stage.rename(out)
        return
    for old in out.glob(stale) if stale else ():
        if not (stage / old.name).exists():
            old.unlink()
    for file in stage.iterdir():
        os.replace(file, out / file.name)


def sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir())}


def report(out: Path, files: dict[str, int], digest: str, json: bool) -> None:
    if json:
        print_json({"folder": str(out), "files": files, "weights_digest": digest})
        return
    width = max(map(len, files)) + 2
    for name, size in files.items():
        print_text(f"{name:<{width}}{size:>13,} bytes")
    print_text(f"written to {out}, weights {digest}")


def parse_dtype(text: str) -> str:
    if text not in _DTYPES:
        raise InputError(f"--dtype {text} is unknown: choose bf16, f16 or f32")
    return _DTYPES[text]


def parse_size(text: str) -> int:
    """Bytes of "5GB", "500MB" or a plain number."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if not found or found[2] not in _UNITS or (size := int(float(found[1]) * _UNITS[found[2]])) < 1:
        raise InputError(f"--max-shard-size {text} is no size: write 5GB, 500MB or a number of bytes")
    return size
