"""The hub: one in each web process. It follows the log once and hands entries to all readers.

A reader subscribes first, then reads the log, then follows, and drops what it has already seen: what
is told twice is seen once, and what is not told is read. News carry a run's entries as JSON text,
which nobody here parses.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from itertools import accumulate

from django.db.models import QuerySet

from llmapp.conf import app_settings
from llmapp.core import events as ev
from llmapp.core import run_state
from llmapp.models import Run, RunEvent
from llmapp.models.runs import ACTIVE_RUNS

from . import away, bell, endings, garbage, layer, log, sweeper, thread
from .bell import News
from .threads import DatabaseThreads

logger = logging.getLogger("llmapp.runs")

#: Seconds after which a reader that heard nothing reads the log by itself: a lost bell costs no more.
SLOW_POLL = 2.0
#: Entries, and characters of them, that are kept for one reader. One that reads more slowly is sent back to the log.
BUFFER, BUFFER_SIZE = 1000, 128_000
#: Seconds after which a reader of announcements looks by itself; before that it is woken, each `SLOW_POLL` at most.
LONG = 60.0
#: Entries that are read at once; a reader holds at most `BUFFER_SIZE` characters of them, and an entry.
PAGE = 500
#: Seconds for which the log is followed when the last reader is gone: to begin again would keep the next one waiting.
LINGER = 30.0
DATABASE_THREADS = 2


@dataclass(frozen=True, slots=True)
class Announcement:
    """A run of the conversation started, or changed its status."""

    #: What clients call the run.
    run: str
    run_pk: uuid.UUID
    status: str
    #: The entry that says so: what an earlier one said is past.
    seq: int
    #: It was active already when the reader came.
    initial: bool = False


class Inbox:
    """What one reader has not read yet. One that falls behind finds a gap in seq, and memory stays flat."""

    def __init__(self) -> None:
        self._news: deque[News] = deque()
        self._size = 0
        #: What a reader of announcements was told last, by run.
        self.known: dict[uuid.UUID, Announcement] = {}
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        #: Until when is waited. A timer that comes too early looks again then: one for each wait would cost more
        #: than all else that is done for a token.
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, news: News) -> None:
        if len(self._news) >= BUFFER or self._size >= BUFFER_SIZE:
            self._clear()
        self._news.append(news)
        self._size += len(news.data)
        self.wake()

    async def take(self, seconds: float) -> list[News]:
        """Wait for news; an empty list after so many seconds without any."""
        if not self._news:
            self._until = self._loop.time() + seconds
            if self._timer is None or self._timer.when() > self._until:
                self._set_timer()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        news = list(self._news)
        self._clear()
        return news

    def _clear(self) -> None:
        self._news.clear()
        self._size = 0

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def open_runs(self) -> dict[uuid.UUID, str]:
        """Return the status of the runs that are active as far as the reader knows."""
        return {run_pk: item.status for run_pk, item in self.known.items() if item.status in run_state.ACTIVE}

    def wake(self) -> None:
        """End a wait, with or without news."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_timer(self) -> None:
        self.close()
        self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self.wake()


