"""The shape of a Muse Glimmer network, read from and written to a Hugging Face `config.json`.

Field names are transformers' (`configuration_muse_glimmer.py`, 5.23), so a config travels unchanged.
What this implementation does not compute (tied embeddings, biased text layers, dropout, other
activations or RoPE variants) is refused here rather than ignored. Imports without torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from polymnia.errors import InputError

FULL = "full_attention"
SLIDING = "sliding_attention"
WINDOW = "window_attention"
DEFAULT_ROPE_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The vision tower. Lengths are in patches, `patch_size` in pixels."""

    patch_size: int = 14
    pos_emb_height: int = 32
    """Side of the learned position grid, and of an attention window."""
    pos_emb_width: int = 32
    num_attention_heads: int = 16
    num_hidden_layers: int = 50
    hidden_size: int = 1536
    intermediate_size: int = 8960
    patch_temporal: int = 2
    """Frames in one patch; a still picture is repeated."""
    merge_size: int = 2
    """`merge_size`² patches become one image token."""
    layer_norm_eps: float = 1e-5
    rope_theta: float = DEFAULT_ROPE_THETA
    layer_types: tuple[str, ...] = ()
    """`window_attention` or `full_attention` a layer; empty = every fourth and the last are full."""

    def __post_init__(self) -> None:
        if not self.layer_types:
            last = self.num_hidden_layers - 1
            kinds = tuple(FULL if i % 4 == 3 or i == last else WINDOW for i in range(self.num_hidden_layers))
            object.__setattr__(self, "layer_types", kinds)
        _check_layer_types("vision_config", self.layer_types, self.num_hidden_layers, {FULL, WINDOW})
        if self.pos_emb_height != self.pos_emb_width:
            _refuse("vision_config.pos_emb_width", self.pos_emb_width, "a square position grid")
        if self.hidden_size % (4 * self.num_attention_heads):
            _refuse("vision_config.hidden_size", self.hidden_size, "a multiple of 4 x num_attention_heads")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def patch_dim(self) -> int:
        """Numbers in one flattened patch: (frame, channel, y, x)."""
        return self.patch_temporal * 3 * self.patch_size**2


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The decoder."""

    vocab_size: int = 202_048
    hidden_size: int = 6656
    intermediate_size: int = 19_968
    num_hidden_layers: int = 52
    num_attention_heads: int = 32
    num_key_value_heads: int = 2
    head_dim: int = 128
    max_position_embeddings: int = 131_072
    """Longest context, in tokens."""
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    post_norm_eps: float = 1e-8
    pad_token_id: int | None = None
    bos_token_id: int | None = 200_000
    eos_token_id: int | tuple[int, ...] | None = 200_001
    sliding_window: int = 2048
    """Tokens that a sliding layer sees, the current one included."""
    final_logit_softcapping: float = 20.0
    qk_scale_factor: float = 3.87
    """On top of 1/sqrt(head_dim), after the weightless norm of Q and K."""
    output_multiplier: float = 0.19611613513818404
    rope_theta: float = DEFAULT_ROPE_THETA
    layer_types: tuple[str, ...] = ()
    """`sliding_attention` or `full_attention` a layer; empty = every fourth, counted back from the last, is full."""
    layer_rope: tuple[bool, ...] = ()
    """Whether a layer rotates Q and K (`layer_rope_theta` in config.json); empty = the sliding default's layers."""

    def __post_init__(self) -> None:
        count = self.num_hidden_layers
        is_fourth = tuple((count - 1 - i) % 4 == 0 for i in range(count))
        if not self.layer_types:
            object.__setattr__(self, "layer_types", tuple(FULL if full else SLIDING for full in is_fourth))
        if not self.layer_rope:
            object.__setattr__(self, "layer_rope", tuple(not full for full in is_fourth))
        _check_layer_types("text_config", self.layer_types, count, {FULL, SLIDING})
        if len(self.layer_rope) != count:
            _refuse("text_config.layer_rope_theta", list(self.layer_rope), f"{count} entries")
        if self.hidden_size % self.num_attention_heads:
            _refuse("text_config.hidden_size", self.hidden_size, "a multiple of num_attention_heads")
        if self.num_attention_heads % self.num_key_value_heads:
            _refuse("text_config.num_key_value_heads", self.num_key_value_heads, "a divisor of num_attention_heads")
        if self.head_dim % 2:
            _refuse("text_config.head_dim", self.head_dim, "an even number")


