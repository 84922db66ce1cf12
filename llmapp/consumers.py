"""The websocket of a conversation.

A client's frame names its handler: `{"type": "send", ...}` goes to `on_send`.

    client   {"type": "send", "id": the client's id of the message, "text"}
             {"type": "stop", "run"}
             {"type": "retry", "run"}
             {"type": "subscribe", "run", "after": seq, 0 when it is left out}
             {"type": "approve", "approval", "decision", "arguments"?, "reason"?}
    server   {"type": "run", "run", "status"}        a run is there, or its status changed
             {"type": "event", "run", "seq", "event"}
             {"type": "status", "worker": bool}      on opening, and when it changes
             {"type": "error", "code", "message", "id"?, "run"?, "retry_after"?}

A frame that cannot be obeyed is answered by an `error` frame, with the `id` or `run` that it named; the
socket stays open. Codes beside those of the JSON interface: `invalid_frame` (not text), `frame_too_large`,
`unknown_type`, `too_many_subscriptions`, `internal_error`.

The socket closes with 4401 after a sign-out, 4403 when the user is deactivated or a visitor's agent is no longer
public, 4404 when the conversation is gone; with 1011 when reading the log failed, and the client had better come
back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from django.utils import translation
from django.utils.translation import gettext as _

from llmapp.core import run_state
from llmapp.models import Run
from llmapp.runs import away, presence
from llmapp.runs.access import NotThere
from llmapp.runs.hub import get_hub

from .api import errors, frames, seats
from .api.admission import Admission, ConversationGone, NotAdmitted, admit, confirm_still
from .api.auth import Inactive, SignedOut
from .api.bridge import in_thread
from .api.errors import ApiError
from .api.frames import Frame
from .api.http import read_text
from .api.subscriptions import Subscriptions, TooMany
from .api.workers import FRESH, worker_watch

logger = logging.getLogger("llmapp.sockets")

#: Seconds between two looks at the user's rights. Who has none has to be gone within 10 s.
CONFIRM_EVERY = 8.0

#: Seconds for which a socket is not listened to when it was told to wait: a flood is slowed down to a trickle.
DEAF = 1.0

SIGNED_OUT, INACTIVE, GONE, BROKEN = 4401, 4403, 4404, 1011


class ConversationConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One socket: a task that announces runs, one that keeps watch, and one for each run that is followed."""

    # No channel of its own: news come from the hub.
    channel_layer_alias = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscriptions = Subscriptions(self._send_text, self._spawn)
        self.closing = False
        self._admission: Admission | None = None
        self._open = ExitStack()
        self._language = translation.get_language() or "en"
        #: The status of each run that was last told.
        self._statuses: dict[uuid.UUID, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # However it ended: a server may cancel us without a goodbye.
            self.closing = True
            self._open.close()
            if self._admission is not None:
                seats.leave(self._admission.identity.owner)
            self._cancel_tasks()

    # --- opening ----------------------------------------------------------------------------

    async def connect(self) -> None:
        try:
            admission = await in_thread(admit, self.scope)
            seats.take(admission.identity.owner)
        except (NotAdmitted, seats.Full):
            await self.close()
            return
        self._admission = admission
        self._opening = self._open.enter_context(presence.opened(presence.WEBSOCKET, admission.identity.owner))
        self._language = frames.language_of(self.scope)
        # An active one will be announced, and followed when the client says from where; the others are over.
        self._statuses = {run: "" if status in run_state.ACTIVE else status for run, status in admission.newest.items()}
        await self.accept()
        self._spawn(self._watch())
        self._spawn(self._announce_runs())

    async def _announce_runs(self) -> None:
        async for news in get_hub().announcements(self.admission.conversation.pk):
            await self._announce(news.run_pk, news.run, news.status)

    async def _announce(self, run_pk: uuid.UUID, run: str, status: str) -> None:
        told = self._statuses.get(run_pk)
        if told == status or told in run_state.ENDS:
            # The second of two bells, or one that was late: the run ended before this socket opened.
            return
        self._statuses[run_pk] = status
        await self._send_frame(type="run", run=run, status=status)
        if told is None:
            self.subscriptions.follow(run_pk, run)

    async def _watch(self) -> None:
        """Tell whether a worker is there, and look whether the user may still be here."""
        now = asyncio.get_running_loop().time
        told, confirmed_at = None, now()
        while True:
            if (alive := await self._worker_alive()) != told:
                told = alive
                await self._send_frame(type="status", worker=alive)
            await asyncio.sleep(FRESH)
            if now() - confirmed_at >= CONFIRM_EVERY:
                confirmed_at = now()
                await self._confirm()

    async def _worker_alive(self) -> bool:
        try:
            return await worker_watch().alive()
        except DatabaseError as error:
            if not away.is_away(error):
                raise
            # Nobody could take a run now.
            return False

    async def _confirm(self) -> None:
        try:
            await in_thread(confirm_still, self.admission)
        except (SignedOut, ConversationGone) as reason:
            await self._leave(reason)
        except DatabaseError as error:
            # While it is away nothing can be read either: the next look is soon enough.
            if not away.is_away(error):
                raise

    # --- frames -----------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.closing:
            return
        with translation.override(self._language):
            frame: Frame = {}
            try:
                frame = frames.parse(text_data)
                await self._handler(frame)(frame)
            except (SignedOut, ConversationGone) as reason:
                await self._leave(reason)
            except Exception as error:
                if (answer := errors.answer_to(error)) is None:
                    logger.exception("a frame's handler failed", extra={"action": "frame_failed"})
                    answer = errors.internal_error()
                await self._send_error(frame, answer)
                if answer.status == 429:
                    await asyncio.sleep(DEAF)

    def _handler(self, frame: Frame) -> Callable[[Frame], Awaitable[None]]:
        kind = frame.get("type")
        handler: Callable[[Frame], Awaitable[None]] | None = getattr(self, f"on_{kind}", None)
        if not isinstance(kind, str) or handler is None:
            raise frames.unknown_type(frame)
        return handler

    async def on_send(self, frame: Frame) -> None:
        text, id = frames.text_of(frame, "text"), read_text(frame, "id")
        submission = await in_thread(frames.send, self.admission, text, id)
        if submission.created:
            await self._announce_started(submission.run)
        else:
            # Sent again after a lost connection: nobody else will tell the sender.
            run = submission.run
            await self._send_frame(type="run", run=run.public_id, status=run.status)

    async def on_stop(self, frame: Frame) -> None:
        await in_thread(frames.stop, self.admission, frames.text_of(frame, "run"))

    async def on_retry(self, frame: Frame) -> None:
        await self._announce_started(await in_thread(frames.retry, self.admission, frames.text_of(frame, "run")))

    async def on_subscribe(self, frame: Frame) -> None:
        run, after = frames.text_of(frame, "run"), frames.seq_of(frame)
        row = await in_thread(frames.find, self.admission, run)
        try:
            await self.subscriptions.subscribe(row.pk, row.public_id, after)
        except TooMany:
            message = _("This connection follows too many answers at once.")
            raise ApiError(429, "too_many_subscriptions", message) from None

    async def on_approve(self, frame: Frame) -> None:
        # No tool asks anybody yet, so there is no approval to be found.
        raise NotThere

    async def _announce_started(self, run: Run) -> None:
        """Announce a run of this socket's own without waiting for the hub, which may be faster all the same."""
        if run.pk not in self._statuses:
            await self._announce(run.pk, run.public_id, run.status)

    # --- sending ----------------------------------------------------------------------------

    async def _send_error(self, frame: Frame, error: ApiError) -> None:
        facts = frames.about(frame)
        if (seconds := error.headers.get("Retry-After")) is not None:
            facts["retry_after"] = int(seconds)
        await self._send_frame(type="error", code=error.code, message=error.message, **facts)

    async def _send_frame(self, **frame: Any) -> None:
        await self._send_text(json.dumps(frame))

    async def _send_text(self, text: str) -> None:
        if not self.closing:
            self._opening.sent()
            await self.send(text_data=text)

    # --- leaving ----------------------------------------------------------------------------

    async def _leave(self, reason: Exception) -> None:
        code = INACTIVE if isinstance(reason, Inactive) else SIGNED_OUT if isinstance(reason, SignedOut) else GONE
        await self._hang_up(code)

    async def _hang_up(self, code: int) -> None:
        if not self.closing:
            self.closing = True
            await self.close(code)
            self._cancel_tasks()

    # --- tasks ------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Close the socket when one of its tasks fails: a client that comes back misses nothing."""
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None or self.closing:
            return
        logger.error("a socket's task failed", exc_info=task.exception(), extra={"action": "socket_failed"})
        self._spawn(self._hang_up(BROKEN))

    def _cancel_tasks(self) -> None:
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    @property
    def admission(self) -> Admission:
        assert self._admission is not None, "the socket is not open"
        return self._admission
