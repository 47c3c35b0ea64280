"""Tiny networks of both architectures whose weights are all random, gains included, so that each fact shows."""

from dataclasses import replace

import torch
from torch import nn

from polymnia.model.config import AudioConfig, MuseConfig, SparkTextConfig, TextConfig, VisionConfig
from polymnia.model.experts import Router
from polymnia.model.muse import Muse

AUDIO_TOKEN = 4
IMAGE_TOKEN = 5
VIDEO_TOKEN = 6
FIRST_TEXT_TOKEN = 7
VOCABULARY = 97

TINY = MuseConfig(
    text_config=TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        sliding_window=8,
        qk_scale_factor=1.2,
        output_multiplier=0.7,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    ),
    vision_config=VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        pos_emb_height=8,
        pos_emb_width=8,
        layer_types=("window_attention", "full_attention", "window_attention"),
    ),
    image_token_id=IMAGE_TOKEN,
    video_token_id=VIDEO_TOKEN,
    out_hidden_size=128,
    projector_hidden_size=40,
)

TINY_SPARK = replace(
    TINY,
    text_config=SparkTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        sliding_window=8,
        qk_scale_factor=1.2,
        output_multiplier=0.7,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        moe_hidden_size=24,
        moe_intermediate_size=24,
        num_local_experts=6,
        num_experts_per_tok=2,
        mlp_layer_types=("dense", "sparse", "sparse", "sparse"),
    ),
    audio_config=AudioConfig(patch_sizes=(4, 2), hidden_sizes=(6, 8), depths=(1, 2), out_hidden_size=48),
    audio_token_id=AUDIO_TOKEN,
)


def tiny_model(config: MuseConfig = TINY, seed: int = 0, spread: float = 1.8) -> Muse:
    """`spread`: of a product's output beside its input. Much over 1 and many layers amplify rounding errors."""
    model = Muse(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Large enough that gains, biases and positions all weigh in the logits.
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(noise * 0.3)  # around one or zero, as the layer has it
            else:
                parameter.copy_(noise * spread * parameter.shape[-1] ** -0.5)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.3, generator=generator)
        if isinstance(module, Router):
            nn.init.normal_(module.e_score_correction_bias, std=0.3, generator=generator)
    return model


def text_tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(FIRST_TEXT_TOKEN, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))
