"""One account of drafts and votes: whatever happens, it adds up."""

from hypothesis import given
from hypothesis import strategies as st

from polymnia.agents.events import Role
from polymnia.agents.ledger import Draft, Ledger

ROLES: list[Role] = ["propose", "refine", "aggregate", "judge"]
DRAFTS = st.builds(
    Draft,
    agent=st.integers(0, 9),
    round=st.integers(1, 4),
    answer=st.sampled_from(["7", "7.0", "8", "red", "Red.", "blue", "answer: 7"]),
    mean_logprob=st.none() | st.floats(-5, 0),
    role=st.sampled_from(ROLES),
)
MERGES = st.dictionaries(st.sampled_from(["red", "blue", "7", "8"]), st.sampled_from(["red", "blue", "7", "8"]))


@given(drafts=st.lists(DRAFTS, max_size=30), merges=st.lists(MERGES, max_size=4))
def test_it_adds_up_whatever_comes(drafts: list[Draft], merges: list[dict[str, str]]) -> None:
    ledger = Ledger()
    for draft in drafts:
        ledger.add(draft)
    for same in merges:
        ledger.merge(same)
    ledger.check_integrity()
    voters = {draft.agent for draft in drafts if draft.role in ("propose", "refine")}
    assert set(ledger.latest()) == voters
    lead = ledger.standing()
    assert (lead is None) == (not voters)
    if lead is not None:
        sizes = sorted((len(group.votes) for group in ledger.groups()), reverse=True)
        assert sum(sizes) == len(voters)
        assert (lead.count, lead.second, lead.distinct) == (sizes[0], [*sizes, 0][1], len(sizes))


def test_an_agents_last_draft_is_its_vote() -> None:
    ledger = Ledger()
    for draft in (Draft(0, 1, "7"), Draft(1, 1, "8"), Draft(0, 2, "8"), Draft(2, 2, "9", role="aggregate")):
        ledger.add(draft)
    assert [(group.answer, group.agents) for group in ledger.groups()] == [("8", (0, 1))]
    assert [group.answer for group in ledger.groups(round=1)] == ["7", "8"]
    ledger.carry(ledger.latest()[1], 2)
    assert [draft.round for draft in ledger.latest(round=2).values()] == [2, 2]


def test_what_a_judge_found_equal_is_one_side() -> None:
    ledger = Ledger()
    for agent, answer in enumerate(["Paris", "Paris, France", "the capital, Paris", "Rome"]):
        ledger.add(Draft(agent, 1, answer))
    ledger.merge({"paris, france": "paris"})
    ledger.merge({"paris": "the capital, paris"})
    assert [group.agents for group in ledger.groups()] == [(0, 1, 2), (3,)]
    assert ledger.key("PARIS, France.") == ledger.key("the capital, Paris")
