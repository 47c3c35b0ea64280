"""The engine as its callers see it: streams of tokens, on an event loop."""

import asyncio
import time
from collections.abc import Iterator

import pytest
import torch

from engine.helpers import collect, picture, prompt, reference_greedy, tokens
from model.tiny import AUDIO_TOKEN, TINY, TINY_SPARK, tiny_model
from polymnia.engine import Engine, SamplingParams
from polymnia.errors import InputError, RunError
from polymnia.model.checkpoint import weights_digest
from polymnia.model.muse import Muse

torch.set_num_threads(1)
GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module", params=[TINY, TINY_SPARK], ids=["glimmer", "spark"])
def model(request: pytest.FixtureRequest) -> Muse:
    return tiny_model(request.param)


@pytest.fixture
def engine(model: Muse) -> Iterator[Engine]:
    with Engine(model, max_batch=5, threads=1) as running:
        yield running
        running.check_integrity()


def test_greedy_is_the_plain_loop_s(engine: Engine, model: Muse) -> None:
    prompts = [
        prompt(7),
        prompt(30, seed=1),
        prompt(1, seed=2),
        prompt(3, picture(), 4),
        prompt(2, picture(8, 8, seed=1), 1, picture(10, 20, seed=2), 6, seed=3),
        prompt(50, seed=4),
        prompt(4, picture(seed=3), 40, seed=5),
    ]

    async def all_at_once() -> None:
        results = await asyncio.gather(*(collect(engine, *one, GREEDY) for one in prompts))
        for one, steps in zip(prompts, results, strict=True):
            expected = reference_greedy(model, *one, 12)
            assert tokens(steps) == tokens(expected)
            assert [step.logprob for step in steps] == pytest.approx([step.logprob for step in expected], abs=1e-4)

    asyncio.run(all_at_once())


def test_audio_in_a_prompt_is_refused_before_anything_runs() -> None:
    with Engine(tiny_model(TINY_SPARK), threads=1) as engine, pytest.raises(InputError, match="holds audio"):
        engine.generate([9, AUDIO_TOKEN, 9])


def test_samples_of_one_prompt_read_it_once(engine: Engine) -> None:
    ids, images = prompt(20, picture(), 10)

    async def eight() -> list[list[int]]:
        sampling = [SamplingParams(seed=seed, max_tokens=6) for seed in range(8)]
        return [tokens(one) for one in await asyncio.gather(*(collect(engine, ids, images, s) for s in sampling))]

    samples = asyncio.run(eight())
    assert len({tuple(sample) for sample in samples}) == 8, "seeds differ, and so do samples"
    assert engine.stats.prefilled == len(ids) - 1
    assert engine.stats.reused == 7 * (len(ids) - 1)
    assert engine.stats.images_encoded == 1


def test_the_next_turn_reads_only_what_is_new(engine: Engine, model: Muse) -> None:
    async def two_turns() -> None:
        ids, images = prompt(9, picture(), 10)
        answer = tokens(await collect(engine, ids, images, GREEDY))
        more, new_images = prompt(5, picture(seed=9), 3, seed=2)
        before = engine.stats
        ids, images = ids + answer + more, images + new_images
        second = await collect(engine, ids, images, GREEDY)
        # The answer's last token was never read, and the last token of a prompt is read by the first step.
        assert engine.stats.prefilled - before.prefilled == len(more)
        assert engine.stats.images_encoded == 2
        assert tokens(second) == tokens(reference_greedy(model, ids, images, 12))

    asyncio.run(two_turns())


def test_equal_ids_with_another_picture_are_another_prompt(engine: Engine, model: Muse) -> None:
    async def both() -> None:
        for seed in (1, 2):
            ids, images = prompt(4, picture(seed=seed), 5)
            assert tokens(await collect(engine, ids, images, GREEDY)) == tokens(
                reference_greedy(model, ids, images, 12)
            )

    asyncio.run(both())


def test_the_same_seed_gives_the_same_tokens_alone_and_in_a_crowd(engine: Engine) -> None:
    ids, images = prompt(6, picture(), 8)
    wanted = SamplingParams(temperature=0.8, top_p=0.9, seed=7, max_tokens=40)

    async def in_a_crowd() -> list[int]:
        crowd = [
            asyncio.create_task(
                collect(
                    engine, *prompt(3 * i + 1, seed=i), SamplingParams(temperature=i % 3, seed=i, max_tokens=3 + 9 * i)
                )
            )
            for i in range(9)
        ]
        mine = tokens(await collect(engine, ids, images, wanted))
        await asyncio.gather(*crowd)
        return mine

    alone = asyncio.run(collect(engine, ids, images, wanted))
    assert asyncio.run(in_a_crowd()) == tokens(alone)


