"""What the headers of an answer, a good one too, say about the limits of its key.

* A bucket is empty when a header says that nothing is left of it. Then the key is of no use until the slowest empty
  bucket is full again. Where no reset is told, or none that can be believed, `UNTOLD` seconds: most limits are for
  a minute, and a wait that is too short is corrected by the next answer.
* Limits for tokens are for a minute. What is not sane (`core.learned`) was not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .learned import LARGEST, SMALLEST
from .retry_after import buckets, is_sane, lowered, read_number, seconds_since_1970

#: Seconds that an empty bucket without a reset is taken to need.
UNTOLD = 20.0

#: Where providers write the tokens of a minute; the first one that is sane counts.
TOKENS_PER_MINUTE = (
    "x-ratelimit-limit-tokens",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-input-tokens-limit",
    "x-ratelimit-limit-tokens-minute",
    "x-ratelimit-limit-tokens_usage_based",
)


@dataclass(frozen=True, slots=True)
class Quota:
    """`empty_for`: seconds until the key can be used again, None while it can be used now."""

    empty_for: float | None = None
    tokens_per_minute: int | None = None


def quota_of(headers: Mapping[str, str], now: datetime | float | None = None) -> Quota:
    """Return what the headers say. `now`, aware or in seconds since 1970, makes sense of points in time."""
    lower = lowered(headers)
    return Quota(_empty_for(lower, seconds_since_1970(now, lower)), _tokens_per_minute(lower))


def _empty_for(headers: Mapping[str, str], clock: float | None) -> float | None:
    empty = [bucket for bucket in buckets(headers, clock) if bucket.left is not None and bucket.left <= 0]
    told = [bucket.resets_in for bucket in empty if bucket.resets_in is not None and is_sane(bucket.resets_in)]
    if not empty:
        return None
    return max(told, default=UNTOLD)


def _tokens_per_minute(headers: Mapping[str, str]) -> int | None:
    for name in TOKENS_PER_MINUTE:
        limit = read_number(headers.get(name))
        if limit is not None and SMALLEST <= limit <= LARGEST:
            return int(limit)
    return None
