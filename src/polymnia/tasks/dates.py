"""`dates`: units of time, length, weight, volume and money, weekdays, days between dates, ends of intervals.

Tiers: 0 small amounts, days within a fortnight, dates within a month; then larger amounts, several months, two
units at once, several years. Dates are written `5 March 2024`; times of day as `14:05`.
"""

import datetime
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from polymnia.data.chat import Message
from polymnia.tasks.base import Family, Images, Query, Style, Trace
from polymnia.tasks.trace import answer, python_call
from polymnia.tasks.verify import AnswerKind
from polymnia.tasks.words import NAMES
from polymnia.tasks.written import written

Topic = Literal["units", "weekday", "between", "clock"]
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
LARGER: Mapping[str, tuple[tuple[str, int], ...]] = {
    "hours": (("minutes", 60),), "minutes": (("seconds", 60),), "days": (("hours", 24),), "weeks": (("days", 7),),
    "years": (("months", 12),), "metres": (("centimetres", 100), ("millimetres", 1000)),
    "kilometres": (("metres", 1000),), "centimetres": (("millimetres", 10),), "kilograms": (("grams", 1000),),
    "tonnes": (("kilograms", 1000),), "litres": (("millilitres", 1000),), "dollars": (("cents", 100),),
    "euros": (("cents", 100),), "pounds": (("pence", 100),), "feet": (("inches", 12),), "yards": (("feet", 3),),
    "dozens": (("pieces", 12),),
}  # fmt: skip
"""What a larger unit is made of."""


@dataclass(frozen=True, slots=True)
class DateScene:
    topic: Topic
    numbers: tuple[int, ...]
    """units: the amount of the larger unit and, if not 0, of the smaller; weekday: its index, days from it;
    between: two dates as ordinals; clock: minutes since midnight, minutes that pass."""
    unit: str = ""
    smaller: str = ""
    who: str = ""


def make_scene(rng: random.Random, tier: int) -> DateScene:
    topic: Topic = rng.choices(("units", "weekday", "between", "clock"), (4, 2, 3, 3))[0]
    match topic:
        case "units":
            unit = rng.choice(list(LARGER))
            smaller, factor = rng.choice(LARGER[unit])
            rest = rng.randrange(1, factor) if tier > 0 and rng.random() < 0.5 else 0
            return DateScene(
                topic, (rng.randint(2, (12, 30, 60)[tier] if tier < 3 else 40 * tier), rest), unit, smaller
            )
        case "weekday":
            days = rng.randint(2, (13, 30, 60)[tier] if tier < 3 else 10 ** min(tier, 12))
            return DateScene(topic, (rng.randrange(7), days), who=rng.choice(NAMES))
        case "between":
            year = rng.randint(2001, 2039)
            first = datetime.date(year, rng.randint(1, 12), rng.randint(1, 27))
            last_day = 28 if first.month == 2 else 30
            later = datetime.date(year, first.month, rng.randint(first.day + 1, last_day))
            span = (0, 60, 120, 300)[tier] if tier < 4 else 365 * (tier - 3)
            later += datetime.timedelta(days=rng.randint(0, span))
            return DateScene(topic, (first.toordinal(), later.toordinal()))
    step = 5 if tier < 2 else 1
    minutes = rng.randrange(step, (120, 180, 300)[tier] if tier < 3 else min(200 * tier, 24 * 60), step)
    latest = 24 * 60 - minutes if tier < 4 else 24 * 60
    start = rng.randrange(360 if latest > 420 else 0, max(latest, 421), step) % (24 * 60)
    return DateScene(topic, (start, minutes), who=rng.choice(NAMES))


def scene_key(scene: DateScene) -> str:
    return f"{scene.topic}:{scene.numbers}:{scene.unit}"


# --- questions

