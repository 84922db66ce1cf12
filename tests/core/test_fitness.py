"""When a worker takes no runs: its code and the tables, or its keys and what is stored, do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from llmapp.core.fitness import NAMES, Reading, can_answer, judge_keys, judge_migrations

A, B, C = "0001_a", "0002_b", "0003_c"
SQUASHED = "0001_squashed_0003_c"


@pytest.mark.parametrize(
    "known, applied, reasons",
    [
        ({A: [], B: []}, {A, B}, []),
        ({A: [], B: []}, {A}, [("migrations_missing", [B])]),
        ({A: []}, {A, B}, [("migrations_unknown", [B])]),
        # of another branch
        ({A: [], C: []}, {A, B}, [("migrations_missing", [C])]),
        ({A: [], C: []}, {A, "0004_d"}, [("migrations_missing", [C]), ("migrations_unknown", ["0004_d"])]),
        ({A: []}, set(), [("migrations_missing", [A])]),
        # squashed: all that it stands for was applied, or it itself, and the old names are still remembered
        ({C: [A, B]}, {A, B}, []),
        ({C: [A, B]}, {A, B, C}, []),
        ({C: [A, B]}, {A}, [("migrations_missing", [C])]),
        # long ago: the code has forgotten what it stands for, the database has not
        ({SQUASHED: []}, {A, B, C, SQUASHED}, []),
        ({SQUASHED: [], "0004_d": []}, {A, B, C, SQUASHED, "0004_d"}, []),
        ({SQUASHED: []}, {A, B, C, SQUASHED, "0004_d"}, [("migrations_unknown", ["0004_d"])]),
        ({A: []}, {A, "of_a_site"}, []),
    ],
)
def test_migrations(known: Any, applied: set[str], reasons: list[tuple[str, list[str]]]) -> None:
    assert [(reason["code"], reason["names"]) for reason in judge_migrations(known, applied)] == reasons


def test_only_the_first_of_many_are_named() -> None:
    (reason,) = judge_migrations({f"{number:04}": [] for number in range(40)}, set())
    assert reason["names"] == [f"{number:04}" for number in range(NAMES)]


OLD, NEW, BOTH = ("old",), ("new",), ("new", "old")


@pytest.mark.parametrize(
    "mine, unreadable, others, is_of_use, is_wrong",
    [
        # nothing stored, or all of it opens
        (OLD, 0, [], True, False),
        (OLD, 0, [(BOTH, 0)], True, False),
        # nobody can be answered for
        (OLD, 3, [], False, True),
        ((), 1, [], False, True),
        # nothing opens, but some agents need nothing
        ((), 1, [], True, False),
        # some opens, and nobody does better: the credential itself is at fault
        (OLD, 1, [], True, False),
        (OLD, 1, [(OLD, 1)], True, False),
        # one with the same keys will see the same as soon as it looks
        (OLD, 1, [(OLD, 0)], True, False),
        # another one, with other keys, opens more
        (OLD, 1, [(BOTH, 0)], True, True),
        (OLD, 2, [(NEW, 1)], True, True),
        (NEW, 1, [(OLD, 2)], True, False),
        # or as much: the site is better served by both than by nobody
        (OLD, 1, [(NEW, 1)], True, False),
        # the same keys in another order
        (("a", "b"), 1, [(("b", "a"), 0)], True, False),
    ],
)
def test_keys(mine: tuple[str, ...], unreadable: int, others: list[Any], is_of_use: bool, is_wrong: bool) -> None:
    found = judge_keys(Reading(mine, unreadable), [Reading(*other) for other in others], is_of_use=is_of_use)
    assert found == ([{"code": "keys", "names": list(mine)}] if is_wrong else [])


@pytest.mark.parametrize(
    "agents, locked, expected",
    [
        ([], {1}, True),
        ([{1}], set(), True),
        ([{1}], {1}, False),
        ([{1}, {2}], {1, 2}, False),
        # one agent needs no key, or has a fallback that works
        ([{1}, {2}], {1}, True),
        ([{1, 2}], {1}, True),
        # nobody to ask at all: that is nothing that keys would mend
        ([set()], {1}, True),
        ([{1}, set()], {1}, False),
    ],
)
def test_whether_keys_are_of_use(agents: list[set[int]], locked: set[int], expected: bool) -> None:
    assert can_answer(agents, locked) is expected