class Hub:
    """The readers of one event loop. While the database is away they wait; there is nothing to be told."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._runs: dict[uuid.UUID, set[Inbox]] = {}
        self._conversations: dict[uuid.UUID, set[Inbox]] = {}
        #: The database's, and the channel layer's where there is one.
        self._tails: list[bell.Tail] = []
        self._side_tasks: list[asyncio.Task[None]] = []
        self._resting: asyncio.TimerHandle | None = None
        self._threads = DatabaseThreads(DATABASE_THREADS, "llmapp-hub")

    async def stream(self, run_pk: uuid.UUID, after: int = 0) -> AsyncIterator[tuple[int, str]]:
        """Yield (seq, JSON text) of a run from `after` on; ends behind the terminal event.

        It also ends when the run is deleted. Who has more than the log has, after a crash of the database, gets a
        `llmapp.reload` with seq 0, and the log from its start. Of a log with a hole comes what is before it, and once
        the run has ended, the thread as it is and the end.
        """
        async with aclosing(self.stream_with_ticks(run_pk, after, SLOW_POLL)) as events:
            async for event in events:
                if event is not None:
                    yield event

    async def stream_with_ticks(
        self, run_pk: uuid.UUID, after: int, tick: float
    ) -> AsyncGenerator[tuple[int, str] | None]:
        """Like `stream`, and yield None whenever nothing came for `tick` seconds."""
        held, outages, said = "", away.database.times, False
        with self._subscribed(self._runs, run_pk) as inbox:
            await self._follow_the_log()
            while True:
                # After an outage it is seen whether what the reader has is still in the log.
                doubted, outages = held if outages != away.database.times else "", away.database.times
                reading = asyncio.ensure_future(self._threads.patiently(read, run_pk, after, doubted))
                try:
                    while not (await asyncio.wait({reading}, timeout=tick))[0]:
                        yield None
                finally:
                    reading.cancel()
                page = reading.result()
                for after, status, held in page.rows:
                    yield after, held
                    if status in run_state.ENDS:
                        return
                if page.over:
                    return
                if page.more:
                    continue
                if page.torn:
                    if not said:
                        said = True
                        text = f"the log of run {run_pk} has a hole after {after}"
                        logger.warning("%s", text, extra={"action": "log_torn", "run": str(run_pk)})
                    # What follows does not continue what the reader has. The end will come, and be told.
                    await asyncio.sleep(tick)
                    yield None
                    continue
                async with aclosing(self._live(inbox, after, tick)) as live:
                    async for item in live:
                        if outages != away.database.times:
                            break
                        if item is None:
                            yield None
                            continue
                        after, held = item.seq, item.data
                        yield item.seq, item.data
                        if item.status in run_state.ENDS:
                            return

    async def _live(self, inbox: Inbox, after: int, tick: float) -> AsyncGenerator[News | None]:
        """Yield news that continue `after`, and None for each tick; ends where the log has to be read again."""
        silence = 0.0
        while silence < SLOW_POLL:
            if not (news := await inbox.take(tick)):
                silence += tick
                yield None
                continue
            silence = 0.0
            for item in news:
                if item.seq <= after:
                    continue
                if item.seq != after + 1:
                    return
                after = item.seq
                yield item

    async def announcements(self, conversation_pk: uuid.UUID) -> AsyncIterator[Announcement]:
        """Yield what happens to the runs of a conversation, the active one first. Never ends by itself."""
        with self._subscribed(self._conversations, conversation_pk) as inbox:
            await self._follow_the_log()
            known = inbox.known
            for item in await self._threads.patiently(_active, conversation_pk):
                known[item.run_pk] = item
                yield item
            while True:
                news = [Announcement(n.run, n.run_pk, n.status, n.seq) for n in await inbox.take(LONG) if n.status]
                # Woken without news: a bell was lost.
                for item in news or await self._threads.patiently(_now, conversation_pk, dict(known)):
                    # Two bells may ring for the same, and one of them late.
                    if item.run_pk in known and item.seq <= known[item.run_pk].seq:
                        continue
                    known[item.run_pk] = item
                    yield item

    async def bell_works(self) -> bool:
        """Say whether a tail hears, and start one where nobody watches: for health checks."""
        was_resting = not self._tails
        try:
            with self._subscribed(self._runs, uuid.uuid4()):
                async with asyncio.timeout(2):
                    await self._follow_the_log()
                # The database's own tail: the layer only spares it work.
                return bool(self._tails) and self._tails[0].works
        except TimeoutError:
            return False
        finally:
            if was_resting and not self._runs and not self._conversations:
                # Asked each few seconds, it would never rest again.
                self._rest()

    async def aclose(self) -> None:
        """Stop following, and give up threads and connections."""
        self._rest()
        await asyncio.to_thread(self._threads.close)

    # --- the tail ---------------------------------------------------------------------------

    @contextmanager
    def _subscribed(self, table: dict[uuid.UUID, set[Inbox]], key: uuid.UUID) -> Iterator[Inbox]:
        inbox = Inbox()
        table.setdefault(key, set()).add(inbox)
        try:
            yield inbox
        finally:
            inbox.close()
            table[key].discard(inbox)
            if not table[key]:
                del table[key]
            if not self._runs and not self._conversations:
                self._stop_looking()
                # Not the running loop: a reader that was only dropped ends wherever its garbage is collected.
                if not self._loop.is_closed():
                    self._resting = self._loop.call_later(LINGER, self._rest)

    async def _follow_the_log(self) -> None:
        self._stay()
        if not self._tails:
            if garbage.ours():
                garbage.settle()
            tails = [bell.start(self._deliver, self._is_watched), layer.tail(self._deliver, self._is_watched)]
            self._tails = [tail for tail in tails if tail is not None]
        if not self._side_tasks or any(task.done() for task in self._side_tasks):
            self._stop_looking()
            self._side_tasks = [
                asyncio.create_task(_again_and_again(self._sweep, lambda: app_settings.SWEEP_SECONDS)),
                asyncio.create_task(_again_and_again(self._look, lambda: SLOW_POLL)),
            ]
        for tail in list(self._tails):
            await tail.ready()

    def _is_watched(self, run_pk: uuid.UUID, conversation_pk: uuid.UUID) -> bool:
        return run_pk in self._runs or conversation_pk in self._conversations

    def _deliver(self, news: list[News]) -> None:
        for item in news:
            for inbox in self._runs.get(item.run_pk, ()):
                inbox.put(item)
            if item.status:
                for inbox in self._conversations.get(item.conversation_pk, ()):
                    inbox.put(item)

    async def _look(self) -> None:
        """Wake whoever does not know how the runs of its conversation stand, for a bell may have been lost.

        With one query for all of them: hundreds of sockets that look for themselves are a tenth of a process's work.
        """
        watched = list(self._conversations)
        active = await self._threads.call(_active_in, watched)
        for conversation_pk in watched:
            for inbox in self._conversations.get(conversation_pk, ()):
                if inbox.open_runs() != active.get(conversation_pk, {}):
                    inbox.wake()

    async def _sweep(self) -> None:
        """While anybody watches, runs end in time even if no worker is there to end them."""
        await self._threads.call(sweeper.sweep)

    def _stay(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _rest(self) -> None:
        self._stay()
        for tail in self._tails:
            tail.close()
        self._tails = []
        self._stop_looking()

    def _stop_looking(self) -> None:
        for task in self._side_tasks:
            task.cancel()
        self._side_tasks = []


async def _again_and_again(function: Callable[[], Awaitable[None]], seconds: Callable[[], float]) -> None:
    """Repeat a side task. A failure is logged, and the next round comes all the same."""
    while True:
        await asyncio.sleep(seconds())
        try:
            await function()
        except Exception as error:
            if not away.is_away(error):
                logger.exception("a side task of a web process failed", extra={"action": "side_task_failed"})


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def get_hub() -> Hub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if (hub := _hubs.get(loop)) is None:
        # A view that is called synchronously has a loop of its own, for a moment.
        for closed in [other for other in _hubs if other.is_closed()]:
            del _hubs[closed]
        hub = _hubs[loop] = Hub()
    return hub


# --- in database threads --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What comes next in a log. `over`: there can be no more. `torn`: more is there, but not what is next.

    `more`: there is something to be read at once.
    """

    rows: list[tuple[int, str, str]]
    more: bool = False
    over: bool = False
    torn: bool = False


