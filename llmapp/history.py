"""The history of the configuration. Whoever changes providers, models or agents calls `record` in the transaction.

`versions` has the history of single agents; here is that of everything together.
"""

from __future__ import annotations

import getpass
from typing import Any

from django.db import transaction

from llmapp import snapshot
from llmapp.models import ConfigurationVersion

Source = ConfigurationVersion.Source


@transaction.atomic
def record(
    changed_by: Any = None, source: ConfigurationVersion.Source = Source.ADMIN, note: str = ""
) -> ConfigurationVersion | None:
    """Write a version if the configuration differs from the last one."""
    rows = ConfigurationVersion.objects.order_by("-pk")
    # Two that change something at once wait for each other here, so that the later version has both changes.
    rows.select_for_update().first()
    last, values = rows.first(), snapshot.take()
    if values == (last.values if last is not None else snapshot.EMPTY):
        return None
    login = "" if changed_by is not None or source == Source.OTHER else _login()
    return ConfigurationVersion.objects.create(
        values=values, source=source, note=note[:200], changed_by=changed_by, login=login[:150]
    )


def record_what_was_found() -> None:
    """Keep what other programs have changed since the last version, before it is changed again."""
    record(source=Source.OTHER)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run with a number that has no name.
        return ""