WORDINGS = {
    "units": (
        "How many {s} are {a}?", "Convert {a} to {s}.", "{a}: how many {s}?", "What is {a} in {s}?",
        "Express {a} in {s}.", "How many {s} make {a}?", "{a} in {s} please", "Give me {a} as {s}.",
    ),
    "back": (
        "How many {u} are {b} {s}?", "Convert {b} {s} to {u}.", "{b} {s} are how many {u}?", "{b} {s} in {u}?",
        "What is {b} {s} in {u}?", "{b} {s} make how many {u}?", "Express {b} {s} in {u}.",
    ),
    "whole": (
        "How many whole {u} are in {b} {s}?", "{b} {s}: how many full {u} is that?",
        "How many full {u} fit in {b} {s}?",
        "Of {b} {s}, how many complete {u} can you make?",
    ),
    "weekday": (
        "Today is {d}. What day is it in {n} days?", "If today is {d}, which weekday is it {n} days from now?",
        "{w}'s party is {n} days after {d}. On which weekday is it?", "What weekday comes {n} days after a {d}?",
        "It is {d}. {w} comes back in {n} days: on what day of the week?", "{n} days after {d} is which day?",
        "{d} plus {n} days: which weekday?",
    ),
    "weekday_before": (
        "Today is {d}. What day was it {n} days ago?", "If today is {d}, which weekday was it {n} days before?",
        "{w} left {n} days ago and it is {d} now. On which weekday was that?", "What weekday is {n} days before a {d}?",
        "{n} days before {d} is which day?", "{d} minus {n} days: which weekday?",
    ),
    "between": (
        "How many days are there from {f} to {t}?", "How many days after {f} is {t}?", "Days between {f} and {t}?",
        "It is {f}. How many days until {t}?", "From {f} to {t}, how many days pass?", "count the days from {f} to {t}",
    ),
    "after": (
        "Which date is {n} days after {f}?", "What is the date {n} days after {f}?",
        "It is {f}. What date is it in {n} days?", "{f} plus {n} days: which date?", "Add {n} days to {f}.",
    ),
    "end": (
        "{w} starts at {f} and needs {m}. When is {w} done?", "A film starts at {f} and lasts {m}. When does it end?",
        "It is {f}. What time is it in {m}?", "The train leaves at {f} and travels {m}. When does it arrive?",
        "{f} plus {m}: what time is that?", "A class begins at {f} and takes {m}. At what time is it over?",
    ),
    "lasts": (
        "{w} works from {f} to {t}. How many minutes is that?", "From {f} to {t}: how many minutes?",
        "A film runs from {f} until {t}. How long is it in minutes?", "How many minutes pass between {f} and {t}?",
        "The train leaves at {f} and arrives at {t}. How many minutes does it take?",
    ),
    "begin": (
        "{w} is done at {t} after {m}. When did {w} start?", "A film that lasts {m} ends at {t}. When did it begin?",
        "It is {t}. What time was it {m} ago?", "The train arrives at {t} after {m}. When did it leave?",
        "{t} minus {m}: what time is that?",
    ),
}  # fmt: skip
FOLLOW_UPS = {
    "weekday": ("And in {n} days?", "And {n} days after {d}?"),
    "weekday_before": ("And what day was it {n} days ago?", "And {n} days before {d}?"),
    "back": ("And the other way: {b} {s} in {u}?", "How many {u} are {b} {s} then?"),
    "end": ("And when is it over if it starts at {f} and takes {m}?", "So what is {f} plus {m}?"),
    "begin": ("And when did it begin if it ended at {t} after {m}?", "So what is {t} minus {m}?"),
    "lasts": ("And how many minutes are there from {f} to {t}?", "How many minutes is that, {f} to {t}?"),
    "between": ("And how many days are there from {f} to {t}?", "So how many days is it from {f} to {t}?"),
    "after": ("And which date is {n} days after {f}?", "So what date is {f} plus {n} days?"),
}


def ask(scene: DateScene, rng: random.Random, previous: Query | None) -> Query:
    kinds = {
        "units": ["units", "whole" if scene.numbers[1] else "back"],
        "weekday": ["weekday", "weekday_before"],
        "between": ["between", "after"],
        "clock": ["end", "lasts", "begin"],
    }[scene.topic]
    kind = rng.choice([one for one in kinds if previous is None or one != previous.kind])
    return _ASK[scene.topic](scene, kind, rng)


