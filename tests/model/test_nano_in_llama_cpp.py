"""The shipped model, exported and run by llama.cpp: the same tokens, the same prompts, the same agents' runs.

Both sides compute in fp32. Nothing here depends on what nano answers.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from model.llama_cpp import Engine, greedy, running
from polymnia.agents import answer, events
from polymnia.agents.events import Event
from polymnia.agents.local import LocalModel
from polymnia.agents.model import ChatModel, Sampling
from polymnia.agents.models import nano_folder
from polymnia.agents.remote import RemoteModel
from polymnia.cli.main import run
from polymnia.data.chat import Message, ToolCall, all_images, message
from polymnia.data.images import ImageProcessor
from polymnia.data.template import encode_chat, render
from polymnia.data.tokenizer import Tokenizer
from polymnia.model.checkpoint import load_checkpoint
from polymnia.model.config import load_config
from polymnia.model.muse import Muse
from polymnia.tasks import FAMILIES, Problem, sample
from polymnia.tools import Toolbox, crop, python

FOLDER = nano_folder()
TOOLBOX = Toolbox((crop, python))
TOKENS = 64
FREE = (
    "Hello",
    "The quick brown fox jumps over the lazy dog.",
    "def area(x):\n    return x * x + 1\n",
    "L'été à Paris, 3.14 — naïve?",
    "日本語と English",
    "a1 red circle; b2 blue square",
    "   spaces\n\n\tand tabs  ",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    out = tmp_path_factory.mktemp("nano")
    assert run(["export", "gguf", "nano", str(out), "--dtype", "f32"]) == 0
    cap = ImageProcessor.from_folder(FOLDER).max_image_tokens
    with running(out / "nano.gguf", out / "mmproj-nano.gguf", image_tokens=cap) as found:
        yield found


@pytest.fixture(scope="module")
def model() -> Muse:
    return load_checkpoint(FOLDER, torch.float32).freeze()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(FOLDER)


def problems(count: int) -> list[Problem]:
    """Of every family, from its first tiers."""
    drawn = [
        sample(family, tier=index % 2, split="test", seed=7, index=index)
        for family in FAMILIES.values()
        for index in range(count)
    ]
    return [problem for problem in drawn if all(map(treated_alike, all_images(problem.messages())))]


def treated_alike(picture: Image.Image) -> bool:
    """Whether the engine scales it to the same size and reads the same positions (docs/export.md tells why not)."""
    processor, side = ImageProcessor.from_folder(FOLDER), load_config(FOLDER).vision_config.pos_emb_height
    undecided = picture.width == picture.height and picture.width % (processor.patch_size * processor.merge_size) > 0
    fits = processor.num_tokens(*picture.size) < processor.max_image_tokens
    return max(processor.process(picture).grid) <= side and not (undecided and fits)


def test_the_same_tokens_after_text(engine: Engine, model: Muse, tokenizer: Tokenizer) -> None:
    prompts = [tokenizer.encode(text) for text in FREE]
    prompts += [encode_chat(tokenizer, [message("user", text)], TOOLBOX.specs) for text in FREE]
    for problem in problems(4):
        asked = [message("user", problem.question)]
        prompts += [encode_chat(tokenizer, asked, effort="minimal"), encode_chat(tokenizer, asked, TOOLBOX.specs)]
    assert len(prompts) >= 20
    theirs = [engine.greedy(prompt, TOKENS) for prompt in prompts]
    assert equal(theirs, greedy(model, prompts, TOKENS)) == len(prompts)


def test_the_same_tokens_after_pictures(engine: Engine, model: Muse, tokenizer: Tokenizer) -> None:
    processor = ImageProcessor.from_folder(FOLDER)
    prompts, theirs, seen = [], [], []
    for problem in problems(5):
        asked = problem.messages()
        pictures = [processor.process(picture) for picture in all_images(asked)]
        counts = [one.num_tokens for one in pictures]
        for specs in ((), TOOLBOX.specs) if pictures else ():
            prompts.append(encode_chat(tokenizer, asked, specs, image_tokens=counts))
            theirs.append(engine.greedy(render(asked, specs, image_tokens=counts), TOKENS, all_images(asked)))
            seen += pictures
    assert len(prompts) >= 10
    assert equal(theirs, greedy(model, prompts, TOKENS, seen)) == len(prompts)


def equal(theirs: list[list[int]], ours: list[list[int]]) -> int:
    """How many continuations are the same; the first difference of each other is printed."""
    for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
        if one != other:
            place = next(place for place in range(TOKENS) if one[place] != other[place])
            sys.stdout.write(f"prompt {index}, token {place}: {one[place]} there, {other[place]} here\n")
    return sum(one == other for one, other in zip(theirs, ours, strict=True))


def test_the_engine_makes_the_same_prompts(engine: Engine, tokenizer: Tokenizer) -> None:
    """Its own implementation of jinja runs our template, its own tokenizer our vocabulary."""
    call = ToolCall(id="c1", name="python", arguments='{"code": "1+2"}')
    conversation = [
        message("system", "Be brief."),
        message("user", "What is 1+2?"),
        Message("assistant", (), reasoning="1+2", tool_calls=(call,)),
        message("tool", "3", tool_call_id="c1", name="python"),
    ]
    wire: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1+2?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "1+2",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "python", "arguments": call.arguments}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    tools = [
        {"type": "function", "function": {"name": one.name, "description": "", "parameters": one.parameters}}
        for one in TOOLBOX.specs
    ]
    for effort in ("minimal", "xhigh"):
        body = {"messages": wire, "tools": tools, "reasoning_effort": effort}
        assert engine.post("/apply-template", body)["prompt"] == render(conversation, TOOLBOX.specs, effort)
    body = {"messages": wire[:2]}
    assert engine.post("/apply-template", body)["prompt"] == render(conversation[:2])
    for text in (*FREE, *(problem.question for problem in problems(4))):
        assert engine.tokenize(text) == tokenizer.encode(text)


class Turn(NamedTuple):
    reasoning: str
    text: str
    calls: list[tuple[str, Any]]
    """Name and arguments"""
    finish_reason: str


async def turn(model: ChatModel, messages: Sequence[Message]) -> Turn:
    deltas = [one async for one in model.stream(messages, tools=TOOLBOX.specs, sampling=Sampling(0.0, max_tokens=300))]
    calls = [(one.tool_call.name, json.loads(one.tool_call.arguments)) for one in deltas if one.tool_call]
    reasons = [one.finish_reason for one in deltas if one.finish_reason]
    return Turn("".join(one.reasoning for one in deltas), "".join(one.text for one in deltas), calls, *reasons)


def test_the_engine_reads_nanos_turns_as_we_do(engine: Engine) -> None:
    """Pictures and tools through its chat endpoint, the turn taken apart by its own parser."""

    async def turns() -> list[tuple[Turn, Turn]]:
        ours, theirs = LocalModel(FOLDER), RemoteModel(f"{engine.url}/v1", "nano")
        try:
            conversations = [problem.messages() for problem in problems(2)] + [[message("user", "Hello")]]
            return [(await turn(ours, one), await turn(theirs, one)) for one in conversations]
        finally:
            await ours.aclose()
            await theirs.aclose()

    pairs = asyncio.run(turns())
    for ours, theirs in pairs:
        assert theirs == ours
    assert any(one.calls for one, _ in pairs)
    assert any(one.reasoning for one, _ in pairs)
    assert any(one.text for one, _ in pairs)


def test_an_agent_with_tools_runs_on_the_engine(engine: Engine) -> None:
    async def work() -> list[Event]:
        model = RemoteModel(f"{engine.url}/v1", "nano")
        try:
            asked = problems(1)[0].messages()
            return [one async for one in answer(asked, model=model, mode="thinking", temperature=0.0, tools=TOOLBOX)]
        finally:
            await model.aclose()

    happened = asyncio.run(work())
    assert isinstance(happened[-1], events.RunFinished)
    assert happened[-1].answer
    assert not [one for one in happened if isinstance(one, events.ToolResult) and one.failed]
