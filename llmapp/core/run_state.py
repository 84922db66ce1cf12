"""The life of a run: one table of what may happen in which status.

Rules, in words:

* A run is `queued` from submit until a worker claims it, `in_progress` while a worker holds its lease,
  and then in one of five ends. Nothing follows an end.
* Whatever is not in the table raises `IllegalTransition` and changes nothing.
* Everything else that has to know about statuses (actions, the database's constraints, the admin's
  buttons, the diagram in the documentation) is derived from this file.

Pure: no clock, no database.
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Spelled as the OpenAI API spells it."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REQUIRES_ACTION = "requires_action"


class Trigger(StrEnum):
    """What can happen to a run."""

    CLAIM = "claim"
    #: The run gives its worker's slot back: it has to wait, or its worker shuts down.
    YIELD = "yield"
    #: Its worker's lease was revoked, and executions are left.
    RECLAIM = "reclaim"
    COMPLETE = "complete"
    #: It ends with a usable answer whose end is missing.
    BREAK_OFF = "break_off"
    FAIL = "fail"
    CANCEL = "cancel"
    ASK = "ask"


ACTIVE = frozenset({RunStatus.QUEUED, RunStatus.IN_PROGRESS})
ENDS = frozenset(RunStatus) - ACTIVE

TRANSITIONS: dict[tuple[RunStatus, Trigger], RunStatus] = {
    (RunStatus.QUEUED, Trigger.CLAIM): RunStatus.IN_PROGRESS,
    (RunStatus.QUEUED, Trigger.CANCEL): RunStatus.CANCELLED,
    # The queue timeout, or a run that was handed back too often. It is `incomplete` where an
    # earlier execution had already shown text.
    (RunStatus.QUEUED, Trigger.FAIL): RunStatus.FAILED,
    (RunStatus.QUEUED, Trigger.BREAK_OFF): RunStatus.INCOMPLETE,
    (RunStatus.IN_PROGRESS, Trigger.YIELD): RunStatus.QUEUED,
    (RunStatus.IN_PROGRESS, Trigger.RECLAIM): RunStatus.QUEUED,
    (RunStatus.IN_PROGRESS, Trigger.COMPLETE): RunStatus.COMPLETED,
    (RunStatus.IN_PROGRESS, Trigger.BREAK_OFF): RunStatus.INCOMPLETE,
    (RunStatus.IN_PROGRESS, Trigger.FAIL): RunStatus.FAILED,
    (RunStatus.IN_PROGRESS, Trigger.CANCEL): RunStatus.CANCELLED,
    (RunStatus.IN_PROGRESS, Trigger.ASK): RunStatus.REQUIRES_ACTION,
}

#: How often a run may be claimed before it is given up: the first time and two takeovers.
MAX_EXECUTIONS = 3


class IllegalTransition(Exception):
    """This cannot happen to a run in this status."""

    def __init__(self, status: RunStatus, event: Trigger) -> None:
        super().__init__(f"a run that is {status} cannot {event}")
        self.status = status
        self.event = event


def after(status: RunStatus | str, event: Trigger) -> RunStatus:
    """Return the status that follows, or raise `IllegalTransition`."""
    status = RunStatus(status)
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(status, event) from None


def allowed(status: RunStatus | str, event: Trigger) -> bool:
    """Say whether `event` can happen to a run in `status`."""
    return (RunStatus(status), event) in TRANSITIONS


def sources(event: Trigger) -> frozenset[RunStatus]:
    """Return the statuses in which `event` can happen: the condition of a compare-and-set."""
    return frozenset(status for status, candidate in TRANSITIONS if candidate is event)


def when_lease_is_revoked(executions: int, text_was_shown: bool) -> Trigger:
    """Decide what becomes of a run whose worker is gone.

    `executions` counts the claims so far, this worker's included.
    """
    if executions < MAX_EXECUTIONS:
        return Trigger.RECLAIM
    return when_it_breaks(text_was_shown)


def when_it_breaks(text_was_shown: bool) -> Trigger:
    """Decide how a run ends that cannot go on: text that was shown is kept, and said to be partial."""
    return Trigger.BREAK_OFF if text_was_shown else Trigger.FAIL
