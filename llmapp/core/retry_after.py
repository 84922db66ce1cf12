"""How long a provider asks us to wait. In seconds.

The places, in the order of trust: a retry header, the body, the reset of a bucket that is empty, prose.
Zero, negative values, nonsense and more than a day are no hint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
#: A number without a unit is seconds only where the words say that it is a time.
_AFTER_IN = r"(?:(?<=\bin )|(?<=after )|(?<=for )|(?<=wait )|(?<=after:)|(?<=: )|(?<==))"
PROSE = re.compile(
    r"(?:(?:try|retry(?:ing)?|again|available in|resets?|wait)\b(?:(?!every|each)[^.\d\n]){0,40}?"
    r"|请?(?:在|等待|等|时间：)\s{0,2})"
    rf"({_DURATION}|{_AFTER_IN}{_NUMBER}(?=\s*(?:$|[.)\"'](?!\d))))"
)
CHINESE = re.compile(rf"({_NUMBER})\s{{0,2}}(毫秒|秒钟?|分钟?|小时|天)\s{{0,2}}(?:后|之后|以后)")
MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:t|\s+at\s+|\s+)(\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?)\s*(z|utc|gmt|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)

#: "resets 12:50pm (Europe/Paris)": a time of day says nothing without its zone.
TIME_OF_DAY = re.compile(r"resets? (?:at )?(\d{1,2})(?::(\d{2}))? ?(am|pm) \(([a-z_]+(?:/[a-z_+\-]+){1,2})\)")
#: "retry_delay { seconds: 33 }", as gRPC prints it.
PRINTED_DELAY = re.compile(r"retry_delay\s{0,3}\{\s{0,9}seconds:\s?(\d{1,6})")
#: "usage limit reached|1760000400".
TRAILING_EPOCH = re.compile(r"limit reached\|(\d{10})\b")
ABOUT_TIME = re.compile(r"reset|regain|again|until|available|重置|恢复|之后|后再")
CJK = re.compile(r"[\u4e00-\u9fff]")
BEIJING = "+08:00"
UNIFIED_RESET = "anthropic-ratelimit-unified-reset"

SECONDS_FIELDS = frozenset(
    {"retry_after", "retryafter", "retry-after", "retry_after_seconds", "retrydelay", "retry_delay"}
    | {"resets_in_seconds", "reset_in_seconds", "resets_in", "reset_after", "wait_seconds"}
    | {"quotaresetdelay", "estimated_time", "retry_in", "retry_after_s"}
)
RETRY_HEADERS = ("retry-after-ms", "x-ms-retry-after-ms", "retry-after")
MILLISECONDS_FIELDS = frozenset({"retry_after_ms", "retryafterms", "retry-after-ms"})
MOMENT_FIELDS = frozenset(
    {"resets_at", "reset_at", "resetsat", "resetat", "reset_time", "resettime", "x-ratelimit-reset"}
    | {"quotaresettimestamp", "next_reset_time", "nextresettime"}
)


def retry_after(facts: ErrorFacts, said: Said, now: datetime | float | None) -> float | None:
    """Return the seconds to wait, or None when there is no usable hint."""
    headers = lowered(facts.headers)
    clock = seconds_since_1970(now, headers)
    for look in (_header, _body, _empty_bucket, _prose):
        for seconds in look(headers, said, clock):
            if seconds is not None and is_sane(seconds):
                return seconds
    return None


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with their names in lower case."""
    return {str(name).lower(): str(value).strip() for name, value in headers.items()}


def seconds_since_1970(now: datetime | float | None, headers: Mapping[str, str]) -> float | None:
    """Return the time of `now`; without it that of the answer's own Date header."""
    if isinstance(now, datetime):
        return _epoch(now)
    if now is not None:
        return float(now)
    return _http_date(headers.get("date", ""))


