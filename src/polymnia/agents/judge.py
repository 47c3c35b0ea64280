"""A model's judgement where comparing words and numbers ends: which answers mean the same, and whether one is right.

Bounded: one call for all answers of a round, each cut; nothing is compared twice. A judge that fails or speaks
unclearly changes nothing.
"""

from polymnia.agents.answers import is_number, meaning
from polymnia.agents.crew import Job, Seat, State, run_alone
from polymnia.data.workspace import check_messages, cut_to_end, read_check, read_same, same_messages
from polymnia.tools import Toolbox

MOST_ANSWERS = 12
"""Compared in one call; the heaviest groups come first."""
ANSWER_TOKENS = 200
"""Of each answer, about."""
_SETTLED = frozenset({"yes", "no", "true", "false"})


async def join_equal_answers(job: Job, state: State, round: int) -> None:
    """Ask once which of the present answers mean the same, unless words and numbers settle that."""
    groups = [group for group in state.ledger.groups() if not is_plain(group.answer)][:MOST_ANSWERS]
    keys = [state.ledger.key(group.answer) for group in groups]
    if not job.config.judge or "judge" not in job.cast or len(groups) < 2 or state.judged.issuperset(keys):
        return
    state.judged.update(keys)
    asked = same_messages(job.messages[-1].text, [cut_to_end(group.answer, ANSWER_TOKENS) for group in groups])
    seat = Seat(next(state.numbers), "judge", asked, tools=Toolbox())
    if reply := await run_alone(job, state, seat, round=round):
        state.ledger.merge(_equal(keys, read_same(reply.text, len(keys))))


async def check_consensus(job: Job, state: State, round: int) -> None:
    """Take the consensus back when an agent that has seen nothing but its answer finds it wrong; once an answer."""
    lead = state.consensus
    if not job.config.check or lead is None or "judge" not in job.cast:
        return
    key = state.ledger.key(lead.answer)
    if key in state.doubted:
        return
    seat = Seat(next(state.numbers), "judge", check_messages(job.messages, lead.answer))
    reply = await run_alone(job, state, seat, round=round)
    if reply is not None and read_check(reply.text) is False:
        state.doubted.add(key)
        state.consensus = None


def is_plain(answer: str) -> bool:
    """Whether equality of this answer with others needs no judge: a number, a letter to choose, yes or no."""
    key = meaning(answer)
    return is_number(answer) or len(key.strip("().")) == 1 or key in _SETTLED


def _equal(keys: list[str], groups: list[list[int]]) -> dict[str, str]:
    return {keys[other]: keys[first] for first, *others in groups for other in others}
