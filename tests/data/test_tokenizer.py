"""Every text comes back as it went in, and only what asks for special tokens gets them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymnia.data.tokenizer import CELLS, MARKUP, QWEN2_SPLIT, SPECIAL_TOKENS, Tokenizer, train_tokenizer
from polymnia.errors import InputError

AWKWARD = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from([*SPECIAL_TOKENS, *MARKUP, *CELLS, " ", "\n", "<", "|>", "e\u0301"]))
).map("".join)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text)]


@settings(max_examples=300, deadline=None)
@given(text=AWKWARD)
def test_every_text_round_trips(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_names.keys() & set(ids)
    assert tokenizer.decode(tokenizer.encode(text, specials=True)) == text


@settings(max_examples=200, deadline=None)
@given(text=AWKWARD)
def test_a_stream_of_tokens_gives_the_same_text(tokenizer: Tokenizer, text: str) -> None:
    stream = tokenizer.stream()
    assert "".join([stream.feed(token) for token in tokenizer.encode(text)]) + stream.close() == text


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(0, 2000)))
def test_ids_that_mean_nothing_still_decode(tokenizer: Tokenizer, ids: list[int]) -> None:
    stream = tokenizer.stream()
    assert "".join([stream.feed(token) for token in ids]) + stream.close() == tokenizer.decode(ids)


def test_a_stream_waits_for_whole_characters(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("é")
    assert len(ids) == 2
    stream = tokenizer.stream()
    assert [stream.feed(token) for token in ids] == ["", "é"]


def test_cells_are_one_token_and_keep_their_space_outside(tokenizer: Tokenizer) -> None:
    assert len(CELLS) == 64
    assert pieces(tokenizer, "a1") == ["a1"]
    assert pieces(tokenizer, " b3") == [" ", "b3"]
    assert pieces(tokenizer, "b3 red;c4") == ["b3", " red", ";", "c4"]
    # Inside words too: whole words alone is a rule that llama.cpp's vocabulary cannot hold.
    assert pieces(tokenizer, "b33") == ["b3", "3"]
    assert pieces(tokenizer, "sha1")[-1] == "a1"
    for text in ("B3", "i1", "a9", "a 1"):
        assert not set(CELLS) & set(pieces(tokenizer, text)), text


def test_no_fixed_token_ends_as_another_begins() -> None:
    """Where two overlap, transformers takes the leftmost and llama.cpp the longest."""
    fixed = (*SPECIAL_TOKENS, *MARKUP, *CELLS)
    overlaps = [
        (one, other)
        for one in fixed
        for other in fixed
        for size in range(1, min(len(one), len(other)))
        if one.endswith(other[:size])
    ]
    assert not overlaps
    assert not [(one, other) for one in fixed for other in fixed if one != other and one in other]


def test_digits_are_single_and_markup_is_whole(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, "1000") == ["1", "0", "0", "0"]
    for piece in MARKUP:
        assert pieces(tokenizer, piece) == [piece]


def test_special_tokens_only_on_request(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|eot|>", specials=True) == [tokenizer.eot_id]
    assert len(tokenizer.encode("<|eot|>")) > 1
    assert len({tokenizer.token_id(name) for name in SPECIAL_TOKENS}) == len(SPECIAL_TOKENS)


def test_half_a_surrogate_pair_is_replaced(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "\U0001f600"


def test_training_keeps_to_the_size_and_leaves_markup_alone() -> None:
    backend = train_tokenizer(["<|start|>user<|message|>hello hello<atem:function_calls>\n<|eot|>"] * 50, 360)
    assert backend.get_vocab_size() <= 360
    merges = set(backend.get_vocab()) - set(SPECIAL_TOKENS) - set(MARKUP) - set(CELLS)
    assert "hello" in merges
    assert not [one for one in merges if "|" in one and len(one) > 1]


def test_a_folder_reads_back_here_and_in_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, "{{ messages[0].content }}")
    text = "at b3 <|start|>, l'e\u0301te\u0301  7.\n"
    assert Tokenizer.from_folder(tmp_path).encode(text) == tokenizer.encode(text)
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(text) == tokenizer.encode(text, specials=True)
    assert theirs.decode(theirs.encode(text)) == text
    assert len(theirs) == tokenizer.vocab_size
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (
        tokenizer.begin_id,
        tokenizer.eot_id,
        tokenizer.pad_id,
    )
    assert theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_the_split_is_qwen2s() -> None:
    qwen2 = pytest.importorskip("transformers.models.qwen2.tokenization_qwen2")
    assert qwen2.PRETOKENIZE_REGEX == QWEN2_SPLIT


def test_a_folder_without_a_muse_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
    backend = train_tokenizer(["x"], 400)
    lacking = type(backend).from_str(backend.to_str().replace("<|eom|>", "<|oem|>"))
    with pytest.raises(InputError, match=r"eom"):
        Tokenizer(lacking)
