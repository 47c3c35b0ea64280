"""A tokenizer small enough to train in the blink of an eye, shared by the tests of this layer."""

import pytest

from polymnia.data.tokenizer import Tokenizer, train_tokenizer

TEXTS = (
    "Reasoning strength: medium.",
    "Tools: crop(image, x0, y0, x1, y1), python(code).",
    "assistant to=self assistant to=user assistant to=crop assistant to=python user system tool crop tool python",
    "How many red circles are there? b3 red circle; c2 blue square; there are three red circles.",
    "print(sum(range(10)))\n",
)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer(TEXTS * 20, 800))
