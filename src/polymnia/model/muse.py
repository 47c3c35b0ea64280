"""A Muse network whole: the tower's image tokens and the text in one decoder, logits out.

One class for both architectures; the config decides (`config.is_spark`). Parameter names are the tensor names
of transformers' `MuseGlimmerForConditionalGeneration` and `MuseSparkForConditionalGeneration`, so checkpoints
need no mapping. This module does not know how it is trained, sharded, loaded or decoded. Audio is not run.
"""

import torch
from torch import Tensor, nn

from polymnia.errors import InputError
from polymnia.model.audio import AudioTower
from polymnia.model.cache import KVCache
from polymnia.model.config import MuseConfig
from polymnia.model.decoder import ResidualGate, TextModel
from polymnia.model.experts import Experts, Router
from polymnia.model.layers import FusedLinear, Linear
from polymnia.model.pointwise import rms_norm
from polymnia.model.vision import VisionAdapter, VisionTower


class _Core(nn.Module):
    """Everything but the output head; exists for the `model.` prefix of the tensor names."""

    def __init__(self, config: MuseConfig) -> None:
        super().__init__()
        self.vision_tower = VisionTower(config.vision_config, exchanged=config.is_spark)
        self.language_model = TextModel(config.text_config)
        self.vision_adapter = VisionAdapter(config)
        self.vision_projection = Linear(config.projector_hidden_size, config.text_config.hidden_size, bias=False)
        if config.audio_config is not None:
            self.audio_tower = AudioTower(config.audio_config)


class Muse(nn.Module):
    """Letters in shapes: B rows, T tokens."""

    def __init__(self, config: MuseConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Core(config)
        self.lm_head = Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        *,
        image_features: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        kv_cache: KVCache | None = None,
    ) -> Tensor:
        """Logits (B, T, vocab) after each of `input_ids` (B, T). Pictures come as pixels or as ready features.

        Raises InputError for audio placeholders.
        """
        if pixel_values is not None:
            if image_grid_thw is None or image_features is not None:
                raise ValueError("pixel_values come with image_grid_thw and without image_features")
            image_features = self.encode_images(pixel_values, image_grid_thw)
        hidden = self.hidden_states(
            input_ids,
            image_features=image_features,
            position_ids=position_ids,
            document_ids=document_ids,
            kv_cache=kv_cache,
        )
        return self.logits(hidden)

    def encode_images(self, pixel_values: Tensor, image_grid_thw: Tensor) -> Tensor:
        """Packed patches (patches, patch_dim) of images with grids (images, 3) -> (image_tokens, width).

        Tokens follow the images' order, row by row within each. A video is an image of several frames: each is
        encoded on its own.
        """
        frames = [(height, width) for count, height, width in image_grid_thw.tolist() for _ in range(count)]
        tower = self.model.vision_tower(pixel_values, frames)
        projected = self.model.vision_projection(self.model.vision_adapter(tower))
        return rms_norm(projected, self.config.text_config.rms_norm_eps)

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        image_features: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        kv_cache: KVCache | None = None,
    ) -> Tensor:
        """(B, T) tokens -> (B, T, width) after the final norm.

        image_features: (image_tokens, width), put where `image_token_id` or `video_token_id` stands, in order;
            without features a placeholder reads as token 0.
        position_ids: (B, T), for RoPE only; by default they count on from the cache's lengths, or from 0.
        document_ids: (B, T) integers for packed training: a token sees only earlier ones of its own document.
            Documents are contiguous; padding needs an id of its own.
        kv_cache: is read, written and moved on by T. Every row gets T tokens; a caller that padded a row on the
            right sets its length back. Not combined with document_ids.
        """
        decoder = self.model.language_model
        if kv_cache is not None and (document_ids is not None or len(kv_cache.lengths) != len(input_ids)):
            raise ValueError("a cache needs one row a sequence and excludes document_ids")
        if input_ids.shape[1] > 1:
            self._refuse_audio(input_ids)
        places = self._placeholders(input_ids)
        x = decoder.embed(input_ids.masked_fill(places, 0))
        if image_features is not None:
            x = self._place(x, places, image_features)
        hidden: Tensor = decoder(x, decoder.context(x, position_ids, document_ids, kv_cache))
        if kv_cache is not None:
            kv_cache.advance(input_ids.shape[1])
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., vocab): scaled, then softly capped to ±final_logit_softcapping."""
        text = self.config.text_config
        scores = self.lm_head(hidden) * (text.output_multiplier / text.final_logit_softcapping)
        return torch.tanh(scores) * text.final_logit_softcapping

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def cast(self, dtype: torch.dtype) -> "Muse":
        """All weights to `dtype` in place, but for Spark's routers and residual gates, which stay in fp32."""
        for module in self.modules():
            wanted = torch.float32 if isinstance(module, Router | ResidualGate) else dtype
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor.data = tensor.data.to(wanted)
        return self

    def freeze(self) -> "Muse":
        """For inference alone: no gradients, and weights laid out for the kernels as they are now."""
        self.eval().requires_grad_(False)
        for module in self.modules():
            for layer in (module, getattr(module, "fused", None)):
                if isinstance(layer, Linear | FusedLinear | Router | Experts):
                    layer.freeze()
        return self

    def _placeholders(self, input_ids: Tensor) -> Tensor:
        """Where the input stands for something else than text, (B, T)."""
        return torch.stack([input_ids == token for token in self.config.placeholder_ids]).any(0)

    def _place(self, x: Tensor, places: Tensor, features: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and (count := int(places.sum())) != len(features):
            raise ValueError(f"{count} image placeholders, but {len(features)} image features")
        return x.masked_scatter(places[..., None], features.to(x.dtype))

    def _refuse_audio(self, input_ids: Tensor) -> None:
        """In what is read; an audio placeholder that the network itself wrote comes alone and is a token like 0."""
        audio = self.config.audio_token_id
        if self.config.is_spark and not torch.compiler.is_compiling() and (input_ids == audio).any():
            raise InputError(
                f"the input holds audio (token {audio}), and the audio tower is not run here: "
                "leave the audio out, or name the endpoint of an engine that hears"
            )
