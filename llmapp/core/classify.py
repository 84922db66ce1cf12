"""From what a provider said to one of our kinds, with a hint how long to wait. Never raises.

The order of asking, which is the order of trust:

1. Decisive words: codes and types that can mean one thing only (`context_length_exceeded`).
2. Google's and others' quota ids: a limit per day is a quota, a limit per minute is a rate.
3. Sentences, from special to general, because providers put special meanings behind general statuses
   and types: an overflow behind a 500, a refusal by policy behind a 422.
4. Usual words (`rate_limit_error`), then the status.

General sentences (server error, connection, permission, ...) yield to usual words and to a status that
knows better. A status inside the body counts where there is none outside, or one of success. A 200 without a
word of error is an answer that we could not read; a 5xx never is, for its page is not the provider's own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from .error_body import Said, flatten
from .error_sentences import SENTENCES
from .error_words import DECISIVE_WORDS, STATUSES, USUAL_WORDS
from .errors import ErrorFacts, ErrorKind, Failure
from .retry_after import retry_after

MAX_DETAIL = 500

#: Sentences of these kinds say less than a usual word or a status does.
GENERAL = frozenset(
    {
        ErrorKind.PERMISSION,
        ErrorKind.TIMEOUT,
        ErrorKind.STREAM_INTERRUPTED,
        ErrorKind.CONNECTION,
        ErrorKind.OUTPUT_TRUNCATED,
        ErrorKind.INVALID_RESPONSE,
        ErrorKind.INVALID_REQUEST,
        ErrorKind.SERVER_ERROR,
    }
)


def classify(facts: ErrorFacts, now: datetime | float | None = None) -> Failure:
    """Return what kind of failure the facts describe.

    `now`, an aware datetime or seconds since 1970 (UTC), makes sense of points in time ("resets at").
    Without it the answer's own Date header does; without that such hints are ignored.
    """
    try:
        said = flatten(facts)
        kind = _kind(said)
        return Failure(
            kind=kind,
            retry_after=retry_after(facts, said, now),
            detail=(said.sentence or facts.exception or "")[:MAX_DETAIL],
            parameter=_parameter(said) if kind is ErrorKind.UNSUPPORTED_PARAMETER else None,
            limit=_limit(said) if kind is ErrorKind.CONTEXT_OVERFLOW else None,
        )
    except Exception as error:  # facts that are not what their types say: a failure must not cause another one
        return Failure(kind=ErrorKind.SERVER_ERROR, detail=f"unreadable facts: {type(error).__name__}")


def _kind(said: Said) -> ErrorKind:
    if said.status is not None and said.status < 300 and (inner := _inner_status(said)) is not None:
        said = replace(said, status=inner)
    kind = _said_kind(said)
    if kind is ErrorKind.INVALID_RESPONSE and said.status is not None and said.status >= 500:
        return STATUSES.get(said.status, ErrorKind.SERVER_ERROR)
    return kind


def _said_kind(said: Said) -> ErrorKind:
    for word in said.words:
        if word in DECISIVE_WORDS:
            return DECISIVE_WORDS[word]
    if (period := _quota_period(said)) is not None:
        return period
    sentence = _by_sentence(said.text)
    usual = _by_usual_word(said)
    if sentence is not None and (sentence not in GENERAL or _is_better(sentence, usual)):
        return sentence
    return usual or _by_status(said, sentence) or sentence or _without_status(said)


def _is_better(sentence: ErrorKind, usual: ErrorKind | None) -> bool:
    return usual is ErrorKind.INVALID_REQUEST and sentence is ErrorKind.PERMISSION


def _quota_period(said: Said) -> ErrorKind | None:
    ids = " ".join(str(value).lower() for name, value in said.fields if name in ("quotaid", "quota_limit"))
    if "perday" in ids or "per_day" in ids:
        return ErrorKind.QUOTA_EXHAUSTED
    return ErrorKind.RATE_LIMIT if "perminute" in ids or "per_minute" in ids else None


def _by_sentence(text: str) -> ErrorKind | None:
    return next((kind for kind, pattern in SENTENCES if pattern.search(text)), None)


def _by_usual_word(said: Said) -> ErrorKind | None:
    kinds = [USUAL_WORDS[word] for word in said.words if word in USUAL_WORDS]
    # `invalid_request_error` stands beside better words, and is everybody's default for a 4xx.
    better = [kind for kind in kinds if kind is not ErrorKind.INVALID_REQUEST]
    if better or not kinds:
        return better[0] if better else None
    return None if said.status in STATUSES and said.status not in (400, 422) else kinds[0]


def _by_status(said: Said, sentence: ErrorKind | None) -> ErrorKind | None:
    if said.status is None or said.status < 300:
        return None
    if said.status in (400, 422, 500) and sentence is not None:
        return sentence
    if said.status in STATUSES:
        return STATUSES[said.status]
    return ErrorKind.SERVER_ERROR if said.status >= 500 else ErrorKind.INVALID_REQUEST


def _without_status(said: Said) -> ErrorKind:
    if said.status is not None and said.status < 300:
        return ErrorKind.INVALID_RESPONSE
    return STATUSES.get(_inner_status(said) or 0, ErrorKind.SERVER_ERROR)


def _inner_status(said: Said) -> int | None:
    """Return the status of an error that is written in the body, where there is one."""
    return next((int(word) for word in said.words if INNER_STATUS.fullmatch(word)), None)


INNER_STATUS = re.compile("[45][0-9]{2}")


PARAMETER = re.compile(
    r"(?:parameter|argument|param|field|value)s?:?\s+[`'\"]?([a-z_][\w.]{1,60})[`'\"]?"
    r"|[`'\"]([a-z_][\w.]{1,60})[`'\"]|\b([a-z]+_[a-z_]{2,60})\b"
)
LIMIT = re.compile(r"(?:maximum|max|limit|context|allowed|size|window|<=|>|of only)[^\d\n]{0,60}?(\d[\d,]{2,9})(?!\d)")


def _parameter(said: Said) -> str | None:
    if said.parameter:
        return said.parameter
    found = PARAMETER.search(said.text)
    return next((name for name in found.groups() if name), None) if found else None


def _limit(said: Said) -> int | None:
    for name, value in said.fields:
        if name in ("n_ctx", "max_context_length", "context_length") and isinstance(value, int) and value > 0:
            return value
    found = LIMIT.search(said.text)
    return int(found[1].replace(",", "")) or None if found else None
