"""llama.cpp in this process (xllamacpp), asked over its own HTTP interface; fp32 where it has a choice."""

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import torch
import xllamacpp
from PIL import Image
from torch import Tensor

from polymnia.data.images import ProcessedImage, to_png
from polymnia.model.cache import KVCache
from polymnia.model.muse import Muse

PICTURE = re.compile(r"<\|image_start\|>(?:<\|patch\|>)+<\|image_end\|>")


class Engine:
    def __init__(self, client: httpx2.Client) -> None:
        self._client = client
        self.url = str(client.base_url).rstrip("/")
        self.marker: str = self._answer(client.get("/props"))["media_marker"]
        """What stands for a picture in a prompt's text"""

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._answer(self._client.post(path, json=body))

    def tokenize(self, text: str, *, specials: bool = False) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": specials}
        found: list[int] = self.post("/tokenize", body)["tokens"]
        return found

    def greedy(self, prompt: list[int] | str, count: int, pictures: Sequence[Image.Image] = ()) -> list[int]:
        """`count` tokens, none of which ends the text; a prompt with pictures is text, as `render` gives it."""
        body = {"n_predict": count, "ignore_eos": True, "return_tokens": True}
        found: list[int] = self._complete(prompt, pictures, body)["tokens"]
        return found

    def log_probabilities(self, prompt: list[int] | str, size: int, pictures: Sequence[Image.Image] = ()) -> Tensor:
        """(size,), of the whole vocabulary after the prompt."""
        # They are taken before the bias, which makes the next token one that is a character of its own.
        body = {"n_predict": 1, "n_probs": size, "logit_bias": [[self.tokenize("x")[0], 1000]]}
        found = self._complete(prompt, pictures, body)["completion_probabilities"][0]["top_logprobs"]
        values = torch.full((size,), torch.nan)
        for one in found:
            values[one["id"]] = one["logprob"]
        return values

    def _complete(self, prompt: list[int] | str, pictures: Sequence[Image.Image], body: dict[str, Any]) -> Any:
        given: Any = prompt
        if isinstance(prompt, str):
            data = [base64.b64encode(to_png(picture)).decode() for picture in pictures]
            given = {"prompt_string": PICTURE.sub(self.marker, prompt), "multimodal_data": data}
        return self.post("/completion", {"prompt": given, "temperature": 0.0, "cache_prompt": False, **body})

    @staticmethod
    def _answer(response: httpx2.Response) -> Any:
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def running(text: Path, vision: Path, image_tokens: int, context: int = 2048) -> Iterator[Engine]:
    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = str(text), str(vision)
    params.image_max_tokens = image_tokens
    params.n_ctx, params.n_parallel = context, 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.verbosity = 1  # errors alone
    server = xllamacpp.Server(params)
    with httpx2.Client(base_url=server.listening_address, timeout=60, trust_env=False) as client:
        yield Engine(client)
    del server


@torch.no_grad()
def greedy(
    model: Muse, prompts: Sequence[list[int]], count: int, pictures: Sequence[ProcessedImage] = ()
) -> list[list[int]]:
    """The same on our side, for all prompts at once; `pictures` of all of them, in order."""
    text = model.config.text_config
    ends = text.eos_token_id if isinstance(text.eos_token_id, tuple) else (text.eos_token_id,)
    lengths, rows = [len(prompt) for prompt in prompts], range(len(prompts))
    cache = KVCache(text, len(prompts), max(lengths) + count, torch.float32)
    padded = torch.tensor([prompt + [0] * (max(lengths) - len(prompt)) for prompt in prompts])
    logits = model(padded, image_features=encoded(model, pictures), kv_cache=cache)
    cache.lengths = list(lengths)
    last, found = logits[rows, [length - 1 for length in lengths]], []  # (prompts, vocab)
    for _ in range(count):
        last[:, list(ends)] = float("-inf")
        found.append(last.argmax(-1))
        last = model(found[-1][:, None], kv_cache=cache)[:, -1]
    return torch.stack(found, dim=1).tolist()


@torch.no_grad()
def log_probabilities(model: Muse, prompt: list[int], pictures: Sequence[ProcessedImage] = ()) -> Tensor:
    """(vocab,), of the token after the prompt."""
    logits: Tensor = model(torch.tensor([prompt]), image_features=encoded(model, pictures))[0, -1]
    return logits.log_softmax(-1)


def encoded(model: Muse, pictures: Sequence[ProcessedImage]) -> Tensor | None:
    if not pictures:
        return None
    patches = torch.cat([torch.from_numpy(picture.patches) for picture in pictures])
    return model.encode_images(patches, torch.tensor([picture.grid for picture in pictures]))
