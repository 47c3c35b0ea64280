"""The benchmark beside transformers, on a tiny network: both sides run, agree and are measured."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


def load() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "model.py"
    spec = importlib.util.spec_from_file_location("benchmarks_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


model = load()


@pytest.mark.slow
def test_both_sides_of_every_kind_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "model.json"
    arguments = ["--sizes", "tiny", "--precisions", "bf16", "--modes", "eager", "--threads", "1", "--seconds", "0"]
    monkeypatch.setattr(sys, "argv", ["model.py", *arguments, "--out", str(out)])
    model.main()
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["work"] for row in rows] == list(model.WORKS)
    for row in rows:
        assert row["ours"]["seconds"] > 0
        assert row["ours"]["peak_bytes"] >= 0
        assert row["interval"][0] <= row["ratio"] <= row["interval"][1]
        assert row["outcomes"]["ours"] == pytest.approx(row["outcomes"]["transformers"], rel=0.03, abs=0.03)
    printed = capsys.readouterr().out
    assert printed.count("| tiny | bf16 | eager |") == len(rows)


def test_packed_rows_are_full_of_whole_documents() -> None:
    size = model.SIZES["4M"]
    packed = model.batch(model.Cell("4M", "fp32", False, "packed"))
    assert packed.tokens == size.rows * size.row_tokens
    lengths = [int(count) for row in packed.document_ids for count in torch.bincount(row)]
    assert min(lengths) >= model.DOCUMENT_TOKENS[0]
    assert max(lengths) < sum(model.DOCUMENT_TOKENS)
    assert len(packed.targets) == pytest.approx(model.TRAINED * packed.tokens, rel=0.01)
    whole = model.batch(model.Cell("4M", "fp32", False, "whole"))
    assert whole.document_ids.max() == 0
    assert len(whole.targets) == whole.tokens - size.rows


def test_masks_by_hand() -> None:
    masks = model.masks(torch.tensor([[0, 0, 0, 1]]), window=2)
    assert masks["full_attention"][0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    assert masks["sliding_attention"][0, 0, 2].int().tolist() == [0, 1, 1, 0]


def test_the_interval_of_a_median() -> None:
    low, high = model.bootstrap([1.0] * 9 + [100.0])
    assert (low, high) == (1.0, 1.0)
    low, high = model.bootstrap([1.0, 2.0, 3.0])
    assert (low, high) == (1.0, 3.0)


def test_sizes_are_what_they_are_called() -> None:
    for name in ("4M", "60M", "300M"):
        total = model.parameters(model.SIZES[name].config()).total
        assert total == pytest.approx(int(name[:-1]) * 1e6, rel=0.15)


def test_different_outcomes_end_the_comparison() -> None:
    cell = model.Cell("tiny", "fp32", False, "packed")
    model._compare(cell, {"ours": [4.1], "transformers": [4.1001]})
    with pytest.raises(SystemExit, match="differ"):
        model._compare(cell, {"ours": [4.1], "transformers": [4.2]})
