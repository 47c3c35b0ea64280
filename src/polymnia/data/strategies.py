"""Short instructions that make the agents of one run look at the same question differently.

Each agent of a Contemplating run gets the next one as its system message, so that errors are less
alike than those of plain resampling (the wave's majority then means more). They are plain words,
so any model can follow them; nano is trained on exactly these.
"""

STRATEGIES: tuple[str, ...] = (
    "",
    "Go column by column.",
    "Start at the end and go backwards.",
    "Zoom in before you answer.",
)
