"""Changes of the configuration and what is said about them: before they are made, when they are, and later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from llmapp import history, snapshot
from llmapp.differences import Difference, describe, differences
from llmapp.models import ConfigurationVersion

from .config_apply import CREATED, DISABLED, REMOVED, UNCHANGED, UPDATED, Result


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was made, or would be. Without a version where nothing differs."""

    results: list[Result]
    differences: list[Difference]
    version: ConfigurationVersion | None = None


def change(
    make: Callable[[], list[Result]],
    source: ConfigurationVersion.Source,
    note: str,
    only_look: bool = False,
    changed_by: Any = None,
) -> Change:
    """Make a change and keep a version; or make it, look at it, and take all of it back."""
    with transaction.atomic():
        history.record_what_was_found()
        before = snapshot.take()
        made = Change(make(), differences(before, snapshot.take()))
        if only_look:
            transaction.set_rollback(True)
        else:
            made = replace(made, version=history.record(changed_by, source, note))
    return made


def report(made: Change) -> Iterator[str]:
    """Give a line for each entry that was looked at."""
    words = {
        CREATED: _("created"),
        UPDATED: _("updated"),
        UNCHANGED: _("unchanged"),
        DISABLED: _("disabled"),
        REMOVED: _("removed"),
    }
    for result in made.results:
        note = f" ({result.note})" if result.note else ""
        yield f"{words[result.outcome]:<10} {kind_of(result.table)} {result.name}{note}"


def preview(made: Change) -> Iterator[str]:
    """Give the lines of `--diff`."""
    shown = {(found.table, found.name) for found in made.differences}
    for found in made.differences:
        sign = "+" if found.before is None else "-" if found.after is None else "~"
        yield f"{sign} {kind_of(found.table)} {found.name}"
        yield from (f"    {line}" for line in describe(found))
    for result in made.results:
        if result.outcome == UPDATED and (result.table, result.name) not in shown:
            yield f"~ {kind_of(result.table)} {result.name}"
            yield "    " + _("a secret that is not shown")
    for result in made.results:
        if result.note and result.outcome != UNCHANGED:
            yield f"! {kind_of(result.table)} {result.name}: {result.note}"
    if not made.differences and not any(result.outcome == UPDATED for result in made.results):
        yield _("Nothing would change.")


def listed() -> Iterator[str]:
    """Give the lines of `--history`, the newest version first."""
    rows = list(ConfigurationVersion.objects.select_related("changed_by"))
    for at, version in enumerate(rows):
        before = rows[at + 1].values if at + 1 < len(rows) else snapshot.EMPTY
        when = timezone.localtime(version.changed_at).strftime("%Y-%m-%d %H:%M:%S")
        what = in_words(differences(before, version.values))
        yield f"{version.pk:>4}  {when}  {version.who or '-'}  {version.where}: {what}"
    if not rows:
        yield _("There is no version yet.")


def in_words(found: list[Difference]) -> str:
    """Say in a line what was created, changed and removed."""
    return "; ".join(_what(found))


def _what(found: list[Difference]) -> Iterator[str]:
    created = [_title(one) for one in found if one.before is None]
    changed = [f"{_title(one)} ({', '.join(one.keys)})" for one in found if one.before and one.after]
    removed = [_title(one) for one in found if one.after is None]
    if created:
        yield _("created {names}").format(names=", ".join(created))
    if changed:
        yield _("changed {names}").format(names=", ".join(changed))
    if removed:
        yield _("removed {names}").format(names=", ".join(removed))


def _title(found: Difference) -> str:
    return f"{kind_of(found.table)} {found.name}"


def kind_of(table: str) -> str:
    return {"providers": _("provider"), "models": _("model"), "agents": _("agent")}[table]
