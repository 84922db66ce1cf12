"""A run's log as server-sent events.

`id:` is the event's seq, `data:` its JSON text as it is stored. A comment every 15 s keeps proxies from
closing the line. Closing a stream does not stop the run.

The reader's rights are checked while the stream is open. When they end, it ends with a `RUN_ERROR` that
has no id, for a stream that ended without a terminal event would pass for a success. When reading the
log fails, the connection is cut instead: a client then knows that it has to come back.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from django.db import DatabaseError
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _

from llmapp.core.events import TERMINAL
from llmapp.runs import away
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

Event = tuple[int, str]

EVENTS = "text/event-stream"
#: nginx would otherwise collect the answer before it passes any of it on.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that follows the log of a run from after the seq `after`."""

    identity: Identity
    run_pk: uuid.UUID
    after: int = 0

    def response(self) -> StreamingHttpResponse:
        # The reader's language is known now, and no longer while the stream is open.
        frames = _frames(self, goodbye=_goodbye(self.identity))
        return StreamingHttpResponse(frames, content_type=EVENTS, headers=HEADERS)


async def _frames(stream: Stream, goodbye: bytes) -> AsyncGenerator[bytes]:
    """Yield frames and comments until the terminal event, or until the reader's rights end."""
    # Middleware has had its turn now: nothing else of this request will want the connection.
    await in_thread(release)
    now = asyncio.get_running_loop().time
    spoke_at = now()
    with seats.stream(stream.identity.owner):
        try:
            async with aclosing(_while_theirs(stream)) as events:
                async for event in events:
                    if event is not None or now() - spoke_at >= COMMENT_EVERY:
                        spoke_at = now()
                        yield b": still here\n\n" if event is None else frame(*event)
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
