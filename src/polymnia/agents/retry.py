"""How a request waits and tries again: full jitter, `Retry-After`, and an end to it.

Tried again: 408, 409, 429, 5xx and connections that fail or break before an answer has begun. Not tried again:
everything else, silence (it has already cost `silence_seconds`), and what would wait past the deadline.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import openai

T = TypeVar("T")
AGAIN = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Retries:
    times: int = 3
    seconds: float = 60.0
    """After so long no further try begins."""
    base: float = 0.5
    """The first wait is 0 to so many seconds, the next twice that, and so on."""
    longest: float = 8.0


async def retried(
    send: Callable[[], Awaitable[T]], retries: Retries, final: Callable[[openai.APIError], bool] = lambda error: False
) -> T:
    """The result of `send`; raises its last error. `final` errors are not tried again whatever their status."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + retries.seconds
    for attempt in range(retries.times + 1):
        try:
            return await send()
        except openai.APIError as error:
            wait = wait_seconds(error, attempt, retries)
            late = wait is None or loop.time() + wait > deadline
            if wait is None or late or attempt == retries.times or final(error):
                raise
        await asyncio.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def wait_seconds(error: openai.APIError, attempt: int, retries: Retries) -> float | None:
    """Before the next try; None: there is no use in one."""
    jitter = random.uniform(0, min(retries.longest, retries.base * 2**attempt))
    if isinstance(error, openai.APITimeoutError):
        return None
    if isinstance(error, openai.APIConnectionError):
        return jitter
    if not isinstance(error, openai.APIStatusError) or not (error.status_code in AGAIN or error.status_code >= 500):
        return None
    asked = retry_after(error.response.headers.get("retry-after", ""))
    # A little later than asked, or all that were told the same come back at once.
    return jitter if asked is None else asked + random.uniform(0, retries.base)


def retry_after(header: str, now: datetime | None = None) -> float | None:
    """Seconds from the header's value, which is a number or a date; None where it says neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
