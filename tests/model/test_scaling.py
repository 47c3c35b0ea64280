"""The multipliers' rule against both released configs, and what it is for: starts that do not know the width."""

from dataclasses import replace

import pytest
import torch

from model.tiny import TINY, TINY_SPARK, text_tokens
from polymnia.model.config import MuseConfig, SparkTextConfig, TextConfig
from polymnia.model.init import init_weights
from polymnia.model.muse import Muse
from polymnia.model.scaling import RELEASED_SHARPNESS, width_multipliers

torch.set_num_threads(1)


@pytest.mark.parametrize("section", [TextConfig, SparkTextConfig])
def test_both_releases_follow_the_rule(section: type[TextConfig]) -> None:
    released = section()
    found = width_multipliers(released.hidden_size, released.head_dim, sharpness=RELEASED_SHARPNESS)
    assert found.output_multiplier == pytest.approx(released.output_multiplier, rel=1e-9)
    assert found.qk_scale_factor == pytest.approx(released.qk_scale_factor, rel=1e-9)


def test_nano_follows_it_with_a_softer_attention() -> None:
    found = width_multipliers(192, 48)
    assert found.output_multiplier == (192 / 256) ** -0.5
    assert found.qk_scale_factor == pytest.approx(1.2, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])
def test_logits_start_at_one_size_whatever_the_width(config: MuseConfig) -> None:
    def spread(width: int) -> float:
        scale = width_multipliers(width, config.text_config.head_dim)._asdict()
        text = replace(config.text_config, hidden_size=width, intermediate_size=width, **scale)
        model = Muse(replace(config, text_config=text, audio_config=None))
        init_weights(model, 0)
        return float(model(text_tokens(2, 40)).std())

    narrow, wide = spread(32), spread(512)
    assert narrow == pytest.approx(wide, rel=0.15)
    assert narrow == pytest.approx(16 * 0.005, rel=0.15)
