"""What is asked of the engine, checked before anything runs."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from polymnia.data.images import ProcessedImage
from polymnia.engine.sampling import Sampler, SamplingParams
from polymnia.errors import InputError
from polymnia.model.config import MuseConfig, VisionConfig


class Prompt:
    """Token ids with their pictures."""

    def __init__(self, ids: Sequence[int], images: Sequence[ProcessedImage], config: MuseConfig, context: int) -> None:
        """`context`: tokens that prompt and answer may have together. Raises InputError."""
        self.ids = np.asarray(ids, dtype=np.int64)
        self.images = tuple(images)
        self.placeholders: NDArray[np.bool_] = self.ids == config.image_token_id
        if not len(self.ids):
            raise InputError("The prompt has no tokens; give at least one.")
        if len(self.ids) >= context:
            raise InputError(f"The prompt has {len(self.ids)} tokens, the model's context is {context}; shorten it.")
        if self.ids.min() < 0 or self.ids.max() >= (vocab := config.text_config.vocab_size):
            raise InputError(f"The prompt holds a token outside 0 to {vocab - 1}; it fits another tokenizer.")
        if config.is_spark and (self.ids == config.audio_token_id).any():
            raise InputError("The prompt holds audio, which is not run here; leave it out.")
        if (wanted := int(self.placeholders.sum())) != (given := sum(image.num_tokens for image in images)):
            raise InputError(f"The prompt has {wanted} image tokens, its {len(images)} pictures give {given}.")
        if self.placeholders[-1]:
            raise InputError("The prompt ends in a picture; end it in text.")
        for image in images:
            _check_image(image, config.vision_config)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The ids with each image token replaced by a (negative) hash of its picture: equal keys, equal prompts."""
        marks = np.repeat(
            np.array([-1 - int(image.digest[:15], 16) for image in self.images], dtype=np.int64),
            [image.num_tokens for image in self.images],
        )
        keys = self.ids.copy()
        keys[self.placeholders] = marks
        return keys


def _check_image(image: ProcessedImage, config: VisionConfig) -> None:
    frames, height, width = image.grid
    merge = config.merge_size
    fits = not height % merge and not width % merge and image.num_tokens * merge**2 == frames * height * width
    if not fits or image.patches.shape != (frames * height * width, config.patch_dim):
        raise InputError(
            f"A picture has {image.patches.shape} patch values for a grid of {image.grid} and {image.num_tokens} image "
            f"tokens; process it with this model's patch size {config.patch_size} and merge {merge}."
        )


class Request:
    """One sequence on its way: a prompt and what was generated so far."""

    def __init__(self, prompt: Prompt, sampling: SamplingParams, context: int) -> None:
        self.prompt = prompt
        self.sampler = Sampler(sampling)
        room = context - len(prompt.ids)
        self.limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        """Tokens it may generate."""
        self.generated: list[int] = []
        self.done = False
        """Finished or cancelled; nothing more is computed for it."""

    def __len__(self) -> int:
        return len(self.prompt.ids) + len(self.generated)

    @property
    def last(self) -> int:
        """The newest token: the one that the next step reads."""
        return self.generated[-1] if self.generated else int(self.prompt.ids[-1])

    def keys(self) -> NDArray[np.int64]:
        return np.concatenate((self.prompt.keys, np.array(self.generated, dtype=np.int64)))

    def accept(self, token: int) -> bool:
        """Adds a generated token; whether it was the last."""
        self.generated.append(token)
        self.done = token in self.sampler.params.stop_ids or len(self.generated) == self.limit
        return self.done
