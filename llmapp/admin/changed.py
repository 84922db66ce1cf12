"""What has changed between two versions of a row, field by field and line by line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy

#: Lines of a long text that are shown around a change.
CONTEXT = 2

#: What a version holds that is no field of a row.
TITLES = {"api_keys": gettext_lazy("keys")}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a difference: `sign` is "+", "-" or a space."""

    sign: str
    text: str

    @property
    def kind(self) -> str:
        return {"+": "added", "-": "removed"}.get(self.sign, "same")


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one field."""

    title: str
    lines: list[Line]


def changes(model: type[models.Model], before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    """Give what differs, in the order of the fields. Against {} everything that is set is new."""
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        if old != new and (before or new not in ("", [], {}, None)):
            yield Change(title_of(model, name), list(difference(as_text(old), as_text(new))))


def difference(old: str, new: str) -> Iterator[Line]:
    wanted = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=CONTEXT, lineterm=""))
    for line in wanted[2:]:  # after the names of the files
        if line.startswith("@@"):
            continue
        yield Line(line[:1], line[1:])


def as_text(value: Any) -> str:
    """Return a value as lines that can be compared: names one below the other, tables as JSON."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2 if value else None)


def title_of(model: type[models.Model], name: str) -> str:
    titles = {field.name: str(getattr(field, "verbose_name", "")) for field in model._meta.get_fields()}
    # A version may hold a field of an earlier release.
    return titles.get(name) or str(TITLES.get(name, name))
