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

The models of `ag-ui-protocol` would do this too, for 11 MB in every web process; the tests hold us to them.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from .errors import ApiError, invalid_field
from .http import read_text

PASSED_OVER = frozenset({"reasoning", "activity"})
ROLES = PASSED_OVER | {"user", "assistant", "system", "developer", "tool"}
#: Lists of a `RunAgentInput`, and the texts that each of their objects has to have.
LISTS = {
    "tools": ("name", "description"),
    "context": ("description", "value"),
    "resume": ("interruptId", "status"),
}


@dataclass(frozen=True, slots=True)
class RunInput:
    """A valid input: `message` is what the person says, whose id may be known already."""

    message_id: str
    text: str


def read(body: dict[str, Any], known: Collection[str]) -> RunInput:
    """Return what a body asks for. `known` are those of its ids by which a message of the thread is stored."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid_field("messages", _("a list of messages is expected."))
    if body.get("resume"):
        raise _refusal("resume_unknown", _("The last run of this thread did not ask anything."))
    message = _last(messages, known)
    if message.get("id") in (None, ""):
        message["id"] = str(uuid.uuid4())
    _check_parts(message)
    _check_rest(body)
    return RunInput(message["id"], _text(message))


def ids_of(body: dict[str, Any]) -> list[str]:
    """Return the ids that a body has for its messages, as far as any could be stored; `read` checks the shape."""
    messages = body.get("messages")
    entries = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    ids = [entry.get("id") for entry in entries]
    return [id for id in ids if isinstance(id, str) and id.isprintable()]


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


def _check_rest(body: dict[str, Any]) -> None:
    """Hold what is not used yet to its shape as well: a client should learn of its mistake now."""
    for name in ("threadId", "runId", "parentRunId"):
        read_text(body, name)
    for number, message in enumerate(body["messages"]):
        _expect_texts(message, ("id", "role"), f"messages.{number}")
        if message["role"] not in ROLES:
            raise invalid_field(f"messages.{number}.role", _("an AG-UI role is expected."))
    for name, keys in LISTS.items():
        entries = body.get(name)
        if entries is None:
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise invalid_field(name, _("a list of objects is expected."))
        for number, entry in enumerate(entries):
            _expect_texts(entry, keys, f"{name}.{number}")


def _expect_texts(entry: dict[str, Any], keys: Collection[str], place: str) -> None:
    for key in keys:
        if not isinstance(entry.get(key), str):
            raise invalid_field(f"{place}.{key}", _("a text is expected."))


def _text(message: dict[str, Any]) -> str:
    """Return the text of a message, its parts joined by line breaks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid_field("content", _("a text or a list of text parts is expected."))
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise invalid_field(f"content.{number}", _("a text part is expected."))
        _expect_texts(part, ("type", "text"), f"content.{number}")
    return "\n".join(part["text"] for part in content)


def _refusal(code: str, message: str) -> ApiError:
    return ApiError(422, code, message)
