"""The log writer of a worker process: one thread writes for all of its runs.

It takes whatever has been buffered, writes it in one transaction, and repeats. Idle, a token goes out
at once; busy, batches grow by themselves, and it rests for as long as it wrote. Each batch holds the
process's lease (`lease.fence`), so a zombie writes nothing. A batch that fails is split by run, so that
one bad run does not fail others.

Deltas are written without waiting for the disk. The commit of a finished step or of an end waits for
it, and so makes everything before it durable. PostgreSQL may lose what did not wait when it crashes: the
writer keeps that for a moment, and writes it once more under the same numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import Max

from llmapp.core import events as ev
from llmapp.core.events import Event
from llmapp.core.transcript import Transcript
from llmapp.models import Run, RunEvent

from . import away, layer, lease, log
from .bell import News

logger = logging.getLogger("llmapp.runs")

#: A transaction that can be split by run is cheap to repeat; a batch beyond this only delays readers.
MAX_BATCH = 2000
#: Items of a batch from which on the thread rests for as long as it wrote, in seconds at most `LONGEST_PAUSE`. Then
#: more come at once: with 100 streams a sixth less CPU, and the same delays.
BUSY, LONGEST_PAUSE = 8, 0.01
#: Between tries while the database is away, in seconds.
RETRY = (0.05, 0.2, 0.5, 1.0)
#: Seconds after which what was written is on the disk, though nobody waited for it. PostgreSQL's `wal_writer_delay` is
#: 0.2 s by default and three of them are the longest; each heartbeat waits for all before it, too.
ON_DISK_AFTER = 5.0
#: Databases that may lose what did not wait. SQLite does so only with its whole machine, and us.
MAY_LOSE = ("postgresql",)

Step = Callable[[], Iterable[Event]]


class LostByCrash(Exception):
    """The database lost entries of this run that nobody has any more."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(slots=True)
class _Item:
    """Events of one run, or a step: events that are made within the transaction that writes them."""

    run_id: uuid.UUID
    events: list[Event] = field(default_factory=list)
    step: Step | None = None
    done: asyncio.Future[None] | None = None


class RunLog:
    """One run's end of the writer. Used on the event loop only."""

    def __init__(self, writer: LogWriter, run_id: uuid.UUID) -> None:
        self._writer = writer
        self._run_id = run_id
        self.transcript = Transcript()

    def emit(self, event: Event) -> None:
        """Buffer an event. Returns at once."""
        self.transcript.apply(event)
        self._writer.put(_Item(self._run_id, [event]))

    async def commit(self, step: Step) -> None:
        """Run `step` and write the events that it returns, in one durable transaction.

        Raises `LeaseLost`, or what `step` raises; then nothing of it was written.
        """
        done = asyncio.get_running_loop().create_future()
        self._writer.put(_Item(self._run_id, step=step, done=done))
        await done


