"""Filters of the pages."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.filter
def plain(value: Any) -> str:
    """Write a number for programs, without the reader's separators; nothing when it is unknown."""
    return "" if value is None else format(value, "f") if hasattr(value, "as_tuple") else str(value)