def read(run_pk: uuid.UUID, after: int, held: str = "") -> Page:
    """Return the entries that follow `after`, where the reader has `held`. Without it, the reader is believed.

    Calls the database.
    """
    if held and (there := log.read(run_pk, after - 1, 1)) and there[0] != (after, there[0][1], held):
        return _from_the_start(run_pk)
    found = log.read(run_pk, after, PAGE)
    if rows := _unbroken(found, after):
        return _page(rows, found)
    # Before the run, whose log goes with it when it is deleted.
    last = log.last_seq(run_pk)
    run = Run.objects.filter(pk=run_pk).select_related("conversation").first()
    # Once more: what was written until the run was as we know it now.
    found = log.read(run_pk, after, PAGE)
    if run is None:
        return Page(found, over=True)
    if run.compacted_at is not None:
        return Page(_with_snapshot(run, found, after), over=True)
    if rows := _unbroken(found, after):
        return _page(rows, found)
    if run.status in run_state.ENDS:
        return Page(_what_is_left(run, after), over=True)
    if not found and last < after:
        return _from_the_start(run_pk)
    return Page([], torn=bool(found))


def _page(rows: list[tuple[int, str, str]], found: list[tuple[int, str, str]]) -> Page:
    """Return as much of these rows as a reader may hold at a time. What was found behind them, it reads next."""
    kept = _cut(rows)
    return Page(kept, more=len(kept) < len(found) or len(found) >= PAGE)


