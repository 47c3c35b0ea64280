"""Tools with which the final agent reads what the others did, in place of a summary of everything.

As in AggAgent (arXiv 2604.11753): one tool for an agent's whole result, one to search all of them, one to read a part.
Drafts are numbered as in the workspace; nothing can be changed.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from polymnia.agents.ledger import Draft
from polymnia.data.chat import Message
from polymnia.data.workspace import CHARS_PER_TOKEN, cut_to_end
from polymnia.tools import Toolbox, ToolError, ToolResult, tool

SOLUTION_TOKENS = 2_000
SEGMENT_CHARS = 4_000
MOST_HITS = 8
HIT_CHARS = 160
"""Shown on each side of what was found."""


def trajectory_tools(drafts: Sequence[Draft]) -> Toolbox:
    """The tools over these drafts; draft 1 is the first."""
    texts = [transcript(draft.messages) for draft in drafts]
    which = f"the draft's number, 1 to {len(drafts)}"

    def get_solution(draft: Annotated[int, Field(description=which)]) -> ToolResult:
        """The end of one draft's whole work, its answer last."""
        return ToolResult(cut_to_end(_chosen(texts, draft), SOLUTION_TOKENS))

    def search(text: Annotated[str, Field(description="words to look for", min_length=1)]) -> ToolResult:
        """Where a text occurs in all drafts' whole work: draft, position, surroundings."""
        hits = [
            f"draft {number}, position {place}: {_around(whole, place, len(text))}"
            for number, whole in enumerate(texts, start=1)
            for place in _places(whole, text)
        ]
        more = f"\nand {len(hits) - MOST_HITS} more" if len(hits) > MOST_HITS else ""
        return ToolResult("\n".join(hits[:MOST_HITS]) + more if hits else "nothing found")

    def get_segment(
        draft: Annotated[int, Field(description=which)],
        position: Annotated[int, Field(description="of its first character", ge=0)],
    ) -> ToolResult:
        """A part of one draft's whole work, from a position on."""
        whole = _chosen(texts, draft)
        if position >= len(whole):
            raise ToolError(f"draft {draft} has {len(whole)} characters: choose a position below that")
        rest = len(whole) - position - SEGMENT_CHARS
        return ToolResult(whole[position : position + SEGMENT_CHARS] + (f"\n({rest} more)" if rest > 0 else ""))

    return Toolbox([tool(get_solution), tool(search), tool(get_segment)])


def is_longer(draft: Draft, tokens: int) -> bool:
    """Whether there is more to read than a workspace shows."""
    return len(transcript(draft.messages)) > tokens * CHARS_PER_TOKEN


def transcript(messages: Sequence[Message]) -> str:
    """An agent's whole work as text."""
    parts = []
    for one in messages:
        if one.role == "tool":
            parts.append(f"{one.name} gave: {one.text or f'{len(one.images)} pictures'}")
            continue
        parts += [one.reasoning] if one.reasoning else []
        parts += [f"called {call.name} {call.arguments}" for call in one.tool_calls]
        parts += [f"Answer: {one.text}"] if one.text else []
    return "\n".join(parts)


def _chosen(texts: Sequence[str], draft: int) -> str:
    if not 1 <= draft <= len(texts):
        raise ToolError(f"there is no draft {draft}: choose 1 to {len(texts)}")
    return texts[draft - 1]


def _places(whole: str, text: str) -> list[int]:
    places, place, low, wanted = [], -1, whole.lower(), text.lower()
    while (place := low.find(wanted, place + 1)) >= 0:
        places.append(place)
    return places


def _around(whole: str, place: int, length: int) -> str:
    return " ".join(whole[max(0, place - HIT_CHARS) : place + length + HIT_CHARS].split())
