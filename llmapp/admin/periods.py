"""The time that the overview looks at, cut into hours or days of the zone that is active."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db.models import Case, IntegerField, Value, When
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from .filters import starts

#: What can be chosen, in days, today included.
LENGTHS = (1, 7, 30)


@dataclass(frozen=True, slots=True)
class Slot:
    """An hour or a day: from `start` to the start of the next one."""

    start: datetime
    label: str
    #: The day, where it is one: for links.
    day: date | None


@dataclass(frozen=True, slots=True)
class Period:
    days: int
    slots: tuple[Slot, ...]

    @property
    def start(self) -> datetime:
        return self.slots[0].start

    def slot_of(self, field: str) -> Case:
        """Return the expression for a row's place among the slots.

        By their boundaries: to truncate a time to its day, SQLite would call Python for each row.
        """
        upper = [slot.start for slot in self.slots[1:]]
        cases = [When(**{f"{field}__lt": moment}, then=Value(place)) for place, moment in enumerate(upper)]
        return Case(*cases, default=Value(len(upper)), output_field=IntegerField())


def period(days: int) -> Period:
    """Return the last `days` days up to now, as days; today alone as hours."""
    today = timezone.localdate()
    if days == 1:
        return Period(1, tuple(_hours(today)))
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    return Period(days, tuple(Slot(starts(day), formats.date_format(day, "MONTH_DAY_FORMAT"), day) for day in dates))


def _hours(day: date) -> list[Slot]:
    # In UTC, because a day may have 23 or 25 hours.
    moment, end = starts(day).astimezone(UTC), starts(day + timedelta(days=1)).astimezone(UTC)
    slots = []
    while moment < end:
        local = timezone.localtime(moment)
        slots.append(Slot(moment, formats.time_format(local, "TIME_FORMAT"), None))
        moment += timedelta(hours=1)
    return slots


def name(days: int) -> str:
    return _("Today") if days == 1 else _("Last %(days)d days") % {"days": days}
