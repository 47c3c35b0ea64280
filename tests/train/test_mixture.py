"""The stream that nano learns from: reproducible, honest about splits, and trained where it should be."""

from pathlib import Path

import numpy as np
import pytest

from polymnia.data.template import chat_template, render
from polymnia.data.tokenizer import Tokenizer, train_tokenizer
from polymnia.tasks import FAMILIES, View, sample
from polymnia.tasks.base import split_of
from polymnia.tasks.labels import IGNORE, NUM_LABELS
from polymnia.train.mixture import (
    NO_PICTURE,
    PLACE_COLUMNS,
    Conversation,
    Mixture,
    _labels,
    make_conversation,
    make_example,
)

MIXTURE = Mixture(
    seed=3,
    families=dict.fromkeys(FAMILIES, 1.0),
    tiers=(4, 3, 2, 1),
    no_picture=0.05,
)


def rendered(one: Conversation) -> str:
    pictures = sum(len(message.images) for message in one.messages)
    return render(one.messages, one.tools, one.effort, add_generation_prompt=False, image_tokens=[1] * pictures)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [rendered(make_conversation(MIXTURE, index)) for index in range(150)]
    Tokenizer(train_tokenizer(texts, 1024)).save(folder, chat_template())
    return folder


def test_an_example_is_a_pure_function_of_its_index(tokenizer_folder: Path) -> None:
    for index in (0, 7, 7_000_000):
        first, again = (make_example(MIXTURE, tokenizer_folder, index) for _ in range(2))
        assert np.array_equal(first.input_ids, again.input_ids)
        assert np.array_equal(first.loss_mask, again.loss_mask)
        assert all(np.array_equal(a, b) for a, b in zip(first.patches, again.patches, strict=True))


def test_only_scenes_of_the_train_split_are_shown() -> None:
    for index in range(150):
        for problem, _ in make_conversation(MIXTURE, index).views:
            key = problem.family.scene_key(problem.scene)
            assert split_of(f"{problem.family.name}:{key}") == "train"


def test_the_trained_tokens_are_the_last_turn_whole(tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(tokenizer_folder)
    for index in range(80):
        conversation = make_conversation(MIXTURE, index)
        example = make_example(MIXTURE, tokenizer_folder, index)
        trained = tokenizer.decode(example.input_ids[example.loss_mask].tolist())
        for one in conversation.messages[conversation.loss_from :]:
            if one.role == "assistant":
                assert f"{one.text}<|eot|>" in trained
                assert one.reasoning in trained
            else:
                assert f'<tool_output name="{one.name}">' not in trained
        assert trained.endswith("<|eot|>")
        assert trained.count("<|eot|>") == sum(
            one.role == "assistant" for one in conversation.messages[conversation.loss_from :]
        )


def test_every_image_token_has_its_labels(tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(tokenizer_folder)
    for index in range(80):
        example = make_example(MIXTURE, tokenizer_folder, index)
        tokens = int((example.input_ids == tokenizer.patch_id).sum())
        if example.labels is None:
            assert tokens == 0
            continue
        assert example.labels.shape == (tokens, 2)
        assert example.labels[:, 0].min() >= IGNORE
        assert example.labels[:, 0].max() < NUM_LABELS
        assert IGNORE <= example.labels[:, 1].min() <= example.labels[:, 1].max() < PLACE_COLUMNS**2


def test_long_pictures_have_places_only_as_far_as_there_are_classes() -> None:
    problem = sample(FAMILIES["gauge"], tier=0, split="train", seed=0, index=0)
    view = View(0, (0, 0, *problem.images[0].size))
    places = _labels(problem, view, (4, 9))[:, 1].reshape(4, 9)
    assert (places[:, 8] == IGNORE).all()
    assert sorted(places[:, :8].flatten().tolist()) == list(range(32))


def test_the_mixture_has_every_kind_of_conversation() -> None:
    found = [make_conversation(MIXTURE, index) for index in range(800)]
    assert {one.family for one in found} == {*FAMILIES, "no picture", "off topic"}
    assert {tuple(spec.name for spec in one.tools) for one in found} == set(MIXTURE.tools)
    assert {one.effort for one in found} == set(MIXTURE.efforts)
    users = [sum(message.role == "user" for message in one.messages) for one in found]
    pictures = [sum(len(m.images) for m in one.messages if m.role == "user") for one in found]
    assert any(asked == 2 and shown == 1 for asked, shown in zip(users, pictures, strict=True))
    assert any(asked == 2 and shown == 2 for asked, shown in zip(users, pictures, strict=True))
    assert all(shown == 0 for one, shown in zip(found, pictures, strict=True) if one.messages[-1].text == NO_PICTURE)
    assert all(not one.messages[-1].reasoning for one in found if one.effort == "minimal")
