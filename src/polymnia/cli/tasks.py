"""`polymnia tasks`: what the model is trained and tested on, as files and JSON lines."""

import json as json_format
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from polymnia.cli.options import Debug, Json
from polymnia.cli.output import print_json, print_text
from polymnia.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from polymnia.data.chat import Message
    from polymnia.tasks import Problem

app = typer.Typer(
    help="Problems with exact answers: list the families, draw samples, score answers.",
    rich_markup_mode=None,
)


@app.command("list")
def list_families(
    gym: Annotated[bool, typer.Option("--gym", help="Those of reasoning-gym instead (extra [gym]).")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Name the families of problems."""
    from polymnia.tasks import FAMILIES
    from polymnia.tasks.gym import PREFIX, dataset_names, gym_family

    for family in [gym_family(PREFIX + name) for name in dataset_names()] if gym else FAMILIES.values():
        if json:
            about = {"visual": family.visual, "tiers": family.tiers, "summary": family.summary}
            print_json({"family": family.name, **about})
        else:
            print_text(f"{family.name:<11} {family.summary}\n{'':<12}tiers from 0 up: {family.tiers}")
    return 0


@app.command()
def sample(
    family: Annotated[str, typer.Option(help="One of those that `polymnia tasks list` names.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for what is made; made if it is not there.")],
    tier: Annotated[int, typer.Option(help="Difficulty, from 0 up.")] = 0,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    n: Annotated[int, typer.Option("--n", help="How many.")] = 1,
    seed: Annotated[int, typer.Option(help="Another seed, other problems.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Draw problems: pictures, problems.jsonl and a contact sheet (sheet.html) go to a folder."""
    from polymnia.cli.sheet import sheet
    from polymnia.tasks import family_named
    from polymnia.tasks import sample as draw

    if n < 1:
        raise InputError(f"--n {n} asks for nothing: give a number from 1 up")
    chosen = family_named(family)
    _make_folder(out)
    problems = []
    for index in range(n):
        problems.append(_plain_problem(draw(chosen, tier=tier, split=split, seed=seed, index=index), out))
        _show(problems[-1], json)
    _write(out / "problems.jsonl", "".join(json_format.dumps(one) + "\n" for one in problems))
    _write(out / "sheet.html", sheet(problems, f"{family}, tier {tier}, {split} split"))
    if not json:
        print_text(f"contact sheet: {(out / 'sheet.html').resolve()}")
    return 0


@app.command()
def score(
    answers: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="JSON lines with id and answer. [default: stdin]")
    ] = None,
    json: Json = True,
    debug: Debug = False,
) -> int:
    """Check answers: prints each line with `correct` added, and the count on stderr."""
    from polymnia.tasks import problem_from_id, verify

    right = count = 0
    for given in _lines(answers):
        correct = verify(problem_from_id(given["id"]), given["answer"])
        print_json({**given, "correct": correct})
        right, count = right + correct, count + 1
    typer.echo(f"{right} of {count} correct", err=True)
    return 0


def _plain_problem(problem: "Problem", out: Path) -> dict[str, Any]:
    """The problem as JSON, its pictures saved in the folder."""
    name = problem.id.replace("/", "-").replace(":", "-")
    return {
        "id": problem.id,
        "family": problem.family.name,
        "tier": problem.tier,
        "question": problem.question,
        "images": [_save(image, out, f"{name}-{place}.png") for place, image in enumerate(problem.images)],
        "answer": problem.answer,
        "trace": _trace(problem, out, name),
    }


def _show(problem: dict[str, Any], json: bool) -> None:
    if json:
        print_json(problem)
        return
    lines = [problem["id"], *(f"  picture   {path}" for path in problem["images"])]
    lines += [f"  question  {problem['question']}", f"  answer    {problem['answer']}"]
    print_text("\n".join(lines))


def _trace(problem: "Problem", out: Path, name: str) -> list[dict[str, Any]]:
    """What an assistant that solves the problem would write, its tools' pictures saved beside the problem's."""
    from polymnia.tasks import Style

    style = Style(images_before=len(problem.images))
    trace = problem.solve(style, random.Random(problem.id))
    return [_plain(one, out, f"{name}-step{position}") for position, one in enumerate(trace.messages)]


def _plain(one: "Message", out: Path, name: str) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": one.role, "content": one.text}
    if one.images:
        plain["images"] = [_save(image, out, f"{name}-{place}.png") for place, image in enumerate(one.images)]
    if one.reasoning:
        plain["reasoning"] = one.reasoning
    if one.tool_calls:
        plain["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in one.tool_calls]
    return plain if one.role != "tool" else {**plain, "name": one.name}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder} cannot be made ({error.strerror}): name another folder") from None


def _save(image: "Image.Image", folder: Path, name: str) -> str:
    path = (folder / name).resolve()
    try:
        image.save(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name another folder with --out") from None
    return str(path)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name another folder with --out") from None


def _lines(path: Path | None) -> Iterator[dict[str, Any]]:
    if path is None:
        yield from _parsed(sys.stdin, "stdin")
        return
    try:
        with path.open(encoding="utf-8") as lines:
            yield from _parsed(lines, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a file of JSON lines") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: name a file of JSON lines") from None


def _parsed(lines: TextIO, source: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = json_format.loads(line)
        except ValueError:
            given = None
        if not isinstance(given, dict) or not all(isinstance(given.get(key), str) for key in ("id", "answer")):
            raise InputError(f'{source}, line {number}: expected {{"id": "...", "answer": "..."}} with two strings')
        yield given
