"""The network (Muse Glimmer and Muse Spark: decoder, vision tower), checkpoints in and out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymnia.model.checkpoint import load_checkpoint

__all__ = ["load_checkpoint"]


def __getattr__(name: str) -> Any:
    # Lazily, because `model.config` is imported where there is no torch.
    if name == "load_checkpoint":
        from polymnia.model.checkpoint import load_checkpoint

        return load_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
