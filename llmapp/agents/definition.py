"""What an agent is, to the loop that runs it: a pure value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmapp.calls.base import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """Instructions, a model with its fallbacks in order, and limits."""

    slug: str
    models: tuple[ModelSpec, ...]
    instructions: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_turns: int = 20
    timeout_limit: int = 3
    violation_limit: int = 1
    #: Seconds: a provider that asks for a longer wait is left for the next model.
    switch_after: float = 20.0
    #: Who summarises a conversation that grew too long; the model itself where nobody is named.
    summary_model: ModelSpec | None = None
    #: Names of fallbacks that are gone or switched off.
    skipped: tuple[str, ...] = ()
