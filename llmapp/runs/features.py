"""What a model can do, found out by asking it: one question for each feature.

"refused" means that the provider does not take the request, "unused" that it takes it and ignores it, "unknown"
that something else got in the way, a rate limit for example.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from llmapp.calls.base import ModelSpec
from llmapp.core.errors import ErrorKind
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Reply
from llmapp.models import LanguageModel

from .asking import Asker, Outcome
from .probe import FAILED, OK, SKIPPED, UNCLEAR

#: Feature -> works, refused, unused or unknown.
Found = dict[str, str]

WORKS, REFUSED, UNUSED, UNKNOWN = "works", "refused", "unused", "unknown"

SENTENCES = {WORKS: "works", REFUSED: "not_supported", UNUSED: "unclear", UNKNOWN: "not_found_out"}
#: A feature that is missing is no failure of the check.
STAGE_STATES = {WORKS: OK, REFUSED: SKIPPED, UNUSED: UNCLEAR, UNKNOWN: UNCLEAR}
assert FAILED not in STAGE_STATES.values()

#: Kinds that say that the request itself is not taken.
REFUSALS = frozenset({ErrorKind.INVALID_REQUEST, ErrorKind.UNSUPPORTED_PARAMETER, ErrorKind.MODEL_NOT_FOUND})

YES = (ChatMessage(Role.USER, "Answer with the single word: yes"),)
WEATHER = (ChatMessage(Role.USER, "What is the weather in Paris now? Use the tool to find out."),)
COLOUR = (ChatMessage(Role.USER, 'Answer with a JSON object of this form, and nothing else: {"colour": "red"}'),)
TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "name": "colour",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    },
}

#: Tokens. Below 16 some providers refuse; a model that thinks first needs some for that.
LIMIT = 256


@dataclass(frozen=True, slots=True)
class Finding:
    state: str
    detail: str = ""


Look = Callable[[Asker, ModelSpec], Awaitable[Finding]]


def store(model_id: int, found: Found) -> None:
    """Keep what was found on the model, without touching what a person may be editing."""
    checked = {"checked_at": datetime.now(UTC).isoformat(timespec="seconds"), "features": found}
    LanguageModel.objects.filter(pk=model_id).update(capabilities=checked)


def _finding(outcome: Outcome, used: Callable[[Reply], bool] = lambda reply: True) -> Finding:
    if outcome.reply is not None:
        return Finding(WORKS if used(outcome.reply) else UNUSED)
    assert outcome.failure is not None
    state = REFUSED if outcome.failure.kind in REFUSALS else UNKNOWN
    return Finding(state, outcome.failure.detail[:300])


async def _stream(asker: Asker, model: ModelSpec) -> Finding:
    outcome = await asker.ask(replace(model, streaming="always"), YES)
    return _finding(outcome)


def _tools(streaming: str, settings: Mapping[str, Any]) -> Look:
    async def look(asker: Asker, model: ModelSpec) -> Finding:
        spec = replace(model, streaming=streaming)
        outcome = await asker.ask(spec, WEATHER, tools=(TOOL,), settings=settings)
        return _finding(outcome, lambda reply: bool(reply.tool_calls))

    return look


def _json(response_format: Mapping[str, Any]) -> Look:
    async def look(asker: Asker, model: ModelSpec) -> Finding:
        outcome = await asker.ask(model, COLOUR, settings={"response_format": response_format})
        return _finding(outcome, lambda reply: _is_colour(reply.text))

    return look


def _is_colour(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


async def _stream_options(asker: Asker, model: ModelSpec) -> Finding:
    asking = replace(model.endpoint, options={**model.endpoint.options, "stream_options": True})
    outcome = await asker.ask(replace(model, endpoint=asking, streaming="always"), YES)
    return _finding(outcome, lambda reply: reply.usage.output_tokens is not None)


def _role(role: str) -> Look:
    async def look(asker: Asker, model: ModelSpec) -> Finding:
        messages = (ChatMessage(Role.SYSTEM, "You answer with a single word."), *YES)
        return _finding(await asker.ask(replace(model, system_role=role), messages))

    return look


def _limit(parameter: str) -> Look:
    async def look(asker: Asker, model: ModelSpec) -> Finding:
        settings = {"max_tokens": None, "max_completion_tokens": None, parameter: LIMIT}
        return _finding(await asker.ask(replace(model, max_output_tokens=None), YES, settings=settings))

    return look


#: In the order in which they are asked.
FEATURES: dict[str, Look] = {
    "stream": _stream,
    "tools": _tools("never", {}),
    "streamed_tools": _tools("always", {}),
    "tool_choice": _tools("never", {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}),
    "json_mode": _json({"type": "json_object"}),
    "schema": _json({"type": "json_schema", "json_schema": SCHEMA}),
    "stream_options": _stream_options,
    "system_role:system": _role("system"),
    "system_role:developer": _role("developer"),
    "output_limit:max_tokens": _limit("max_tokens"),
    "output_limit:max_completion_tokens": _limit("max_completion_tokens"),
}