def _factor(scene: DateScene) -> int:
    return dict(LARGER[scene.unit])[scene.smaller]


def _singular(unit: str) -> str:
    return {"feet": "foot", "inches": "inch", "pence": "penny", "centuries": "century"}.get(unit, unit[:-1])


def amount(number: int, unit: str) -> str:
    return f"{number} {unit if number != 1 else _singular(unit)}"


def _ask_units(scene: DateScene, kind: str, rng: random.Random) -> Query:
    large, small = scene.numbers
    total = large * _factor(scene) + small
    said = amount(large, scene.unit) + (f" and {amount(small, scene.smaller)}" if small else "")
    slots = {"a": said, "s": scene.smaller, "u": scene.unit, "b": str(total)}
    return Query(kind, str(total if kind == "units" else large), None, slots)


def _ask_weekday(scene: DateScene, kind: str, rng: random.Random) -> Query:
    day, days = scene.numbers
    found = WEEKDAYS[(day + days if kind == "weekday" else day - days) % 7]
    return Query(kind, found, None, {"d": WEEKDAYS[day], "n": str(days), "w": scene.who}, "word")


def said_date(date: datetime.date) -> str:
    return f"{date.day} {MONTHS[date.month - 1]} {date.year}"


def _ask_between(scene: DateScene, kind: str, rng: random.Random) -> Query:
    first, later = (datetime.date.fromordinal(number) for number in scene.numbers)
    days = (later - first).days
    slots = {"f": said_date(first), "t": said_date(later), "n": str(days)}
    answer_kind: AnswerKind = "number" if kind == "between" else "checked"
    return Query(kind, str(days) if kind == "between" else said_date(later), None, slots, answer_kind)


def clock(minutes: int) -> str:
    return f"{minutes // 60 % 24}:{minutes % 60:02d}"


def _ask_clock(scene: DateScene, kind: str, rng: random.Random) -> Query:
    start, minutes = scene.numbers
    hours, rest = divmod(minutes, 60)
    parts = [amount(hours, "hours")] * (hours > 0) + [amount(rest, "minutes")] * (rest > 0)
    said = " and ".join(parts) if hours and rng.random() < 0.7 else amount(minutes, "minutes")
    slots = {"w": scene.who, "f": clock(start), "t": clock(start + minutes), "m": said}
    if kind == "lasts":
        return Query(kind, str(minutes), said, slots)
    return Query(kind, clock(start + minutes if kind == "end" else start), said, slots, "time")


_SPOKEN_DATE = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th)? (?:of )?([a-z]{3,9}),? ([0-9]{4})(?![0-9])")
_AMERICAN_DATE = re.compile(r"([a-z]{3,9}) ([0-9]{1,2})(?:st|nd|rd|th)?,? ([0-9]{4})(?![0-9])")
_ISO_DATE = re.compile(r"(?<![0-9])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])")


def check(scene: DateScene, query: Query, text: str) -> bool:
    """Whether the answer's only date is the right one, written in one of the usual ways."""
    low = text[:1000].casefold()
    found = [(int(day), month[:3], int(year)) for day, month, year in _SPOKEN_DATE.findall(low)]
    found += [(int(day), month[:3], int(year)) for month, day, year in _AMERICAN_DATE.findall(low)]
    names = [month[:3].casefold() for month in MONTHS]
    found += [(int(day), names[(int(month) - 1) % 12], int(year)) for year, month, day in _ISO_DATE.findall(low)]
    later = datetime.date.fromordinal(scene.numbers[1])
    return set(found) == {(later.day, names[later.month - 1], later.year)}


_ASK: dict[str, Callable[[DateScene, str, random.Random], Query]] = {
    "units": _ask_units,
    "weekday": _ask_weekday,
    "between": _ask_between,
    "clock": _ask_clock,
}

# --- traces


class Work(NamedTuple):
    code: str
    result: str
    """What Python shows for it."""
    lines: list[str]
    """The same in writing."""


