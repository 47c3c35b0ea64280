"""The recipe of nano, the model that ships in the package: everything that decides its weights.

    python recipes/nano.py                     # hours on two cores, checkpoint in runs/nano/checkpoint
    python recipes/nano.py --resume            # goes on after Ctrl-C or a crash
    python recipes/nano.py --device cuda --workers 12

A Muse Glimmer decoder of 4 layers and a tower of 2, trained together from step 0 on pictures that
are made on the spot. `docs/log.md` tells what was tried and why these values.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from polymnia.data.images import ImageProcessor
from polymnia.data.template import chat_template, render
from polymnia.data.tokenizer import Tokenizer, train_tokenizer
from polymnia.errors import PolymniaError
from polymnia.model.config import MuseConfig, TextConfig, VisionConfig
from polymnia.model.init import init_weights
from polymnia.model.muse import Muse
from polymnia.tasks import FAMILIES
from polymnia.tasks.labels import NUM_LABELS
from polymnia.train.config import TrainConfig
from polymnia.train.mixture import PLACE_COLUMNS, Mixture, make_conversation, make_example
from polymnia.train.optim import OptimConfig
from polymnia.train.run import export, train

MIXTURE = Mixture(seed=20261124, families=dict.fromkeys(FAMILIES, 1.0), easy_until=150_000)

INIT_SEED = 0
VOCAB_SIZE = 2048
"""At most."""
STEPS = 24_000
"""Of 8 rows of 512 tokens."""
TEMPERATURE = 1.0
"""Recommended for several agents; chosen on the validation split (benchmarks/nano_levels.json)."""
LIMITS = (
    f"Answers questions of the task families {', '.join(FAMILIES)}, about pictures like theirs, in English, and says "
    "so when asked anything else."
)
CONTEXT = 2048
"""Tokens; RoPE layers see all of it (the sliding window is as long)."""


def model_config(tokenizer: Tokenizer) -> MuseConfig:
    width, vocab_size = 192, -(-(tokenizer.vocab_size + 1) // 64) * 64
    return MuseConfig(
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
            pos_emb_height=24,
            pos_emb_width=24,
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


def train_config(name: str = "nano", steps: int = STEPS) -> TrainConfig:
    return TrainConfig(
        name=name,
        seed=MIXTURE.seed,
        rows=8,
        row_tokens=512,
        steps=steps,
        optim=OptimConfig(),
        aux_classes=(NUM_LABELS, PLACE_COLUMNS**2),
    )


def corpus(examples: int = 12_000) -> Iterator[str]:
    """What the tokenizer is trained on: conversations of the mixture as they are rendered."""
    for index in range(examples):
        one = make_conversation(MIXTURE, index)
        pictures = sum(len(message.images) for message in one.messages)
        yield render(one.messages, one.tools, one.effort, add_generation_prompt=False, image_tokens=[1] * pictures)


def prepare(folder: Path) -> None:
    """Tokenizer, chat template, processor and generation settings: what a checkpoint holds beside weights."""
    if (folder / "generation_config.json").exists():
        return
    tokenizer = Tokenizer(train_tokenizer(corpus(), VOCAB_SIZE))
    tokenizer.save(folder, chat_template())
    ImageProcessor(max_image_tokens=MIXTURE.max_image_tokens).save_processor(folder)
    settings = {
        "do_sample": True,
        "temperature": TEMPERATURE,
        "max_new_tokens": 512,
        "bos_token_id": tokenizer.begin_id,
        "eos_token_id": [tokenizer.end_id, tokenizer.eot_id],
        "pad_token_id": tokenizer.pad_id,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def data_digest(assets: Path, examples: int = 200) -> str:
    """SHA-256 over the mixture's settings and its first examples, pixels included."""
    digest = hashlib.sha256(repr(MIXTURE).encode())
    for index in range(examples):
        example = make_example(MIXTURE, assets, index)
        for part in (example.input_ids, example.loss_mask, *example.patches):
            digest.update(part.tobytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = train_config()
    parser.add_argument("--resume", action="store_true", help="go on with the run of this name")
    parser.add_argument("--name", default=default.name, help="the run lives in runs/NAME")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--rows", type=int, default=default.rows, help=f"rows of {default.row_tokens} tokens a step")
    parser.add_argument("--device", default=default.device)
    parser.add_argument("--threads", type=int, default=default.threads)
    parser.add_argument("--workers", type=int, default=default.workers, help="processes that draw pictures")
    parser.add_argument("--out", type=Path, help="checkpoint folder [runs/NAME/checkpoint]")
    chosen = vars(parser.parse_args())
    resume, out = chosen.pop("resume"), chosen.pop("out")
    config = dataclasses.replace(default, **chosen)
    assets = Path("runs") / config.name / "assets"
    prepare(assets)
    model = Muse(model_config(Tokenizer.from_folder(assets)))
    init_weights(model, INIT_SEED)
    result = train(config, model, functools.partial(make_example, MIXTURE, assets), resume=resume)
    if not result.finished:
        return 130
    card = {**result.card, "recipe": "recipes/nano.py", "data_digest": data_digest(assets), "limits": LIMITS}
    card["tools"] = sorted({name for offered in MIXTURE.tools for name in offered})
    folder = out or Path("runs") / config.name / "checkpoint"
    export(result.model, folder, card=card, assets=assets)
    print(f"checkpoint in {folder}; ask it with: polymnia ask --model {folder} ...")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except PolymniaError as error:
        raise SystemExit(f"{error}") from None
