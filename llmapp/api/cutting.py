"""A stream that fails after its start is cut, also by Daphne.

There is no ASGI message for it: an application raises, and the server closes the connection, so that nobody takes
the half for the whole. Daphne (4.2.3) tries to send a page of its own instead, which raises once the answer has
started: the connection stays open for ever, and the timer that looks after all others is not set again.
"""

from __future__ import annotations

import sys
from typing import Any


def mend_daphne() -> None:
    """Teach the Daphne of this process, if it is one, to cut. A second time does nothing."""
    if (module := sys.modules.get("daphne.http_protocol")) is None:
        return
    request = module.WebRequest
    if getattr(request.handle_exception, "cuts", False):
        return
    say_so = request.handle_exception

    def handle_exception(self: Any, exception: BaseException) -> None:
        if not self._response_started:
            say_so(self, exception)
        elif self.channel is not None and not self.finished:
            self.channel.loseConnection()

    handle_exception.cuts = True  # type: ignore[attr-defined]
    request.handle_exception = handle_exception
