"""Agents that answer a question: `answer` is the one entry, `open_model` gives it a model."""

from polymnia.agents.budget import Limits
from polymnia.agents.events import Event, Mode, to_dict, to_json
from polymnia.agents.model import ChatModel, Delta, Sampling, Usage
from polymnia.agents.models import open_model
from polymnia.agents.run import answer, outcome
from polymnia.agents.team import LEVELS, TeamConfig

__all__ = [
    "LEVELS",
    "ChatModel",
    "Delta",
    "Event",
    "Limits",
    "Mode",
    "Sampling",
    "TeamConfig",
    "Usage",
    "answer",
    "open_model",
    "outcome",
    "to_dict",
    "to_json",
]
