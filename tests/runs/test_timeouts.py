"""Whole runs of providers that keep us waiting: each attempt ends within a second of the limit that was set."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llmapp.models import Attempt

from .loopback import BACKENDS, Loopback
from .support import events_of, text_of, wait_until

pytestmark = pytest.mark.usefixtures("no_chance", "nothing_cached")

#: What it does, the limit that ends it, and what of the answer is there by then.
CASES: list[tuple[str, dict[str, Any], dict[str, float], str]] = [
    ("never answers", {"silent": True}, {"first_token": 0.5}, ""),
    ("trickles for ever", {"stall_after": 0, "comments": 0.1}, {"first_token": 0.5}, ""),
    ("trickles after text", {"stall_after": 3, "comments": 0.1}, {"idle": 0.5}, "One two three "),
    ("stalls", {"stall_after": 3}, {"idle": 0.5}, "One two three "),
    ("sends its head slowly", {"slow_head": 0.2}, {"first_token": 0.5}, ""),
    ("thinks for ever", {"reasoning": "hm " * 999, "tokens_per_second": 20}, {"total": 0.7}, ""),
    ("speaks for ever", {"answer": "One two three " * 999, "tokens_per_second": 20}, {"total": 0.7}, "One two three "),
    ("never ends", {"finish_reason": None, "done": False, "end": "never", "end_delay": 3600}, {"idle": 0.5}, "One two"),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_attempt_ends_when_it_was_said(at_loopback: Loopback, person: Any, process: Any, backend: str) -> None:
    """By its row and by the clock; the run says so, keeps what was shown, and the socket is closed."""
    at_loopback.agent(backend=backend, timeout_limit=1)
    at_loopback.run(person, process)
    server = at_loopback.server
    for version, (name, behaviour, limit, text) in enumerate(CASES, start=10):
        server.default = {"answer": "One two three four five.", **behaviour}
        type(at_loopback.row).objects.update(timeouts={"first_token": 20, "idle": 10, **limit}, version=version)
        (seconds,) = limit.values()
        # A machine that stands still for a moment is tried again; a limit that does not hold is late each time.
        for _ in range(3):
            start = time.monotonic()
            run = at_loopback.run(person, process, name)
            took = time.monotonic() - start
            attempt = Attempt.objects.get(call__run=run)
            assert attempt.ended_at is not None
            lasted = (attempt.ended_at - attempt.started_at).total_seconds()
            if lasted < seconds + 1 and took < seconds + 2:
                break
        assert seconds - 0.05 <= lasted < seconds + 1, name
        assert took < seconds + 2, name
        assert (run.error_kind, attempt.error_kind) == ("timeout", "timeout"), name
        assert run.status == ("incomplete" if text else "failed"), name
        assert text_of(run).startswith(text), name
        assert events_of(run)[-1]["code"] == "timeout"
        abandoned = server.requests[-1]
        wait_until(lambda: abandoned.closed_at, 2)  # noqa: B023
