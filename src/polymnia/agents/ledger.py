"""The one account of a run's drafts and votes: what was answered, by whom, in which round, and what it amounts to.

Consensus, disagreement, refinement, aggregation and the final vote all read it. Each agent's seat has one vote, that
of its latest draft. Not covered: tokens and time (`budget.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from polymnia.agents.answers import Group, Standing, grouped, meaning, standing, weighted
from polymnia.agents.events import Role
from polymnia.data.chat import Message

VOTING: tuple[Role, ...] = ("propose", "refine")


@dataclass(frozen=True, slots=True)
class Draft:
    agent: int
    round: int
    answer: str
    messages: tuple[Message, ...] = ()
    """What the agent added to the conversation, its answer last."""
    mean_logprob: float | None = None
    role: Role = "propose"
    partial: bool = False
    """Cut off by the end of the time, and still an answer."""
    carried: bool = False
    """Taken over from an earlier round as it was."""


@dataclass(slots=True)
class Ledger:
    drafts: list[Draft] = field(default_factory=list)
    """In the order in which they came in; nothing is ever taken out."""
    same: dict[str, str] = field(default_factory=dict)
    """Meanings that a judge found equal to others (`answers.grouped`)."""

    def add(self, draft: Draft) -> None:
        self.drafts.append(draft)

    def carry(self, draft: Draft, round: int) -> None:
        """The draft is its agent's vote in this round, too."""
        self.add(replace(draft, round=round, carried=True))

    def merge(self, same: Mapping[str, str]) -> None:
        """Note which meanings a judge found equal; chains are followed to their end."""
        for key, other in same.items():
            root = self.same.get(other, other)
            if root != key:
                self.same |= {one: root for one, target in self.same.items() if target == key} | {key: root}

    def latest(self, round: int | None = None) -> dict[int, Draft]:
        """Each agent's last draft, of that round only if one is named; by agent."""
        voting = [draft for draft in self.drafts if draft.role in VOTING and round in (None, draft.round)]
        found = {draft.agent: draft for draft in voting}
        return dict(sorted(found.items()))

    def groups(self, round: int | None = None) -> list[Group]:
        """Weighted by what the models think of their answers, heaviest first."""
        latest = self.latest(round)
        return grouped(weighted({agent: (one.answer, one.mean_logprob) for agent, one in latest.items()}), self.same)

    def standing(self, round: int | None = None) -> Standing | None:
        """By heads, since the stopping rule's guarantee is about counts; None without drafts."""
        latest = self.latest(round)
        votes = weighted({agent: (one.answer, None) for agent, one in latest.items()})
        return standing(votes, self.same) if votes else None

    def key(self, answer: str) -> str:
        """Equal for answers that say the same."""
        own = meaning(answer)
        return self.same.get(own, own)

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the account does not add up."""
        latest = self.latest()
        agents = [agent for group in self.groups() for agent in group.agents]
        assert sorted(agents) == sorted(latest), "each agent has one vote"
        assert all(draft.answer for draft in self.drafts), "no draft is empty"
        assert not set(self.same) & set(self.same.values()), "no meaning stands for another and for itself"
