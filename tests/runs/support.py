"""What tests of runs look at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pydantic
import pytest
from ag_ui.core import Event
from django.db import connections

from llmapp.core.events import TERMINAL
from llmapp.models import Run, RunEvent
from llmapp.runs.refused import Refused

ANY_EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Event)


def events_of(run: Run) -> list[dict[str, Any]]:
    """Return a run's log, having checked what holds for every log."""
    rows = list(RunEvent.objects.filter(run=run).order_by("seq"))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    events = [json.loads(row.data) for row in rows]
    for event in events:
        ANY_EVENT.validate_python(event)
        assert None not in event.values()
    assert [e["type"] for e in events].count("RUN_STARTED") == 1
    assert events[0]["type"] == "RUN_STARTED"
    ends = [n for n, event in enumerate(events) if event["type"] in TERMINAL]
    run.refresh_from_db()
    assert ends == ([] if run.active else [len(events) - 1])
    return events


def types_of(run: Run) -> list[str]:
    return [e["type"] for e in events_of(run) if e["type"] != "CUSTOM"]


def text_of(run: Run) -> str:
    return "".join(e["delta"] for e in events_of(run) if e["type"] == "TEXT_MESSAGE_CONTENT")


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait for something to become true, and return it."""
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return result


def refusal(function: Any, *args: Any, **kwargs: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        function(*args, **kwargs)
    return caught.value


def at_once(*calls: Any) -> list[Any]:
    """Make calls at the same time, each in a thread with a connection of its own; return what came of them."""
    barrier = threading.Barrier(len(calls))

    def call(function: Any) -> Any:
        barrier.wait(5)
        try:
            return function()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))