class LogWriter:
    """Owns the sequence numbers of the runs that this process holds."""

    def __init__(
        self,
        worker_id: uuid.UUID,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[uuid.UUID | None, BaseException], None],
    ) -> None:
        """`on_lost` is called on the loop with a run that cannot be written, or None for all of them."""
        self._worker_id = worker_id
        self._loop = loop
        self._on_lost = on_lost
        #: What was put in this turn of the loop.
        self._gathered: list[_Item] = []
        self._turns: SimpleQueue[list[_Item] | None] = SimpleQueue()
        self._seqs: dict[uuid.UUID, int] = {}
        #: Of each run, its conversation and what clients call it.
        self._names: dict[uuid.UUID, tuple[uuid.UUID, str]] = {}
        #: What may not be on the disk yet, with the time at which it was written; and what is being written.
        self._recent: deque[tuple[float, log.Row]] = deque()
        self._on_its_way: list[log.Row] = []
        self._ringer = layer.Ringer() if layer.is_there() else None
        self._durable: bool | None = None
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name="llmapp-log-writer", daemon=True)
        self._thread.start()

    def open(self, run: Run, seq: int) -> RunLog:
        """Begin to write for a run whose last entry is `seq`."""
        self._seqs[run.pk] = seq
        self._names[run.pk] = (run.conversation_id, run.public_id)
        return RunLog(self, run.pk)

    def close_run(self, run_id: uuid.UUID) -> None:
        """Forget a run. What is still buffered for it is dropped."""
        self._seqs.pop(run_id, None)
        self._names.pop(run_id, None)

    def put(self, item: _Item) -> None:
        """Buffer an item. On the loop only.

        The thread is woken once in a turn of the loop. If it were for each token, both would fight for the interpreter
        all the time: with 200 streams a turn took 100 ms, and most of that was waiting.
        """
        self._gathered.append(item)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._hand_over)

    async def aclose(self) -> None:
        """Write what is buffered, and end the thread. Who puts anything afterwards is refused."""
        self._closed.set()
        self._hand_over()
        self._turns.put(None)
        await asyncio.to_thread(self._thread.join, 10)

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._turns.put(gathered)
        if self._ended.is_set():
            self._refuse_the_rest()

    # --- the thread -------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            while (batch := self._take()) is not None:
                began = time.monotonic()
                self._write_or_split(batch)
                if len(batch) >= BUSY:
                    time.sleep(min(time.monotonic() - began, LONGEST_PAUSE))
        finally:
            self._ended.set()
            self._refuse_the_rest()
            connection.close()
            if self._ringer is not None:
                self._ringer.close()

    def _take(self) -> list[_Item] | None:
        """Wait for items, and take all that are there. None: the writer was closed."""
        first = self._turns.get()
        if first is None:
            return None
        batch = list(first)
        with contextlib.suppress(Empty):
            while len(batch) < MAX_BATCH:
                turn = self._turns.get_nowait()
                if turn is None:
                    self._turns.put(None)
                    break
                batch += turn
        return batch

    def _write_or_split(self, batch: list[_Item]) -> None:
        batch = [item for item in batch if item.run_id in self._seqs or self._refuse(item, lease.LeaseLost())]
        if not batch:
            return
        try:
            self._write_with_patience(batch)
        except lease.LeaseLost as error:
            self._lose(batch, None, error)
        except Exception as error:
            by_run = _by_run(batch)
            if len(by_run) == 1:
                self._lose(batch, batch[0].run_id, error)
                return
            for items in by_run.values():
                self._write_or_split(items)
        else:
            for item in batch:
                self._resolve(item, None)

    def _write_with_patience(self, batch: list[_Item]) -> None:
        """Write, again and again while the database is away: the lease decides when it is too late."""
        waits, unsure = iter(RETRY), False
        while True:
            try:
                with away.watched(writes=True):
                    # Before anything is written again: what is there already must not come twice.
                    if not (unsure and self._arrived(batch)) and batch:
                        self._wait_for_disk(any(item.step for item in batch))
                        self._write(batch)
                return
            except IntegrityError:
                # The connection was lost, we looked too early, and then it arrived after all.
                if unsure and self._arrived(batch):
                    return
                raise
            except (DatabaseError, InterfaceError) as error:
                if not (away.is_away(error) or isinstance(error, OperationalError | InterfaceError)):
                    raise
                if not away.is_away(error):
                    logger.warning(
                        "the log could not be written: %s; trying again", error, extra={"action": "log_retry"}
                    )
                self._drop_connection()
                unsure = True
                time.sleep(wait := next(waits, RETRY[-1]))
                if self._closed.is_set() and wait == RETRY[-1]:
                    raise

    def _drop_connection(self) -> None:
        self._durable = None
        with contextlib.suppress(OperationalError, InterfaceError, InternalError):
            connection.close()

    def _write(self, batch: list[_Item]) -> None:
        """Write a batch in one transaction, the lease held; then tell readers."""
        names, seqs = dict(self._names), dict(self._seqs)
        if _fits_one_statement(batch):
            rows = self._on_its_way = _rows(batch, seqs)
            news, calls, ringer = self._to_tell(rows, names)
            if not log.insert_under_lease(rows, self._worker_id, calls):
                raise lease.LeaseLost
        else:
            with transaction.atomic():
                now = lease.fence(self._worker_id)
                rows = self._on_its_way = _rows(batch, seqs)
                log.insert(rows, now)
                news, calls, ringer = self._to_tell(rows, names)
                log.ring(calls)
        # Only those that are still open: a run may have been closed meanwhile.
        self._seqs.update({run_id: seq for run_id, seq in seqs.items() if run_id in self._seqs})
        self._keep_for_a_moment()
        # Commit, then tell. Whatever fails from here on, it is in the log.
        if ringer is not None and not ringer.ring(news):
            self._ring_late(_first_seqs(news))

    def _to_tell(
        self, rows: Sequence[log.Row], names: Mapping[uuid.UUID, tuple[uuid.UUID, str]]
    ) -> tuple[list[News], dict[uuid.UUID, int], layer.Ringer | None]:
        """Return the news, what the database's bell has to ring for, and the layer if it takes them."""
        news = [News(id, seq, row.status, row.data, *names[id]) for id, seq, row in rows]
        ringer = self._ringer if news and self._ringer is not None and self._ringer.takes(news) else None
        calls = {} if ringer is not None and ringer.settled else _first_seqs(news)
        return news, calls, ringer

    def _ring_late(self, first: dict[uuid.UUID, int]) -> None:
        """Ring for what has been committed."""
        try:
            log.ring(first)
        except (OperationalError, InterfaceError) as error:
            logger.warning("readers could not be told: %s", error, extra={"action": "ring_failed"})

    def _arrived(self, batch: list[_Item]) -> bool:
        """After a lost connection: did the batch that we are unsure of arrive after all?

        It is one transaction, and nobody else writes for these runs: one newer entry proves it.
        """
        last = self._last_seqs()
        self._write_again({id: seq for id, seq in last.items() if seq < self._seqs.get(id, seq)}, batch)
        of_batch = {item.run_id for item in batch}
        first = {id: self._seqs[id] + 1 for id in of_batch & last.keys() if last[id] > self._seqs.get(id, last[id])}
        if first:
            self._ring_late(first)
            self._keep_for_a_moment()
        self._seqs.update({run_id: last[run_id] for run_id in first if run_id in self._seqs})
        return bool(first)

    def _last_seqs(self) -> dict[uuid.UUID, int]:
        """Read anew where the logs of all our runs end."""
        mine = list(self._seqs)
        found = RunEvent.objects.filter(run__in=mine).order_by().values_list("run").annotate(last=Max("seq"))
        return dict.fromkeys(mine, 0) | dict(found)

    # --- a crash of the database ------------------------------------------------------------

    def _keep_for_a_moment(self) -> None:
        """Remember what was just written until it is certainly on the disk."""
        if connection.vendor not in MAY_LOSE:
            return
        now = time.monotonic()
        if self._durable:
            # This commit waited for the disk, and with it for all before it.
            self._recent.clear()
        else:
            self._recent.extend((now, row) for row in self._on_its_way)
        while self._recent and now - self._recent[0][0] > ON_DISK_AFTER:
            self._recent.popleft()

    def _write_again(self, back: Mapping[uuid.UUID, int], batch: list[_Item]) -> None:
        """Write once more what a crash has taken from the logs of these runs, of which it left so many entries.

        The same entries get the same numbers, so that readers who have them already are right. A run of which we have
        no longer all is let go: it is begun anew, and its text withdrawn. Its items are taken out of the batch.
        """
        if not back:
            return
        ours = [row for _at, row in self._recent if row[0] in back and row[1] > back[row[0]]]
        lost = {id: list(range(seq + 1, self._seqs.get(id, seq) + 1)) for id, seq in back.items()}
        whole = {id for id, seqs in lost.items() if _seqs_of(id, ours) == seqs}
        with transaction.atomic():
            now = lease.fence(self._worker_id)
            log.insert([row for row in ours if row[0] in whole], now)
            log.ring({id: seq + 1 for id, seq in back.items() if id in whole})
        text = f"the database lost entries of {len(back)} runs; those of {len(whole)} were written again"
        logger.warning("%s", text, extra={"action": "log_restored"})
        for id in back.keys() - whole:
            self._lose([item for item in batch if item.run_id == id], id, LostByCrash())
            self.close_run(id)
        batch[:] = [item for item in batch if item.run_id in self._seqs]

    def _wait_for_disk(self, durable: bool) -> None:
        """Choose, before a transaction, whether its commit waits for the disk."""
        if durable == self._durable:
            return
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            elif connection.vendor == "postgresql":
                cursor.execute(f"SET synchronous_commit = {'on' if durable else 'off'}")
        self._durable = durable

    # --- back to the loop -------------------------------------------------------------------

    def _lose(self, batch: list[_Item], run_id: uuid.UUID | None, error: BaseException) -> None:
        for item in batch:
            self._resolve(item, error)
        self._call(self._on_lost, run_id, error)

    def _refuse_the_rest(self) -> None:
        """Nobody writes any more: whoever waits for a step must not wait for ever."""
        with contextlib.suppress(Empty):
            while True:
                for item in self._turns.get_nowait() or ():
                    self._refuse(item, lease.LeaseLost())

    def _refuse(self, item: _Item, error: BaseException) -> bool:
        self._resolve(item, error)
        return False

    def _resolve(self, item: _Item, error: BaseException | None) -> None:
        if item.done is not None:
            self._call(_settle, item.done, error)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *args)


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _by_run(batch: Iterable[_Item]) -> dict[uuid.UUID, list[_Item]]:
    by_run: dict[uuid.UUID, list[_Item]] = {}
    for item in batch:
        by_run.setdefault(item.run_id, []).append(item)
    return by_run


