"""From what a provider said to one of our kinds, with a hint how long to wait. Never raises.

The order of asking, which is the order of trust:

1. Decisive words: codes and types that can mean one thing only (`context_length_exceeded`).
2. Google's and others' quota ids: a limit per day is a quota, a limit per minute is a rate.
3. Special sentences, because providers put special meanings behind general statuses and types: an overflow
   behind a 500, a refusal by policy behind a 422.
4. Providers' numbers and usual words (`rate_limit_error`), then the status, then general sentences.
   Names of exceptions that only say where it was noticed come last.

A status inside the body counts where there is none outside, or one of success, or where it says why a relay answers
500 or 502. A 200 without a word of error is an
answer that we could not read; a 5xx never is, for its page is not the provider's own, and a 4xx is only where a code
says so: else it is the request that could not be read. Statuses that only a proxy sends mean what they say.

A quota that comes back within minutes is a rate: it is waited for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from .error_body import Said, flatten
from .error_codes import kind_of_code
from .error_details import history_is_refused, is_conditional, output_limit, refused_parameter, replacement, window
from .error_sentences import GENERAL, SPECIAL, meaning
from .error_words import DECISIVE_WORDS, PROXY_STATUSES, STATUSES, USUAL_WORDS, WEAK_WORDS
from .errors import ErrorFacts, ErrorKind, Failure
from .retry_after import retry_after

MAX_DETAIL = 500

#: Seconds: what comes back sooner is a rate and no quota.
SHORT_WAIT = 900.0

#: Where a provider blames the request, words of its own failure are the wording of whoever passed it on.
OUR_FAULT = frozenset({400, 404, 413, 422})
THEIR_FAULT = frozenset({ErrorKind.SERVER_ERROR, ErrorKind.OVERLOADED, ErrorKind.CONNECTION})

#: Statuses that say why: there a word like `api_error` says less. Too many requests may well be an overload.
TELLING = frozenset({401, 402, 403, 429})
VAGUE = frozenset({ErrorKind.SERVER_ERROR, ErrorKind.CONNECTION})

#: Statuses of a relay that failed because the provider did: the provider's own, in the body, may say why.
RELAYED = frozenset({500, 502})

#: Kinds of request that a limit of the answer's length may be stated with.
ABOUT_LENGTHS = frozenset(
    {
        ErrorKind.INVALID_REQUEST,
        ErrorKind.UNSUPPORTED_PARAMETER,
        ErrorKind.OUTPUT_TRUNCATED,
    }
)


#: Kinds of request that are changed and sent again.
ABOUT_REQUESTS = frozenset({ErrorKind.INVALID_REQUEST, ErrorKind.UNSUPPORTED_PARAMETER})


def classify(facts: ErrorFacts, now: datetime | float | None = None) -> Failure:
    """Return what kind of failure the facts describe.

    `now`, an aware datetime or seconds since 1970 (UTC), makes sense of points in time ("resets at").
    Without it the answer's own Date header does; without that such hints are ignored.
    """
    try:
        said = flatten(facts)
        wait = retry_after(facts, said, now)
        return _failure(facts, said, _kind(said, wait), wait)
    except Exception as error:  # facts that are not what their types say: a failure must not cause another one
        return Failure(kind=ErrorKind.SERVER_ERROR, detail=f"unreadable facts: {type(error).__name__}")


def _failure(facts: ErrorFacts, said: Said, kind: ErrorKind, wait: float | None) -> Failure:
    parameter = refused_parameter(said) if kind is ErrorKind.UNSUPPORTED_PARAMETER else None
    return Failure(
        kind=kind,
        retry_after=wait,
        detail=(said.sentence or facts.exception or "")[:MAX_DETAIL],
        parameter=parameter,
        replacement=replacement(said, parameter) if parameter else None,
        limit=window(said) if kind is ErrorKind.CONTEXT_OVERFLOW or _is_of_the_window(kind, said) else None,
        output_limit=output_limit(said) if kind in ABOUT_LENGTHS else None,
        about_history=kind in ABOUT_REQUESTS and history_is_refused(said),
        conditional=kind in ABOUT_REQUESTS and is_conditional(said),
    )


def _is_of_the_window(kind: ErrorKind, said: Said) -> bool:
    """Say whether the answer was to be so long that it does not fit into the window with the input."""
    return kind is ErrorKind.INVALID_REQUEST and "context length" in said.text


def _kind(said: Said, wait: float | None) -> ErrorKind:
    inner = _inner_status(said)
    is_relayed = said.status in RELAYED and inner in TELLING
    if inner is not None and (said.status is None or said.status < 300 or is_relayed):
        said = replace(said, status=inner)
    kind = _said_kind(said, wait)
    if kind is ErrorKind.INVALID_RESPONSE and said.status is not None and said.status >= 500:
        return STATUSES.get(said.status, ErrorKind.SERVER_ERROR)
    return kind


def _said_kind(said: Said, wait: float | None) -> ErrorKind:
    if said.status in PROXY_STATUSES:
        return STATUSES[said.status]
    for word in said.words:
        if word in DECISIVE_WORDS:
            return DECISIVE_WORDS[word]
    if (period := _quota_period(said)) is not None:
        return period
    if (kind := meaning(SPECIAL, said.text)) is not None:
        return _rate_or_quota(kind, wait)
    return _by_usual_word(said) or _by_status(said) or meaning(GENERAL, said.text) or _without_status(said)


def _quota_period(said: Said) -> ErrorKind | None:
    ids = " ".join(str(value).lower() for name, value in said.fields if name in ("quotaid", "quota_limit"))
    ids = ids or " ".join(PRINTED_QUOTA.findall(said.text))
    if "perday" in ids or "per_day" in ids:
        return ErrorKind.QUOTA_EXHAUSTED
    return ErrorKind.RATE_LIMIT if "perminute" in ids or "per_minute" in ids else None


def _rate_or_quota(kind: ErrorKind, wait: float | None) -> ErrorKind:
    if kind is ErrorKind.QUOTA_EXHAUSTED and wait is not None and wait <= SHORT_WAIT:
        return ErrorKind.RATE_LIMIT
    return kind


def _by_usual_word(said: Said) -> ErrorKind | None:
    kinds = [USUAL_WORDS[word] for word in said.words if word in USUAL_WORDS]
    if (code := kind_of_code(said.fields, said.text)) is not None:
        kinds.insert(0, code)
    if said.status in OUR_FAULT:
        kinds = [kind for kind in kinds if kind not in THEIR_FAULT]
    elif said.status in TELLING:
        kinds = [kind for kind in kinds if kind not in VAGUE]
    # `invalid_request_error` stands beside better words, and is everybody's default for a 4xx.
    better = [kind for kind in kinds if kind is not ErrorKind.INVALID_REQUEST]
    if better or not kinds:
        return _of_request(better[0], said) if better else None
    if meaning(GENERAL, said.text) is ErrorKind.PERMISSION:
        return ErrorKind.PERMISSION
    return None if said.status in STATUSES and said.status not in (400, 422) else kinds[0]


def _by_status(said: Said) -> ErrorKind | None:
    if said.status is None or said.status < 300:
        return None
    if said.status in (400, 422, 500) and not said.is_page and (kind := meaning(GENERAL, said.text)) is not None:
        return _of_request(kind, said)
    if said.status in STATUSES:
        return STATUSES[said.status]
    return ErrorKind.SERVER_ERROR if said.status >= 500 else ErrorKind.INVALID_REQUEST


def _of_request(kind: ErrorKind, said: Said) -> ErrorKind:
    """Return the kind; what could not be read, where the provider blames the request, is the request."""
    is_refusal = said.status is not None and 400 <= said.status < 500
    return ErrorKind.INVALID_REQUEST if kind is ErrorKind.INVALID_RESPONSE and is_refusal else kind


def _without_status(said: Said) -> ErrorKind:
    if (kind := next((WEAK_WORDS[word] for word in said.words if word in WEAK_WORDS), None)) is not None:
        return kind
    is_success = said.status is not None and said.status < 300
    return ErrorKind.INVALID_RESPONSE if is_success and not said.is_error else ErrorKind.SERVER_ERROR


def _inner_status(said: Said) -> int | None:
    """Return the status of an error that is written in the body, where there is one."""
    return next((int(word) for word in said.words if INNER_STATUS.fullmatch(word)), None)


INNER_STATUS = re.compile("[45][0-9]{2}")
PRINTED_QUOTA = re.compile(r"""quotaid\\?['"]: ?\\?['"]([\w-]{1,100})""")
