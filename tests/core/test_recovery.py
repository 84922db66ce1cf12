"""What is done about a failure: rows of a table, and the proof that it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.errors import ErrorKind as K
from llmapp.core.errors import Failure
from llmapp.core.recovery import (
    ADVICE,
    BACKOFF_CAP,
    OF_THE_KEY,
    OF_THE_MODEL,
    PASSING,
    WRONG_EVERYWHERE,
    Action,
    DisableStreaming,
    GiveUp,
    RecoveryState,
    RotateCredential,
    SwitchModel,
    Wait,
    backoff,
    decide,
)

FRESH = {"attempts_left": 5, "time_left": 100.0, "chance": 0.5}

TABLE = [
    # what passes: exactly as long as told, else the back-off
    (K.RATE_LIMIT, 7.0, {}, Wait(7.0)),
    (K.RATE_LIMIT, None, {}, Wait(0.5)),
    (K.OVERLOADED, None, {"in_a_row": 3}, Wait(2.0)),
    (K.SERVER_ERROR, None, {"in_a_row": 50}, Wait(15.0)),
    (K.TIMEOUT, None, {"timeouts": 2}, Wait(0.5)),
    (K.CONNECTION, None, {}, Wait(0.5)),
    # too long a wait: another key, another model, or none at all
    (K.RATE_LIMIT, 21.0, {"other_models": True}, SwitchModel()),
    (K.RATE_LIMIT, 21.0, {"other_models": True, "other_keys": True}, RotateCredential()),
    (K.RATE_LIMIT, 20.0, {"other_models": True}, Wait(20.0)),
    (K.RATE_LIMIT, 99.0, {}, Wait(99.0)),
    (K.RATE_LIMIT, 100.0, {}, GiveUp(K.RATE_LIMIT, "try_later")),
    (K.RATE_LIMIT, 5.0, {"switch_after": 4, "other_models": True}, SwitchModel()),
    (K.OVERLOADED, None, {"in_a_row": 3, "other_models": True}, SwitchModel()),
    # a key
    (K.AUTH, None, {"other_keys": True, "other_models": True}, RotateCredential()),
    (K.AUTH, None, {"other_models": True}, SwitchModel()),
    (K.AUTH, None, {}, GiveUp(K.AUTH, "check_key")),
    (K.QUOTA_EXHAUSTED, None, {}, GiveUp(K.QUOTA_EXHAUSTED, "check_billing")),
    (K.QUOTA_EXHAUSTED, 10.0, {}, Wait(10.0)),
    (K.QUOTA_EXHAUSTED, 10.0, {"other_keys": True}, RotateCredential()),
    # a model
    (K.MODEL_NOT_FOUND, None, {"other_models": True}, SwitchModel()),
    (K.MODEL_NOT_FOUND, None, {}, GiveUp(K.MODEL_NOT_FOUND, "check_model")),
    (K.CONTEXT_OVERFLOW, None, {"other_models": True}, SwitchModel()),
    (K.INVALID_RESPONSE, None, {}, GiveUp(K.INVALID_RESPONSE, "check_address")),
    # wrong everywhere
    (K.INVALID_REQUEST, None, {"other_models": True, "other_keys": True}, GiveUp(K.INVALID_REQUEST, "check_settings")),
    (K.CANCELLED, 1.0, {"other_models": True}, GiveUp(K.CANCELLED, "try_again")),
    # limits
    (K.TIMEOUT, None, {"timeouts": 3, "other_models": True}, GiveUp(K.TIMEOUT, "try_later")),
    (K.CONTENT_POLICY, None, {"violations": 1, "other_models": True}, GiveUp(K.CONTENT_POLICY, "rephrase")),
    (K.CONTENT_POLICY, None, {"violations": 1, "violation_limit": 2, "other_models": True}, SwitchModel()),
    (K.OVERLOADED, None, {"attempts_left": 0, "other_models": True}, GiveUp(K.OVERLOADED, "try_later")),
    (K.OVERLOADED, None, {"time_left": 0.0, "other_models": True}, GiveUp(K.OVERLOADED, "try_later")),
    # streams that break
    (K.STREAM_INTERRUPTED, None, {"cuts": 1}, Wait(0.5)),
    (K.STREAM_INTERRUPTED, None, {"cuts": 2}, DisableStreaming()),
    (K.STREAM_INTERRUPTED, None, {"cuts": 2, "streaming": False}, Wait(0.5)),
    (K.STREAM_INTERRUPTED, None, {"cuts": 2, "may_disable_streaming": False}, Wait(0.5)),
    (K.STREAM_INTERRUPTED, None, {"text_shown": True}, GiveUp(K.STREAM_INTERRUPTED, "try_again")),
    (K.OVERLOADED, 1.0, {"text_shown": True, "other_models": True}, GiveUp(K.OVERLOADED, "try_later")),
]


@pytest.mark.parametrize("kind, told, state, action", TABLE)
def test_decisions(kind: K, told: float | None, state: dict[str, object], action: Action) -> None:
    """A failure in a state leads to one action."""
    merged = RecoveryState(**{**FRESH, **state})  # type: ignore[arg-type]
    assert decide(Failure(kind=kind, retry_after=told), merged) == action


def test_every_kind_has_its_place_and_its_advice() -> None:
    """No kind falls between the groups."""
    groups = [OF_THE_KEY, OF_THE_MODEL, PASSING, WRONG_EVERYWHERE]
    assert sorted(kind for group in groups for kind in group) == sorted(K)
    assert set(ADVICE) == set(K)


@given(st.integers(-5, 10_000), st.floats(0, 1))
def test_backoff_stays_within_its_bounds(in_a_row: int, chance: float) -> None:
    """Never negative, never more than the cap."""
    assert 0 <= backoff(in_a_row, chance) <= BACKOFF_CAP


failures = st.builds(
    Failure, kind=st.sampled_from(K), retry_after=st.none() | st.floats(0.001, 86_400, allow_nan=False)
)


@given(st.lists(failures, min_size=1, max_size=60), st.integers(1, 12), st.floats(0.1, 600), st.integers(0, 3))
def test_it_ends(sequence: list[Failure], attempts: int, seconds: float, models: int) -> None:
    """For any sequence of failures the attempts and the time suffice, and the last word is `GiveUp`."""
    left, time_left, in_a_row, action = attempts, seconds, 0, None
    for failure in (sequence * 12)[: 60 + attempts]:
        left -= 1
        in_a_row = in_a_row + 1 if failure.kind in PASSING else 0
        state = RecoveryState(
            attempts_left=left, time_left=time_left, in_a_row=in_a_row, other_models=models > 0, chance=1.0
        )
        action = decide(failure, state)
        match action:
            case Wait(waited):
                assert waited < time_left
                time_left -= waited
            case SwitchModel():
                assert models > 0
                models, in_a_row = models - 1, 0
            case GiveUp(kind):
                assert kind is failure.kind
                break
        assert left > 0
    if len(sequence) * 12 > attempts:
        assert isinstance(action, GiveUp)
