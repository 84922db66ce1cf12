"""What a person reads when a run ends badly: the cause, and what to do about it."""

from __future__ import annotations

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
    ErrorKind.BILLING: gettext_lazy("The account at the model's provider is out of credit. Ask an administrator."),
    ErrorKind.QUOTA_EXHAUSTED: gettext_lazy(
        "The quota at the model's provider is used up. Try again later, or choose another agent."
    ),
    ErrorKind.RATE_LIMIT: gettext_lazy("The model's provider gets too many requests. Try again in a minute."),
    ErrorKind.OVERLOADED: gettext_lazy("The model's provider is overloaded. Try again in a minute."),
    ErrorKind.SERVER_ERROR: gettext_lazy("Something failed on the way to the answer. Try again."),
    ErrorKind.TIMEOUT: gettext_lazy("The answer took too long and was given up. Try again."),
    ErrorKind.CONNECTION: gettext_lazy("The model's provider could not be reached. Try again in a minute."),
    ErrorKind.STREAM_INTERRUPTED: gettext_lazy("The connection broke off in the middle of the answer. Try again."),
    ErrorKind.CONTEXT_OVERFLOW: gettext_lazy(
        "This conversation is too long for the model. Start a new chat, or send a shorter message."
    ),
    ErrorKind.PAYLOAD_TOO_LARGE: gettext_lazy("The message is too large for the model's provider. Shorten it."),
    ErrorKind.CONTENT_POLICY: gettext_lazy("The model's provider refused this for its content policy. Rephrase it."),
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
    ErrorKind.OUTPUT_TRUNCATED: gettext_lazy("The answer reached the model's length limit and stops early."),
    ErrorKind.INVALID_RESPONSE: gettext_lazy(
        "The model's provider sent something that is not an answer. Try again, or tell an administrator."
    ),
    ErrorKind.CANCELLED: gettext_lazy("The answer was stopped."),
}


def cause(kind: ErrorKind | str) -> str:
    """Return the sentence for a kind of failure, in the language that is active."""
    return str(CAUSES[ErrorKind(kind)])


def ending(status: RunStatus | str, kind: ErrorKind | str) -> str:
    """Return what is said at the end of a run: an incomplete one has an answer that can be read."""
    if status == RunStatus.INCOMPLETE:
        return _("The answer is not complete. %(cause)s") % {"cause": cause(kind)}
    return cause(kind)
