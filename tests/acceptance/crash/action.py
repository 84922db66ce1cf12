"""Carries out one action: brings runs to their points, sends the signal, brings the site back, and looks what became.

What holds afterwards is judged by `tests/support/invariants.py`, from outside; here it is measured.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support import invariants
from tests.support.following import Follower, following
from tests.support.invariants import SeenRun, Tables
from tests.support.provider import Provider, answer_for, tokens_of
from tests.support.site import Site

from .cells import PAUSE, Action, Cell, Point, Signal, Stack, Target
from .holding import holding
from .site import AGENT, Asked, CrashSite

#: Seconds until somebody has to go on with a run, from when a live worker is there; and until its end.
TAKEN_WITHIN, ENDED_WITHIN = 20.0, 60.0
#: Seconds to bring all runs to their points.
THERE_WITHIN = 30.0
#: Seconds for which a commit is still held after the signal.
HELD_ON = 1.0
#: Sites start one after the other: it is the one thing that takes all of a machine.
_STARTING = threading.Lock()
#: Tokens a second of an answer that somebody waits for, and of one that is asked for again.
SLOW, QUICK = 12, 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one cell's run."""

    cell: Cell
    status: str
    #: From the signal, or from when a live worker is there, if that is later, to the end.
    seconds: float
    #: How often the provider was asked.
    asked: int
    #: How often the run was claimed.
    executions: int
    error_kind: str
    #: How its attempts failed, those that did.
    failures: tuple[str, ...]


@dataclass(slots=True)
class Result:
    action: Action
    outcomes: list[Outcome] = field(default_factory=list)
    #: What does not hold, a sentence each.
    broken: list[str] = field(default_factory=list)
    #: What the site said.
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Placed:
    """A run on its way to a point, or at it. The gate is where its provider rests."""

    asked: Asked
    follower: Follower
    gate: threading.Event
    point: Point | None


def carry_out_all(actions: Sequence[Action], folder: Path) -> Iterator[Result]:
    """Do all of this to one site, one after the other. One at which something broke is left for a new one."""
    left = list(actions)
    while left:
        try:
            with _opened(left[0].stack, folder / f"home-{len(left)}") as (site, provider):
                while left:
                    yield (result := carry_out(left.pop(0), site, provider))
                    if result.broken:
                        break
        except Exception as error:  # it did not start, or did not stop
            yield Result(left.pop(0) if left else actions[-1], broken=[f"{type(error).__name__}: {error}"])


@contextlib.contextmanager
def _opened(on: Stack, home: Path) -> Iterator[tuple[CrashSite, Provider]]:
    with Provider(tokens_per_second=QUICK) as provider:
        site = CrashSite(home, provider.url, on)
        with _STARTING:
            site.start()
        with site.stopping():
            site.make_people()
            site.open_conversation()
            yield site, provider


def carry_out(action: Action, site: CrashSite, provider: Provider) -> Result:
    """Do it, and look. What could not be done is broken, too."""
    result, said_before = Result(action), len(site.lines)
    try:
        with contextlib.ExitStack() as held:
            _Course(action, site, provider, result, held).run()
    except Exception as error:
        result.broken.append(f"{type(error).__name__}: {error}")
    result.lines = site.lines[said_before:]
    result.broken += [f"it said: {line}" for line in result.lines if "Traceback" in line]
    return result


