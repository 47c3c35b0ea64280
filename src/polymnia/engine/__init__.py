"""Parallel decoding: shared-prefix key-value cache, continuous batching, sampling."""

from polymnia.engine.engine import Engine
from polymnia.engine.sampling import SamplingParams, TokenStep

__all__ = ["Engine", "SamplingParams", "TokenStep"]
