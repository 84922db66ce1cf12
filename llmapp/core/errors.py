"""What can go wrong with a call, in our words.

    BackendError    one attempt could not go on: carries `ErrorFacts`
    CallFailed      a whole call ended without an answer: carries a `Failure`
    Postponed       a call has to wait so long that its run gives its place back: no error, carries the seconds

A stop is no error: it is the cancellation of the task.

Backends translate foreign errors into `ErrorFacts` once, at the border, and raise `BackendError`;
`core.classify` turns facts into a `Failure`; nothing outside `backends` sees a foreign exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ErrorKind(StrEnum):
    """The kinds of failure. The values are a contract: stored, sent to clients, used by programs outside."""

    AUTH = "auth"
    PERMISSION = "permission"
    BILLING = "billing"
    QUOTA_EXHAUSTED = "quota_exhausted"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    STREAM_INTERRUPTED = "stream_interrupted"
    CONTEXT_OVERFLOW = "context_overflow"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    CONTENT_POLICY = "content_policy"
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    MODEL_NOT_FOUND = "model_not_found"
    THINKING_SIGNATURE = "thinking_signature"
    OUTPUT_TRUNCATED = "output_truncated"
    INVALID_RESPONSE = "invalid_response"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What a provider, or the way to it, said when it failed. Facts only, no judgement.

    `body` is the parsed JSON where it is JSON, else the text. `exception` is the type and text of the
    innermost exception, where one was raised. The order of the fields is a contract too.
    """

    provider: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    exception: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A classified failure.

    `retry_after` is in seconds, from the provider's own words; None when it gave no usable hint.
    `detail` is the provider's own sentence, for the ledger that staff reads, never for the page.
    `parameter` names what the provider refuses, and `replacement` what it wants to be called with instead.
    `limit` is the window that it stated, `output_limit` the longest answer, both in tokens.
    `about_history` says that the order or the shape of the messages was refused, not a setting.
    """

    kind: ErrorKind
    retry_after: float | None = None
    detail: str = ""
    parameter: str | None = None
    replacement: str | None = None
    limit: int | None = None
    output_limit: int | None = None
    about_history: bool = False
    #: A value was refused, or what stands beside it, and not the parameter as such: nothing to be learned from.
    conditional: bool = False
    #: Tokens that the last message has by our estimate, where it is too long by itself.
    needed: int | None = None


class BackendError(Exception):
    """A backend could not go on. The only exception that leaves a backend, besides cancellation."""

    def __init__(self, facts: ErrorFacts, kind: ErrorKind | None = None) -> None:
        super().__init__(facts.exception or f"status {facts.status}")
        self.facts = facts
        #: Set where the backend itself knows the kind, because no provider said anything
        #: (`stream_interrupted`, `invalid_response`, `timeout`).
        self.kind = kind


class CallFailed(Exception):
    """A call failed for good: every recovery that the budget allowed was tried."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure


class Postponed(Exception):
    """A call has to wait so long that its run goes back to the queue for it. Nothing of it was shown yet."""

    def __init__(self, failure: Failure, seconds: float) -> None:
        super().__init__(f"{failure.kind}: {seconds:.0f} s")
        self.failure = failure
        self.seconds = seconds
