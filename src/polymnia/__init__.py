"""Agents that look, think and compute in parallel, and give one answer: `from polymnia import contemplate`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymnia.agents.library import contemplate

__all__ = ["contemplate"]


def __getattr__(name: str) -> Any:
    """Loaded when first used: `import polymnia` itself imports nothing."""
    if name == "contemplate":
        from polymnia.agents.library import contemplate

        return contemplate
    raise AttributeError(f"module 'polymnia' has no attribute {name!r}")
