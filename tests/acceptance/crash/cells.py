"""What is done to whom, and at which moment of a run: the rows and columns of the crash matrix.

An `Action` is one signal to one target on one stack. It meets several runs at once, each at a point of its own, as in
life: each of them is a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Signal(StrEnum):
    KILL = "SIGKILL"
    #: For `Signal.PAUSE` seconds, then SIGCONT.
    STOP = "SIGSTOP"
    TERM = "SIGTERM"


#: Seconds for which a process is stopped.
PAUSE = 30.0


class Target(StrEnum):
    WORKER = "worker"
    WEB = "web"
    #: `serve` and its children at once, as a container is killed or paused; SIGTERM reaches `serve` alone.
    SERVE = "serve"


class Point(StrEnum):
    QUEUED = "queued"
    FIRST = "before the first token"
    MID = "in mid-text"
    COMMIT = "between the last token and the commit"


class Stack(StrEnum):
    FILES = "SQLite and files"
    REDIS = "PostgreSQL and Redis"
    RABBITMQ = "PostgreSQL and RabbitMQ"

    @property
    def servers(self) -> tuple[str, ...]:
        return {Stack.FILES: (), Stack.REDIS: ("redis",), Stack.RABBITMQ: ("rabbitmq",)}[self]

    @property
    def of_each(self) -> int:
        """How many web processes, and how many workers, it has."""
        return 1 if self is Stack.FILES else 2


#: How many sites share the work: where each pause is a minute, waiting together is faster.
SITES = {Stack.FILES: 2, Stack.REDIS: 2, Stack.RABBITMQ: 1}


@dataclass(frozen=True, slots=True)
class Action:
    signal: Signal
    target: Target
    stack: Stack
    points: tuple[Point, ...]

    def __str__(self) -> str:
        return f"{self.signal} {self.target}, {', '.join(self.points)}, {self.stack}"


@dataclass(frozen=True, slots=True)
class Cell:
    signal: Signal
    target: Target
    stack: Stack
    point: Point

    def __str__(self) -> str:
        return f"{self.signal} {self.target}, {self.point}, {self.stack}"


def cells_of(action: Action) -> list[Cell]:
    return [Cell(action.signal, action.target, action.stack, point) for point in action.points]


def whole() -> list[list[Action]]:
    """Return all actions of the matrix: one list for each site, to which they are done one after the other."""
    rows = [(signal, target) for signal in (Signal.STOP, Signal.KILL, Signal.TERM) for target in Target]
    lanes = []
    for stack in Stack:
        actions = [Action(*row, stack, points) for row in rows for points in _at_once(row[1], stack)]
        lanes += [actions[n :: SITES[stack]] for n in range(SITES[stack])]
    return lanes


def _at_once(target: Target, stack: Stack) -> list[tuple[Point, ...]]:
    """Return which points one action can meet: not those that are in each other's way."""
    if stack is Stack.RABBITMQ:
        # A broker matters to what is queued.
        return [(Point.QUEUED,)]
    if stack is Stack.FILES:
        # To hold the commit of one run is to hold all that anybody writes.
        return [(Point.QUEUED, Point.FIRST, Point.MID), (Point.COMMIT,)]
    if target is Target.WORKER:
        # Of two workers one is hit: the one that has the run.
        return [(point,) for point in Point]
    return [tuple(Point)]


#: Each row once, and each point several times; no site waits for two pauses.
Q, F, M, C = Point
IN_CI: dict[Stack, list[list[Action]]] = {
    Stack.FILES: [
        [Action(Signal.STOP, Target.SERVE, Stack.FILES, (Q, F, M))],
        [
            Action(Signal.KILL, Target.WORKER, Stack.FILES, (Q, F, M)),
            Action(Signal.TERM, Target.WEB, Stack.FILES, (C,)),
            Action(Signal.TERM, Target.SERVE, Stack.FILES, (Q, F, M)),
        ],
    ],
    Stack.REDIS: [
        [Action(Signal.STOP, Target.WORKER, Stack.REDIS, (M,)), Action(Signal.KILL, Target.WEB, Stack.REDIS, (M, C))],
        [Action(Signal.STOP, Target.WEB, Stack.REDIS, (Q, F, M, C))],
        [
            Action(Signal.TERM, Target.WORKER, Stack.REDIS, (C,)),
            Action(Signal.KILL, Target.SERVE, Stack.REDIS, (Q, F, M, C)),
        ],
    ],
    Stack.RABBITMQ: [[Action(Signal.KILL, Target.WORKER, Stack.RABBITMQ, (Q,))]],
}
