"""AG-UI's `RunAgentInput`, and what it may say here.

The server owns the history. A client may send the whole thread along, as AG-UI clients do, but only one
message of it may be new: the last, with role `user`. What it calls by an id that is stored is taken as
known and not looked at; `reasoning` and `activity` messages are the client's own notes and are passed over.

    message_missing   nothing new to answer
    message_role      a new message, or the last one, is not a person's
    message_order     a new message stands before the last one
    message_content   something other than text
    resume_unknown    answers to questions that the last run did not ask
    invalid_field     not a `RunAgentInput`; the message names the place
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from .errors import ApiError, invalid_field
from .http import read_text

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

PASSED_OVER = frozenset({"reasoning", "activity"})
#: Characters of a validator's sentence that are passed on.
PROBLEM_LENGTH = 300


@dataclass(frozen=True, slots=True)
class RunInput:
    """A valid input: `message` is what the person says, whose id may be known already."""

    message_id: str
    text: str


def read(body: dict[str, Any], known: Collection[str]) -> RunInput:
    """Return what a body asks for. `known` are the ids of the thread's stored messages."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid_field("messages", _("a list of messages is expected."))
    if body.get("resume"):
        raise _refusal("resume_unknown", _("The last run of this thread did not ask anything."))
    message = _last(messages, known)
    if message.get("id") in (None, ""):
        message["id"] = str(uuid.uuid4())
    _check_parts(message)
    return RunInput(message["id"], _text(_validated(body)))


def _last(messages: list[dict[str, Any]], known: Collection[str]) -> dict[str, Any]:
    """Return the message to answer: the only one that may be new."""
    spoken = [message for message in messages if str(message.get("role")) not in PASSED_OVER]
    for message in spoken:
        if message.get("role") != "user" and not _is_known(message, known):
            raise _refusal("message_role", _("Only messages with the role “user” can be sent."))
    if not spoken:
        raise _refusal("message_missing", _("There is no new message to answer."))
    *earlier, last = spoken
    if not all(_is_known(message, known) for message in earlier):
        raise _refusal("message_order", _("Only the last message can be new."))
    if last["role"] != "user":
        raise _refusal("message_role", _("The last message has to have the role “user”."))
    return last


def _is_known(message: dict[str, Any], known: Collection[str]) -> bool:
    id = message.get("id")
    return isinstance(id, str) and id in known


def _check_parts(message: dict[str, Any]) -> None:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    if any(isinstance(part, dict) and part.get("type") != "text" for part in parts):
        raise _refusal("message_content", _("Only text can be sent."))


def _validated(body: dict[str, Any]) -> RunAgentInput:
    # Imported late: it is 11 MB, which a web process that only serves the chat page does not need.
    from ag_ui.core import RunAgentInput
    from pydantic import ValidationError

    # Here `threadId` and `runId` may be left out: the server then makes them.
    ids = {name: read_text(body, name) or "-" for name in ("threadId", "runId")}
    try:
        return RunAgentInput.model_validate({**body, **ids})
    except (ValidationError, RecursionError) as error:
        raise _not_an_input(error) from None


def _not_an_input(error: Exception) -> ApiError:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return invalid_field("RunAgentInput", _("it is nested too deeply."))
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return invalid_field(place[:PROBLEM_LENGTH], first["msg"][:PROBLEM_LENGTH])


def _text(validated: RunAgentInput) -> str:
    """Return the text of the last message of a person, its parts joined by line breaks."""
    from ag_ui.core import UserMessage

    said = [message for message in validated.messages if isinstance(message, UserMessage)][-1]
    if isinstance(said.content, str):
        return said.content
    return "\n".join(getattr(part, "text", "") for part in said.content)


def _refusal(code: str, message: str) -> ApiError:
    return ApiError(422, code, message)
