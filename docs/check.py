"""Documents that a command prints are printed again and compared; `--write` updates them instead.

Covered: `docs/cli.md` (the command line's own help), in `README.md` the file tree (annotated with each
package's docstring) and the means of nano's pass rates, in `docs/tasks.md` the families and the whole table (from
benchmarks/results/nano.json, whose weights must be those in the package), and every relative link in the Markdown
files. Not covered: other figures; each
stands in the documents beside the command that prints it.
"""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "polymnia"
MANUAL = ROOT / "docs" / "cli.md"
README = ROOT / "README.md"
TASKS = ROOT / "docs" / "tasks.md"
TREE = re.compile(r"(<!-- tree -->\n```\n).*?(```\n<!-- /tree -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- table -->\n).*?(<!-- /table -->)", re.DOTALL)
FAMILIES_BLOCK = re.compile(r"(<!-- families -->\n).*?(<!-- /families -->)", re.DOTALL)
RESULTS = ROOT / "benchmarks" / "results" / "nano.json"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#]+)[^)]*\)")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)

FOLDERS = {
    "recipes": "one file a training run",
    "benchmarks": "one script a measured claim; prints a table, writes JSON",
    "examples": "what `make run` starts",
    "tests": "mirrors src/polymnia",
    "docs": "architecture, log of what was tried, manual of the command line",
}


def tracked() -> list[Path]:
    """The repository's files, those not yet committed included, ignored ones not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(Path(name) for name in listing.split("\0") if name and (ROOT / name).exists())


def summary(init: Path) -> str:
    """The first line of a package's docstring; a package without one is stale by definition."""
    docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{init.relative_to(ROOT)} has no docstring: the README's tree shows its first line")
    return docstring.splitlines()[0].rstrip(".")


def file_tree(files: list[Path]) -> str:
    """`src/polymnia`'s packages, then the other folders, one annotated line each."""
    packages = {path.parts[2] for path in files if path.parts[:2] == ("src", "polymnia") and len(path.parts) > 3}
    folders = {path.parts[0] for path in files if len(path.parts) > 1 and not path.parts[0].startswith(".")} - {"src"}
    unknown = folders - set(FOLDERS)
    if unknown:
        raise SystemExit(f"folders without a line in docs/check.py's FOLDERS: {', '.join(sorted(unknown))}")
    rows = [("src/polymnia/", "")]
    for name in sorted(packages):
        init = PACKAGE / name / "__init__.py"
        rows.append((f"  {name}/", summary(init) if init.exists() else "the shipped model: weights, tokenizer, card"))
    rows += [(f"{name}/", note) for name, note in FOLDERS.items() if name in folders]
    width = max(len(name) for name, _ in rows) + 2
    return "".join(f"{name:<{width}}{note}".rstrip() + "\n" for name, note in rows)


def manual() -> str:
    """The command line's help as Markdown, as typer prints it."""
    command = [sys.executable, "-m", "typer", "polymnia.cli.main", "utils", "docs", "--name", "polymnia"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "COLUMNS": "100"}
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    if printed.returncode != 0:
        raise SystemExit(f"the command line does not print its help:\n{printed.stderr}")
    return printed.stdout.rstrip() + "\n"


def families() -> str:
    """The task families, as `polymnia tasks list` names them."""
    from polymnia.tasks import FAMILIES

    rows = ["| family | what is asked | what grows with the tier |", "|---|---|---|"]
    for pictures in (True, False):
        rows += [
            f"| `{one.name}`{'' if pictures else ' (text)'} | {one.summary} | {one.tiers} |"
            for one in FAMILIES.values()
            if one.visual == pictures
        ]
    return "\n".join(rows) + "\n"


def nano_tables() -> tuple[str, str]:
    """The means and the whole table, from the benchmark's last results; they must be of the weights in the package."""
    from polymnia.model.digest import folder_digest

    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    if found["weights"] != folder_digest(PACKAGE / "nano"):
        raise SystemExit(f"{RESULTS.relative_to(ROOT)} is of other weights: run benchmarks/nano.py again")
    spec = importlib.util.spec_from_file_location("benchmarks_nano", ROOT / "benchmarks" / "nano.py")
    if spec is None or spec.loader is None:
        raise SystemExit("benchmarks/nano.py cannot be loaded")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    means: str = benchmark.summary(found["rows"], found["samples"])
    whole: str = benchmark.table(found["rows"], found["samples"])
    return means + "\n", whole + "\n"


def dead_links(files: list[Path]) -> list[str]:
    dead = []
    for path in (file for file in files if file.suffix == ".md"):
        text = COMMENT.sub("", (ROOT / path).read_text(encoding="utf-8"))
        for target in LINK.findall(text):
            if "://" not in target and not (ROOT / path.parent / target.strip()).exists():
                dead.append(f"{path}: link to {target}, which is not there")
    return dead


def main() -> int:
    files = tracked()
    readme = README.read_text(encoding="utf-8")
    if not TREE.search(readme):
        raise SystemExit("README.md has no <!-- tree --> block")
    tree, (means, table) = file_tree(files), nano_tables()
    readme = TREE.sub(lambda block: block[1] + tree + block[2], readme)
    readme = TABLE.sub(lambda block: block[1] + means + block[2], readme)
    tasks = FAMILIES_BLOCK.sub(lambda block: block[1] + families() + block[2], TASKS.read_text(encoding="utf-8"))
    tasks = TABLE.sub(lambda block: block[1] + table + block[2], tasks)
    printed = {MANUAL: manual(), README: readme, TASKS: tasks}
    stale = []
    for path, text in printed.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--write" in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
        else:
            stale.append(f"{path.relative_to(ROOT)} is stale: run `make docs`")
    stale += dead_links(files)
    print("\n".join(stale) or "documents are fresh")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
