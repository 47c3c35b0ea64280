"""Draws docs/board.svg, the README's picture: one held-out question, what the agents looked at, what they said.

python docs/board.py            # asks nano; everything in the picture comes from that run's events
"""

import asyncio
import io
import json
import re
from pathlib import Path

from rich.console import Console

from polymnia.agents.events import Event, RunFinished, RunStarted, ToolCall
from polymnia.agents.models import open_model
from polymnia.agents.run import answer
from polymnia.cli.live import LiveView
from polymnia.data.images import to_data_url
from polymnia.tasks import Problem, problem_from_id

PROBLEM = "detail/test/2/1/4"
OUT = Path(__file__).parent / "board.svg"
SIDE, GAP, COLUMNS = 440, 28, 74
COLOURS = ("#0B5FA5", "#B23A48", "#2E7D32", "#8E4EC6", "#C77700", "#00838F", "#6D4C41", "#37474F")


async def run(problem: Problem, view: LiveView) -> list[Event]:
    model = open_model("nano")
    happened = []
    try:
        async for event in answer(problem.messages(), model=model):
            view.show(event)
            happened.append(event)
    finally:
        await model.aclose()
    return happened


def crops(happened: list[Event]) -> list[tuple[int, dict[str, float]]]:
    """(agent, box) of every crop of the first picture that was well formed."""
    found = []
    for event in happened:
        if isinstance(event, ToolCall) and event.name == "crop" and event.agent is not None:
            box = json.loads(event.arguments)
            if box.keys() == {"image", "x0", "y0", "x1", "y1"} and box["image"] == 1:
                found.append((event.agent, box))
    return found


def drawing(problem: Problem, happened: list[Event], board: str) -> str:
    """The picture with the agents' crops on the left, the final board on the right."""
    left = GAP
    parts = [f'<image href="{to_data_url(problem.images[0])}" x="{left}" y="86" width="{SIDE}" height="{SIDE}"/>']
    scale = SIDE / 1000
    for agent, box in crops(happened):
        x, y = left + box["x0"] * scale, 86 + box["y0"] * scale
        width, height = (box["x1"] - box["x0"]) * scale, (box["y1"] - box["y0"]) * scale
        inset = 2 * agent
        frame = f'x="{x + inset}" y="{y + inset}" width="{width - 2 * inset}" height="{height - 2 * inset}"'
        colour = COLOURS[agent % len(COLOURS)]
        parts.append(f'<rect {frame} fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 6 + 16 * agent}" y="{y - 5}" class="n" fill="{colour}">{agent + 1}</text>')
    done = next(event for event in happened if isinstance(event, RunFinished))
    started = next(event for event in happened if isinstance(event, RunStarted))
    inner = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', board)
    if inner is None:
        raise SystemExit("rich wrote an SVG without a viewBox")
    width = SIDE * 2
    height = width * float(inner[2]) / float(inner[1])
    board = re.sub(r"@font-face\s*{.*?}", "", board, flags=re.DOTALL)  # rich names fonts on other hosts
    placed = board.replace("<svg ", f'<svg x="{left + SIDE + GAP}" y="86" width="{width}" height="{height:.0f}" ', 1)
    whole = left + SIDE + GAP + width + GAP
    texts = (
        f'<text x="{left}" y="36" class="q">{problem.question}</text>'
        f'<text x="{left}" y="62" class="a">Answer: {done.answer} - {started.model}, {len(done.votes)} '
        f"group{'s' if len(done.votes) != 1 else ''} of answers, {done.usage.completion_tokens} tokens</text>"
    )
    tall = max(86 + SIDE, 86 + height) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole:.0f} {tall:.0f}">'
        "<style>.q{font:600 22px sans-serif;fill:#1b1f24}.a{font:15px sans-serif;fill:#57606a}"
        ".n{font:700 13px sans-serif}</style>"
        f'<rect width="{whole:.0f}" height="{tall:.0f}" fill="#ffffff"/>{texts}{"".join(parts)}{placed}</svg>\n'
    )


def main() -> None:
    problem = problem_from_id(PROBLEM)
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True)
    view = LiveView(console)
    happened = asyncio.run(run(problem, view))
    console.print(view.draw())
    OUT.write_text(drawing(problem, happened, console.export_svg(title="polymnia ask")), encoding="utf-8")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
