"""What goes on now: figures of the whole site, out of the database alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from llmapp import submit
from llmapp.models import Run, RunEvent, WebProcess, Worker
from llmapp.runs import lease, now, presence, sweeper
from llmapp.runs.clock import db_now

from .support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_has_no_age() -> None:
    figures, closely = now.look()
    assert figures.queue_lag_seconds is figures.oldest_lease_seconds is figures.last_sweep_seconds is None
    assert (figures.runs_queued, figures.streams, figures.websockets, closely.streams) == (0, 0, 0, [])


@pytest.mark.parametrize(
    "said, not_before, lag",
    [
        (-90, None, 90),
        # taken over a moment ago, however old it is
        (-5, None, 5),
        # it had to wait, and its time came
        (-90, -20, 20),
        # not due
        (-90, 30, None),
    ],
)
def test_the_lag_of_the_queue(
    person: Any, scripted: Any, said: float, not_before: float | None, lag: float | None
) -> None:
    scripted()
    run, moment = submit(person, "Hi").run, db_now()
    Run.objects.filter(pk=run.pk).update(
        created_at=moment - timedelta(seconds=200),
        not_before=None if not_before is None else moment + timedelta(seconds=not_before),
    )
    RunEvent.objects.filter(run=run).update(created_at=moment + timedelta(seconds=said))
    figures, _closely = now.look()
    assert figures.runs_queued == 1
    assert figures.queue_lag_seconds == (lag if lag is None else pytest.approx(lag, abs=2))


def test_workers_by_what_they_do(settings: Any) -> None:
    fit, silent = lease.register(4, {}), lease.register(4, {})
    lease.register(4, {}, {}, [{"code": "keys", "names": []}])
    lease.stopped(lease.register(4, {}).pk)
    Worker.objects.filter(pk=silent.pk).update(
        heartbeat_at=db_now() - timedelta(seconds=8), lease_until=db_now() + timedelta(seconds=4)
    )
    figures, _closely = now.look()
    assert (figures.workers_taking_runs, figures.workers_unfit, figures.workers_silent, figures.places) == (1, 1, 1, 4)
    assert figures.oldest_lease_seconds == pytest.approx(8, abs=1.5)
    lease.beat(fit.pk)
    assert sweeper.sweep()
    assert now.look()[0].last_sweep_seconds == pytest.approx(0, abs=1.5)


def test_streams_and_sockets_grow_older_since_they_were_written() -> None:
    worker = lease.register(4, {})
    run = "0b5d0b0c-4a0e-4b1f-8d7e-3f1f5b0d2a11"
    stream = {"run": run, "model": "small", "age": 30.0, "silence": 12.0, "tokens": 80}
    assert lease.beat(worker.pk, True, {"streams": 7, "named": [stream]})
    row = presence.beat(None)
    opened = {"websockets": 2, "event_streams": 1, "people": 2, "sockets": [["websocket", 50.0, 4.0]]}
    WebProcess.objects.filter(pk=row).update(open=opened, heartbeat_at=db_now() - timedelta(seconds=6))
    figures, closely = now.look()
    assert (figures.streams, figures.websockets, figures.event_streams, figures.people) == (7, 2, 1, 2)
    assert figures.longest_silence_seconds == pytest.approx(12, abs=1.5)
    assert (closely.streams[0].model, closely.streams[0].tokens) == ("small", 80)
    assert closely.sockets[0].silence == pytest.approx(10, abs=1.5)


def test_a_stream_of_a_provider_is_seen_while_it_goes_on(
    person: Any, scripted: Any, process: Any, in_background: Any
) -> None:
    """With its model, how old it is, what has come, and for how long nothing has; and no longer when it is over."""
    scripted([{"text": "word " * 20}, {"pause": 6}, {"text": "end"}])
    run = submit(person, "Hi").run
    in_background(run)

    def silent() -> Any:
        streams = now.look()[1].streams
        return streams[0] if streams and streams[0].silence > 2 else None

    stream = wait_until(silent)
    assert (stream.run, stream.model) == (run.pk, "actor")
    assert stream.age >= stream.silence
    assert 15 < stream.tokens < 40
    wait_until(lambda: not Run.objects.get(pk=run.pk).active)
    wait_until(lambda: now.look()[0].streams == 0)
