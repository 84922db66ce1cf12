"""How our checks are told to Django."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.core.checks import CheckMessage, register

Look = Callable[..., Iterator[CheckMessage]]


def check(tag: str, **options: Any) -> Callable[[Callable[[], Iterator[CheckMessage]]], Callable[..., Any]]:
    """Register a generator of messages."""

    def decorate(function: Callable[[], Iterator[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
        def listed(app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
            return list(function())

        listed.__name__ = function.__name__
        register(listed, tag, **options)
        return listed

    return decorate
