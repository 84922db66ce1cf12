"""What can be done about a failure: the actions that `recovery` decides on and `calls.executor` carries out.

All of them but `GiveUp` end in another attempt. After visible text that attempt asks for the rest of it,
whatever the action, save for `Restart`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ErrorKind


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RotateCredential:
    """Ask again with the next key."""


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Ask the next model of the chain."""


@dataclass(frozen=True, slots=True)
class Compress:
    """Ask again with the beginning of the conversation summarised, so that all of it takes so many tokens."""

    target_tokens: int


@dataclass(frozen=True, slots=True)
class LowerWindow:
    """The provider says how many tokens its model takes: remember it, and compress to fit."""

    tokens: int


@dataclass(frozen=True, slots=True)
class LowerOutputLimit:
    """Ask for an answer of at most so many tokens."""

    tokens: int


@dataclass(frozen=True, slots=True)
class RaiseOutputLimit:
    """Allow an answer of so many tokens."""

    tokens: int


@dataclass(frozen=True, slots=True)
class LowerEffort:
    """Ask the model to think less."""


@dataclass(frozen=True, slots=True)
class DropParameter:
    """Ask again without a parameter, and remember that the model refuses it."""

    name: str


@dataclass(frozen=True, slots=True)
class RenameParameter:
    """Ask again with a parameter under its other name, and remember it."""

    name: str
    to: str


@dataclass(frozen=True, slots=True)
class DisableStreaming:
    """Ask again, at once, for an answer in one piece."""


@dataclass(frozen=True, slots=True)
class StripThinking:
    """Ask again without the signed thinking of earlier answers. What is stored keeps it."""


@dataclass(frozen=True, slots=True)
class RepairHistory:
    """Ask again with the messages in the strictest form."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Ask, after so many seconds, for the rest of `partial`."""

    partial: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Withdraw what was shown, and ask again after so many seconds."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the call. `advice` is a word of `recovery.ADVICE`, which the pages turn into a sentence."""

    kind: ErrorKind
    advice: str


Action = (
    Wait
    | RotateCredential
    | SwitchModel
    | Compress
    | LowerWindow
    | LowerOutputLimit
    | RaiseOutputLimit
    | LowerEffort
    | DropParameter
    | RenameParameter
    | DisableStreaming
    | StripThinking
    | RepairHistory
    | Continue
    | Restart
    | GiveUp
)
