"""The life of a run, as its table tells it."""

from __future__ import annotations

from itertools import product

import pytest

from llmapp.core.run_state import (
    ACTIVE,
    ENDS,
    MAX_EXECUTIONS,
    TRANSITIONS,
    IllegalTransition,
    RunStatus,
    Trigger,
    after,
    allowed,
    sources,
    when_it_breaks,
    when_lease_is_revoked,
)


def test_nothing_follows_an_end() -> None:
    """No trigger is allowed in any of the five ends."""
    assert len(ENDS) == 5
    assert not [pair for pair in product(ENDS, Trigger) if allowed(*pair)]


def test_every_status_is_reached_and_every_trigger_does_something() -> None:
    """The table has no dead word."""
    assert set(TRANSITIONS.values()) | {RunStatus.QUEUED} == set(RunStatus)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


@pytest.mark.parametrize("status, trigger", list(product(RunStatus, Trigger)))
def test_what_is_not_in_the_table_raises(status: RunStatus, trigger: Trigger) -> None:
    """`after`, `allowed` and `sources` tell the same story."""
    assert (status in sources(trigger)) is allowed(status, trigger)
    if allowed(status, trigger):
        assert after(status, trigger) is TRANSITIONS[status, trigger]
    else:
        with pytest.raises(IllegalTransition, match=f"{status} cannot {trigger}"):
            after(status.value, trigger)


def test_a_person_can_stop_whatever_is_active() -> None:
    """Stop ends a queued run and a running one."""
    assert sources(Trigger.CANCEL) == ACTIVE


@pytest.mark.parametrize(
    "executions, shown, trigger",
    [
        (1, False, Trigger.RECLAIM),
        (MAX_EXECUTIONS - 1, True, Trigger.RECLAIM),
        (MAX_EXECUTIONS, False, Trigger.FAIL),
        (MAX_EXECUTIONS, True, Trigger.BREAK_OFF),
    ],
)
def test_a_lost_worker(executions: int, shown: bool, trigger: Trigger) -> None:
    """A run is taken over twice; then it ends, as incomplete when text was shown."""
    assert when_lease_is_revoked(executions, shown) is trigger


def test_a_break() -> None:
    """Shown text is kept and said to be partial."""
    assert (when_it_breaks(True), when_it_breaks(False)) == (Trigger.BREAK_OFF, Trigger.FAIL)