def _seqs_of(run_id: uuid.UUID, rows: Iterable[log.Row]) -> list[int]:
    return [seq for id, seq, _entry in rows if id == run_id]


def _first_seqs(news: list[News]) -> dict[uuid.UUID, int]:
    """Return the first seq of each run."""
    return {item.run_pk: item.seq for item in reversed(news)}


def _fits_one_statement(batch: Sequence[_Item]) -> bool:
    """Say whether these are for PostgreSQL, no more than one statement takes, and no step."""
    if connection.vendor != "postgresql" or len(batch) > log.CHUNK or any(item.step for item in batch):
        return False
    return len({item.run_id for item in batch}) <= log.NOTIFY_RUNS


def _rows(batch: Iterable[_Item], seqs: dict[uuid.UUID, int]) -> list[log.Row]:
    """Number the events of a batch, and count `seqs` up."""
    rows: list[log.Row] = []
    for run_id, items in _by_run(batch).items():
        for event in ev.joined(_events_of(items)):
            seqs[run_id] += 1
            rows.append((run_id, seqs[run_id], log.entry(event)))
    return rows


def _events_of(items: list[_Item]) -> Iterator[Event]:
    """Yield the events of one run in order; a step makes its own when its turn comes."""
    for item in items:
        yield from item.events
        if item.step is not None:
            yield from item.step()
