"""The shape of a Muse network, read from and written to a Hugging Face `config.json`.

Two architectures: `muse_glimmer` (dense) and `muse_spark` (mixture of experts); the class of the text
section tells which. Field names are transformers' (5.23), so a config travels unchanged. What this
implementation does not compute (tied embeddings, biased text layers, dropout, other activations or RoPE
variants, quantisation) and values of a wrong type are refused here by name. Imports without torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from polymnia.errors import InputError
from polymnia.model.checks import check_kinds, check_values, fits, invalid, refuse, require
from polymnia.model.files import check_folder, read_object

FULL = "full_attention"
SLIDING = "sliding_attention"
WINDOW = "window_attention"
DENSE = "dense"
SPARSE = "sparse"
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
        check_values(self, "vision_config", may_be_zero={"num_hidden_layers"})
        if not self.layer_types:
            last = self.num_hidden_layers - 1
            kinds = tuple(FULL if i % 4 == 3 or i == last else WINDOW for i in range(self.num_hidden_layers))
            object.__setattr__(self, "layer_types", kinds)
        check_kinds("vision_config.layer_types", self.layer_types, self.num_hidden_layers, {FULL, WINDOW})
        if self.pos_emb_height != self.pos_emb_width:
            refuse("vision_config.pos_emb_width", self.pos_emb_width, "a square position grid")
        if self.hidden_size % (4 * self.num_attention_heads):
            invalid("vision_config.hidden_size", self.hidden_size, "a multiple of 4 x num_attention_heads")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def patch_dim(self) -> int:
        """Numbers in one flattened patch: (frame, channel, y, x)."""
        return self.patch_temporal * 3 * self.patch_size**2


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The decoder: of Muse Glimmer, and what Spark shares with it."""

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
    """On the logits before their cap, and on Spark's router scores."""
    rope_theta: float = DEFAULT_ROPE_THETA
    layer_types: tuple[str, ...] = ()
    """`sliding_attention` or `full_attention` a layer; empty = every fourth, counted back from the last, is full."""
    layer_rope: tuple[bool, ...] = ()
    """Whether a layer rotates Q and K (`layer_rope_theta` in config.json); empty = the sliding default's layers."""

    def __post_init__(self) -> None:
        check_values(self, "text_config")
        count = self.num_hidden_layers
        is_fourth = tuple((count - 1 - i) % 4 == 0 for i in range(count))
        if not self.layer_types:
            object.__setattr__(self, "layer_types", tuple(FULL if full else SLIDING for full in is_fourth))
        if not self.layer_rope:
            object.__setattr__(self, "layer_rope", tuple(not full for full in is_fourth))
        check_kinds("text_config.layer_types", self.layer_types, count, {FULL, SLIDING})
        if len(self.layer_rope) != count:
            invalid("text_config.layer_rope_theta", list(self.layer_rope), f"{count} entries")
        if self.hidden_size % self.num_attention_heads:
            invalid("text_config.hidden_size", self.hidden_size, "a multiple of num_attention_heads")
        if self.num_attention_heads % self.num_key_value_heads:
            invalid("text_config.num_key_value_heads", self.num_key_value_heads, "a divisor of num_attention_heads")
        if self.head_dim % 2:
            invalid("text_config.head_dim", self.head_dim, "an even number")


