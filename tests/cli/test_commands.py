"""`tasks`, `train` and `serve`."""

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agents.endpoint import serving
from polymnia.cli.main import run
from polymnia.tasks import FAMILIES, problem_from_id, verify


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_families(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "list", "--json"]) == 0
    listed = json_lines(capsys.readouterr().out)
    assert [one["family"] for one in listed] == list(FAMILIES)
    assert all(set(one) == {"family", "visual", "tiers", "summary"} for one in listed)
    assert run(["tasks", "list"]) == 0
    assert all(name in capsys.readouterr().out for name in list(FAMILIES)[:1])


@pytest.mark.parametrize("family", list(FAMILIES))
def test_samples_come_with_pictures_truth_and_trace_and_score(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "new" / "folder")
    command = ["tasks", "sample", "--family", family, "--n", "2", "--seed", "5", "--out", out, "--json"]
    assert run(command) == 0
    problems = json_lines(capsys.readouterr().out)
    assert [one["id"] for one in problems] == [f"{family}/test/0/5/{index}" for index in range(2)]
    for one in problems:
        assert set(one) == {"id", "family", "tier", "question", "images", "answer", "trace"}
        assert verify(problem_from_id(one["id"]), one["trace"][-1]["content"])
        pictures = one["images"] + [path for turn in one["trace"] for path in turn.get("images", [])]
        for path in pictures:
            assert Path(path).is_absolute()
            Image.open(path).verify()
    folder = Path(out)
    assert json_lines((folder / "problems.jsonl").read_text(encoding="utf-8")) == problems
    page = (folder / "sheet.html").read_text(encoding="utf-8")
    assert all(one["id"] in page and f'src="{Path(path).name}"' in page for one in problems for path in one["images"])
    assert run(command) == 0
    assert json_lines(capsys.readouterr().out) == problems

    right, wrong = {"id": problems[0]["id"], "answer": problems[0]["answer"]}, {"id": problems[1]["id"], "answer": "?"}
    answers = tmp_path / "answers.jsonl"
    answers.write_text(f"{json.dumps(right)}\n\n{json.dumps(wrong)}\n", encoding="utf-8")
    assert run(["tasks", "score", str(answers)]) == 0
    printed = capsys.readouterr()
    assert json_lines(printed.out) == [{**right, "correct": True}, {**wrong, "correct": False}]
    assert printed.err == "1 of 2 correct\n"
    monkeypatch.setattr("sys.stdin", StringIO(json.dumps(right)))
    assert run(["tasks", "score"]) == 0
    assert json_lines(capsys.readouterr().out) == [{**right, "correct": True}]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tasks"], "Missing command"),
        (["tasks", "sample", "--family", "count"], "'--out'"),
        (["tasks", "sample", "--family", "nope", "--out", "{tmp}"], "unknown task family 'nope'"),
        (["tasks", "sample", "--family", "count", "--out", "{tmp}", "--n", "0"], "--n 0 asks for nothing"),
        (["tasks", "sample", "--family", "count", "--out", "{tmp}", "--tier", "-1"], "tier -1 is out of range"),
        (["tasks", "sample", "--family", "count", "--out", "{tmp}", "--split", "x"], "unknown split 'x'"),
        (["tasks", "sample", "--family", "count", "--out", "/proc/x"], "--out /proc/x cannot be made"),
        (["tasks", "score", "/nowhere.jsonl"], "/nowhere.jsonl cannot be read"),
        (["tasks", "score", "{tmp}/broken.jsonl"], "broken.jsonl, line 2: expected"),
        (["tasks", "score", "{tmp}/foreign.jsonl"], "is no problem id"),
        (["train", "nowhere.py"], "there is no recipe nowhere.py"),
        (["serve", "--port", "70000"], "'--port'"),
        (["serve", "--model", "gpt-17"], "unknown model 'gpt-17'"),
        (["dance"], "dance"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = '{"id": "count/test/0/0/0", "answer": "1"}'
    (tmp_path / "broken.jsonl").write_text(f"{good}\n[1]\n", encoding="utf-8")
    (tmp_path / "foreign.jsonl").write_text('{"id": "x", "answer": "1"}', encoding="utf-8")
    assert run([one.format(tmp=tmp_path) for one in arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert part in err


def test_train_runs_a_recipe_with_its_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text("import sys\nprint(sys.argv[1:])\nsys.exit(3 if '--fail' in sys.argv else None)\n", "utf-8")
    assert run(["train", str(recipe), "--resume", "--minutes", "5"]) == 0
    assert capsys.readouterr().out == "['--resume', '--minutes', '5']\n"
    assert run(["train", str(recipe), "--fail"]) == 3


def test_a_recipe_may_start_worker_processes(tmp_path: Path) -> None:
    # They import the main module again: an unguarded one would start the training in each of them.
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "import math, multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(math.isqrt, [49]))\n",
        "utf-8",
    )
    command = [sys.executable, "-m", "polymnia", "train", str(recipe)]
    environment = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("[7]\n", 0), done.stderr


def test_nothing_at_all_is_a_cry_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: polymnia" in capsys.readouterr().out


def test_serve_takes_a_free_port_says_which_and_ends_with_ctrl_c() -> None:
    with serving() as endpoint:
        process = subprocess.Popen(
            [sys.executable, "-m", "polymnia", "serve", "--port", "0", "--model", f"{endpoint.url}#m"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": "src"},
        )
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        asked = subprocess.run(
            [sys.executable, "-m", "polymnia", "ask", "How many?", "--model", f"{address}#m", "--mode", "thinking"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": "src"},
            timeout=60,
            check=False,
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (asked.returncode, asked.stdout) == (0, "7\n"), asked.stderr
    assert process.returncode == 0
    assert err == ""
