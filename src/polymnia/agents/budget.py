"""What a run may spend: one pool for all its agents, reserved before each call and settled after it.

Tokens and money are bounded for certain: a call reserves its prompt's upper bound and gets a `max_tokens` that cannot
exceed the rest (as far as an endpoint keeps to it). About 15 % is held back for the aggregation; at 80 % agents are
told to submit. The deadline itself is kept by `contemplate.py`. Not covered: limits across runs.
"""

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

from polymnia.agents.events import Resource
from polymnia.agents.model import ChatModel, Sampling, Usage
from polymnia.data.chat import Message, ToolSpec
from polymnia.errors import InputError, RunError

HELD_BACK = 0.15
"""Of tokens and money, for judging and aggregating."""
CLOSING = 0.8
"""Of any resource: from here on agents are told to submit."""
LEAST_ROOM = 16
"""Tokens; a call with room for fewer is not made."""
FAIR_ROOM = 256
"""Tokens that a call gets while there are any, even if others then get none."""
SUBMIT_TOKENS = 512
"""Of a call after the word to submit, unless the model is known to be faster."""
TEMPLATE_TOKENS = 64
TOOL_TOKENS = 600
MESSAGE_TOKENS = 48
"""What a template adds at most: to a prompt, for having tools, and to a message or call."""
MILLION = 1_000_000


