"""The decoder's ways of reading the same tokens: packed, padded, cached, under autocast, compiled."""

import pytest
import torch

from model.tiny import TINY, TINY_SPARK, text_tokens, tiny_model
from polymnia.model.cache import KVCache
from polymnia.model.muse import Muse

torch.set_num_threads(1)


@pytest.fixture(scope="module", params=[TINY, TINY_SPARK], ids=["glimmer", "spark"])
def model(request: pytest.FixtureRequest) -> Muse:
    return tiny_model(request.param)


@torch.no_grad()
def test_packed_documents_read_as_if_alone(model: Muse) -> None:
    lengths = (11, 3, 14)
    documents = [text_tokens(1, length, seed=length) for length in lengths]
    ids = torch.tensor([[number for number, length in enumerate(lengths) for _ in range(length)]])
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    packed = model(torch.cat(documents, 1), document_ids=ids, position_ids=positions)
    alone = torch.cat([model(document) for document in documents], 1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_padding_with_its_own_document_gives_numbers(model: Muse) -> None:
    ids = torch.tensor([[0] * 5 + [-1] * 7])
    assert model(text_tokens(1, 12), document_ids=ids).isfinite().all()


@torch.no_grad()
def test_rows_of_different_lengths_decode_as_if_alone(model: Muse) -> None:
    rows = [text_tokens(1, length, seed=length) for length in (4, 21, 9)]
    cache = KVCache(model.config.text_config, rows=4, capacity=40)
    for index, row in enumerate(rows):
        part = cache.rows(index, index + 1)
        model(row[:, :-3], kv_cache=part)
        cache.lengths[index] = part.lengths[0]
    active = cache.rows(0, 3)
    steps = []
    for offset in (-3, -2, -1):
        steps.append(model(torch.cat([row[:, offset : row.shape[1] + offset + 1] for row in rows]), kv_cache=active))
    for index, row in enumerate(rows):
        torch.testing.assert_close(torch.cat([step[index] for step in steps]), model(row)[0, -3:], rtol=0, atol=1e-4)


@torch.no_grad()
def test_several_tokens_for_rows_of_different_lengths(model: Muse) -> None:
    rows = text_tokens(2, 20)
    cache = KVCache(model.config.text_config, rows=2, capacity=40)
    for index, start in enumerate((3, 10)):
        part = cache.rows(index, index + 1)
        model(rows[index : index + 1, :start], kv_cache=part)
        cache.lengths[index] = start
    logits = model(torch.stack((rows[0, 3:9], rows[1, 10:16])), kv_cache=cache)
    torch.testing.assert_close(logits[0], model(rows[:1])[0, 3:9], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[1], model(rows[1:])[0, 10:16], rtol=0, atol=1e-4)


def test_a_full_cache_is_refused(model: Muse) -> None:
    with pytest.raises(ValueError, match="the cache holds 8 tokens"):
        model(text_tokens(1, 9), kv_cache=KVCache(model.config.text_config, rows=1, capacity=8))


@torch.no_grad()
def test_freezing_changes_only_the_last_bits(model: Muse) -> None:
    model, ids = tiny_model(model.config), text_tokens(2, 12)
    pixels, grid = torch.randn(24, TINY.vision_config.patch_dim), torch.tensor([[1, 4, 6]])
    before, features = model(ids), model.encode_images(pixels, grid)
    torch.testing.assert_close(model.freeze()(ids), before, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.encode_images(pixels, grid), features, rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_frozen_network_does_not_see_how_many_rows_there_are(model: Muse) -> None:
    """To the bit, so that a seed gives the same tokens in any batch."""
    model, ids = tiny_model(model.config).freeze(), text_tokens(9, 12)
    cache = KVCache(model.config.text_config, rows=9, capacity=200, granularity=64)
    model(ids, kv_cache=cache)
    cache.lengths[:] = [12, 3, 5, 12, 7, 1, 12, 9, 11]
    few, many = cache.rows(0, 4), cache.rows(0, 9)
    many.lengths[8] = 150
    token = text_tokens(9, 1, seed=1)
    assert torch.equal(model(token[:4], kv_cache=few), model(token, kv_cache=many)[:4])


@pytest.mark.parametrize("length", [6, 30])
def test_bf16_autocast_follows_fp32_with_gradients(model: Muse, length: int) -> None:
    ids = text_tokens(2, length)
    documents = (torch.arange(length) // 5).expand(2, -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids, document_ids=documents)
    assert (logits - model(ids, document_ids=documents)).abs().mean() < 0.1
    logits.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.model.language_model.parameters() if p.grad is not None)
    model.zero_grad()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from inside the compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # likewise, where experts in fp32 break the graph
def test_compiles(model: Muse) -> None:
    ids = text_tokens(2, 24)
    documents = (torch.arange(24) // 6).expand(2, -1)
    hidden = torch.compile(model.hidden_states)(ids, document_ids=documents)
    torch.testing.assert_close(hidden, model.hidden_states(ids, document_ids=documents), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from inside the compiler
def test_compiles_whole_in_bf16(model: Muse) -> None:
    """As training does; no break, experts included."""
    ids = text_tokens(2, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        hidden = torch.compile(model.hidden_states, fullgraph=True)(ids)
        assert (hidden - model.hidden_states(ids)).abs().mean() < 0.05
