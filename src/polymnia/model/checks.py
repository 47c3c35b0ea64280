"""What a value of a config may be: types, ranges, options; each refusal one line with the key and the value.

Raises InputError; the file's name is added by who read the file. Imports without torch.
"""

import reprlib
from collections.abc import Mapping, Set
from dataclasses import fields
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin

from polymnia.errors import InputError

_MOST_LAYERS = 10_000
_LARGEST = 1e38


def require(values: Mapping[str, Any], where: str, **wanted: Any) -> None:
    """Options of which only one value is computed; a missing one has it."""
    for name, value in wanted.items():
        if values.get(name, value) != value:
            refuse(where + name, values[name], repr(value))


def check_kinds(key: str, kinds: tuple[str, ...], count: int, known: Set[str]) -> None:
    if len(kinds) != count or not set(kinds) <= known:
        invalid(key, list(kinds), f"{count} entries out of {sorted(known)}")


def check_values(section: Any, where: str, may_be_zero: Set[str] = frozenset()) -> None:
    """Each field's type; numbers are positive, but for token ids and what `may_be_zero`."""
    for field in fields(section):
        value, key = getattr(section, field.name), f"{where}.{field.name}".lstrip(".")
        if not fits(value, field.type):
            invalid(key, value, _words(field.type))
        if field.name == "num_hidden_layers" and value > _MOST_LAYERS:
            invalid(key, value, f"at most {_MOST_LAYERS}")
        least = 0 if field.name in may_be_zero or field.name.endswith("token_id") else 1
        for number in value if isinstance(value, tuple) else (value,):
            if (type(number) is int and number < least) or (type(number) is float and number <= 0):
                invalid(key, value, "a positive number" if least else "0 or a positive number")


def fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(fits(each, get_args(kind)[0]) for each in value)
    if isinstance(kind, UnionType):
        return any(fits(value, each) for each in get_args(kind))
    if kind is float:
        return type(value) in (int, float) and -_LARGEST < value < _LARGEST  # not NaN either
    return type(value) is kind if kind in (int, bool) else isinstance(value, kind)


def _words(kind: Any) -> str:
    """A type as a reader of JSON knows it."""
    if isinstance(kind, UnionType):
        return " or ".join(_words(each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        return f"a list of {_words(get_args(kind)[0])}".replace("of an ", "of ").replace("of a ", "of ") + "s"
    names = {int: "an integer", float: "a number", str: "a string", type(None): "null"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def invalid(key: str, value: object, wanted: str) -> NoReturn:
    shown = list(value) if isinstance(value, tuple) else value  # as JSON has it
    raise InputError(f"{key} is {reprlib.repr(shown)}, it must be {wanted}: correct it, or export the checkpoint again")


def refuse(key: str, value: object, wanted: str) -> NoReturn:
    raise InputError(
        f"{key} is {reprlib.repr(value)}, this implementation computes only {wanted}: "
        "name another checkpoint, or the endpoint of an engine that runs this one"
    )
