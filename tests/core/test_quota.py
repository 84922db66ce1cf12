"""What headers say about the limits of a key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.quota import UNTOLD, Quota, quota_of
from llmapp.core.retry_after import nonsense

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)

EMPTY = [
    # nothing is empty, or nothing is said
    ({}, None),
    ({"retry-after": "7"}, None),
    ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, None),
    ({"x-ratelimit-reset-requests": "6m0s"}, None),
    ({"x-ratelimit-remaining-requests": "soon"}, None),
    # the one that is empty
    ({"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "6m0s"}, 360),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "8ms"}, 0.008),
    (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "12s",
            "x-ratelimit-remaining-tokens": "9000",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        12,
    ),
    # of two that are empty the slower one
    (
        {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-11-20T12:00:30Z",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "2026-11-20T12:00:12Z",
        },
        30,
    ),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 8)}, 8),
    ({"x-ratelimit-remaining": "-3", "x-ratelimit-reset-after": "4"}, 4),
    # empty, and nobody says until when
    ({"x-ratelimit-remaining-requests": "0"}, UNTOLD),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "never"}, UNTOLD),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "-5s"}, UNTOLD),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9000000"}, UNTOLD),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "nan"}, UNTOLD),
]


@pytest.mark.parametrize("headers, seconds", EMPTY)
def test_how_long_a_key_is_empty(headers: dict[str, str], seconds: float | None) -> None:
    """Only a bucket that is said to be empty counts, and a reset that is nonsense is not believed."""
    for now in (NOW, NOW.timestamp()):
        assert quota_of(headers, now).empty_for == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "headers, tokens",
    [
        ({"x-ratelimit-limit-tokens": "30000"}, 30_000),
        ({"Anthropic-RateLimit-Tokens-Limit": "80000"}, 80_000),
        ({"anthropic-ratelimit-input-tokens-limit": "50000"}, 50_000),
        ({"x-ratelimit-limit-tokens": "-1", "anthropic-ratelimit-tokens-limit": "80000"}, 80_000),
        ({"x-ratelimit-limit-requests": "500"}, None),
        ({"x-ratelimit-limit-tokens": "0"}, None),
        ({"x-ratelimit-limit-tokens": "nan"}, None),
        ({"x-ratelimit-limit-tokens": "1e30"}, None),
        ({"x-ratelimit-limit-tokens": "plenty"}, None),
    ],
)
def test_tokens_per_minute(headers: dict[str, str], tokens: int | None) -> None:
    """Nonsense was not said."""
    assert quota_of(headers, NOW).tokens_per_minute == tokens


def test_a_point_in_time_needs_a_clock() -> None:
    """The answer's own Date header is one."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 8)}
    assert quota_of(headers) == Quota(empty_for=UNTOLD)
    assert quota_of({**headers, "date": "Fri, 20 Nov 2026 12:00:00 GMT"}) == Quota(empty_for=8)


NAMES = ["x-ratelimit-remaining", "x-ratelimit-reset", "anthropic-ratelimit-tokens-limit", "x-ratelimit-limit-tokens"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | st.floats().map(str) | st.integers().map(str)))
def test_it_never_raises(headers: dict[str, str]) -> None:
    """Whatever stands in headers, what comes out is sane."""
    quota = quota_of(headers, NOW)
    assert quota.empty_for is None or 0 < quota.empty_for <= 86_400
    assert quota.tokens_per_minute is None or quota.tokens_per_minute >= 256


NONSENSE = [
    ({}, set()),
    ({"Retry-After": "20", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, set()),
    ({"retry-after": "0", "retry-after-ms": "86400000"}, set()),
    ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, set()),
    ({"retry-after": "1.5s"}, set()),
    ({"retry-after": "1795176000"}, set()),  # a point in time
    ({"Retry-After": "31536000"}, {"retry-after"}),
    ({"retry-after": "-1"}, {"retry-after"}),
    ({"retry-after": "soon", "retry-after-ms": "NaN"}, {"retry-after", "retry-after-ms"}),
    ({"retry-after": "", "x-ms-retry-after-ms": "inf"}, {"retry-after", "x-ms-retry-after-ms"}),
    ({"x-ratelimit-limit-tokens": "-1", "x-limit": "-1"}, {"x-ratelimit-limit-tokens"}),
    ({"RateLimit-Reset": "-5s"}, {"ratelimit-reset"}),
]


@pytest.mark.parametrize("headers, expected", NONSENSE)
def test_what_nobody_can_mean(headers: dict[str, str], expected: set[str]) -> None:
    assert set(nonsense(headers)) == expected