def test_stop_ids_end_the_stream_and_are_reported(engine: Engine, model: Muse) -> None:
    ids, _ = prompt(7)
    expected = tokens(reference_greedy(model, ids, [], 12))
    stop = next(token for token in expected[3:] if token not in expected[:3])
    steps = asyncio.run(collect(engine, ids, (), SamplingParams(temperature=0, stop_ids=(stop,))))
    assert tokens(steps) == expected[: expected.index(stop) + 1]


def test_without_a_limit_the_context_is_filled(model: Muse) -> None:
    with Engine(model, context=32, threads=1) as engine:
        assert len(asyncio.run(collect(engine, prompt(20)[0]))) == 12
        assert len(asyncio.run(collect(engine, prompt(31)[0], (), SamplingParams(max_tokens=50)))) == 1


def test_what_does_not_fit_is_refused_before_anything_runs(engine: Engine) -> None:
    context = TINY.text_config.max_position_embeddings
    with pytest.raises(InputError, match=f"The prompt has {context} tokens, the model's context is {context}"):
        engine.generate(prompt(context)[0])
    with pytest.raises(InputError, match="no tokens"):
        engine.generate([])
    with pytest.raises(InputError, match="outside 0 to 96"):
        engine.generate([97])
    with pytest.raises(InputError, match="has 6 image tokens, its 0 pictures give 0"):
        engine.generate(prompt(2, picture(), 2)[0])
    with pytest.raises(InputError, match="ends in a picture"):
        engine.generate(*prompt(2, picture()))
    with pytest.raises(InputError, match=r"temperature is -1"):
        SamplingParams(temperature=-1)
    assert engine.stats.prefilled == 0


def test_cancelling_a_task_frees_its_row_at_once(engine: Engine) -> None:
    def wait_for_tokens(count: int) -> None:
        while engine.stats.generated < count:
            time.sleep(0.001)

    async def cancel_them() -> None:
        endless = [asyncio.create_task(collect(engine, *prompt(5, seed=i))) for i in range(12)]
        await asyncio.to_thread(wait_for_tokens, 20)
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
        engine.check_integrity()
        before = engine.stats.steps
        assert len(await collect(engine, *prompt(3), GREEDY)) == 12
        assert engine.stats.steps - before == 12, "nothing else was waiting or running"

    asyncio.run(cancel_them())


def test_closing_the_stream_early_frees_its_row(engine: Engine) -> None:
    async def three_of_many() -> None:
        stream = engine.generate(prompt(5)[0])
        for _ in range(3):
            await anext(stream)
        await stream.aclose()
        engine.check_integrity()
        steps = engine.stats.steps
        await asyncio.sleep(0.02)
        assert engine.stats.steps == steps

    asyncio.run(three_of_many())


def test_a_loop_that_was_closed_leaves_nothing_behind(engine: Engine) -> None:
    async def leave_without_a_word() -> None:
        await anext(engine.generate(prompt(5)[0]))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_without_a_word())
    loop.close()
    assert len(asyncio.run(collect(engine, *prompt(3), GREEDY))) == 12


def test_a_closed_engine_says_so(model: Muse) -> None:
    engine = Engine(model, threads=1)

    async def close_underneath() -> None:
        stream = engine.generate(prompt(5)[0])
        await anext(stream)
        await asyncio.to_thread(engine.close)
        with pytest.raises(RunError, match="closed"):
            async for _ in stream:
                pass
        with pytest.raises(RunError, match="closed"):
            await collect(engine, prompt(5)[0])

    asyncio.run(close_underneath())


def test_a_failure_in_the_thread_reaches_who_waits(model: Muse, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(model, threads=1) as engine:
        monkeypatch.setattr(engine._scheduler.model, "logits", lambda hidden: 1 / 0)
        with pytest.raises(RunError, match="ZeroDivisionError"):
            asyncio.run(collect(engine, prompt(5)[0]))
        with pytest.raises(RunError, match="ZeroDivisionError"):
            asyncio.run(collect(engine, prompt(5)[0]))


def test_the_caller_s_network_is_left_alone(model: Muse) -> None:
    network = tiny_model(model.config)
    with Engine(network, dtype=torch.bfloat16, threads=1) as engine:
        assert len(asyncio.run(collect(engine, prompt(5)[0], (), GREEDY))) == 12
        assert engine.fingerprint == weights_digest(model)
    assert network.lm_head.weight.dtype == torch.float32
    assert all(
        a.requires_grad == b.requires_grad for a, b in zip(network.parameters(), model.parameters(), strict=True)
    )