@dataclass(frozen=True, slots=True)
class SparkTextConfig(TextConfig):
    """The decoder of Muse Spark: its layers hold experts."""

    hidden_size: int = 8192
    intermediate_size: int = 16_384
    """Of dense layers."""
    num_hidden_layers: int = 62
    num_attention_heads: int = 128
    num_key_value_heads: int = 16
    head_dim: int = 64
    max_position_embeddings: int = 1_048_576
    qk_scale_factor: float = 5.4730064863875
    output_multiplier: float = 0.1767766952966369
    rope_theta: float = 500_000.0
    moe_hidden_size: int = 4096
    """Width at which the experts work."""
    moe_intermediate_size: int = 4096
    """Inner width of one expert."""
    num_local_experts: int = 256
    num_experts_per_tok: int = 8
    routed_scaling_factor: float = 1.0
    residual_gate_temperature: float = 0.3
    mlp_layer_types: tuple[str, ...] = ()
    """`sparse` (experts) or `dense` a layer; empty = all sparse."""

    def __post_init__(self) -> None:
        TextConfig.__post_init__(self)
        if not self.mlp_layer_types:
            object.__setattr__(self, "mlp_layer_types", (SPARSE,) * self.num_hidden_layers)
        check_kinds("text_config.mlp_layer_types", self.mlp_layer_types, self.num_hidden_layers, {DENSE, SPARSE})
        if self.num_experts_per_tok > self.num_local_experts:
            invalid("text_config.num_experts_per_tok", self.num_experts_per_tok, "at most num_local_experts")


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """The audio tower of Muse Spark, whose weights are kept but not run (`model.audio`)."""

    patch_sizes: tuple[int, ...] = (16, 6, 5, 4)
    """Samples, then tokens, that each stage joins."""
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks a stage."""
    mlp_ratio: float = 4.0
    conv_kernel_size: int = 7
    out_hidden_size: int = 8192
    """The decoder's width."""
    hidden_act: str = "gelu"
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        check_values(self, "audio_config", may_be_zero={"depths"})
        if not 0 < len(self.patch_sizes) == len(self.hidden_sizes) == len(self.depths):
            invalid("audio_config.depths", list(self.depths), "as many as patch_sizes and hidden_sizes")


def silent_audio(width: int) -> AudioConfig:
    """The smallest tower that a Spark folder can hold: one channel that reads 80 ms at once."""
    return AudioConfig(patch_sizes=(1920,), hidden_sizes=(1,), depths=(0,), out_hidden_size=width)


@dataclass(frozen=True, slots=True)
class MuseConfig:
    text_config: TextConfig
    """A `SparkTextConfig` makes the network a Muse Spark."""
    vision_config: VisionConfig
    image_token_id: int = 200_092
    """Placeholder: one a token of image features."""
    video_token_id: int = 200_091
    out_hidden_size: int = 6144
    """Width of the tower's output after the merge: tower width x merge_size²."""
    projector_hidden_size: int = 4096
    audio_config: AudioConfig | None = None
    """Spark alone has one; by default the silent one."""
    audio_token_id: int = 200_038

    def __post_init__(self) -> None:
        check_values(self, "", may_be_zero={"image_token_id", "video_token_id", "audio_token_id"})
        merged = self.vision_config.hidden_size * self.vision_config.merge_size**2
        if self.out_hidden_size != merged:
            invalid("out_hidden_size", self.out_hidden_size, f"{merged}, the tower's width x merge_size²")
        if self.is_spark and self.audio_config is None:
            object.__setattr__(self, "audio_config", silent_audio(self.text_config.hidden_size))
        if self.audio_config is not None:
            if not self.is_spark:
                refuse("audio_config", self.audio_config, "muse_spark with audio")
            if self.audio_config.out_hidden_size != self.text_config.hidden_size:
                invalid("audio_config.out_hidden_size", self.audio_config.out_hidden_size, "the decoder's hidden_size")

    @property
    def is_spark(self) -> bool:
        return isinstance(self.text_config, SparkTextConfig)

    @property
    def placeholder_ids(self) -> tuple[int, ...]:
        """Tokens that stand for something else than text: image, video and, in Spark, audio."""
        return (self.image_token_id, self.video_token_id, *((self.audio_token_id,) if self.is_spark else ()))

    @property
    def model_type(self) -> str:
        return "muse_spark" if self.is_spark else "muse_glimmer"

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "MuseConfig":
        """From a parsed config.json. Raises InputError for another architecture or an option not computed here."""
        kind = config.get("model_type")
        if kind not in ("muse_glimmer", "muse_spark"):
            refuse("model_type", kind, "'muse_glimmer' and 'muse_spark'")
        text, vision = _section(config, "text_config"), _section(config, "vision_config")
        require(config, "", projector_hidden_act="gelu", tie_word_embeddings=False, quantization_config=None)
        require(text, "text_config.", model_type=f"{kind}_text", **_TEXT_CONSTANTS, **_ACTIVATION[kind])
        require(vision, "vision_config.", model_type=f"{kind}_vision", hidden_act="gelu")
        section = SparkTextConfig if kind == "muse_spark" else TextConfig
        theta = _rope_theta(text, "text_config.", "default", section().rope_theta)
        own = {name: config[name] for name in _TOP_LEVEL if name in config}
        if kind == "muse_spark":
            own["audio_config"] = _audio(config)
            own |= {name: config[name] for name in ("audio_token_id",) if name in config}
        return cls(
            text_config=_build(section, text, rope_theta=theta, layer_rope=_layer_rope(text, theta)),
            vision_config=_build(
                VisionConfig,
                vision,
                rope_theta=_rope_theta(vision, "vision_config.", "axial", DEFAULT_ROPE_THETA),
            ),
            **own,
        )

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds, apart from the dtype of the weights (`checkpoint` adds it)."""
        kind = self.model_type
        text, vision = _listed(asdict(self.text_config)), _listed(asdict(self.vision_config))
        theta, rotated = text.pop("rope_theta"), text.pop("layer_rope")
        text |= _TEXT_CONSTANTS | _ACTIVATION[kind]
        text |= {
            "model_type": f"{kind}_text",
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
            "layer_rope_theta": [theta if used else 0 for used in rotated],
        }
        vision |= {
            "model_type": f"{kind}_vision",
            "hidden_act": "gelu",
            "rope_parameters": {"rope_type": "axial", "rope_theta": vision.pop("rope_theta")},
        }
        whole = {
            "architectures": [f"Muse{kind.removeprefix('muse_').title()}ForConditionalGeneration"],
            "model_type": kind,
            "text_config": text,
            "vision_config": vision,
            "projector_hidden_act": "gelu",
            "tie_word_embeddings": False,
        }
        whole |= {name: getattr(self, name) for name in _TOP_LEVEL}
        if self.audio_config is not None:
            audio = _listed(asdict(self.audio_config))
            audio |= {"model_type": "muse_spark_audio", "num_hidden_layers": len(self.audio_config.hidden_sizes)}
            whole |= {"audio_config": audio, "audio_token_id": self.audio_token_id}
        return whole


def load_config(folder: Path | str) -> MuseConfig:
    """From a checkpoint folder's config.json. Raises InputError if it is missing, broken or of another kind."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        check_folder(Path(folder))
        raise InputError(f"{folder} holds no config.json: name a checkpoint folder")
    values = read_object(path)
    try:
        return MuseConfig.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


