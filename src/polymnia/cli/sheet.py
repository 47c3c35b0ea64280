"""The contact sheet of `polymnia tasks sample`: one HTML page with picture, question, trace and answer of each problem.

Pictures stay files beside it; the page needs no network and no script.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #DEDEDA; --second: #5B5B56; --sunken: #F3F3F1; }
@media (prefers-color-scheme: dark) { :root { --line: #2E2E31; --second: #A3A3A0; --sunken: #0E0E0F; } }
body { font: 15px/24px "IBM Plex Sans", system-ui, sans-serif; margin: 24px; max-width: 1600px; }
h1 { font-size: 18px; font-weight: 600; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 16px; }
article { border: 1px solid var(--line); border-radius: 10px; padding: 16px; overflow-wrap: anywhere; }
article > h2 { font: 12px/16px "IBM Plex Mono", ui-monospace, monospace; color: var(--second); margin: 0 0 8px; }
img { max-width: 100%; min-width: 40%; image-rendering: auto; border: 1px solid var(--line); border-radius: 6px; }
ol { font-size: 13px; line-height: 20px; padding-left: 20px; }
li span { color: var(--second); }
pre { font: 13px/20px "IBM Plex Mono", ui-monospace, monospace; background: var(--sunken); padding: 8px; margin: 0;
  border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
p { margin: 8px 0; }
"""


def sheet(problems: Sequence[dict[str, Any]], title: str) -> str:
    """The page for problems as `tasks sample --json` prints them; their pictures lie in the page's own folder."""
    cards = "\n".join(_card(one) for one in problems)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n<main>\n{cards}\n</main></body></html>\n"
    )


def _card(problem: dict[str, Any]) -> str:
    steps = "\n".join(f"<li>{_step(one)}</li>" for one in problem["trace"])
    return (
        f"<article><h2>{html.escape(problem['id'])}</h2>{_pictures(problem['images'])}"
        f"<p><strong>{html.escape(problem['question'])}</strong></p>\n<ol>{steps}</ol>"
        f"<p>Answer: <strong>{html.escape(problem['answer'])}</strong></p></article>"
    )


def _step(one: dict[str, Any]) -> str:
    parts = [f"<span>{html.escape(one['name'] + ' returns' if one['role'] == 'tool' else one['role'])}</span>"]
    parts += [f"<pre>{html.escape(one['reasoning'])}</pre>"] if one.get("reasoning") else []
    for call in one.get("tool_calls", ()):
        parts.append(f"<pre>{html.escape(call['name'])} {html.escape(call['arguments'])}</pre>")
    parts += [f"<p>{html.escape(one['content'])}</p>"] if one["content"] else []
    return "".join(parts) + _pictures(one.get("images", ()))


def _pictures(paths: Sequence[str]) -> str:
    names = [html.escape(Path(path).name, quote=True) for path in paths]
    return "".join(f'<p><img src="{name}" alt="picture {name}" loading="lazy"></p>' for name in names)
