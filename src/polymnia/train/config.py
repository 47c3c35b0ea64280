"""What a training run is told, and what it reports while it goes."""

from dataclasses import dataclass, field

from polymnia.errors import InputError
from polymnia.train.optim import OptimConfig


@dataclass(frozen=True)
class TrainConfig:
    """Frozen; a variant is `dataclasses.replace(base, ...)`. Ends at `steps` or `minutes`, whichever is first."""

    name: str
    """The run lives in `runs/<name>/`."""
    seed: int = 0
    rows: int = 16
    """Rows of a batch."""
    row_tokens: int = 512
    """Length of a row, tokens; longer examples are dropped and counted."""
    pad_id: int = 0
    merge: int = 4
    """Patches per image token."""
    steps: int | None = None
    minutes: float | None = None
    """Wall-clock limit over all sittings of the run; the learning rate follows it."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    aux_classes: tuple[int, ...] = ()
    """Classes of each kind of auxiliary label; () = no auxiliary loss."""
    aux_weight: float = 1.0
    aux_until: float = 0.6
    """The auxiliary weight falls linearly from `aux_weight` to 0 at this share of the run."""
    ema_decay: float = 0.995
    """Running average of the weights, per step; 0 = none."""
    log_every: int = 20
    """Steps."""
    save_minutes: float = 4.0
    evaluate_batches: int = 16
    """Batches after the last one that decide between final and averaged weights."""
    device: str = "cpu"
    threads: int = 2
    """Of the training process; 0 leaves PyTorch's default."""
    workers: int = 1
    """Processes that make batches; part of the data order."""
    autocast: bool = True
    """bf16 matrix products."""
    compile: bool = True

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise InputError(f"training run {self.name!r} has no end: give steps or minutes")
        if not self.name or "/" in self.name:
            raise InputError(f"{self.name!r} is no name for a run: it becomes a folder under runs/")

    def progress(self, step: int, seconds: float) -> float:
        """Share of the run that is done, 0 to 1: by steps or by the clock, whichever is further."""
        by_step = step / self.steps if self.steps else 0.0
        by_clock = seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_step, by_clock))

    def aux_scale(self, progress: float) -> float:
        if not self.aux_classes or self.aux_until <= 0:
            return 0.0
        return self.aux_weight * max(0.0, 1.0 - progress / self.aux_until)


@dataclass(frozen=True)
class Metrics:
    """Means over the steps since the last report."""

    step: int
    progress: float
    loss: float
    """Nats per trained token."""
    accuracy: float
    """Teacher-forced: share of trained tokens ranked first."""
    aux_loss: float
    aux_accuracy: float
    families: dict[str, float]
    """Token accuracy by family."""
    lr_scale: float
    tokens: int
    """Since the run began, padding not counted."""
    tokens_per_second: float
    fill: float
    """Share of positions that hold a token."""
    waiting: float
    """Share of the time spent waiting for data."""
    seconds: float
    """Since the run began, all sittings."""
    dropped: int
    """Examples too long for a row, since the run began."""

    def line(self) -> str:
        families = " ".join(f"{name} {100 * value:.0f}" for name, value in sorted(self.families.items()))
        return (
            f"step {self.step:6d} {100 * self.progress:5.1f}%  "
            f"loss {self.loss:.4f}  right {100 * self.accuracy:5.1f}%  "
            f"aux {self.aux_loss:.3f} ({100 * self.aux_accuracy:.0f}%)  lr {self.lr_scale:.3f}  "
            f"{self.tokens_per_second:,.0f} tok/s  fill {100 * self.fill:.0f}%  wait {100 * self.waiting:.0f}%  "
            f"{self.seconds / 60:.1f} min  {families}"
        )