def solve(scene: DateScene, query: Query, images: Images, style: Style, rng: random.Random) -> Trace:
    if not style.think:
        return Trace((answer(query.answer),))
    said, work = _WORK[scene.topic](scene, query)
    said = said if rng.random() < 0.7 else rng.choice(("I work it out.", "Let me see.", "Step by step."))
    if "python" in style.tools:
        messages: list[Message] = python_call(work.code, work.result, said)
        return Trace((*messages, answer(query.answer)))
    return Trace((answer(query.answer, "\n".join([said, *work.lines])),))


def _work_units(scene: DateScene, query: Query) -> tuple[str, Work]:
    (large, small), factor = scene.numbers, _factor(scene)
    said = f"{amount(1, scene.unit)} = {amount(factor, scene.smaller)}."
    if query.kind == "units":
        lines = written(large, "*", factor) + (written(large * factor, "+", small) if small else [])
        return said, Work(f"{large}*{factor}" + (f"+{small}" if small else ""), query.answer, lines)
    total = large * factor + small
    return said, Work(f"{total}//{factor}", query.answer, written(total, "/", factor))


def _work_weekday(scene: DateScene, query: Query) -> tuple[str, Work]:
    day, days = scene.numbers
    sign = "+" if query.kind == "weekday" else "-"
    names = " ".join(WEEKDAYS)
    code = f'd="{names}".split()\nd[(d.index("{WEEKDAYS[day]}"){sign}{days})%7]'
    walk = [WEEKDAYS[(day + (step if sign == "+" else -step)) % 7] for step in range(1, days % 7 + 1)]
    reduce = [*written(days, "%", 7), f"{days} days are {days % 7} days"] if days >= 7 else []
    lines = [*reduce, ", ".join([WEEKDAYS[day], *(f"{step} {one}" for step, one in enumerate(walk, 1))])]
    return f"{WEEKDAYS[day]} {sign} {days} days.", Work(code, repr(query.answer), lines)


def _work_between(scene: DateScene, query: Query) -> tuple[str, Work]:
    first, later = (datetime.date.fromordinal(number) for number in scene.numbers)
    days = (later - first).days
    start = f"date({first.year},{first.month},{first.day})"
    if query.kind == "between":
        code = f"from datetime import date\n(date({later.year},{later.month},{later.day})-{start}).days"
        return f"{said_date(first)} to {said_date(later)}.", Work(code, query.answer, _months_up(first, later))
    code = f'from datetime import date,timedelta\nd={start}+timedelta({days})\nf"{{d.day}} {{d:%B}} {{d.year}}"'
    return f"{said_date(first)} + {days} days.", Work(code, repr(query.answer), _months_down(first, days))


def _month_end(date: datetime.date) -> datetime.date:
    return (date.replace(day=28) + datetime.timedelta(days=4)).replace(day=1) - datetime.timedelta(days=1)


def _whole_years(first: datetime.date, later: datetime.date) -> tuple[datetime.date, list[str]]:
    """The last of first's yearly returns that is not after the other date, and the days up to it."""
    years = later.year - first.year - ((later.month, later.day) < (first.month, first.day))
    if years == 0:
        return first, []
    reached = first.replace(year=first.year + years)
    leap = (reached - first).days - 365 * years
    lines = [f"{years} years to {said_date(reached)}", *written(365, "*", years)]
    return reached, lines + (written(365 * years, "+", leap) if leap else [])


def _months_up(first: datetime.date, later: datetime.date) -> list[str]:
    """Whole years, days to the end of the month, then month by month, with the sum so far."""
    reached, lines = _whole_years(first, later)
    total = (reached - first).days
    if (reached.year, reached.month) == (later.year, later.month):
        lines += written(later.day, "-", reached.day)
        return [*lines, *(written(total, "+", later.day - reached.day) if total else [])]
    end = _month_end(reached)
    part = end.day - reached.day
    lines.append(f"{MONTHS[reached.month - 1]}: {written(end.day, '-', reached.day)[-1]}")
    lines += written(total, "+", part) if total else []
    total += part
    while end < later:
        month = end + datetime.timedelta(days=1)
        end = _month_end(month)
        part = later.day if end >= later else end.day
        lines.append(f"{MONTHS[month.month - 1]} {part}: {written(total, '+', part)[-1]}")
        total += part
    return lines


