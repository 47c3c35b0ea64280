"""Orders by hand: numbers as numbers, jobs by their deadline, waiting jobs in the only order that works."""

import random
from dataclasses import replace

from polymnia.tasks import sample, verify
from polymnia.tasks.base import Query
from polymnia.tasks.sorting import SORTING, Order, SortScene, in_order, in_writing, make_scene, program, scene_key, told

NUMBERS = SortScene("numbers", ("9", "100", "-3"), (9, 100, -3))
JOBS = SortScene("jobs", ("sewing", "baking", "mowing"), (4, 2, 5), (20, 3, 11))
WAITING = SortScene("waiting", ("sewing", "baking", "mowing"), (2, 0, 1))


def test_orders_by_hand() -> None:
    assert in_order(NUMBERS, Order("value")) == ["-3", "9", "100"]
    assert in_order(NUMBERS, Order("value", descending=True)) == ["100", "9", "-3"]
    assert in_order(JOBS, Order("day")) == ["baking", "mowing", "sewing"]
    assert in_order(SortScene("words", ("pen", "pear", "ape")), Order("word")) == ["ape", "pear", "pen"]
    assert in_order(WAITING, Order("waiting")) == ["baking", "mowing", "sewing"]


def test_programs_by_hand() -> None:
    code, result = program(JOBS, Query("jobs_one", "mowing", Order("day", place=2)))
    assert (code, result) == ('sorted([(20,"sewing"),(3,"baking"),(11,"mowing")])[1][1]', "'mowing'")
    code, result = program(NUMBERS, Query("numbers_all", "", Order("value", descending=True)))
    assert (code, result) == ("sorted([9,100,-3],reverse=True)", "[100, 9, -3]")


def test_in_writing_the_next_is_picked_from_what_is_left() -> None:
    assert in_writing(NUMBERS, Order("value", place=2), False) == ["9 100 -3: -3", "9 100: 9", "-3, 9"]
    assert in_writing(NUMBERS, Order("value"), True)[-1] == "-3, 9, 100"
    assert in_writing(JOBS, Order("total"), False) == ["4+2=6", "6+5=11"]


def test_waiting_jobs_tell_each_neighbour_once() -> None:
    told_once = told(WAITING, random.Random(0))
    assert told_once.count("before") == 2
    assert told_once.count("mowing") == 2


def test_lists_are_checked_in_order() -> None:
    found = next(
        one
        for one in (sample(SORTING, tier=0, split="train", seed=0, index=index) for index in range(50))
        if one.query.kind == "numbers_all"
    )
    numbers = found.answer.split(", ")
    assert verify(found, f"{', '.join(numbers[:-1])} and {numbers[-1]}")
    assert not verify(found, ", ".join(numbers[::-1]))
    assert not verify(found, ", ".join(numbers[:-1]))
    assert not verify(replace(found, query=replace(found.query, answer="3, 5")), "35")


def test_the_order_in_which_items_stand_makes_no_new_problem() -> None:
    turned = SortScene("jobs", JOBS.items[::-1], JOBS.values[::-1], JOBS.days[::-1])
    assert scene_key(turned) == scene_key(JOBS)
    assert scene_key(replace(JOBS, days=(20, 3, 12))) != scene_key(JOBS)


def test_many_tiers_make_longer_lists() -> None:
    longest = [max(len(make_scene(random.Random(seed), tier).items) for seed in range(40)) for tier in (0, 4, 9, 50)]
    assert longest == sorted(longest)
    assert longest[-1] > 25
