"""The scheduler under random orders of asking, stepping and cancelling, and the prefix cache against a plain search."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.helpers import picture, prompt, reference_greedy
from model.tiny import TINY, tiny_model
from polymnia.engine.prefix import PrefixCache
from polymnia.engine.request import Prompt, Request
from polymnia.engine.sampling import SamplingParams
from polymnia.engine.scheduler import Scheduler
from polymnia.model.cache import KVCache
from polymnia.model.muse import Muse

torch.set_num_threads(1)
CONTEXT = 64
MODEL = tiny_model().freeze()
# Beginnings in common, of text and of pictures.
START, PICTURE, MORE = prompt(6)[0], picture(2, 4), prompt(9, seed=1)[0]
PROMPTS = [
    (START, []),
    (START + MORE, []),
    (START + MORE + START, []),
    (MORE, []),
    (prompt(6, PICTURE, 3)[0], [PICTURE]),
    (prompt(6, PICTURE, 5)[0], [PICTURE]),
    (prompt(6, PICTURE, 3)[0], [picture(2, 4, seed=1)]),
]


def new_scheduler(prefix_bytes: int, model: Muse = MODEL) -> Scheduler:
    return Scheduler(model, max_batch=3, context=CONTEXT, prefix_bytes=prefix_bytes)


def request(number: int, max_tokens: int) -> Request:
    ids, images = PROMPTS[number]
    return Request(Prompt(ids, images, TINY, CONTEXT), SamplingParams(temperature=0, max_tokens=max_tokens), CONTEXT)


ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, len(PROMPTS) - 1), st.integers(1, 6)),
    st.tuples(st.just("step"), st.just(0), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
)
EXPECTED = [[step.token_id for step in reference_greedy(MODEL, *one, 6)] for one in PROMPTS]


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTIONS, max_size=40), st.sampled_from([0, 12_000, 10**9]))
def test_books_agree_and_results_are_right_whatever_happens(
    actions: list[tuple[str, int, int]], prefix_bytes: int
) -> None:
    scheduler, asked = new_scheduler(prefix_bytes), []
    for kind, number, limit in actions:
        if kind == "submit":
            asked.append((number, limit, request(number, limit)))
            scheduler.submit(asked[-1][2])
        elif kind == "step":
            scheduler.step()
        elif number < len(asked):
            scheduler.cancel(asked[number][2])
        scheduler.check_integrity()
    while not scheduler.idle:
        scheduler.step()
        scheduler.check_integrity()
    for number, limit, one in asked:
        assert one.done
        assert one.generated == EXPECTED[number][: len(one.generated)]
        assert len(one.generated) <= limit


@torch.no_grad()
def test_kept_keys_and_values_are_those_of_reading_afresh() -> None:
    scheduler = new_scheduler(10**9)
    for number in (4, 0, 2, 5, 1):
        scheduler.submit(request(number, 6))
    while not scheduler.idle:
        scheduler.step()
    assert scheduler.stats.reused > 0
    for number in (1, 2, 5):
        ids, images = PROMPTS[number]
        fresh, kept = (KVCache(TINY.text_config, 1, CONTEXT) for _ in range(2))
        features = (
            MODEL.encode_images(torch.from_numpy(images[0].patches), torch.tensor([images[0].grid])) if images else None
        )
        MODEL.hidden_states(torch.tensor([ids]), image_features=features, kv_cache=fresh)
        assert scheduler.prefixes.restore(Prompt(ids, images, TINY, CONTEXT).keys, kept, 0) == len(ids)
        torch.testing.assert_close(kept.keys, fresh.keys, rtol=0, atol=1e-5)
        torch.testing.assert_close(kept.values, fresh.values, rtol=0, atol=1e-5)


def test_long_prompts_wait_so_that_running_requests_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polymnia.engine.scheduler._PREFILL_BETWEEN_STEPS", 8)
    scheduler = new_scheduler(0)
    for _ in range(2):
        scheduler.submit(request(2, 4))  # 20 tokens to read each
    assert [emission.request for emission in scheduler.step()] == scheduler.slots.running
    assert len(scheduler.waiting) == 1
    scheduler.step()
    assert not scheduler.waiting


SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=25)


@settings(deadline=None)
@given(SEQUENCES, st.integers(0, 6))
def test_prefix_cache_finds_the_longest_of_what_it_keeps(sequences: list[list[int]], kept: int) -> None:
    # Values that tell whose prefix was copied: each position holds a number made from all tokens up to it.
    cache = KVCache(TINY.text_config, 2, 8)
    per_token = cache.keys[:, 0, :, :1].nbytes * 2
    prefixes = PrefixCache(kept * 8 * per_token)
    mirror: list[list[int]] = []  # least recently used first
    for sequence in sequences:
        tokens = np.array(sequence, dtype=np.int64)
        marks = torch.tensor([float(hash(tuple(sequence[: i + 1])) % 10007) for i in range(len(sequence))])
        best = max((common(sequence, other) for other in mirror), default=0)
        assert prefixes.restore(tokens, cache, 1) == best == cache.lengths[1]
        assert torch.equal(cache.keys[0, 1, 0, :best, 0], marks[:best])

        cache.keys[:, 0, :, : len(sequence)] = marks[:, None]
        cache.values[:, 0, :, : len(sequence)] = marks[:, None]
        prefixes.store(tokens, cache, 0)
        prefixes.check_integrity()
        mirror = [entry.tokens.tolist() for entry in prefixes._entries.values()]
        if kept:
            assert sequence in [other[: len(sequence)] for other in mirror]


def common(first: list[int], second: list[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
