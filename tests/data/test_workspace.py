"""Drafts as messages: what a reader is shown, and what is made of a judge's words."""

import random

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polymnia.data.chat import ToolCall, message
from polymnia.data.workspace import (
    CHARS_PER_TOKEN,
    CUT,
    aggregate_messages,
    check_messages,
    cut_to_end,
    deal,
    draft_text,
    read_check,
    read_same,
    refine_messages,
    same_messages,
    told_to_submit,
)

PICTURE = Image.new("RGB", (8, 8))
QUESTION = [message("system", "Be brief."), message("user", PICTURE, "How many?")]


@given(drafts=st.integers(1, 64), readers=st.integers(1, 64), k=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_each_draft_is_dealt_at_least_once_and_nobody_reads_one_twice(
    drafts: int, readers: int, k: int, seed: int
) -> None:
    hands = deal(drafts, readers, k, random.Random(seed))
    assert len(hands) == readers
    assert all(len(hand) == len(set(hand)) == min(k, drafts) for hand in hands)
    counts = [sum(hand.count(draft) for hand in hands) for draft in range(drafts)]
    if readers * min(k, drafts) >= drafts:
        assert min(counts) >= 1
    assert max(counts) - min(counts) <= 2
    assert hands == deal(drafts, readers, k, random.Random(seed))


def test_readers_get_them_in_different_orders() -> None:
    hands = deal(4, 16, 4, random.Random(1))
    assert len({tuple(hand) for hand in hands}) > 4


@given(text=st.text(), tokens=st.integers(1, 50))
def test_a_cut_text_is_bounded_and_keeps_its_end(text: str, tokens: int) -> None:
    cut = cut_to_end(text, tokens)
    assert len(cut) <= max(tokens * CHARS_PER_TOKEN, len(CUT))
    if cut == text.strip():
        return
    assert cut.startswith(CUT)
    assert text.strip().endswith(cut.removeprefix(CUT))


def test_a_cut_text_begins_with_a_word() -> None:
    assert cut_to_end("one two three four five six", 5) == "[...] four five six"


def test_a_draft_is_what_was_thought_done_and_answered() -> None:
    draft = (
        message("assistant", reasoning="b3 red", tool_calls=(ToolCall("c", "python", '{"code": "3+4"}'),)),
        message("tool", "7", tool_call_id="c", name="python"),
        message("assistant", "7\n", reasoning="so"),
    )
    assert draft_text(draft) == 'b3 red\npython {"code": "3+4"}\npython: 7\nso\nAnswer: 7'


def test_the_words_that_refine_are_these() -> None:
    """A small model is trained on them: changing one is a change of the training data."""
    first, last = refine_messages(QUESTION, ["b3 red\nAnswer: 7", "Answer: 8"])
    assert first == QUESTION[0]
    assert last.images == (PICTURE,)
    assert last.text == (
        "How many?\n\nDraft 1:\nb3 red\nAnswer: 7\n\nDraft 2:\nAnswer: 8\n\n"
        "Some drafts may be wrong. Check where they differ, then give your own answer."
    )


def test_the_words_that_aggregate_are_these() -> None:
    last = aggregate_messages(QUESTION, ["Answer: 7", "Answer: 8"], ["7", "8\n or so"])[-1]
    assert last.text == (
        "How many?\n\nDraft 1:\nAnswer: 7\n\nDraft 2:\nAnswer: 8\n\nThe drafts disagree:\n- 7\n- 8 or so\n\n"
        "Some drafts may be wrong. Check where they differ, then give the final answer."
    )
    assert "disagree" not in aggregate_messages(QUESTION, ["Answer: 7"], ["7"])[-1].text


def test_the_words_that_check_and_hurry_are_these() -> None:
    assert check_messages(QUESTION, "7")[-1].text == (
        "How many?\n\nAnswer: 7\n\nIs this answer right? Work it out yourself, then write yes or no as the last word."
    )
    assert told_to_submit(QUESTION)[-1].text == "How many?\n\nTime is almost up. Give your final answer now."
    result = message("tool", PICTURE, tool_call_id="c", name="crop")
    assert told_to_submit([*QUESTION, result])[-1].text == "Time is almost up. Give your final answer now."


def test_a_judge_is_asked_about_all_answers_at_once() -> None:
    (asked,) = same_messages("Who?", ["Ann", "Anne B."])
    assert asked.text.startswith("Question: Who?\n\nAnswer 1:\nAnn\n\nAnswer 2:\nAnne B.\n\nWhich of these")


def test_what_a_judge_says_is_read_and_what_is_unclear_stays_apart() -> None:
    assert read_same("1 3\n2\n4", 4) == [[0, 2], [1], [3]]
    assert read_same("1, 3 and 4\n- 2", 4) == [[0, 2, 3], [1]]
    assert read_same("I think that 1 and 2 are the same.", 2) == [[0], [1]]
    assert read_same("1 2\n2 3", 3) == [[0, 1], [2]]
    assert read_same("0 9\n", 2) == [[0], [1]]


@given(reply=st.text(alphabet="0123456789 ,.\nand-"), answers=st.integers(1, 9))
def test_a_judgement_puts_each_answer_in_one_group(reply: str, answers: int) -> None:
    assert sorted(one for group in read_same(reply, answers) for one in group) == list(range(answers))


def test_a_verdict_is_the_last_word() -> None:
    assert read_check("No wait. It adds up: **yes**.") is True
    assert read_check("yes? NO") is False
    assert read_check("perhaps, nothing known") is None
