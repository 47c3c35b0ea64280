"""What goes to stdout: plain text or JSON lines."""

import json
import sys
import unicodedata
from typing import Any

_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Text from a model without what could steer a terminal: control characters and direction marks."""
    return "".join(
        letter
        if letter in "\n\t" or not (unicodedata.category(letter) == "Cc" or letter in _DIRECTION)
        else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def print_text(text: str) -> None:
    """A line for a person; into a pipe it goes as it is."""
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def print_json(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()
