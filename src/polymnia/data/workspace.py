"""What an agent that improves, merges or judges is shown: drafts of others, as messages.

The one home of these words: agents send exactly these messages, and the training mixture renders the same ones, so a
small model meets nothing in use that it was not trained on. Drafts are anonymous, bounded (their end is kept:
conclusions stand there; arXiv 2605.05365) and carry no votes (votes shown make herds; arXiv 2509.23537).
Not covered: asking a model.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from polymnia.data.chat import Message, TextPart, message

DRAFTS = 4
"""The most drafts that one reader is shown."""
DRAFT_TOKENS = 1000
"""Of one draft, about; `CHARS_PER_TOKEN` turns them into characters, the same for every tokenizer."""
CHARS_PER_TOKEN = 4
CUT = "[...] "
"""Stands where the beginning of a draft was left out."""

REFINE = "Some drafts may be wrong. Check where they differ, then give your own answer."
AGGREGATE = "Some drafts may be wrong. Check where they differ, then give the final answer."
SUBMIT = "Time is almost up. Give your final answer now."
SAME = (
    "Which of these answers to the question mean the same? "
    "Write one line for each meaning, with the numbers of its answers."
)
CHECK = "Is this answer right? Work it out yourself, then write yes or no as the last word."


def draft_text(messages: Sequence[Message], tokens: int = DRAFT_TOKENS) -> str:
    """What an agent wrote, in order: its thoughts, what its tools said, its answer; the end of it, if it is long."""
    return cut_to_end("\n".join(line for one in messages for line in _lines(one)), tokens)


def cut_to_end(text: str, tokens: int) -> str:
    """The last `tokens` tokens of the text, about, from the beginning of a word; the whole text if it is short."""
    room = tokens * CHARS_PER_TOKEN
    text = text.strip()
    if len(text) <= room:
        return text
    end = text[-max(room - len(CUT), 0) :] if room > len(CUT) else ""
    space = re.search(r"\s", end[: len(end) // 2])
    return CUT + (end[space.end() :] if space else end).lstrip()


def refine_messages(messages: Sequence[Message], drafts: Sequence[str]) -> list[Message]:
    """The conversation, its last message followed by the drafts and the request to do better."""
    return _with_text(messages, f"{_listed('Draft', drafts)}\n\n{REFINE}")


def aggregate_messages(messages: Sequence[Message], drafts: Sequence[str], claims: Sequence[str]) -> list[Message]:
    """The same for the final answer; `claims` are the answers between which the drafts are divided, if they are."""
    differ = f"\n\nThe drafts disagree:\n{_dashed(claims)}" if len(claims) > 1 else ""
    return _with_text(messages, f"{_listed('Draft', drafts)}{differ}\n\n{AGGREGATE}")


def same_messages(question: str, answers: Sequence[str]) -> list[Message]:
    """A question to a judge; `read_same` reads what it says."""
    return [message("user", f"Question: {question}\n\n{_listed('Answer', answers)}\n\n{SAME}")]


def read_same(reply: str, answers: int) -> list[list[int]]:
    """0-based groups from the judge's lines such as `1 3`. Whatever is unclear stays apart."""
    taken: set[int] = set()
    groups: list[list[int]] = []
    for line in reply.splitlines():
        if not re.fullmatch(r"[\s\d,;&*.()\-]*(?:and[\s\d,;&.()]*)*", line):
            continue  # words: an explanation
        found = list(dict.fromkeys(int(number) - 1 for number in re.findall(r"\d{1,4}", line)))
        if found and all(0 <= one < answers and one not in taken for one in found):
            taken.update(found)
            groups.append(found)
    return groups + [[one] for one in range(answers) if one not in taken]


def check_messages(messages: Sequence[Message], answer: str) -> list[Message]:
    """The conversation and a proposed answer to check; `read_check` reads the verdict."""
    return _with_text(messages, f"Answer: {answer}\n\n{CHECK}")


def read_check(reply: str) -> bool | None:
    """Whether the answer was found right; None where the reply does not say."""
    said = re.findall(r"\b(?:yes|no)\b", reply.casefold())
    return said[-1] == "yes" if said else None


def told_to_submit(messages: Sequence[Message]) -> list[Message]:
    """The conversation with the request to finish at the end of its last message: two messages of a user in a row
    are more than some chat templates take."""
    return _with_text(messages, SUBMIT)


def deal(drafts: int, readers: int, k: int, random_numbers: random.Random) -> list[list[int]]:
    """Which drafts each reader is shown, shuffled for each: `k` different ones, or all when there are fewer.

    Each draft is shown at least once as long as `readers * k >= drafts`, and all nearly equally often.
    """
    k = min(k, drafts)
    deck: list[int] = []
    hands = []
    for _ in range(readers):
        hand: list[int] = []
        while len(hand) < k:
            fresh = [one for one in deck if one not in hand]
            if not fresh:  # the deck is used up but for what this reader holds
                more = list(range(drafts))
                random_numbers.shuffle(more)
                deck += more
                continue
            hand.append(fresh[0])
            deck.remove(fresh[0])
        random_numbers.shuffle(hand)
        hands.append(hand)
    return hands


def _lines(one: Message) -> list[str]:
    if one.role == "tool":
        return [f"{one.name}: {one.text}"] if one.text.strip() else []
    calls = [f"{call.name} {call.arguments}" for call in one.tool_calls]
    answer = one.text.strip()
    return [part for part in (one.reasoning.strip(), *calls, answer and f"Answer: {answer}") if part]


def _listed(kind: str, texts: Sequence[str]) -> str:
    return "\n\n".join(f"{kind} {number}:\n{text}" for number, text in enumerate(texts, start=1))


def _dashed(texts: Sequence[str]) -> str:
    return "\n".join(f"- {' '.join(text.split())}" for text in texts)


def _with_text(messages: Sequence[Message], text: str) -> list[Message]:
    last = messages[-1]
    joined = (*last.content, TextPart(f"\n\n{text}" if last.text else text))
    return [*messages[:-1], replace(last, content=joined)]
