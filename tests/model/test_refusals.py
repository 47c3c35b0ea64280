"""A folder that cannot be used is refused with one line: which file, which tensor, what to do."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.tiny import TINY, TINY_SPARK, tiny_model
from polymnia.errors import InputError
from polymnia.model.checkpoint import load_checkpoint, save_checkpoint
from polymnia.model.config import MuseConfig
from polymnia.model.digest import folder_digest

Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEAD = "lm_head.weight"
QUERY = "model.language_model.layers.1.self_attn.q_proj.weight"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    line = str(caught.value)
    assert "\n" not in line
    assert ": " in line, "no remedy"
    return line


# ---- what can be done to a folder


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS)

    return damage


def put(name: str, number: float) -> Damage:
    """Writes one number into the middle of a tensor."""

    def change(state: dict[str, torch.Tensor]) -> None:
        state[name].flatten()[state[name].numel() // 2] = number

    return change_tensors(change)


def cast(name: str, dtype: torch.dtype) -> Damage:
    return change_tensors(lambda state: state.update({name: state[name].to(dtype)}))


def cut(share: float) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[: int(share * len(data))])

    return damage


def overwrite(name: str, data: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(data)


def rename(name: str, new: str) -> Damage:
    return lambda folder: (folder / name).rename(folder / new)


def change_header(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header)
        written = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(len(written).to_bytes(8, "little") + written + data[8 + size :])

    return damage


def change_index(change: Callable[[dict[str, str]], object]) -> Damage:
    def damage(folder: Path) -> None:
        save_checkpoint(tiny_model(), folder, max_shard_bytes=100_000)
        index = json.loads((folder / INDEX).read_text())
        change(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index))

    return damage


def lose_a_shard(folder: Path) -> None:
    save_checkpoint(tiny_model(), folder, max_shard_bytes=100_000)
    sorted(folder.glob("*.safetensors"))[1].unlink()


def write_one_tensor_twice(folder: Path) -> None:
    for name in ("a", "b"):
        save_file({HEAD: torch.zeros(97, 48)}, folder / f"{name}.safetensors")
    where = {HEAD: "a.safetensors", "x": "b.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))


def leave_a_pickle(name: str) -> Damage:
    def damage(folder: Path) -> None:
        torch.save({HEAD: torch.zeros(1)}, folder / name)
        (folder / WEIGHTS).unlink()

    return damage


def change_config(section: str | None, key: str, value: Any) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (config[section] if section else config)[key] = value
        (folder / "config.json").write_text(json.dumps(config))

    return damage


NAN, INFINITE = float("nan"), float("inf")
WEIGHT_CASES: dict[str, tuple[Damage, str]] = {
    "another shape": (
        change_tensors(lambda state: state.update({HEAD: state[HEAD][:4].clone()})),
        rf"{WEIGHTS}: tensor {HEAD} is \(4, 48\), config.json asks for \(97, 48\): .*copy both from one",
    ),
    "a tensor missing": (
        change_tensors(lambda state: state.pop(HEAD)),
        rf"config.json asks for tensor {HEAD}, which no file of weights holds \(1 missing in all\): .*copy both",
    ),
    "a tensor too many": (
        change_tensors(lambda state: state.update({"lm_head.bias": torch.zeros(97)})),
        rf"{WEIGHTS} holds tensor lm_head.bias, which config.json does not ask for \(1 too many in all\): .*copy both",
    ),
    "NaN": (put(QUERY, NAN), rf"{WEIGHTS}: tensor {QUERY} holds NaN or Inf: take an earlier checkpoint"),
    "Inf": (put(QUERY, -INFINITE), rf"{WEIGHTS}: tensor {QUERY} holds NaN or Inf: take an earlier checkpoint"),
    "another dtype": (cast(QUERY, torch.int8), rf"{WEIGHTS} holds tensor {QUERY} as I8, not as .*: take unquantised"),
    "fp8": (cast(QUERY, torch.float8_e4m3fn), rf"{WEIGHTS} holds tensor {QUERY} as F8_E4M3, not .*: take unquantised"),
    "cut in the header": (cut(0.005), rf"{WEIGHTS} is cut short in its header \(.* bytes\): copy it again"),
    "cut in a tensor": (cut(0.5), rf"{WEIGHTS} is cut short in tensor model\.\S+ \(.* bytes\): copy it again"),
    "cut at the end": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1]),
        rf"{WEIGHTS} is cut short in tensor model\.\S+ ",
    ),
    "more than there should be": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"1234"),
        rf"{WEIGHTS} is not whole \(.*\): copy it again",
    ),
    "nothing in it": (overwrite(WEIGHTS, b""), rf"{WEIGHTS} is no safetensors file: copy it again"),
    "a web page": (overwrite(WEIGHTS, b"<!DOCTYPE html><html>404"), rf"{WEIGHTS} is no safetensors file: copy it"),
    "a header of garbage": (overwrite(WEIGHTS, b"\x04\0\0\0\0\0\0\0\xff\xfe{{"), "a header that is not JSON: copy it"),
    "a header that is a list": (overwrite(WEIGHTS, b"\x02\0\0\0\0\0\0\0[]"), "a header that is no JSON object: copy"),
    "no dtype": (
        change_header(lambda header: header[QUERY].pop("dtype")),
        f"describes tensor {QUERY} in a way .*: copy",
    ),
    "a negative side": (
        change_header(lambda header: header[QUERY].update(shape=[-48, 48])),
        f"describes tensor {QUERY} in a way that safetensors does not: copy",
    ),
    "a shape that does not fit its bytes": (
        change_header(lambda header: header[QUERY].update(shape=[48, 47])),
        rf"gives tensor {QUERY} 9216 bytes, its shape \[48, 47\] in F32 needs others: copy",
    ),
    "an offset beyond the file": (
        change_header(lambda header: header[QUERY].update(data_offsets=[10**9, 10**9 + 9216])),
        rf"{WEIGHTS} is cut short in tensor {QUERY} ",
    ),
    "a shard missing": (
        lose_a_shard,
        r"index.json names file model-00002-of-\d+.safetensors .* missing: copy that file",
    ),
    "an index that names an absent file": (
        change_index(lambda where: where.update({HEAD: "other.safetensors"})),
        rf"index.json names file other.safetensors for tensor {HEAD}, which is missing: copy that file",
    ),
    "an index that names an absent tensor": (
        change_index(lambda where: where.update({"lm_head.bias": where[HEAD]})),
        r"index.json names tensor lm_head.bias in model-\S+.safetensors, which does not hold it: copy",
    ),
    "an index that points elsewhere": (
        change_index(lambda where: where.update({HEAD: "../other.safetensors"})),
        rf"index.json names file '../other.safetensors' for tensor {HEAD}, no safetensors file beside it: export",
    ),
    "an index that is empty": (overwrite(INDEX, b"{}"), "index.json holds no weight_map of tensors to files: copy"),
    "an index that is not JSON": (overwrite(INDEX, b"{,"), r"index.json is not JSON \(.*\): export the model again"),
    "a tensor twice": (
        write_one_tensor_twice,
        rf"b.safetensors holds tensor {HEAD}, and so does a.safetensors: export the model again",
    ),
    "pytorch_model.bin": (leave_a_pickle("pytorch_model.bin"), r"model.bin is a pickle, .*: load it in transformers"),
    "state.pt": (leave_a_pickle("state.pt"), r"state.pt is a pickle, .*: load it in transformers"),
    "no weights": (
        lambda folder: (folder / WEIGHTS).unlink(),
        rf"holds no {WEIGHTS} and no {INDEX}: name a checkpoint",
    ),
}


@pytest.mark.parametrize("case", WEIGHT_CASES)
def test_broken_weights(case: str, tmp_path: Path) -> None:
    damage, expected = WEIGHT_CASES[case]
    save_checkpoint(tiny_model(), tmp_path)
    load_checkpoint(tmp_path)
    damage(tmp_path)
    line = refusal(tmp_path)
    assert re.search(expected, line), line
    assert str(tmp_path) in line


CONFIG_CASES: list[tuple[str | None, str, Any, str]] = [
    (None, "model_type", "llama", "model_type is 'llama', .* only 'muse_glimmer' and 'muse_spark': name another"),
    (None, "model_type", None, "model_type is None"),
    (None, "model_type", ["muse_glimmer"], "model_type is \\['muse_glimmer'\\]"),
    (None, "out_hidden_size", 99, "out_hidden_size is 99, it must be 128, the tower's width"),
    (None, "text_config", "muse", "text_config is 'muse', it must be an object: correct it"),
    (None, "text_config", [1], r"text_config is \[1\], it must be an object"),
    (None, "tie_word_embeddings", True, "tie_word_embeddings is True, .* only False"),
    (None, "quantization_config", {"bits": 4}, "quantization_config is"),
    (None, "image_token_id", -1, "image_token_id is -1, it must be 0 or a positive number"),
    ("text_config", "tie_word_embeddings", True, "text_config.tie_word_embeddings is True"),
    ("text_config", "hidden_activation", "gelu", "text_config.hidden_activation is 'gelu', .* only 'silu'"),
    ("text_config", "rope_parameters", {"rope_type": "yarn"}, "text_config.rope_parameters.rope_type is 'yarn'"),
    ("text_config", "rope_parameters", "yarn", "rope_parameters is 'yarn', it must be an object"),
    ("text_config", "rope_parameters", {"rope_theta": "big"}, "rope_theta is 'big', it must be a positive number"),
    ("text_config", "layer_rope_theta", [5, 5, 5, 5], r"layer_rope_theta is \[5, 5, 5, 5\]"),
    ("text_config", "layer_rope_theta", 5, "layer_rope_theta is 5"),
    ("text_config", "layer_types", ["full_attention"], r"layer_types is \['full_attention'\], it must be 4 entries"),
    ("text_config", "layer_types", ["a", "b", "c", "d"], "layer_types is .*, it must be 4 entries out of"),
    ("text_config", "layer_types", "full_attention", "layer_types is 'full_attention', it must be a list of strings"),
    ("text_config", "hidden_size", "48", "text_config.hidden_size is '48', it must be an integer"),
    ("text_config", "hidden_size", -48, "text_config.hidden_size is -48, it must be a positive number"),
    ("text_config", "hidden_size", 0, "text_config.hidden_size is 0, it must be a positive number"),
    ("text_config", "hidden_size", 48.5, "text_config.hidden_size is 48.5, it must be an integer"),
    ("text_config", "hidden_size", True, "text_config.hidden_size is True, it must be an integer"),
    ("text_config", "hidden_size", None, "text_config.hidden_size is None, it must be an integer"),
    ("text_config", "hidden_size", [48], r"text_config.hidden_size is \[48\], it must be an integer"),
    ("text_config", "hidden_size", 50, "text_config.hidden_size is 50, it must be a multiple"),
    ("text_config", "hidden_size", 52, r"tensor \S+ is \(.*\), config.json asks for \(.*\): .*copy both"),
    ("text_config", "num_key_value_heads", 3, "num_key_value_heads is 3, it must be a divisor"),
    ("text_config", "head_dim", 13, "head_dim is 13, it must be an even number"),
    ("text_config", "rms_norm_eps", "1e-5", "rms_norm_eps is '1e-5', it must be a number"),
    ("text_config", "rms_norm_eps", 10**400, "rms_norm_eps is 100000.*, it must be a number"),
    ("text_config", "rms_norm_eps", NAN, "rms_norm_eps is nan, it must be a number"),
    ("text_config", "final_logit_softcapping", 0.0, "final_logit_softcapping is 0.0, it must be a positive number"),
    ("text_config", "eos_token_id", "x", "eos_token_id is 'x', it must be an integer or a list of integers or null"),
    ("text_config", "num_hidden_layers", 10**9, "num_hidden_layers is 1000000000, it must be at most"),
    ("text_config", "vocab_size", 10**15, r"tensor \S+ is \(97, 48\), config.json asks for \(1000000000000000, 48\)"),
    ("text_config", "vocab_size", 10**18, r"config.json asks for impossible sizes \(.*\): export"),
    ("vision_config", "pos_emb_width", 4, "vision_config.pos_emb_width is 4, .* only a square"),
    ("vision_config", "hidden_size", 30, "vision_config.hidden_size is 30, it must be a multiple of 4"),
    ("vision_config", "num_hidden_layers", -1, "vision_config.num_hidden_layers is -1, it must be 0 or a positive"),
]


@pytest.mark.parametrize(("section", "key", "value", "expected"), CONFIG_CASES)
def test_a_config_that_cannot_be(section: str | None, key: str, value: Any, expected: str, tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    change_config(section, key, value)(tmp_path)
    line = refusal(tmp_path)
    assert re.search(expected, line), line
    assert str(tmp_path / "config.json") in line or "safetensors" in line


SPARK_CASES: list[tuple[str | None, str, Any, str]] = [
    ("text_config", "hidden_act", "gelu", "text_config.hidden_act is 'gelu'"),
    ("text_config", "mlp_layer_types", ["sparse"], "mlp_layer_types is .*, it must be 4 entries"),
    ("text_config", "num_experts_per_tok", 7, "num_experts_per_tok is 7, it must be at most num_local_experts"),
    ("text_config", "num_local_experts", 0, "num_local_experts is 0, it must be a positive number"),
    ("text_config", "num_local_experts", 7, r"tensor \S+mlp\.\S+ is \(6.*\), config.json asks for \(7"),
    ("text_config", "model_type", "muse_glimmer_text", "model_type is 'muse_glimmer_text', .* only 'muse_spark_text'"),
    ("audio_config", "depths", [1], r"audio_config.depths is \[1\], it must be as many"),
    ("audio_config", "num_hidden_layers", 3, "audio_config.num_hidden_layers is 3"),
    ("audio_config", "out_hidden_size", 40, "audio_config.out_hidden_size is 40, it must be the decoder's"),
    (None, "model_type", "muse_glimmer", "text_config.model_type is 'muse_spark_text'"),
]


@pytest.mark.parametrize(("section", "key", "value", "expected"), SPARK_CASES)
def test_a_spark_config_that_cannot_be(
    section: str | None, key: str, value: Any, expected: str, tmp_path: Path
) -> None:
    save_checkpoint(tiny_model(TINY_SPARK), tmp_path)
    change_config(section, key, value)(tmp_path)
    assert re.search(expected, line := refusal(tmp_path)), line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", r"config.json is not JSON \(.*\): export"),
        (b"{'model_type': 1}", r"config.json is not JSON \(.*\): export"),
        (b"\xff\xfe\x00", r"config.json is not JSON \(.*\): export"),
        (b"[" * 100_000, r"config.json is not JSON \(.*\): export"),
        (b"[]", "config.json holds no JSON object: export"),
        (b"null", "config.json holds no JSON object: export"),
        (b"{}", "model_type is None"),
    ],
)
def test_config_json_that_is_none(data: bytes, expected: str, tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    overwrite("config.json", data)(tmp_path)
    assert re.search(expected, line := refusal(tmp_path)), line


def test_what_is_no_checkpoint_folder(tmp_path: Path) -> None:
    assert re.search(r"holds no config.json: name a checkpoint folder", refusal(tmp_path))
    assert re.search(r"absent does not exist: name a checkpoint folder", refusal(tmp_path / "absent"))
    (tmp_path / "file").write_text("x")
    assert re.search(r"file is a file: name the checkpoint folder", refusal(tmp_path / "file"))


def test_a_spark_without_a_part_of_its_audio_tower_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tiny_model(TINY_SPARK), tmp_path)
    change_tensors(lambda state: state.pop("model.audio_tower.proj.bias"))(tmp_path)
    assert "asks for tensor model.audio_tower.proj.bias" in refusal(tmp_path)


def test_the_digest_refuses_a_broken_folder_too(tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    cut(0.5)(tmp_path)
    with pytest.raises(InputError, match="cut short in tensor"):
        folder_digest(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_what_may_not_be_read(name: str, tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    (tmp_path / name).chmod(0)
    assert f"{name} cannot be read (Permission denied): check its permissions" in refusal(tmp_path)


def test_large_values_are_finite(tmp_path: Path) -> None:
    """Whose sum is not."""
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(3e38)
    save_checkpoint(model, tmp_path)
    assert load_checkpoint(tmp_path).lm_head.weight[0, 0] == torch.tensor(3e38)


def test_a_config_made_in_python_is_checked_as_well() -> None:
    with pytest.raises(InputError, match="audio_config is"):
        MuseConfig(TINY.text_config, TINY.vision_config, out_hidden_size=128, audio_config=TINY_SPARK.audio_config)
