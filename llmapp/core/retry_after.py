"""How long a provider asks us to wait. In seconds.

The places, in the order of trust: a retry header, the body, the reset of a bucket that is empty, prose.
Zero, negative values, nonsense and more than a day are no hint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from .error_body import Said
from .errors import ErrorFacts

LONGEST = 86_400.0

UNITS = {
    "ms": 0.001, "millisecond": 0.001, "milliseconds": 0.001, "毫秒": 0.001,
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "秒": 1, "秒钟": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60, "分": 60, "分钟": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600, "小时": 3600,
    "d": 86400, "day": 86400, "days": 86400, "天": 86400,
}  # fmt: skip

_UNIT = "|".join(sorted(UNITS, key=len, reverse=True))
_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
PART = re.compile(rf"({_NUMBER})\s{{0,2}}({_UNIT})(?![a-z])")
_DURATION = rf"(?:{_NUMBER}\s{{0,2}}(?:{_UNIT})(?![a-z])[\s,]{{0,3}}(?:and\s)?){{1,4}}"
PROSE = re.compile(
    r"(?:(?:try|retry|again|available|resets?|wait)\b[^.\d\n]{0,40}?|请?(?:在|等待|等)\s{0,2})"
    rf"({_DURATION}|{_NUMBER}(?=\s*(?:$|[.)\"'])))"
)
CHINESE = re.compile(rf"({_NUMBER})\s{{0,2}}(毫秒|秒钟?|分钟?|小时|天)\s{{0,2}}(?:后|之后|以后)")
MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:t|\s+at\s+|\s+)(\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?)\s*(z|utc|gmt|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)

SECONDS_FIELDS = frozenset(
    {"retry_after", "retryafter", "retry-after", "retry_after_seconds", "retrydelay", "retry_delay"}
    | {"resets_in_seconds", "reset_in_seconds", "resets_in", "reset_after", "wait_seconds"}
)
MILLISECONDS_FIELDS = frozenset({"retry_after_ms", "retryafterms", "retry-after-ms"})
MOMENT_FIELDS = frozenset(
    {"resets_at", "reset_at", "resetsat", "resetat", "reset_time", "resettime", "x-ratelimit-reset"}
)


def retry_after(facts: ErrorFacts, said: Said, now: datetime | float | None) -> float | None:
    """Return the seconds to wait, or None when there is no usable hint."""
    headers = {str(name).lower(): str(value).strip() for name, value in facts.headers.items()}
    clock = _clock(now, headers)
    for look in (_header, _body, _empty_bucket, _prose):
        for seconds in look(headers, said, clock):
            if seconds is not None and math.isfinite(seconds) and 0 < seconds <= LONGEST:
                return seconds
    return None


def _clock(now: datetime | float | None, headers: Mapping[str, str]) -> float | None:
    if isinstance(now, datetime):
        return _epoch(now)
    if now is not None:
        return float(now)
    return _http_date(headers.get("date", ""))


def _header(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (number := _number(headers.get(name))) is not None:
            yield number / 1000
    if value := headers.get("retry-after"):
        yield _delay(value, clock)
        yield _until(_http_date(value), clock)


def _body(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    for name, value in said.fields:
        if isinstance(value, bool):
            continue
        if name in SECONDS_FIELDS:
            yield _delay(str(value), clock)
        elif name in MILLISECONDS_FIELDS and (number := _number(str(value))) is not None:
            yield number / 1000
        elif name in MOMENT_FIELDS:
            yield _delay(str(value), clock)


def _empty_bucket(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    resets = [
        (_delay(value, clock), _number(headers.get(_remaining_of(name))))
        for name, value in headers.items()
        if "ratelimit" in name.replace("-", "") and "reset" in name
    ]
    # The slowest of the buckets that are said to be empty; or of all, when nobody says which.
    empty = [delay for delay, left in resets if delay is not None and left is not None and left <= 0]
    untold = [delay for delay, left in resets if delay is not None and left is None]
    if empty or untold:
        yield max(empty or untold)


def _remaining_of(name: str) -> str:
    return name.replace("reset-after", "remaining").replace("reset", "remaining")


def _prose(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    for pattern in (PROSE, CHINESE):
        if found := pattern.search(said.text):
            yield _delay(found[0] if pattern is CHINESE else found[1], clock)
    if re.search(r"reset|regain|again|until|available", said.text) and (found := MOMENT.search(said.text)):
        yield _until(_moment(found[0]), clock)


def _delay(text: str, clock: float | None) -> float | None:
    """Read "20", "1.5s", "6m0s", "6hr 29min", an epoch in seconds or milliseconds, or a point in time."""
    text = text.strip().lower()[:80]
    if (number := _number(text)) is not None:
        if number > 1e11:
            return _until(number / 1000, clock)
        return _until(number, clock) if number > 1e8 else number
    if parts := PART.findall(text):
        return math.fsum(float(number) * UNITS[unit] for number, unit in parts)
    return _until(_moment(text), clock)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _until(moment: float | None, clock: float | None) -> float | None:
    return None if moment is None or clock is None else moment - clock


def _moment(text: str) -> float | None:
    if not (found := MOMENT.search(text)):
        return None
    zone = (found[3] or "z").lower().replace("utc", "+00:00").replace("gmt", "+00:00").replace("z", "+00:00")
    return _read(datetime.fromisoformat, f"{found[1]}T{found[2]}{zone}")


def _http_date(text: str) -> float | None:
    return _read(parsedate_to_datetime, text) if text else None


def _read(parse: Callable[[str], datetime], text: str) -> float | None:
    try:
        return _epoch(parse(text))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
