"""LocalModel: between conversations and the engine's tokens.

What a model writes is scripted at the engine's place where the text matters; a real engine with random
weights shows that the parts fit.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from model.tiny import TINY, TINY_SPARK, tiny_model
from polymnia.agents.local import LocalModel, StopText
from polymnia.agents.model import Delta, Sampling, Usage
from polymnia.agents.models import nano_folder
from polymnia.agents.run import answer, outcome
from polymnia.data import images
from polymnia.data.chat import Message, ToolCall, message
from polymnia.data.images import ImageProcessor, ProcessedImage
from polymnia.data.template import chat_template
from polymnia.data.tokenizer import Tokenizer, train_tokenizer
from polymnia.engine import Engine, SamplingParams, TokenStep
from polymnia.errors import InputError
from polymnia.model.checkpoint import save_checkpoint
from polymnia.model.config import MuseConfig
from polymnia.tools import crop, default_tools, python

TOOLS = (crop.spec, python.spec)
PICTURE = Image.new("RGB", (56, 28), "red")
QUESTION = [message("user", PICTURE, "How many?")]
CONTEXT = 400


@pytest.fixture(scope="module", params=[TINY, TINY_SPARK], ids=["glimmer", "spark"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of a tiny model with random weights."""
    tiny: MuseConfig = request.param
    path = tmp_path_factory.mktemp("tiny")
    texts = (
        "Reasoning strength: medium.",
        "Tools: crop(image, x0, y0, x1, y1), python(code).",
        "user assistant to=self",
    )
    tokenizer = Tokenizer(train_tokenizer(texts * 20, 512))
    tokenizer.save(path, chat_template())
    rows = -(-tokenizer.vocab_size // 64) * 64
    decoder = replace(
        tiny.text_config, vocab_size=rows, max_position_embeddings=CONTEXT, eos_token_id=(tokenizer.eot_id,)
    )
    config = replace(
        tiny,
        text_config=decoder,
        image_token_id=tokenizer.patch_id,
        video_token_id=rows - 1,  # that the tokenizer never gives
        audio_token_id=rows + 1,
    )
    save_checkpoint(tiny_model(config), path)
    ImageProcessor(max_image_tokens=16).save_processor(path)
    (path / "generation_config.json").write_text(json.dumps({"temperature": 0.9, "max_new_tokens": 60}), "utf-8")
    return path


class ScriptedEngine:
    """Emits the tokens of a text; everything asked is kept."""

    fingerprint = "f" * 64
    context = CONTEXT

    def __init__(self, tokenizer: Tokenizer, write: Callable[[int], str], *, hangs: bool = False) -> None:
        self.tokenizer = tokenizer
        self.asked: list[tuple[Sequence[int], Sequence[ProcessedImage], SamplingParams]] = []
        self.left = 0
        self._write = write
        self._hangs = hangs

    async def generate(
        self, ids: Sequence[int], images: Sequence[ProcessedImage], params: SamplingParams
    ) -> AsyncGenerator[TokenStep, None]:
        self.asked.append((ids, images, params))
        try:
            for number, token in enumerate(self.tokenizer.encode(self._write(len(self.asked) - 1), specials=True)):
                await asyncio.sleep(0)
                if params.max_tokens is not None and number >= params.max_tokens:
                    return
                yield TokenStep(token, -0.5)
            if self._hangs:
                await asyncio.Event().wait()
        finally:
            self.left += 1

    def close(self) -> None:
        pass


def scripted(folder: Path, *texts: str, hangs: bool = False) -> tuple[LocalModel, ScriptedEngine]:
    engine = ScriptedEngine(
        Tokenizer.from_folder(folder), lambda number: texts[min(number, len(texts) - 1)], hangs=hangs
    )
    return LocalModel(folder, engine=cast(Any, engine)), engine


def collect(
    model: LocalModel, messages: Sequence[Message] = QUESTION, sampling: Sampling | None = None, n: int = 1
) -> list[Delta]:
    async def run() -> list[Delta]:
        given = sampling or Sampling(seed=1)
        return [delta async for delta in model.stream(messages, tools=TOOLS, sampling=given, n=n)]

    return asyncio.run(run())


def joined(deltas: Sequence[Delta]) -> tuple[str, str]:
    return "".join(delta.reasoning for delta in deltas), "".join(delta.text for delta in deltas)


ANSWER = " to=self<|message|>b3 red<|eom|><|start|>assistant to=user<|message|>7<|eot|>"
CALL = (
    ' to=python<|message|><atem:function_calls>\n<atem:invoke name="python">\n'
    '<atem:parameter name="code">7+3</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>'
)


def test_reasoning_answer_usage_and_confidence(folder: Path) -> None:
    model, engine = scripted(folder, ANSWER)
    deltas = collect(model)
    assert joined(deltas) == ("b3 red", "7")
    last = deltas[-1]
    assert (last.finish_reason, last.mean_logprob) == ("stop", -0.5)
    tokens = len(engine.tokenizer.encode(ANSWER, specials=True))
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(engine.asked[0][0]), tokens)
    assert 0 < last.usage.reasoning_tokens < tokens