def _from_the_start(run_pk: uuid.UUID) -> Page:
    found = log.read(run_pk, 0, PAGE)
    page = _page(_unbroken(found, 0), found)
    return Page([(0, "", log.encode(ev.custom("llmapp.reload"))), *page.rows], more=page.more)


def _unbroken(rows: list[tuple[int, str, str]], after: int) -> list[tuple[int, str, str]]:
    """Return the rows up to the first hole."""
    return [row for seq, row in enumerate(rows, after + 1) if row[0] == seq]


def _what_is_left(run: Run, after: int) -> list[tuple[int, str, str]]:
    """Return how an ended run is told to a reader whom its log does not lead to the end."""
    last = log.read(run.pk, max(log.last_seq(run.pk), after) - 1, 1)
    if not last or last[0][1] not in run_state.ENDS:
        # Its last rows were lost or deleted: then it gets the thread as it is, and nobody waits for ever.
        return _made_up_end(run, after)
    # Either the reader has the end already, or rows before the end were lost.
    return [(last[0][0] - 1, "", _snapshot(run)), last[0]] if last[0][0] > after else []


def _cut(rows: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """Return as many of these as one reader may hold."""
    sizes = accumulate(len(data) for _seq, _status, data in rows)
    return rows[: next((number for number, size in enumerate(sizes, start=1) if size >= BUFFER_SIZE), len(rows))]


def _with_snapshot(run: Run, rows: list[tuple[int, str, str]], after: int) -> list[tuple[int, str, str]]:
    """Put a snapshot of the thread in the place of what was compacted away."""
    if not rows or rows[-1][0] - 1 <= max(after, 1):
        return rows
    return [*rows[:-1], (rows[-1][0] - 1, "", _snapshot(run)), rows[-1]]


def _snapshot(run: Run) -> str:
    answer = run.messages.order_by("-created_at").values_list("pk", flat=True).first()
    return log.encode(ev.messages_snapshot(thread.snapshot(answer or run.message_id)))


def _made_up_end(run: Run, after: int) -> list[tuple[int, str, str]]:
    """Make the end of a log without one from the run's row and its messages."""
    end = endings.terminal_of(run)
    return [(after + 1, "", _snapshot(run)), (after + 2, run.status, log.encode(end))]


def _active(conversation_pk: uuid.UUID) -> list[Announcement]:
    return [_announcement(run, initial=True) for run in _active_runs(conversation_pk)]


def _active_in(conversations: list[uuid.UUID]) -> dict[uuid.UUID, dict[uuid.UUID, str]]:
    """Return the status of the active runs of these conversations."""
    found: dict[uuid.UUID, dict[uuid.UUID, str]] = {}
    runs = Run.objects.filter(ACTIVE_RUNS, conversation__in=conversations, parent=None).order_by()
    for conversation_pk, run_pk, status in runs.values_list("conversation_id", "pk", "status"):
        found.setdefault(conversation_pk, {})[run_pk] = status
    return found


def _now(conversation_pk: uuid.UUID, known: dict[uuid.UUID, Announcement]) -> list[Announcement]:
    """Return the runs that are active or were, and stand otherwise than is known."""
    open_ones = [run_pk for run_pk, item in known.items() if item.status not in run_state.ENDS]
    # A union, for with "or" SQLite would look at all runs of the conversation.
    runs = _active_runs(conversation_pk).union(Run.objects.filter(pk__in=open_ones).order_by())
    return [_announcement(run) for run in runs if run.pk not in known or known[run.pk].status != run.status]


def _active_runs(conversation_pk: uuid.UUID) -> QuerySet[Run]:
    return Run.objects.filter(ACTIVE_RUNS, conversation=conversation_pk, parent=None).order_by()


def _announcement(run: Run, initial: bool = False) -> Announcement:
    """Announce how a run stands, as of the newest entry of its log that says so."""
    said = RunEvent.objects.filter(run=run).exclude(status="").order_by("-seq").values_list("seq", "status").first()
    seq, status = said or (0, "")
    if run.status in run_state.ENDS and run.status != status:
        # Its log was cut by hand; an end is an end.
        seq, status = seq + 1, run.status
    return Announcement(run.public_id, run.pk, status, seq, initial)
