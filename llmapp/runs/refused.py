"""What a request gets that is not carried out."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not carried out, and why. Nothing was stored."""

    def __init__(self, code: str, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        #: The HTTP status that says the same.
        self.status = status
        self.message = message
        #: Seconds.
        self.retry_after = retry_after