def test_the_prompt_holds_the_tools_the_effort_and_the_pictures_tokens(folder: Path) -> None:
    model, engine = scripted(folder, ANSWER)
    collect(model, sampling=Sampling(effort="high", seed=5, top_p=0.9, temperature=0.3, max_tokens=20))
    ids, (picture,), params = engine.asked[0]
    text = engine.tokenizer.decode(ids)
    assert "Reasoning strength: high.\nTools: crop(image, x0, y0, x1, y1), python(code).<|eot|>" in text
    assert text.endswith("<|start|>assistant")
    assert list(ids).count(engine.tokenizer.patch_id) == picture.num_tokens == 2
    assert (params.temperature, params.top_p, params.max_tokens, params.seed) == (0.3, 0.9, 20, 5)


def test_a_tool_call(folder: Path) -> None:
    model, _ = scripted(folder, CALL)
    called, last = collect(model)
    assert called.tool_call is not None
    assert called.tool_call == ToolCall(called.tool_call.id, "python", '{"code": "7+3"}')
    assert called.tool_call.id.startswith("call_")
    assert last.finish_reason == "tool_calls"


def test_a_turn_that_is_cut_off(folder: Path) -> None:
    model, _ = scripted(folder, " to=user<|message|>7 8 9")
    deltas = collect(model)
    assert joined(deltas) == ("", "7 8 9")
    assert deltas[-1].finish_reason == "length"


def test_a_model_that_goes_on_as_the_user_is_stopped(folder: Path) -> None:
    model, engine = scripted(folder, " to=user<|message|>7<|eom|><|start|>user<|message|>And", hangs=True)
    deltas = collect(model)
    assert joined(deltas) == ("", "7")
    assert engine.left == 1


@pytest.mark.parametrize(("stop", "text"), [(("8",), "7 "), (("8 9", " 8"), "7"), (("10", "9!"), "7 8 9")])
def test_stop_sequences_end_the_visible_text(folder: Path, stop: tuple[str, ...], text: str) -> None:
    model, _ = scripted(folder, " to=self<|message|>8<|eom|><|start|>assistant to=user<|message|>7 8 9<|eot|>")
    deltas = collect(model, sampling=Sampling(stop=stop))
    assert joined(deltas) == ("8", text)
    assert deltas[-1].finish_reason == "stop"


def test_a_stop_sequence_that_comes_in_pieces() -> None:
    cut = StopText(("END",))
    assert [cut.feed(piece) for piece in ("7E", "", "N", "x8E", "ND9")] == ["7", "", "", "ENx8", ""]
    assert cut.found
    assert cut.close() == ""


def test_several_samples_differ_in_their_seed_only(folder: Path) -> None:
    model, engine = scripted(folder, ANSWER)
    deltas = collect(model, sampling=Sampling(seed=3), n=3)
    assert [params.seed for _, _, params in engine.asked] == [3, 4, 5]
    for index in range(3):
        own = [delta for delta in deltas if delta.index == index]
        assert joined(own) == ("b3 red", "7")
        assert [delta.finish_reason for delta in own if delta.finish_reason] == ["stop"]


@pytest.mark.parametrize("n", [1, 3])
def test_closing_leaves_the_engine_nothing_to_do(folder: Path, n: int) -> None:
    model, engine = scripted(folder, " to=user<|message|>7 8 9", hangs=True)

    async def leave() -> None:
        async with aclosing(cast(Any, model.stream(QUESTION, sampling=Sampling(), n=n))) as deltas:
            await anext(deltas)

    asyncio.run(leave())
    assert engine.left == len(engine.asked) > 0


def test_a_conversation_longer_than_the_context(folder: Path) -> None:
    model, _ = scripted(folder, ANSWER)
    with pytest.raises(InputError) as caught:
        collect(model, [message("user", PICTURE, "why " * 400)])
    assert f"{folder.name}'s context holds 400: shorten it" in str(caught.value)
    assert "(2 of them pictures)" in str(caught.value)


def test_what_the_checkpoint_recommends(folder: Path, tmp_path: Path) -> None:
    model, engine = scripted(folder, ANSWER)
    assert (model.default_temperature(parallel=False), model.default_temperature(parallel=True)) == (0.0, 0.9)
    collect(model, sampling=Sampling(temperature=None))
    assert (engine.asked[0][2].temperature, engine.asked[0][2].max_tokens) == (0.0, 60)


