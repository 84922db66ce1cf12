"""A run's log as server-sent events.

`id:` is the event's seq, `data:` its JSON text as it is stored. A comment every 15 s keeps proxies from
closing the line. Closing a stream does not stop the run.

The reader's rights are checked while the stream is open. When they end, it ends with a `RUN_ERROR` that
has no id, for a stream that ended without a terminal event would pass for a success. When reading the
log fails, the connection is cut instead: a client then knows that it has to come back.

Under WSGI a stream is the same, and takes a thread of the server for as long as it is open. It hears no bell there, so
it looks.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from django.db import DatabaseError
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _

from llmapp.core import run_state
from llmapp.core.events import TERMINAL
from llmapp.runs import away, hub, presence, waiting
from llmapp.runs.access import runs_of
from llmapp.runs.hub import get_hub
from llmapp.runs.owner import is_visitor

from . import seats
from .auth import Identity, SignedOut, confirm
from .bridge import briefly, in_thread, release

#: Seconds of silence after which a comment is sent.
COMMENT_EVERY = 15.0
#: Seconds between two looks at the reader's rights. A reader without rights has to be gone within 10 s.
CONFIRM_EVERY = 8.0
#: Seconds of silence after which the clock is looked at.
TICK = 1.0
#: Seconds between two looks at the log under WSGI.
LOOK = 0.1

Event = tuple[int, str]

COMMENT = b": still here\n\n"
EVENTS = "text/event-stream"
#: nginx would otherwise collect the answer before it passes any of it on.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that follows the log of a run from after the seq `after`."""

    identity: Identity
    run_pk: uuid.UUID
    after: int = 0

    def response(self, *, in_thread: bool) -> StreamingHttpResponse:
        # The reader's language is known now, and no longer while the stream is open.
        frames = (_frames_in_thread if in_thread else _frames)(self, _goodbye(self.identity))
        return StreamingHttpResponse(frames, content_type=EVENTS, headers=HEADERS)


async def _frames(stream: Stream, goodbye: bytes) -> AsyncGenerator[bytes]:
    """Yield frames and comments until the terminal event, or until the reader's rights end."""
    # Middleware has had its turn now: nothing else of this request will want the connection.
    await in_thread(release)
    now = asyncio.get_running_loop().time
    spoke_at = now()
    owner = stream.identity.owner
    with seats.stream(owner), presence.opened(presence.EVENT_STREAM, owner) as opening:
        try:
            async with aclosing(_while_theirs(stream)) as events:
                async for event in events:
                    if event is not None or now() - spoke_at >= COMMENT_EVERY:
                        spoke_at = now()
                        opening.sent()
                        yield COMMENT if event is None else frame(*event)
        except SignedOut:
            yield goodbye


async def _while_theirs(stream: Stream) -> AsyncGenerator[Event | None]:
    """Yield events and ticks. Raises `SignedOut` before the end of a run that the reader may no longer see."""
    now = asyncio.get_running_loop().time
    confirmed_at, last = now(), None
    async with aclosing(get_hub().stream_with_ticks(stream.run_pk, stream.after, TICK)) as events:
        async for event in events:
            yield event
            last = event or last
            if now() - confirmed_at >= CONFIRM_EVERY and not _is_terminal(last):
                await _confirm_later(stream)
                confirmed_at = now()
    # It ended without its end: all of it was known already, or the run was deleted.
    if not _is_terminal(last):
        await briefly(_confirm, stream)


def _frames_in_thread(stream: Stream, goodbye: bytes) -> Iterator[bytes]:
    """Yield the same as `_frames` to a server without an event loop."""
    owner = stream.identity.owner
    with seats.stream(owner), presence.opened(presence.EVENT_STREAM, owner) as opening:
        try:
            for event in _looked_at(stream):
                opening.sent()
                yield COMMENT if event is None else frame(*event)
        except SignedOut:
            yield goodbye
        finally:
            release()


def _looked_at(stream: Stream) -> Iterator[Event | None]:
    """Yield events, and None where a comment is due. Raises `SignedOut` like `_while_theirs`."""
    after = stream.after
    confirmed_at = spoke_at = time.monotonic()
    while True:
        page = hub.read(stream.run_pk, after)
        for after, status, data in page.rows:
            yield after, data
            if status in run_state.ENDS:
                return
        now = time.monotonic()
        if page.over or now - confirmed_at >= CONFIRM_EVERY:
            _confirm(stream)
            confirmed_at = now
        if page.over:
            return
        if page.rows:
            spoke_at = now
        elif now - spoke_at >= COMMENT_EVERY:
            spoke_at = now
            yield None
        waiting.sweep()
        release()
        time.sleep(LOOK)


def frame(seq: int, data: str) -> bytes:
    return f"id: {seq}\ndata: {data}\n\n".encode()


def _is_terminal(event: Event | None) -> bool:
    return event is not None and json.loads(event[1])["type"] in TERMINAL


async def _confirm_later(stream: Stream) -> None:
    """Look at the reader's rights. While the database is away nothing is read either, so that may wait."""
    try:
        await briefly(_confirm, stream)
    except DatabaseError as error:
        if not away.is_away(error):
            raise


def _confirm(stream: Stream) -> None:
    owner = confirm(stream.identity)
    if not runs_of(owner).filter(pk=stream.run_pk).exists():
        raise SignedOut


def _goodbye(identity: Identity) -> bytes:
    shut, signed_out = _("This chat is no longer open to you. Reload the page."), _("You are no longer signed in.")
    message = shut if is_visitor(identity.owner) else signed_out
    event = {"type": "RUN_ERROR", "code": "unauthenticated", "message": message}
    return f"data: {json.dumps(event)}\n\n".encode()
