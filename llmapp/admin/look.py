"""How single values look: badges, money, tokens, times, links. Unknown is a dash, never a zero."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import models
from django.urls import reverse
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

DASH = "–"

UNITS = ((10**3, "k"), (10**6, "M"), (10**9, "G"))

#: A word about how something stands -> the colour in which it is said.
COLOURS = {
    "completed": "good",
    "ok": "good",
    "alive": "good",
    "active": "good",
    "in_progress": "busy",
    "running": "busy",
    "queued": "busy",
    "requires_action": "warn",
    "incomplete": "warn",
    "stopping": "warn",
    "failed": "bad",
    "gone": "bad",
    "unfit": "bad",
    "cancelled": "quiet",
    "skipped": "quiet",
    "revoked": "quiet",
    "expired": "quiet",
    "stopped": "quiet",
    "off": "quiet",
}


def badge(state: str, text: Any) -> SafeString:
    """Return `text` in the colour of `state`; the words say the same as the colour."""
    return format_html('<span class="llmapp-badge llmapp-{}">{}</span>', COLOURS.get(state, "quiet"), text)


def money(amount: Decimal | float | None) -> str:
    """Return USD: two places from a dollar on, else up to six, because a run costs fractions of a cent."""
    if amount is None:
        return DASH
    amount = Decimal(str(amount))
    if amount and abs(amount) < Decimal("0.000001"):
        return f"< ${formats.number_format(Decimal('0.000001'))}"
    places = 2 if abs(amount) >= 1 or not amount else 4 if abs(amount) >= Decimal("0.01") else 6
    return f"${formats.number_format(round(amount, places), decimal_pos=places, force_grouping=True)}"


def known(amount: Decimal | None, unknown: int) -> str:
    """Return a sum of costs of which some are unknown: it is at least so much."""
    return money(amount) if not unknown or amount is None else f"≥ {money(amount)}"


def used(input_tokens: int | None, output_tokens: int | None, cost: str) -> str:
    """Return tokens and cost as one phrase; a dash where nothing is known."""
    if input_tokens is None and output_tokens is None and cost == DASH:
        return DASH
    values = {"input": compact(input_tokens), "output": compact(output_tokens), "cost": cost}
    return _("%(cost)s, tokens in / out %(input)s / %(output)s") % values


def count(number: int | None) -> str:
    return DASH if number is None else formats.number_format(number, decimal_pos=0, force_grouping=True)


def compact(number: int | None) -> str:
    """Return a count in three figures, for where there is little room."""
    if number is None or abs(number) < 10_000:
        return count(number)
    # The first unit in which it has at most three figures.
    size, unit = next((size, unit) for size, unit in UNITS if abs(number) < 999.5 * size or unit == UNITS[-1][1])
    value = number / size
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{formats.number_format(round(value, places), decimal_pos=places, force_grouping=True)} {unit}"


def seconds(value: float | None) -> str:
    if value is None:
        return DASH
    text = formats.number_format(round(value, 2 if value < 10 else 1), decimal_pos=2 if value < 10 else 1)
    return _("%(seconds)s s") % {"seconds": text}


def percent(part: int, whole: int) -> str:
    return (
        DASH if not whole else _("%(number)s %%") % {"number": formats.number_format(round(100 * part / whole, 1), 1)}
    )


def ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago: in seconds up to two minutes, because that is what matters of a heartbeat."""
    if moment is None:
        return DASH
    age = (now - moment).total_seconds()
    if age < 120:
        return _("%(seconds)d s ago") % {"seconds": max(age, 0)}
    return _("%(time)s ago") % {"time": timesince(moment, now)}


def link(row: models.Model | None, text: str = "") -> str | SafeString:
    """Return a link to a row's page in the admin."""
    if row is None:
        return DASH
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return format_html('<a href="{}">{}</a>', reverse(name, args=[row.pk]), text or str(row))


def next_step(text: str, url: str) -> SafeString:
    """Return a sentence that leads somewhere."""
    return format_html('<a href="{}">{}</a>', url, text)
