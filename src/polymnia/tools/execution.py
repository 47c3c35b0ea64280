"""What every sandbox gives back, and the interface that the `python` tool uses."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Execution:
    text: str
    """What was printed, then the value of the last expression, or what went wrong."""
    failed: bool = False


class CodeRunner(Protocol):
    """A sandbox: `sandbox.Sandbox` (Monty) or `bubblewrap.Bubblewrap`."""

    @property
    def name(self) -> str: ...

    def run(self, code: str) -> Execution: ...

    async def run_async(self, code: str) -> Execution:
        """Like `run`; cancelling ends the code at once."""
        ...

    def close(self) -> None: ...


NO_OUTPUT = "(no output: print a value or end with an expression)"


class Output:
    """Keeps the first `limit` characters that were printed and only counts the rest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = ""
        self.count = 0

    def write(self, stream: str, text: str) -> None:
        self.count += len(text)
        self._kept += text[: max(0, self._limit - len(self._kept))]

    def joined(self, ending: str) -> str:
        """The output and then `ending` (a value or an error), which always stays readable."""
        room = max(self._limit - len(ending), 0)
        printed = self._kept.rstrip("\n")
        if len(printed) > room or self.count > self._limit:
            printed = f"{printed[:room]}\n... (output cut: {self.count} characters were printed)"
        return "\n".join(part for part in (printed, ending) if part)
