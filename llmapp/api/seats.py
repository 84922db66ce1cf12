"""How many sockets and streams are open in this process, by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from django.utils.translation import gettext as _

from llmapp.runs.owner import seats
from llmapp.runs.refused import Refused

_open: Counter[Hashable] = Counter()


class Full(Exception):
    """The owner has as many open as they may."""


def take(owner: Any) -> None:
    """Count one more socket. Raises `Full`."""
    if _is_full(seats(owner)):
        raise Full
    _open.update(seats(owner).keys())


def leave(owner: Any) -> None:
    _leave(seats(owner))


def check_stream(owner: Any) -> None:
    """Raise `Refused` when the owner may not open one more stream: before anything is done for it."""
    if _is_full(seats(owner, streams=True)):
        raise Refused("too_many_streams", 429, _("Too many connections are open. Close some of them."), retry_after=5)


@contextmanager
def stream(owner: Any) -> Iterator[None]:
    """Count a stream while it is open."""
    taken = seats(owner, streams=True)
    _open.update(taken.keys())
    try:
        yield
    finally:
        _leave(taken)


def _is_full(places: dict[Hashable, int]) -> bool:
    return any(_open[key] >= limit for key, limit in places.items())


def _leave(places: dict[Hashable, int]) -> None:
    for key in places:
        _open[key] -= 1
        if not _open[key]:
            del _open[key]
