"""The recipe of nano, the model that ships in the package: everything that decides its weights.

    python recipes/nano.py                     # about 90 minutes on two cores
    python recipes/nano.py --resume            # goes on after Ctrl-C or a crash
    python recipes/nano.py --device cuda --minutes 15 --workers 12 --rows 64

A Muse Glimmer decoder of 4 layers and a tower of 2, trained together from step 0 on pictures that
are made on the spot. `docs/log.md` tells what was tried and why these values.
"""

from collections.abc import Iterator

from polymnia.data.template import render
from polymnia.data.tokenizer import Tokenizer
from polymnia.model.config import MuseGlimmerConfig, TextConfig, VisionConfig
from polymnia.tasks.labels import NUM_LABELS
from polymnia.train.config import TrainConfig
from polymnia.train.mixture import PLACE_COLUMNS, Mixture, make_conversation
from polymnia.train.optim import OptimConfig

MIXTURE = Mixture(
    seed=20261124,
    families={"count": 0.38, "chart": 0.3, "detail": 0.32},
    tiers={
        "count": (0.34, 0.22, 0.16, 0.15, 0.08, 0.03, 0.02),
        "chart": (0.4, 0.25, 0.2, 0.15),
        "detail": (0.4, 0.24, 0.18, 0.18),
    },
    easy_until=30_000,
)

CONTEXT = 2048
"""Tokens; RoPE layers see all of it (the sliding window is as long)."""


def model_config(tokenizer: Tokenizer) -> MuseGlimmerConfig:
    width, vocab_size = 192, -(-(tokenizer.vocab_size + 1) // 64) * 64
    return MuseGlimmerConfig(
        text_config=TextConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=576,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=48,
            max_position_embeddings=CONTEXT,
            sliding_window=CONTEXT,
            qk_scale_factor=1.2,
            output_multiplier=(width / 256) ** -0.5,
            pad_token_id=tokenizer.token_id("<|pad|>"),
            bos_token_id=tokenizer.token_id("<|begin_of_text|>"),
            eos_token_id=(tokenizer.token_id("<|end_of_text|>"), tokenizer.token_id("<|eot|>")),
        ),
        vision_config=VisionConfig(
            pos_emb_height=16,
            pos_emb_width=16,
            num_attention_heads=4,
            num_hidden_layers=2,
            hidden_size=256,
            intermediate_size=768,
        ),
        image_token_id=tokenizer.token_id("<|patch|>"),
        video_token_id=vocab_size - 1,  # nano has no video token: a row that the tokenizer never gives
        out_hidden_size=1024,
        projector_hidden_size=256,
    )


def train_config(name: str = "nano", minutes: float = 90.0) -> TrainConfig:
    return TrainConfig(
        name=name,
        seed=MIXTURE.seed,
        rows=16,
        row_tokens=512,
        minutes=minutes,
        optim=OptimConfig(),
        aux_classes=(NUM_LABELS, PLACE_COLUMNS**2),
    )


def corpus(examples: int = 3000) -> Iterator[str]:
    """What the tokenizer is trained on: conversations of the mixture as they are rendered."""
    for index in range(examples):
        one = make_conversation(MIXTURE, index)
        pictures = sum(len(message.images) for message in one.messages)
        yield render(one.messages, one.tools, one.effort, add_generation_prompt=False, image_tokens=[1] * pictures)
