"""What is done about a failure: rows of a table, and the proof that it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.actions import (
    Action,
    Compress,
    Continue,
    DisableStreaming,
    DropParameter,
    GiveUp,
    LowerEffort,
    LowerOutputLimit,
    LowerWindow,
    RaiseOutputLimit,
    RenameParameter,
    RepairHistory,
    Restart,
    RotateCredential,
    StripThinking,
    SwitchModel,
    Wait,
)
from llmapp.core.errors import ErrorKind as K
from llmapp.core.errors import Failure
from llmapp.core.health import ModelHealth, Rate
from llmapp.core.recovery import (
    ADVICE,
    BACKOFF_CAP,
    ESSENTIAL,
    OF_THE_KEY,
    OF_THE_MODEL,
    PASSING,
    WRONG_EVERYWHERE,
    RecoveryState,
    backoff,
    decide,
)

FRESH = {"attempts_left": 5, "time_left": 100.0, "chance": 0.5}
MODELS = {"other_models": True}
KEYS = {"other_keys": True}
SHOWN = {"partial": "The answer is"}
#: Waiting has failed nine times of ten.
HOPELESS = {"health": ModelHealth(rates={("overloaded", "Wait"): Rate(2, 18)})}
HELPFUL = {"health": ModelHealth(rates={("overloaded", "Wait"): Rate(18, 2)})}

TABLE: list[tuple[K | Failure, float | None, dict[str, object], Action]] = [
    # what passes: exactly as long as told, else the back-off
    (K.RATE_LIMIT, 7.0, {}, Wait(7.0)),
    (K.RATE_LIMIT, None, {}, Wait(0.5)),
    (K.OVERLOADED, None, {"in_a_row": 3}, Wait(2.0)),
    (K.SERVER_ERROR, None, {"in_a_row": 50}, Wait(15.0)),
    (K.TIMEOUT, None, {"timeouts": 2}, Wait(0.5)),
    (K.CONNECTION, None, {}, Wait(0.5)),
    # too long a wait: another key, another model, or none at all
    (K.RATE_LIMIT, 21.0, MODELS, SwitchModel()),
    (K.RATE_LIMIT, 1.0, MODELS | KEYS, RotateCredential()),
    (K.OVERLOADED, 1.0, MODELS | KEYS, Wait(1.0)),
    (K.RATE_LIMIT, 20.0, MODELS, Wait(20.0)),
    (K.RATE_LIMIT, 99.0, {}, Wait(99.0)),
    (K.RATE_LIMIT, 100.0, {}, GiveUp(K.RATE_LIMIT, "try_later")),
    (K.RATE_LIMIT, 5.0, {"switch_after": 4} | MODELS, SwitchModel()),
    # patience, and less of it where everybody is hit
    (K.RATE_LIMIT, None, {"in_a_row": 2} | MODELS, Wait(1.0)),
    (K.RATE_LIMIT, None, {"in_a_row": 3} | MODELS, SwitchModel()),
    (K.OVERLOADED, None, MODELS, Wait(0.5)),
    (K.OVERLOADED, None, {"in_a_row": 2} | MODELS, SwitchModel()),
    (K.CONNECTION, None, {"in_a_row": 2} | MODELS, SwitchModel()),
    (K.TIMEOUT, None, {"in_a_row": 2, "timeouts": 2} | MODELS, SwitchModel()),
    (K.SERVER_ERROR, None, {"in_a_row": 2} | MODELS, SwitchModel()),
    # what has helped lately
    (K.OVERLOADED, None, HOPELESS | MODELS, SwitchModel()),
    (K.OVERLOADED, None, HELPFUL | MODELS, Wait(0.5)),
    (K.OVERLOADED, None, HOPELESS, Wait(0.5)),
    (K.RATE_LIMIT, None, HOPELESS | MODELS, Wait(0.5)),
    # a key
    (K.AUTH, None, KEYS | MODELS, RotateCredential()),
    (K.AUTH, None, MODELS, SwitchModel()),
    (K.AUTH, None, {}, GiveUp(K.AUTH, "check_key")),
    (K.QUOTA_EXHAUSTED, None, {}, GiveUp(K.QUOTA_EXHAUSTED, "check_billing")),
    (K.QUOTA_EXHAUSTED, 10.0, {}, Wait(10.0)),
    (K.QUOTA_EXHAUSTED, 10.0, KEYS, RotateCredential()),
    (K.QUOTA_EXHAUSTED, 50.0, MODELS, SwitchModel()),
    (K.BILLING, None, MODELS, SwitchModel()),
    # a model
    (K.MODEL_NOT_FOUND, None, MODELS, SwitchModel()),
    (K.MODEL_NOT_FOUND, None, {}, GiveUp(K.MODEL_NOT_FOUND, "check_model")),
    # wrong everywhere
    (K.INVALID_REQUEST, None, MODELS | KEYS, GiveUp(K.INVALID_REQUEST, "check_settings")),
    (K.CANCELLED, 1.0, MODELS, GiveUp(K.CANCELLED, "try_again")),
    # limits
    (K.TIMEOUT, None, {"timeouts": 3} | MODELS, GiveUp(K.TIMEOUT, "try_later")),
    (K.CONTENT_POLICY, None, {"violations": 1} | MODELS, GiveUp(K.CONTENT_POLICY, "rephrase")),
    (K.CONTENT_POLICY, None, {"violations": 1, "violation_limit": 2} | MODELS, SwitchModel()),
    (K.OVERLOADED, None, {"attempts_left": 0} | MODELS, GiveUp(K.OVERLOADED, "try_later")),
    (K.OVERLOADED, None, {"time_left": 0.0} | MODELS, GiveUp(K.OVERLOADED, "try_later")),
    # streams that break before any text
    (K.STREAM_INTERRUPTED, None, {"cuts": 1}, Wait(0.5)),
    (K.STREAM_INTERRUPTED, None, {"cuts": 2}, DisableStreaming()),
    (K.RATE_LIMIT, 7.0, {"cuts": 2}, Wait(7.0)),
    (K.STREAM_INTERRUPTED, None, {"cuts": 2, "streaming": False}, Wait(0.5)),
    (K.STREAM_INTERRUPTED, None, {"cuts": 2, "may_disable_streaming": False}, Wait(0.5)),
    # after visible text: go on, begin again, or leave it
    (K.STREAM_INTERRUPTED, None, SHOWN, Continue("The answer is", 0.5)),
    (K.STREAM_INTERRUPTED, None, SHOWN | {"cuts": 2}, Continue("The answer is", 0.5)),
    (K.STREAM_INTERRUPTED, None, SHOWN | {"calling": True}, Restart(0.5)),
    (K.STREAM_INTERRUPTED, None, {"calling": True}, Wait(0.5)),
    (K.STREAM_INTERRUPTED, None, {"partial": "Th"}, Restart(0.5)),
    (K.STREAM_INTERRUPTED, None, {"partial": "The"}, Continue("The", 0.5)),
    (K.STREAM_INTERRUPTED, None, SHOWN | {"stuck": 2}, GiveUp(K.STREAM_INTERRUPTED, "try_again")),
    (K.OVERLOADED, 2.0, SHOWN, Continue("The answer is", 2.0)),
    (K.OVERLOADED, 31.0, SHOWN, GiveUp(K.OVERLOADED, "try_later")),
    (K.OVERLOADED, 31.0, SHOWN | MODELS, SwitchModel()),
    (K.AUTH, None, SHOWN | KEYS, RotateCredential()),
    (K.CONTENT_POLICY, None, SHOWN | MODELS | {"violation_limit": 5}, GiveUp(K.CONTENT_POLICY, "rephrase")),
    # a parameter: its other name, then without it
    (Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="temperature"), None, {}, DropParameter("temperature")),
    (
        Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="max_tokens"),
        None,
        {},
        RenameParameter("max_tokens", "max_completion_tokens"),
    ),
    (
        Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="max_completion_tokens"),
        None,
        {"renamed": frozenset({"max_tokens", "max_completion_tokens"})},
        DropParameter("max_completion_tokens"),
    ),
    (
        Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="reasoning", replacement="reasoning_effort"),
        None,
        {},
        RenameParameter("reasoning", "reasoning_effort"),
    ),
    (
        Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="max_tokens", conditional=True),
        None,
        {},
        DropParameter("max_tokens"),
    ),
    (Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="stream"), None, {}, DisableStreaming()),
    (Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="stream"), None, {"streaming": False} | MODELS, SwitchModel()),
    (Failure(kind=K.UNSUPPORTED_PARAMETER, about_history=True), None, {}, RepairHistory()),
    (
        Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="top_k"),
        None,
        {"dropped": frozenset({"top_k"})} | MODELS,
        SwitchModel(),
    ),
    (Failure(kind=K.UNSUPPORTED_PARAMETER, parameter="messages"), None, MODELS, SwitchModel()),
    (Failure(kind=K.UNSUPPORTED_PARAMETER), None, {}, GiveUp(K.UNSUPPORTED_PARAMETER, "check_settings")),
    # a history, and thinking
    (Failure(kind=K.INVALID_REQUEST, about_history=True), None, {}, RepairHistory()),
    (
        Failure(kind=K.INVALID_REQUEST, about_history=True),
        None,
        {"repaired": True},
        GiveUp(K.INVALID_REQUEST, "check_settings"),
    ),
    (K.THINKING_SIGNATURE, None, {"has_thinking": True}, StripThinking()),
    (K.THINKING_SIGNATURE, None, {}, RepairHistory()),
    (K.THINKING_SIGNATURE, None, {"repaired": True} | MODELS, SwitchModel()),
    # an output limit
    (Failure(kind=K.INVALID_REQUEST, output_limit=4096), None, {"output_limit": 8192}, LowerOutputLimit(4096)),
    (
        Failure(kind=K.INVALID_REQUEST, output_limit=4096),
        None,
        {"output_limit": 4096},
        GiveUp(K.INVALID_REQUEST, "check_settings"),
    ),
    # a conversation that is too long: a stated limit is believed, without one nothing is guessed
    (Failure(kind=K.CONTEXT_OVERFLOW, limit=8000), None, {"window": 80_000, "estimate": 9000}, LowerWindow(8000)),
    (Failure(kind=K.CONTEXT_OVERFLOW, limit=8000), None, {"estimate": 9000}, LowerWindow(8000)),
    (Failure(kind=K.CONTEXT_OVERFLOW, limit=8000), None, {"window": 8000, "estimate": 9000}, Compress(4500)),
    (K.CONTEXT_OVERFLOW, None, {"window": 8000, "estimate": 30_000}, Compress(5600)),
    (K.CONTEXT_OVERFLOW, None, {"estimate": 30_000}, Compress(15_000)),
    (K.CONTEXT_OVERFLOW, None, {"window": 8000, "estimate": 4000, "output_limit": 6000}, LowerOutputLimit(3000)),
    (K.CONTEXT_OVERFLOW, None, {"estimate": 9000, "compressible": False} | MODELS, SwitchModel()),
    (K.CONTEXT_OVERFLOW, None, {"estimate": 9000, "compressions": 3}, GiveUp(K.CONTEXT_OVERFLOW, "shorten")),
    (K.PAYLOAD_TOO_LARGE, None, {"estimate": 9000}, Compress(4500)),
    # an answer that is none
    (K.OUTPUT_TRUNCATED, None, SHOWN, Continue("The answer is")),
    (K.OUTPUT_TRUNCATED, None, SHOWN | {"limit_is_set": True}, GiveUp(K.OUTPUT_TRUNCATED, "raise_limit")),
    (K.OUTPUT_TRUNCATED, None, SHOWN | {"length_continuations": 4}, GiveUp(K.OUTPUT_TRUNCATED, "raise_limit")),
    (K.OUTPUT_TRUNCATED, None, SHOWN | {"stuck": 1}, GiveUp(K.OUTPUT_TRUNCATED, "raise_limit")),
    (K.OUTPUT_TRUNCATED, None, {"larger_limit": 4096, "effort_can_be_lowered": True}, RaiseOutputLimit(4096)),
    (K.OUTPUT_TRUNCATED, None, {"effort_can_be_lowered": True}, LowerEffort()),
    (
        K.OUTPUT_TRUNCATED,
        None,
        {"larger_limit": 4096, "effort_can_be_lowered": True, "limit_is_set": True},
        LowerEffort(),
    ),
    (K.OUTPUT_TRUNCATED, None, SHOWN | {"calling": True, "larger_limit": 4096}, RaiseOutputLimit(4096)),
    (K.OUTPUT_TRUNCATED, None, {}, GiveUp(K.OUTPUT_TRUNCATED, "raise_limit")),
    (K.INVALID_RESPONSE, None, {}, Wait(0.5)),
    (K.INVALID_RESPONSE, None, {"repeats": 2} | MODELS, SwitchModel()),
    (K.INVALID_RESPONSE, None, {"repeats": 2}, GiveUp(K.INVALID_RESPONSE, "check_address")),
    (K.INVALID_RESPONSE, None, SHOWN | {"calling": True}, Restart(0.5)),
]


@pytest.mark.parametrize("failure, told, state, action", TABLE)
def test_decisions(failure: K | Failure, told: float | None, state: dict[str, object], action: Action) -> None:
    """A failure in a state leads to one action."""
    merged = RecoveryState(**{**FRESH, **state})  # type: ignore[arg-type]
    known = failure if isinstance(failure, Failure) else Failure(kind=failure, retry_after=told)
    assert decide(known, merged) == action


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
    Failure,
    kind=st.sampled_from(K),
    retry_after=st.none() | st.floats(0.001, 86_400, allow_nan=False),
    parameter=st.none() | st.sampled_from(["temperature", "max_tokens", "messages", "top_k"]),
    replacement=st.none() | st.just("max_completion_tokens"),
    limit=st.none() | st.integers(-5, 200_000),
    output_limit=st.none() | st.integers(-5, 200_000),
    about_history=st.booleans(),
)
states = st.fixed_dictionaries(
    {
        "partial": st.sampled_from(["", "some text"]),
        "calling": st.booleans(),
        "stuck": st.integers(0, 3),
        "other_keys": st.booleans(),
        "other_models": st.booleans(),
        "streaming": st.booleans(),
        "window": st.none() | st.integers(1, 200_000),
        "estimate": st.integers(0, 400_000),
        "compressible": st.booleans(),
        "output_limit": st.none() | st.integers(1, 20_000),
        "larger_limit": st.none() | st.integers(1, 20_000),
        "in_a_row": st.integers(1, 60),
        "cuts": st.integers(0, 5),
        "repeats": st.integers(1, 5),
        "chance": st.floats(0, 1, exclude_max=True),
    }
)


@given(failures, states, st.integers(0, 3), st.floats(-5, 600))
def test_what_it_says_can_be_done(failure: Failure, state: dict[str, object], left: int, seconds: float) -> None:
    """Nothing is decided that the state does not allow; without attempts or time it is over."""
    merged = RecoveryState(attempts_left=left, time_left=seconds, **state)  # type: ignore[arg-type]
    action = decide(failure, merged)
    if left <= 0 or seconds <= 0:
        assert isinstance(action, GiveUp)
    match action:
        case Wait(wait) | Continue(_, wait) | Restart(wait):
            assert 0 <= wait < seconds
            assert isinstance(action, Wait) != bool(merged.partial)
        case SwitchModel():
            assert merged.other_models
        case RotateCredential():
            assert merged.other_keys
        case Compress(tokens):
            assert merged.compressible
            assert 1 <= tokens <= max(merged.estimate, 1)
        case LowerWindow(tokens) | LowerOutputLimit(tokens) | RaiseOutputLimit(tokens):
            assert tokens > 0
        case DropParameter(name):
            assert name not in ESSENTIAL