class BudgetError(RunError):
    """The run has no means left for this call."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit."""

    seconds: float | None = None
    tokens: int | None = None
    """Prompts and answers of all calls together."""
    tool_calls: int | None = None
    agents: int | None = None
    """Starts of agents, each round counted."""
    cost: float | None = None
    """Dollars."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            least = 0 if one.name == "tool_calls" else 1 if one.name in ("tokens", "agents") else math.ulp(0.0)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise InputError(f"a budget of {value} {one.name} allows nothing: give a number above 0")


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, usage: Usage) -> float:
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / MILLION


@runtime_checkable
class Priced(Protocol):
    """Models whose prices are known."""

    @property
    def prices(self) -> Prices | None: ...


@runtime_checkable
class CountsPrompts(Protocol):
    """Models that can tell what a prompt takes; of others an upper bound is assumed."""

    async def prompt_tokens(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], sampling: Sampling
    ) -> int: ...


def prices_of(model: ChatModel) -> Prices | None:
    return model.prices if isinstance(model, Priced) else None


@dataclass(frozen=True, slots=True)
class Reservation:
    max_tokens: int | None
    """Of the call; None is no limit of ours."""
    prompt_bound: int
    tokens: int
    cost: float


class Budget:
    """One run's pool. `warn` is called once for each resource that gets short."""

    def __init__(
        self,
        limits: Limits,
        *,
        started: float,
        held_back: float = HELD_BACK,
        warn: Callable[[Resource, float, float], None] = lambda resource, spent, limit: None,
    ) -> None:
        """`started`: the loop's time at which the run began."""
        self.limits = limits
        self.tokens = 0
        self.cost = 0.0
        self.priced = True
        """False once a model without prices was asked: the cost is not known then."""
        self.tool_calls = 0
        self.agents = 0
        self.refused: Resource | None = None
        """The resource for which something was not done."""
        self.waiting = 0
        """Agents at work that have not reserved a call, among whom the rest is shared."""
        self._started = started
        self._held_back = held_back
        self._warn = warn
        self._warned: set[Resource] = set()
        self._reserved_tokens = 0
        self._reserved_cost = 0.0
        self._calls = 0
        self._in_flight = 0
        self._pace = 0.0
        """Tokens a second of the fastest call."""
        self._settled = asyncio.Event()

    @property
    def deadline(self) -> float | None:
        """The loop's time at which the answer is due."""
        return None if self.limits.seconds is None else self._started + self.limits.seconds

    @property
    def seconds_left(self) -> float:
        return math.inf if self.deadline is None else self.deadline - asyncio.get_running_loop().time()

    def moment(self, fraction: float) -> float | None:
        """The loop's time at which so much of the deadline is gone."""
        return None if self.limits.seconds is None else self._started + fraction * self.limits.seconds

    @property
    def closing(self) -> bool:
        """Whether agents are to submit what they have."""
        return self.is_closing()

    def is_closing(self, *, from_held_back: bool = False) -> bool:
        """The same; who works from what was held back is pressed by time only."""
        return any(not from_held_back or resource == "seconds" for resource, _, _ in self._short())

    def note(self) -> None:
        """Warn of what has got short since the last time."""
        for resource, spent, limit in self._short():
            self._warn_once(resource, spent, limit)

    def start_agent(self) -> bool:
        """Count one more start; False when none is left."""
        if self.limits.agents is not None and self.agents >= self.limits.agents:
            self._refuse("agents", self.agents, self.limits.agents)
            return False
        self.agents += 1
        return True

    def take_tool_call(self) -> bool:
        """Count one more tool call; False when none is left."""
        if self.limits.tool_calls is not None and self.tool_calls >= self.limits.tool_calls:
            self._refuse("tool_calls", self.tool_calls, self.limits.tool_calls)
            return False
        self.tool_calls += 1
        self.note()
        return True

    async def reserve(
        self,
        model: ChatModel,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        sampling: Sampling,
        *,
        from_held_back: bool = False,
    ) -> Reservation:
        """Means for one call; raises `BudgetError` when there are too few. `settle` or `cancel` it afterwards."""
        prompt = 0
        if self.limits.tokens is not None or self.limits.cost is not None:
            if isinstance(model, CountsPrompts):
                prompt = await model.prompt_tokens(messages, tools, sampling)
            else:
                prompt = prompt_bound(messages, tools)
        prices = prices_of(model) or Prices()
        room = self._room(prompt, prices, from_held_back)
        while room < LEAST_ROOM and self._in_flight:  # calls seldom need all that they reserve
            await self._settled.wait()
            room = self._room(prompt, prices, from_held_back)
        if room < LEAST_ROOM:
            raise self._too_little(self._cost_room(prompt, prices, whole=True) < LEAST_ROOM)
        most = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        if self.is_closing(from_held_back=from_held_back):
            most = min(most, self._submit_tokens())
        limited = math.isfinite(room)
        tokens = prompt + int(most) if limited else 0
        cost = prices.cost(Usage(prompt, int(most))) if limited else 0.0
        self._reserved_tokens += tokens
        self._reserved_cost += cost
        self._in_flight += 1
        self.waiting -= 1
        return Reservation(int(most) if math.isfinite(most) else None, prompt, tokens, cost)

    def settle(self, reserved: Reservation, model: ChatModel, usage: Usage, seconds: float = 0.0) -> None:
        """The call has cost this; the rest of the reservation goes back."""
        prices = prices_of(model)
        self._reserved_tokens -= reserved.tokens
        self._reserved_cost -= reserved.cost
        self._in_flight -= 1
        self.waiting += 1
        self._calls += 1
        self.tokens += usage.total_tokens
        self.cost += (prices or Prices()).cost(usage)
        self.priced = self.priced and prices is not None
        if seconds > 0:
            self._pace = max(self._pace, usage.completion_tokens / seconds)
        self._settled.set()
        self._settled = asyncio.Event()
        self.note()

    def cancel(self, reserved: Reservation, model: ChatModel, written: str) -> None:
        """The call was broken off after this text: endpoints bill what was generated, so the bound counts as spent."""
        bytes_written = len(written.encode(errors="replace"))
        completion = bytes_written if reserved.max_tokens is None else min(bytes_written, reserved.max_tokens)
        self.settle(reserved, model, Usage(reserved.prompt_bound, completion))

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the pool does not add up once nothing is going on."""
        assert self._in_flight == 0, "every call is settled"
        assert self._reserved_tokens == 0, "nothing stays reserved"
        assert abs(self._reserved_cost) < 1e-9, "no money stays reserved"

    def _room(self, prompt: int, prices: Prices, from_held_back: bool) -> float:
        # Nothing was asked yet: better an answer without aggregation than none at all.
        whole = from_held_back or (self._calls == 0 and self._in_flight == 0)
        return min(self._token_room(prompt, whole), self._cost_room(prompt, prices, whole))

    def _too_little(self, cost: bool) -> BudgetError:
        resource: Resource = "cost" if cost else "tokens"
        limit = (self.limits.cost if cost else self.limits.tokens) or 0
        self._refuse(resource, self.cost if cost else self.tokens, limit)
        return BudgetError(f"too little is left of the budget of {limit:g} {resource} for another call: allow more")

    def _token_room(self, prompt: int, whole: bool) -> float:
        if self.limits.tokens is None:
            return math.inf
        left = self.limits.tokens * (1.0 if whole else 1 - self._held_back) - self.tokens - self._reserved_tokens
        return math.floor(max(left / max(1, self.waiting), min(left, prompt + FAIR_ROOM)) - prompt)

    def _cost_room(self, prompt: int, prices: Prices, whole: bool) -> float:
        if self.limits.cost is None or not (prices.prompt or prices.completion):
            return math.inf
        left = self.limits.cost * (1.0 if whole else 1 - self._held_back) - self.cost - self._reserved_cost
        fair = prices.cost(Usage(prompt, FAIR_ROOM))
        money = max(left / max(1, self.waiting), min(left, fair)) - prices.cost(Usage(prompt, 0))
        return math.floor(money * MILLION / prices.completion) if prices.completion else (math.inf if money > 0 else 0)

    def _submit_tokens(self) -> int:
        if not math.isfinite(self.seconds_left):
            return SUBMIT_TOKENS
        return max(LEAST_ROOM, int(self._pace * max(0.0, self.seconds_left))) if self._pace else SUBMIT_TOKENS

    def _short(self) -> list[tuple[Resource, float, float]]:
        """Resources of which 80 % are spent."""
        spent: dict[Resource, tuple[float, float | None]] = {
            "seconds": ((self.limits.seconds or 0) - self.seconds_left, self.limits.seconds),
            "tokens": (self.tokens, self.limits.tokens),
            "tool_calls": (self.tool_calls, self.limits.tool_calls),
            "cost": (self.cost, self.limits.cost),
        }
        return [
            (resource, used, limit)
            for resource, (used, limit) in spent.items()
            if limit is not None and used >= CLOSING * limit - 1e-9
        ]

    def _refuse(self, resource: Resource, spent: float, limit: float) -> None:
        self.refused = self.refused or resource
        self._warn_once(resource, spent, limit)

    def _warn_once(self, resource: Resource, spent: float, limit: float) -> None:
        if resource not in self._warned:
            self._warned.add(resource)
            self._warn(resource, spent, limit)


def prompt_bound(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    """The most tokens that a prompt can take: one for each byte, as byte-level tokenizers guarantee; pictures by
    their pixels, generously; and the words of templates, those included that tell of tools in plain text."""
    told = sum(len(json.dumps([one.name, one.description, one.parameters])) for one in tools)
    texts = sum(_bytes(one) for one in messages)
    pictures = sum(min(16_384, 512 + image.width * image.height // 256) for one in messages for image in one.images)
    return TEMPLATE_TOKENS + (told + told // 4 + TOOL_TOKENS if tools else 0) + texts + pictures


def _bytes(one: Message) -> int:
    calls = sum(MESSAGE_TOKENS + len(json.dumps([call.name, call.arguments])) for call in one.tool_calls)
    texts = (one.text, one.reasoning, one.name)
    return MESSAGE_TOKENS + calls + sum(len(text.encode(errors="replace")) for text in texts)