def test_the_card_says_which_tools_the_model_knows(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "known"
    shutil.copytree(folder, copy)

    def known(card: str) -> Any:
        (copy / "card.json").write_text(card, "utf-8")
        return asyncio.run(scripted(copy, ANSWER)[0].known_tools())

    assert asyncio.run(scripted(folder, ANSWER)[0].known_tools()) is None
    assert known("{}") is None
    assert known('{"tools": ["crop", "python"]}') == ("crop", "python")
    assert known('{"tools": []}') == ()
    for wrong in ('{"tools": "crop"}', '{"tools": [1]}'):
        with pytest.raises(InputError, match="write a list of tool names"):
            known(wrong)


def test_a_checkpoint_of_ours_only_proposes_unless_its_card_says_more(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "known"
    shutil.copytree(folder, copy)

    def known(card: str) -> Any:
        (copy / "card.json").write_text(card, "utf-8")
        return asyncio.run(scripted(copy, ANSWER)[0].known_roles())

    assert asyncio.run(scripted(folder, ANSWER)[0].known_roles()) is None  # no card: a model of somebody else
    assert known("{}") == ("propose",)
    assert known('{"roles": ["propose", "refine"]}') == ("propose", "refine")
    with pytest.raises(InputError, match="write a list of role names"):
        known('{"roles": "refine"}')


def test_a_budget_knows_a_prompts_tokens_before_the_call(folder: Path) -> None:
    model, _ = scripted(folder, ANSWER)
    sampling = Sampling(temperature=0.0)
    counted = asyncio.run(model.prompt_tokens(QUESTION, TOOLS, sampling))
    usage = next(delta.usage for delta in collect(model, sampling=sampling) if delta.usage)
    assert usage.prompt_tokens == counted


def test_the_packaged_model_is_offered_what_it_was_trained_with() -> None:
    """Unknown names in nano's prompt cost it answers; its prompt stays as it was in training."""
    card = json.loads((nano_folder() / "card.json").read_text("utf-8"))
    assert set(card["tools"]) == {spec.name for spec in default_tools().specs}


def test_agents_on_it_use_tools_and_agree(folder: Path) -> None:
    """The whole way: tokens, parser, sandbox, template and back."""
    model, engine = scripted(folder, CALL, CALL, CALL, CALL, " to=user<|message|>10<|eot|>")
    done = asyncio.run(outcome(answer(QUESTION, model=model, agents=8)))
    assert (done.answer, done.reason) == ("10", "consensus")
    for ids, _, _ in engine.asked[4:]:
        text = engine.tokenizer.decode(ids)
        assert CALL in text  # the very tokens that were emitted: the prefix cache finds them again
        assert '<tool_output name="python">\n10\n</tool_output><|eot|><|start|>assistant' in text
    assert {params.temperature for _, _, params in engine.asked} == {0.9}


# --- with a real engine


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[LocalModel]:
    engine = Engine(folder, max_batch=4, threads=1)
    yield LocalModel(folder, engine=engine)
    engine.close()


def test_the_real_engine_repeats_itself_with_a_seed(model: LocalModel) -> None:
    first = collect(model, sampling=Sampling(seed=7, max_tokens=12))
    assert joined(first) == joined(collect(model, sampling=Sampling(seed=7, max_tokens=12)))
    last = first[-1]
    assert isinstance(last.usage, Usage)
    assert 1 <= last.usage.completion_tokens <= 12
    assert last.mean_logprob is not None
    assert last.mean_logprob < 0


def test_the_real_engine_takes_several_pictures_in_several_turns(model: LocalModel) -> None:
    """Two in the question, one from a tool, one in the next question; which comes first matters."""
    wide, tall = Image.effect_noise((84, 28), 90).convert("RGB"), Image.effect_noise((28, 56), 90).convert("RGB")
    call = ToolCall("c", "crop", '{"image": 2, "x0": 0, "y0": 0, "x1": 1000, "y1": 500}')
    cropped = images.crop(tall, 0, 0, 1000, 500)

    def conversation(first: Image.Image, second: Image.Image) -> list[Message]:
        return [
            message("user", first, "This, or", second, "this?"),
            message("assistant", reasoning="look", tool_calls=(call,)),
            message("tool", cropped, tool_call_id="c", name="crop"),
            message("assistant", "That."),
            message("user", "And", tall, "?"),
        ]

    prompt = model.prompt(conversation(wide, tall), TOOLS, Sampling())
    assert [picture.num_tokens for picture in prompt.pictures] == [3, 2, 1, 2]
    assert prompt.ids.count(model.tokenizer.patch_id) == 8
    greedy = Sampling(temperature=0, max_tokens=5, seed=1)
    one = collect(model, conversation(wide, tall), greedy)
    assert one == collect(model, conversation(wide, tall), greedy)
    swapped = collect(model, conversation(tall, wide), greedy)
    assert one[-1].mean_logprob != swapped[-1].mean_logprob


def test_the_real_engines_samples_come_together(model: LocalModel) -> None:
    deltas = collect(model, sampling=Sampling(seed=7, max_tokens=12), n=3)
    assert sorted(delta.index for delta in deltas if delta.finish_reason) == [0, 1, 2]


def test_the_fingerprint_is_the_digest_of_the_weights(model: LocalModel) -> None:
    assert len(model.fingerprint) == 64
    assert set(model.fingerprint) <= set("0123456789abcdef")