class _Course:
    def __init__(
        self, action: Action, site: CrashSite, provider: Provider, result: Result, held: contextlib.ExitStack
    ) -> None:
        self._action, self._site, self._provider, self._result, self._held = action, site, provider, result, held
        self._placed: list[Placed] = []
        self._signalled_at = self._awake_at = 0.0
        self._workers_before: set[str] = set()

    def run(self) -> None:
        with self._runs_at_their_points() as commit_is_held:
            target = self._target()
            pids = self._site.pids_of(self._action.target, target.asked.run, target.follower.port)
            self._check_points()
            self._workers_before = {str(row["id"]) for row in self._rows("SELECT id FROM llmapp_worker")}
            self._signalled_at = time.time()
            self._send_signal(pids)
            for placed in self._placed:
                placed.gate.set()
            if commit_is_held:
                time.sleep(HELD_ON)
        self._bring_back(pids)
        self._wait_for_ends()
        self._judge()

    # --- to the points ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _runs_at_their_points(self) -> Iterator[bool]:
        points = self._action.points
        for point in points:
            if point is not Point.QUEUED:
                self._place(point)
        if Point.QUEUED in points:
            # Whatever is free is taken by others first.
            for _ in range(self._site.slots - len(self._placed)):
                self._place(None)
            for placed in self._placed:
                Site.wait_for(lambda asked=placed.asked: self._requests_for(asked), THERE_WITHIN)
            self._place(Point.QUEUED)
        for placed in self._placed:
            Site.wait_for(lambda placed=placed: self._is_there(placed), THERE_WITHIN)
        with contextlib.ExitStack() as stack:
            if (of_commit := self._at(Point.COMMIT)) is not None:
                stack.enter_context(holding(self._site.env, of_commit.asked.run))
                of_commit.gate.set()
                Site.wait_for(lambda: self._requests_for(of_commit.asked)[0].ended_at, THERE_WITHIN)
                # It has been read, and is on its way to be written.
                time.sleep(0.5)
            yield of_commit is not None

    def _place(self, point: Point | None) -> None:
        number = len(self._placed)
        text, gate = f"{point or 'busy'} {number} {self._action.signal} {self._action.target}", threading.Event()
        whole = len(tokens_of(answer_for(text)))
        after = {Point.FIRST: 0, Point.MID: whole // 3, Point.COMMIT: whole, Point.QUEUED: None, None: 0}[point]
        first: dict[str, Any] = {"tokens_per_second": QUICK if point is Point.COMMIT else SLOW}
        if after is not None:
            first["hold_after"] = (after, gate)
        self._provider.plans[text] = [first, {"tokens_per_second": QUICK}]
        by_socket = point is Point.QUEUED and self._action.target is Target.WEB
        asked = self._site.ask_by_socket(text) if by_socket else self._site.ask(number, text)
        follower = self._held.enter_context(following(self._site.url, asked.run, asked.headers))
        self._placed.append(Placed(asked, follower, gate, point))

    def _is_there(self, placed: Placed) -> bool:
        """Say whether a run is where it is to be, and its client has seen it."""
        whole = answer_for(placed.asked.text)
        match placed.point:
            case Point.QUEUED:
                return bool(placed.follower.events)
            case Point.MID:
                return len(placed.follower.text) > len(whole) // 4
            case Point.COMMIT:
                return placed.follower.text == whole
            case _:
                return bool(self._requests_for(placed.asked)) and bool(placed.follower.events)

    def _check_points(self) -> None:
        """Hold that the signal meets what the cell says, and not what has already moved on."""
        rows = self._rows("SELECT id, status FROM llmapp_run")
        status = {str(uuid.UUID(str(row["id"]))): row["status"] for row in rows}
        for placed in self._placed:
            expected = "queued" if placed.point is Point.QUEUED else "in_progress"
            assert status[placed.asked.run] == expected, f"{placed.point}: {status[placed.asked.run]}"
            shown = placed.follower.text
            assert bool(shown) is (placed.point in (Point.MID, Point.COMMIT)), f"{placed.point}: {shown!r}"

    def _target(self) -> Placed:
        """Return the run whose worker, or whose client's web process, is hit."""
        wanted = [point for point in self._action.points if point is not Point.QUEUED]
        if self._action.target is Target.WORKER:
            return self._at(wanted[-1]) if wanted else self._placed[0]  # type: ignore[return-value]
        return self._at(wanted[-1] if wanted else Point.QUEUED)  # type: ignore[return-value]

    def _at(self, point: Point) -> Placed | None:
        return next((placed for placed in self._placed if placed.point is point), None)

    def _requests_for(self, asked: Asked) -> list[Any]:
        return [request for request in self._provider.requests if asked.text in str(request.body)]

    # --- the action -------------------------------------------------------------------------------

    def _send_signal(self, pids: list[int]) -> None:
        match self._action.signal:
            case Signal.KILL:
                self._site.signal(pids, signal.SIGKILL)
            case Signal.TERM:
                # The children of `serve` end with it.
                self._site.signal(pids[:1], signal.SIGTERM)
            case Signal.STOP:
                self._site.signal(pids, signal.SIGSTOP)

    def _bring_back(self, pids: list[int]) -> None:
        """Do what a person would: let go on what was paused, and start again what has ended."""
        if self._action.signal is Signal.STOP:
            time.sleep(max(0.0, self._signalled_at + PAUSE - time.time()))
            self._awake_at = time.time()
            self._site.signal(pids, signal.SIGCONT)
        elif self._action.target is Target.SERVE:
            self._site.start_again()

    def _wait_for_ends(self) -> None:
        runs = "SELECT count(*) AS active FROM llmapp_run WHERE ended_at IS NULL"
        with contextlib.suppress(AssertionError):  # then it is broken, and is said to be
            Site.wait_for(lambda: self._rows(runs)[0]["active"] == 0, ENDED_WITHIN + PAUSE)
        for placed in self._placed:
            with contextlib.suppress(AssertionError):
                Site.wait_for(lambda placed=placed: placed.follower.ended, TAKEN_WITHIN)

    # --- what became of it --------------------------------------------------------------------------

    def _judge(self) -> None:
        site, result = self._site, self._result
        placed = {placed.asked.run: placed for placed in self._placed}
        result.broken += invariants.broken(
            site.env,
            clients={run: one.follower.text for run, one in placed.items()},
            acknowledged=[one.asked.message for one in placed.values()],
            requests=self._provider.requests,
            asleep_until=self._awake_at,
        )
        with Tables(site.env) as tables:
            seen = {run.name: run for run in invariants.seen(tables, self._provider.requests)}
        self._site.wait_until_it_is_whole()
        live_at = self._live_at()
        for run, one in placed.items():
            self._judge_run(one, seen[run], live_at)
        if site.send(AGENT, "And the next")[-1]["type"] != "RUN_FINISHED":
            result.broken.append("the next run does not complete")

    def _judge_run(self, placed: Placed, run: SeenRun, live_at: float) -> None:
        name = f"run {run.name} ({placed.point})"
        if [(seq, event) for seq, _status, event in run.log] != placed.follower.events:
            self._result.broken.append(f"{name}: its client was told something else than its log says")
        if run.row["status"] == "completed" and run.text != answer_for(placed.asked.text):
            self._result.broken.append(f"{name}: it completed with {run.text!r}")
        if (idle := self._gone_on_with_at(run) - live_at) > TAKEN_WITHIN:
            self._result.broken.append(f"{name}: nobody went on with it for {idle:.1f} s")
        if placed.point is None or run.active:
            return
        # One that ends in good order may end its runs itself.
        action, seconds = self._action, run.ended - (live_at if run.ended > live_at else self._signalled_at)
        if seconds > ENDED_WITHIN:
            self._result.broken.append(f"{name}: it took {seconds:.1f} s to its end")
        cell = Cell(action.signal, action.target, action.stack, placed.point)
        row, failures = run.row, tuple(one["error_kind"] for one in run.attempts if one["error_kind"])
        asked = len(run.requests)
        outcome = Outcome(cell, row["status"], seconds, asked, row["executions"], row["error_kind"], failures)
        self._result.outcomes.append(outcome)

    def _live_at(self) -> float:
        """Return when, from the signal on, a worker was there that could work."""
        if self._action.target is Target.WEB or (
            self._action.target is Target.WORKER and self._site.worker_processes > 1
        ):
            return self._signalled_at
        since = [_time(row["started_at"]) for row in self._rows("SELECT id, started_at FROM llmapp_worker")
                 if str(row["id"]) not in self._workers_before]  # fmt: skip
        awake = [self._awake_at] if self._awake_at else []
        return max(self._signalled_at, min([*since, *awake], default=time.time()))

    def _gone_on_with_at(self, run: SeenRun) -> float:
        """Return when the log of a run first got an entry after the signal; now, if it did not."""
        rows = self._rows("SELECT created_at FROM llmapp_runevent WHERE run_id = %s", uuid.UUID(run.name))
        return min((at for row in rows if (at := _time(row["created_at"])) > self._signalled_at), default=time.time())

    def _rows(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        with Tables(self._site.env) as tables:
            return tables.rows(sql, *params)


def _time(value: Any) -> float:
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
