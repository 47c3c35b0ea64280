"""How a team works: its size, its rounds, when it is sure, and which of its parts are switched on.

`LEVELS` are the settings that people choose by name; each field of `TeamConfig` can be changed by itself, so that
what a part is worth can be measured by leaving it out. Figures behind the numbers: RSA (arXiv 2509.26626), PDR
(2510.01123), Adaptive-Consistency (2305.11860). `needs_one_agent` is the rule that sends no team at all.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from polymnia.data.workspace import DRAFT_TOKENS, DRAFTS
from polymnia.errors import InputError
from polymnia.tools import Toolbox, default_tools

Level = Literal["quick", "normal", "deep"]
MAX_AGENTS = 64
MAX_ROUNDS = 16
SURE = 0.95
"""The posterior at which a run stops: 4-0, 6-1 and 8-2 do, 3-0 does not."""
VERY_SURE = 0.99
"""For the deep level: 6-0 and 9-1."""


@dataclass(frozen=True, slots=True)
class TeamConfig:
    agents: int = 8
    """The most that propose."""
    rounds: int = 2
    """The first proposes, each further one refines; 1 refines nothing."""
    least_rounds: int = 2
    """After so many, a round that has not moved the vote is the last one."""
    sure: float = SURE
    """The leading answer's posterior at which nobody else is asked."""
    first_wave: int | None = 4
    """Agents of the first wave; the total doubles with each further one. None starts all at once."""
    early_stop: bool = True
    """Stop at the posterior `sure`; otherwise all agents and rounds are run."""
    strategies: bool = True
    """Give agents different short instructions; otherwise only their seeds differ."""
    drafts: int = DRAFTS
    """How many drafts a refining agent is shown."""
    draft_tokens: int = DRAFT_TOKENS
    """Of each of them, about; its end is kept."""
    skip_agreeing: bool = True
    """No call for an agent that says the same as all drafts in its workspace."""
    elite_and_fresh: bool = True
    """In a refinement of four or more, keep the best draft as it is and draw one anew without a workspace."""
    judge: bool = True
    """Ask a model which answers mean the same, where comparing numbers and words ends."""
    check: bool = False
    """Let an agent that has seen no draft check the answer of a consensus, once."""
    aggregate: bool = True
    """Let a final agent write the answer where drafts disagree and no short answer has a majority."""
    read_trajectories: bool = True
    """Give that agent tools to read what the others did."""
    router: bool = True
    """Send one agent where teams are known to hurt (`needs_one_agent`)."""

    def __post_init__(self) -> None:
        if not 1 <= self.agents <= MAX_AGENTS:
            raise InputError(f"{self.agents} agents cannot answer: choose a number from 1 to {MAX_AGENTS}")
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise InputError(f"{self.rounds} rounds are not possible: choose a number from 1 to {MAX_ROUNDS}")
        if not 0.5 < self.sure <= 1:
            raise InputError(f"a team cannot be {self.sure} sure: choose a number above 0.5, at most 1")
        if self.drafts < 2 or self.draft_tokens < 1 or (self.first_wave is not None and self.first_wave < 1):
            raise InputError("a team needs 2 drafts of 1 token and waves of 1 agent at least: raise the numbers")


LEVELS: dict[Level, TeamConfig] = {
    "quick": TeamConfig(agents=4, rounds=1),
    "normal": TeamConfig(),
    "deep": TeamConfig(agents=16, rounds=5, least_rounds=3, sure=VERY_SURE, check=True),
}
ALONE = TeamConfig(agents=1, rounds=1)
"""One agent, which is a team of one in one round."""


def level_config(level: str) -> TeamConfig:
    """The settings of a level; `InputError` for a name that is none."""
    if level not in get_args(Level):
        raise InputError(f"unknown level {level!r}: choose one of {', '.join(get_args(Level))}")
    return LEVELS[level]  # type: ignore[index]


_ORDER = re.compile(r"\b(?:then|next|after that|afterwards|finally|step by step|steps|plan|schedule)\b", re.IGNORECASE)
ORDER_WORDS = 2


def needs_one_agent(question: str, tools: Toolbox) -> bool:
    """Whether this is a plan to be carried out with tools, where teams do 39 to 70 % worse (arXiv 2512.08296).

    The rule: there are tools beyond our own ones, which only look and compute, and the question has at least two words
    of order (`then`, `next`, `finally`, `plan`, ...).
    """
    ours = {one.spec.name for one in default_tools().tools}
    acts = any(one.spec.name not in ours for one in tools.tools)
    return acts and len(_ORDER.findall(question)) >= ORDER_WORDS