_TOP_LEVEL = ("image_token_id", "video_token_id", "out_hidden_size", "projector_hidden_size")
_TEXT_CONSTANTS = {"tie_word_embeddings": False, "attention_bias": False, "attention_dropout": 0.0}
_ACTIVATION = {"muse_glimmer": {"hidden_activation": "silu"}, "muse_spark": {"hidden_act": "silu"}}
_Section = TypeVar("_Section", TextConfig, SparkTextConfig, VisionConfig, AudioConfig)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, Mapping):
        invalid(name, section, "an object")
    return section


def _audio(config: Mapping[str, Any]) -> AudioConfig | None:
    if not (audio := _section(config, "audio_config")):
        return None
    built = _build(AudioConfig, audio)
    require(audio, "audio_config.", model_type="muse_spark_audio", num_hidden_layers=len(built.hidden_sizes))
    return built


def _build(section: type[_Section], values: Mapping[str, Any], **own: Any) -> _Section:
    """The section's fields out of `values`; keys that transformers writes for other purposes are left."""
    found = dict(own)
    for field in fields(section):
        value = values.get(field.name)
        if field.name in own or field.name not in values:
            continue
        if value is None and field.type == tuple[str, ...]:  # null means the default, as an absent key does
            value = ()
        found[field.name] = tuple(value) if isinstance(value, list) else value
    return section(**found)


def _rope_theta(values: Mapping[str, Any], where: str, kind: str, default: float) -> float:
    rope = _section(values, "rope_parameters")
    require(rope, f"{where}rope_parameters.", rope_type=kind)
    theta = rope.get("rope_theta", default)
    if not fits(theta, float) or theta <= 0:
        invalid(f"{where}rope_parameters.rope_theta", theta, "a positive number")
    return float(theta)


def _layer_rope(text: Mapping[str, Any], theta: float) -> tuple[bool, ...]:
    """Which layers rotate, out of a list that holds the one theta or 0."""
    thetas = text.get("layer_rope_theta")
    if not thetas:
        return ()
    if not isinstance(thetas, list) or not all(each in (0, theta) for each in thetas):
        refuse("text_config.layer_rope_theta", thetas, f"a list of 0 and rope_theta, {theta}")
    return tuple(each != 0 for each in thetas)


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
