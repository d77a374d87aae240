"""Naming the fault of a broken script: one way of answering in all bug hunts."""

from __future__ import annotations

import pytest
from messages import message, passes

from course_utils.exercises import hunt_04, hunt_06, hunt_07, hunt_10, hunt_11

HUNTS = {"04": hunt_04, "06": hunt_06, "07": hunt_07, "10": hunt_10, "11": hunt_11}
EVERY = [
    (f"{notebook}.hunt_{number}", module, hunt.fault)
    for notebook, module in HUNTS.items()
    for number, hunt in module.HUNTS.items()
]
one_of_each = pytest.mark.parametrize("notebook", HUNTS)


def number_of(module, fault: str) -> int:
    """Returns a fault's number, read from the list that the notebook prints."""
    numbers = [line.split(" ", 1) for line in module.fault_list().splitlines()]
    return next(int(number) for number, name in numbers if name == fault)


@pytest.mark.parametrize(("exercise_id", "module", "fault"), EVERY)
def test_a_fault_may_be_given_by_number_by_name_or_by_line(exercise_id, module, fault):
    number = number_of(module, fault)
    loose = fault.upper().replace(" ", "_").replace("-", "  ")
    for answer in (number, f" {number} ", fault, f"{number} {fault}", loose, fault.title()):
        assert passes(exercise_id, answer)


@pytest.mark.parametrize(("exercise_id", "module", "fault"), EVERY)
def test_every_other_fault_is_answered_with_what_is_seen(exercise_id, module, fault):
    hunt = next(hunt for hunt in module.HUNTS.values() if hunt.fault == fault)
    others = [name for name in module.FAULTS if name != fault]
    told = {name: message(exercise_id, name) for name in others}
    assert len(set(told.values())) == len(others)
    exceptions = hunt.also_seen
    for name in others:
        usual = f"If it were that, {module.FAULTS[name]}. Here {hunt.seen}."
        assert told[name] == exceptions.get(name, usual)
        assert message(exercise_id, number_of(module, name)) == told[name]


@one_of_each
@pytest.mark.parametrize("answer", ["too few steps", 0, 9, "-1", 1.0, True, ["KL left out"], ""])
def test_what_is_no_fault_gets_the_list(notebook, answer):
    told = message(f"{notebook}.hunt_1", answer)
    assert told.startswith(f"{answer!r} is not in the list of faults. Give a number from 1 to 8")
    assert told.endswith(HUNTS[notebook].fault_list())


@one_of_each
def test_the_list_holds_every_fault_once_and_gives_no_script_away(notebook):
    module = HUNTS[notebook]
    lines = module.fault_list().splitlines()
    assert {line.split(" ", 1)[1] for line in lines} == set(module.FAULTS)
    assert [int(line.split(" ", 1)[0]) for line in lines] == list(range(1, 9))
    places = [number_of(module, hunt.fault) for hunt in module.HUNTS.values()]
    assert places != sorted(places)
    assert [place for place, number in zip(places, module.HUNTS) if place == number] == []


def test_a_typographic_apostrophe_is_an_apostrophe():
    assert passes("06.hunt_2", "The generator’s target is swapped")
