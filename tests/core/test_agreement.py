"""In what two processes of a site differ, the worst first; what is unknown is not compared."""

from __future__ import annotations

from typing import Any

import pytest

from llmapp.core.agreement import differences, pinned

SETUP = {"migrations": {"newest": "0002_b", "known": "x"}, "settings": {"zone": "1", "broker": "2"}, "keys": ["k", "l"]}


@pytest.mark.parametrize(
    "there, found",
    [
        (({}, {}), []),
        (({"llmapp": "1"}, SETUP), []),
        (({"llmapp": "2"}, {}), ["release llmapp 2 1"]),
        (({"django": "5", "process": "p"}, {}), ["version django 5 4"]),
        # what one side does not say
        (({"httpx": "1", "django": ""}, {}), []),
        (({}, SETUP | {"migrations": {"newest": "0003_c", "known": "y"}}), ["migrations  0003_c 0002_b"]),
        (({}, SETUP | {"keys": ["k"]}), ["keys  k k l"]),
        (({}, SETUP | {"keys": ["l", "k"]}), ["key_order  l k k l"]),
        (({}, SETUP | {"settings": {"zone": "3"}}), ["settings broker  ", "settings zone  "]),
        (({"django": "5", "llmapp": "2"}, {"keys": []}), ["release llmapp 2 1", "keys   k l", "version django 5 4"]),
    ],
)
def test_differences(there: Any, found: list[str]) -> None:
    here = {"llmapp": "1", "django": "4", "process": "q"}, SETUP
    assert [f"{one.what} {one.name} {one.there} {one.here}" for one in differences(there, here)] == found


def test_with_another_secret_key_each_fingerprint_is_another_one() -> None:
    there, here = ({"settings": {"zone": key, "SECRET_KEY": key}} for key in "12")
    assert [one.name for one in differences(({}, there), ({}, here))] == ["SECRET_KEY"]


def test_the_worst_is_severe() -> None:
    found = differences(
        ({"llmapp": "2", "django": "5"}, SETUP | {"keys": ["l", "k"]}), ({"llmapp": "1", "django": "4"}, SETUP)
    )
    assert [one.severe for one in found] == [True, False, False]  # fmt: skip


def test_constraints_name_versions() -> None:
    text = '# head\nDjango==5.2\n\ncelery[redis]==5.6 # why\nuvloop==0.2; sys_platform != "win32"\nloose>=3\n'
    assert pinned(text) == {"django": "5.2", "celery": "5.6", "uvloop": "0.2"}