@dataclass(frozen=True, slots=True)
class MuseGlimmerConfig:
    text_config: TextConfig
    vision_config: VisionConfig
    image_token_id: int = 200_092
    """Placeholder: one a token of image features."""
    video_token_id: int = 200_091
    out_hidden_size: int = 6144
    """Width of the tower's output after the merge: tower width x merge_size²."""
    projector_hidden_size: int = 4096

    def __post_init__(self) -> None:
        merged = self.vision_config.hidden_size * self.vision_config.merge_size**2
        if self.out_hidden_size != merged:
            _refuse("out_hidden_size", self.out_hidden_size, f"{merged}, the tower's width x merge_size²")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "MuseGlimmerConfig":
        """From a parsed config.json. Raises InputError for another architecture or an option not computed here."""
        if config.get("model_type") != "muse_glimmer":
            _refuse("model_type", config.get("model_type"), '"muse_glimmer"')
        text, vision = config.get("text_config") or {}, config.get("vision_config") or {}
        _require(config, "", projector_hidden_act="gelu", tie_word_embeddings=False)
        _require(
            text,
            "text_config.",
            model_type="muse_glimmer_text",
            hidden_activation="silu",
            tie_word_embeddings=False,
            attention_bias=False,
            attention_dropout=0.0,
        )
        _require(vision, "vision_config.", model_type="muse_glimmer_vision", hidden_act="gelu")
        rope = text.get("layer_rope_theta")
        return cls(
            text_config=_build(
                TextConfig,
                text,
                rope_theta=_rope_theta(text, "text_config.", "default"),
                layer_rope=tuple(bool(theta) for theta in rope) if rope else (),
            ),
            vision_config=_build(VisionConfig, vision, rope_theta=_rope_theta(vision, "vision_config.", "axial")),
            **{name: config[name] for name in _TOP_LEVEL if name in config},
        )

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds, apart from the dtype of the weights (`checkpoint` adds it)."""
        text, vision = _listed(asdict(self.text_config)), _listed(asdict(self.vision_config))
        theta, rotated = text.pop("rope_theta"), text.pop("layer_rope")
        text |= {
            "model_type": "muse_glimmer_text",
            "hidden_activation": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
            "layer_rope_theta": [theta if used else 0 for used in rotated],
        }
        vision |= {
            "model_type": "muse_glimmer_vision",
            "hidden_act": "gelu",
            "rope_parameters": {"rope_type": "axial", "rope_theta": vision.pop("rope_theta")},
        }
        return {
            "architectures": ["MuseGlimmerForConditionalGeneration"],
            "model_type": "muse_glimmer",
            "text_config": text,
            "vision_config": vision,
            "projector_hidden_act": "gelu",
            "tie_word_embeddings": False,
        } | {name: getattr(self, name) for name in _TOP_LEVEL}


def load_config(folder: Path | str) -> MuseGlimmerConfig:
    """From a checkpoint folder's config.json. Raises InputError if it is missing, broken or of another kind."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no config.json; name a checkpoint folder.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); export the model again.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object; export the model again.")
    return MuseGlimmerConfig.from_dict(values)


_TOP_LEVEL = ("image_token_id", "video_token_id", "out_hidden_size", "projector_hidden_size")
_Section = TypeVar("_Section", TextConfig, VisionConfig)


def _build(section: type[_Section], values: Mapping[str, Any], **own: Any) -> _Section:
    """The section's fields out of `values`; keys that transformers writes for other purposes are left."""
    names = {field.name for field in fields(section)} - own.keys()
    found: dict[str, Any] = {name: values[name] for name in names if name in values}
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return section(**found, **own)


def _rope_theta(values: Mapping[str, Any], where: str, kind: str) -> float:
    rope = values.get("rope_parameters") or {}
    _require(rope, f"{where}rope_parameters.", rope_type=kind)
    return float(rope.get("rope_theta", DEFAULT_ROPE_THETA))


def _require(values: Mapping[str, Any], where: str, **wanted: Any) -> None:
    for name, value in wanted.items():
        if values.get(name, value) != value:
            _refuse(where + name, values[name], repr(value))


def _check_layer_types(where: str, kinds: tuple[str, ...], count: int, known: set[str]) -> None:
    if len(kinds) != count or not set(kinds) <= known:
        _refuse(f"{where}.layer_types", list(kinds), f"{count} entries out of {sorted(known)}")


def _refuse(key: str, value: object, wanted: str) -> None:
    raise InputError(f"config.json: {key} is {value!r}, but this implementation computes only {wanted}.")


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
