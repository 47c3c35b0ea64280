"""The vocabulary of the text families: first names, things, groups of people, chores.

Small on purpose: a small tokenizer then keeps each word whole, and what varies is the problem, not its words.
Every noun has a regular plural.
"""

NAMES = (
    "Ann", "Ben", "Carl", "Dora", "Emma", "Felix", "Gina", "Hugo", "Ida", "Jack", "Kate", "Leo", "Mia", "Noah", "Olga",
    "Paul", "Rosa", "Sam", "Tina", "Vera", "Will", "Zoe", "Anna", "Bob", "Clara", "David", "Eva", "Frank", "Helen",
    "Jim", "Lisa", "Max", "Nina", "Oscar", "Peter", "Ruth", "Tom", "Uma", "Lena", "Ali",
)  # fmt: skip
THINGS = (
    "apple", "book", "coin", "card", "egg", "pen", "ball", "stamp", "cup", "shell", "ticket", "sticker", "pear", "plum",
    "lemon", "flower", "stone", "candle", "button", "nut", "cake", "hat", "key", "ring",
)  # fmt: skip
ANIMALS = ("dog", "cat", "bird", "cow", "duck", "goat", "horse", "lion", "tiger", "bear", "frog", "snake")
GROUPS = (
    "baker", "singer", "runner", "painter", "dancer", "farmer", "teacher", "driver", "swimmer", "reader", "hunter",
    "writer",
)  # fmt: skip
OTHERS = ("table", "river", "garden", "window", "bridge", "island", "train", "moon", "star", "tree", "road", "house")
CHORES = (
    "cooking", "washing", "shopping", "cleaning", "reading", "painting", "packing", "writing", "baking", "sewing",
    "mowing", "sweeping",
)  # fmt: skip
NOUNS = (*THINGS, *ANIMALS, *GROUPS, *OTHERS)
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def plural(noun: str, number: int = 2) -> str:
    return noun if number == 1 else f"{noun}s"


def ordinal(number: int) -> str:
    """`"third"`, from eleven on `"11th"`, `"22nd"`."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def listed(words: list[str] | tuple[str, ...], joint: str = "and") -> str:
    """`"A, B and C"`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"