def _months_down(first: datetime.date, days: int) -> list[str]:
    """The years and months that fit are taken off, until the day is one of the month."""
    month, lines = _whole_years(first, first + datetime.timedelta(days=days))
    if lines:
        gone = (month - first).days
        lines += written(days, "-", gone)
        days -= gone
    day = first.day + days
    lines.append(written(first.day, "+", days)[-1])
    while day > (length := _month_end(month).day):
        lines.append(f"{MONTHS[month.month - 1]} {length}: {written(day, '-', length)[-1]}")
        day -= length
        month = _month_end(month) + datetime.timedelta(days=1)
    return [*lines, f"{day} {MONTHS[month.month - 1]} {month.year}"]


def _work_clock(scene: DateScene, query: Query) -> tuple[str, Work]:
    start, minutes = scene.numbers
    end = start + minutes
    hours, rest = divmod(minutes, 60)
    spelled = (
        f"{hours}*60+{rest}" if "hour" in query.key and rest else f"{hours}*60" if "hour" in query.key else minutes
    )
    if query.kind == "lasts":
        code = f"({end // 60 % 24}*60+{end % 60}-{start // 60}*60-{start % 60})%1440"
        return f"From {clock(start)} to {clock(end)}.", Work(code, query.answer, _clock_lines(start, end))
    given, sign = (start, "+") if query.kind == "end" else (end % (24 * 60), "-")
    total = f"{spelled}" if sign == "+" or "+" not in str(spelled) else f"({spelled})"
    code = f'm={given // 60}*60+{given % 60}{sign}{total}\nf"{{m//60%24}}:{{m%60:02}}"'
    lines = _clock_steps(given, hours, rest, 1 if sign == "+" else -1)
    return f"{clock(given)} {sign} {query.key}.", Work(code, repr(query.answer), lines)


def _clock_lines(start: int, end: int) -> list[str]:
    """Minutes to the full hour, full hours, the rest."""
    to_hour = -start % 60
    if start + to_hour > end:
        return written(end % 60, "-", start % 60)
    hours, rest = divmod(end - start - to_hour, 60)
    lines = [f"to {clock(start + to_hour)}: {to_hour}", f"{amount(hours, 'hours')}: {written(hours, '*', 60)[-1]}"]
    return [*lines, f"rest: {rest}", *written(to_hour, "+", hours * 60), *written(to_hour + hours * 60, "+", rest)]


def _clock_steps(given: int, hours: int, rest: int, sign: int) -> list[str]:
    """The hours first, then the minutes, of which 60 are an hour."""
    after = given + sign * hours * 60
    lines = [f"{amount(hours, 'hours')}: {clock(after)}"] if hours else []
    if rest == 0:
        return lines
    minute = after % 60
    if sign > 0:
        lines += [f"minutes: {written(minute, '+', rest)[-1]}"]
        lines += [f"an hour more: {written(minute + rest, '-', 60)[-1]}"] if minute + rest >= 60 else []
    else:
        lines += [f"an hour less: {minute}+60={minute + 60}"] if minute < rest else []
        lines += [f"minutes: {written(minute + 60 * (minute < rest), '-', rest)[-1]}"]
    return [*lines, f"so {clock(after + sign * rest)}"]


_WORK: dict[str, Callable[[DateScene, Query], tuple[str, Work]]] = {
    "units": _work_units,
    "weekday": _work_weekday,
    "between": _work_between,
    "clock": _work_clock,
}

DATES = Family(
    name="dates",
    summary="convert units, weekdays and days between dates, when something begins and ends",
    tiers="larger amounts, two units at once, more months, past midnight, more years",
    make_scene=make_scene,
    scene_key=scene_key,
    ask=ask,
    solve=solve,
    wordings=WORDINGS,
    follow_ups=FOLLOW_UPS,
    check=check,
    visual=False,
)