def _header(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    for name in RETRY_HEADERS[:2]:
        if (number := read_number(headers.get(name))) is not None:
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
        elif name in MILLISECONDS_FIELDS and (number := read_number(str(value))) is not None:
            yield number / 1000
        elif name in MOMENT_FIELDS:
            yield _delay(str(value), clock)


def _empty_bucket(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    # The slowest of the buckets that are said to be empty; or of all, when nobody says which.
    told = [bucket for bucket in buckets(headers, clock) if bucket.resets_in is not None and is_sane(bucket.resets_in)]
    empty = [bucket.resets_in for bucket in told if bucket.left is not None and bucket.left <= 0]
    untold = [bucket.resets_in for bucket in told if bucket.left is None]
    if UNIFIED_RESET in headers:
        yield _delay(headers[UNIFIED_RESET], clock)
    yield max((seconds for seconds in empty or untold if seconds is not None), default=None)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit that headers speak of: what is left of it, and in how many seconds it is full again."""

    left: float | None
    resets_in: float | None


def buckets(headers: Mapping[str, str], clock: float | None) -> list[Bucket]:
    """Return the limits that headers speak of; their names are in lower case."""
    limits = {name: value for name, value in headers.items() if "ratelimit" in name.replace("-", "")}
    resets = {name: _left_of(name) for name in limits if "reset" in name}
    told = [Bucket(read_number(limits.get(left)), _delay(limits[name], clock)) for name, left in resets.items()]
    alone = set(limits) - set(resets.values())
    return told + [Bucket(read_number(limits[name]), None) for name in sorted(alone) if "remaining" in name]


def _left_of(name: str) -> str:
    return name.replace("reset-after", "remaining").replace("reset", "remaining")


def nonsense(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers about waits and limits that say what cannot be: below zero, no time at all, over a day."""
    lower = lowered(headers)
    waits = {name: value for name, value in lower.items() if name in RETRY_HEADERS and not _is_a_wait(name, value)}
    limits = {name: value for name, value in lower.items() if "ratelimit" in name.replace("-", "")}
    return waits | {name: value for name, value in limits.items() if value.startswith("-")}


def _is_a_wait(name: str, value: str) -> bool:
    number = read_number(value)
    if number is None:
        return name == "retry-after" and (bool(PART.search(value)) or _http_date(value) is not None)
    # Zero says: at once. What is larger than any wait may be a point in time.
    return 0 <= number <= LONGEST * (1000 if name.endswith("-ms") else 1) or number > 1e9


def is_sane(seconds: float) -> bool:
    """Say whether so long can be waited: zero, negative values, nonsense and more than a day are no hint."""
    return math.isfinite(seconds) and 0 < seconds <= LONGEST


def _prose(headers: Mapping[str, str], said: Said, clock: float | None) -> Iterator[float | None]:
    for pattern in (PROSE, CHINESE):
        if found := pattern.search(said.text):
            yield _delay(found[0] if pattern is CHINESE else found[1], clock)
    if found := PRINTED_DELAY.search(said.text):
        yield _delay(found[1], clock)
    if found := TRAILING_EPOCH.search(said.text):
        yield _delay(found[1], clock)
    if found := TIME_OF_DAY.search(said.text):
        yield _until_time_of_day(found, clock)
    if ABOUT_TIME.search(said.text) and (found := MOMENT.search(said.text)):
        # Who writes Chinese and names no zone means his own.
        zone = BEIJING if CJK.search(said.text) and not found[3] else ""
        yield _until(_moment(found[0] + zone), clock)


def _until_time_of_day(found: re.Match[str], clock: float | None) -> float | None:
    """Return the seconds until that time of day comes next."""
    try:
        now = datetime.fromtimestamp(clock or 0.0, ZoneInfo(found[4].title()))
        hour = int(found[1]) % 12 + (12 if found[3] == "pm" else 0)
        then = now.replace(hour=hour, minute=int(found[2] or 0), second=0, microsecond=0)
    except (ZoneInfoNotFoundError, ValueError, OverflowError):
        return None
    return None if clock is None else (then - now).total_seconds() % 86_400


def _delay(text: str, clock: float | None) -> float | None:
    """Read "20", "1.5s", "6m0s", "6hr 29min", an epoch in seconds or milliseconds, or a point in time."""
    text = text.strip().lower()[:80]
    if text.startswith("-"):
        return None
    if (number := read_number(text)) is not None:
        if number > 1e11:
            return _until(number / 1000, clock)
        return _until(number, clock) if number > 1e8 else number
    if parts := PART.findall(text):
        return math.fsum(float(number) * UNITS[unit] for number, unit in parts)
    return _until(_moment(text), clock)


def read_number(text: str | None) -> float | None:
    """Read a finite number."""
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
