"""What a person reads when a run ends badly: the cause, and what to do about it.

`facts` say more where something is known: {"reset_at": when the limit ends (ISO, UTC), "limit": tokens that the
model takes or may write, "needed": tokens that the smallest request has, "reasoning": the model thought, and said
nothing, "gone": "agent" where it is not the model that is missing}. Values stand in braces, because the page's
JavaScript fills the same sentences (`static/llmapp/js/ending.js`, the same rules).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils import formats
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus

CAUSES: dict[ErrorKind, Promise | str] = {
    ErrorKind.AUTH: gettext_lazy("The model's provider did not accept the key. Ask an administrator to check it."),
    ErrorKind.PERMISSION: gettext_lazy(
        "The key is not allowed to use this model. Ask an administrator, or choose another agent."
    ),
    ErrorKind.BILLING: gettext_lazy(
        "The account at the model's provider is out of credit. Ask an administrator, or choose another agent."
    ),
    ErrorKind.QUOTA_EXHAUSTED: gettext_lazy(
        "The quota at the model's provider is used up. Try again later, or choose another agent."
    ),
    ErrorKind.RATE_LIMIT: gettext_lazy("The model's provider gets too many requests. Try again in a minute."),
    ErrorKind.OVERLOADED: gettext_lazy("The model's provider is overloaded. Try again in a minute."),
    ErrorKind.SERVER_ERROR: gettext_lazy(
        "Something failed on the way to the answer. Try again; if it stays so, tell an administrator."
    ),
    ErrorKind.TIMEOUT: gettext_lazy("The answer took too long and was given up. Try again, or ask for less at a time."),
    ErrorKind.CONNECTION: gettext_lazy("The model's provider could not be reached. Try again in a minute."),
    ErrorKind.STREAM_INTERRUPTED: gettext_lazy("The connection broke off in the middle of the answer. Try again."),
    ErrorKind.CONTEXT_OVERFLOW: gettext_lazy(
        "This conversation is too long for the model. Start a new chat, or send a shorter message."
    ),
    ErrorKind.PAYLOAD_TOO_LARGE: gettext_lazy(
        "The request is too large for the model's provider. Shorten your message, or start a new chat."
    ),
    ErrorKind.CONTENT_POLICY: gettext_lazy(
        "The model's provider refused this for its content policy. Rephrase your message, or start a new chat."
    ),
    ErrorKind.INVALID_REQUEST: gettext_lazy(
        "The model's provider refused the request. Ask an administrator to look at this run."
    ),
    ErrorKind.UNSUPPORTED_PARAMETER: gettext_lazy(
        "The model does not know one of the agent's settings. Ask an administrator to look at this run."
    ),
    ErrorKind.MODEL_NOT_FOUND: gettext_lazy(
        "The agent's model is not available. Ask an administrator, or choose another agent."
    ),
    ErrorKind.THINKING_SIGNATURE: gettext_lazy(
        "The model's provider did not accept its own earlier reasoning. Start a new chat."
    ),
    ErrorKind.OUTPUT_TRUNCATED: gettext_lazy(
        "The answer reached the model's length limit and stops early. Ask the model to go on, or for a shorter answer."
    ),
    ErrorKind.INVALID_RESPONSE: gettext_lazy(
        "The model's provider sent something that is not an answer. Try again, or tell an administrator."
    ),
    ErrorKind.CANCELLED: gettext_lazy("The answer was stopped."),
}

#: Stand in the place of a cause, where more is known.
MESSAGE_ALONE = gettext_lazy(
    "Your message is too long for the model, which takes {limit} tokens: it alone has about {needed}. Shorten it, or "
    "send it in parts."
)
ONLY_THOUGHT = gettext_lazy(
    "The model used up its whole answer by thinking. Ask something simpler, or ask an administrator to raise the "
    "agent's output limit."
)
ONLY_THOUGHT_AND_STOPPED = gettext_lazy("The model thought, but gave no answer. Try again, or ask in other words.")

AGENT_GONE = gettext_lazy("This agent was switched off or deleted. Choose another agent.")

#: Come after a cause.
WINDOW = gettext_lazy("The model takes {limit} tokens.")
OUTPUT_LIMIT = gettext_lazy("The limit is {limit} tokens.")
JOINED = gettext_lazy("{cause} {more}")
RESETS = gettext_lazy("The limit resets at {time}.")

#: The kinds that end by themselves at a time that the provider may state.
RESETTING = (ErrorKind.QUOTA_EXHAUSTED, ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED)


def cause(kind: ErrorKind | str, facts: Mapping[str, Any] | None = None) -> str:
    """Return the sentence for a kind of failure, in the language that is active."""
    kind, facts = ErrorKind(kind), facts or {}
    plain = str(CAUSES[kind])
    limit, needed, reset = _tokens(facts.get("limit")), _tokens(facts.get("needed")), _moment(facts.get("reset_at"))
    match kind:
        case ErrorKind.CONTEXT_OVERFLOW if limit and needed:
            return str(MESSAGE_ALONE).format(limit=limit, needed=needed)
        case ErrorKind.CONTEXT_OVERFLOW if limit:
            return _with(plain, WINDOW, limit=limit)
        case ErrorKind.OUTPUT_TRUNCATED if facts.get("reasoning") is True:
            return str(ONLY_THOUGHT)
        case ErrorKind.INVALID_RESPONSE if facts.get("reasoning") is True:
            return str(ONLY_THOUGHT_AND_STOPPED)
        case ErrorKind.OUTPUT_TRUNCATED if limit:
            return _with(plain, OUTPUT_LIMIT, limit=limit)
        case ErrorKind.MODEL_NOT_FOUND if facts.get("gone") == "agent":
            return str(AGENT_GONE)
        case _ if reset and kind in RESETTING:
            return _with(plain, RESETS, time=reset)
    return plain


def ending(status: RunStatus | str, kind: ErrorKind | str, facts: Mapping[str, Any] | None = None) -> str:
    """Return what is said at the end of a run: an incomplete one has an answer that can be read."""
    if status == RunStatus.INCOMPLETE:
        return _("The answer is not complete. %(cause)s") % {"cause": cause(kind, facts)}
    return cause(kind, facts)


def _with(cause: str, more: Promise | str, **values: str) -> str:
    return str(JOINED).format(cause=cause, more=str(more).format(**values))


def _tokens(value: Any) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return formats.number_format(value, decimal_pos=0, force_grouping=True) if is_count else ""


def _moment(value: Any) -> str:
    """Return a time in UTC, which is said with it: whoever reads a stored sentence may be anywhere."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return ""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    date = "" if moment.date() == datetime.now(UTC).date() else f"{formats.date_format(moment, 'DATE_FORMAT')}, "
    return f"{date}{moment:%H:%M} (UTC)"
