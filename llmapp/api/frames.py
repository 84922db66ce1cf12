"""What clients say on a websocket: frames read, and what they ask for done.

The functions that take an `Admission` read the database, and look first whether its owner may still act.
They raise `SignedOut` and `ConversationGone` when not, `NotThere` for a run that is not of this conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, parse_cookie
from django.utils import translation
from django.utils.translation import gettext as _

from llmapp.models import Run
from llmapp.runs import actions
from llmapp.runs.access import NotThere, find_run
from llmapp.runs.actions import Submission

from . import errors
from .admission import Admission, confirm_still
from .auth import header
from .errors import ApiError
from .http import parse_object

#: Bytes of a frame.
LIMIT = 512 * 1024
LARGEST_SEQ = 2**31 - 1

Frame = dict[str, Any]


def parse(text: str | None) -> Frame:
    """Return a frame, or raise an `ApiError` that names the fault."""
    if text is None:
        raise ApiError(422, "invalid_frame", _("A frame has to be text."))
    if len(text) > LIMIT or len(text.encode("utf-8", "surrogatepass")) > LIMIT:
        raise ApiError(413, "frame_too_large", _("A frame can have at most %(limit)d KiB.") % {"limit": LIMIT // 1024})
    if (frame := parse_object(text)) is None:
        raise errors.invalid_json()
    return frame


def unknown_type(frame: Frame) -> ApiError:
    message = _("There is no frame of the type %(type)s.") % {"type": repr(frame.get("type"))[:50]}
    return ApiError(422, "unknown_type", message)


def text_of(frame: Frame, name: str) -> str:
    """Return a text that the frame has to have."""
    if isinstance(value := frame.get(name), str):
        return value
    raise errors.invalid_field(name, _("a text is expected."))


def seq_of(frame: Frame) -> int:
    """Return the seq after which a client wants events."""
    after = frame.get("after", 0)
    if isinstance(after, int) and not isinstance(after, bool) and 0 <= after <= LARGEST_SEQ:
        return after
    raise errors.invalid_field("after", _("a whole number from 0 is expected."))


def about(frame: Frame) -> Frame:
    """Return the part of a frame by which its sender knows the answer."""
    return {name: frame[name] for name in ("id", "run") if isinstance(frame.get(name), str)}


def language_of(scope: Mapping[str, Any]) -> str:
    """Return the reader's language, found as Django finds it for a page."""
    request = HttpRequest()
    request.COOKIES = parse_cookie(header(scope, b"cookie"))
    request.META["HTTP_ACCEPT_LANGUAGE"] = header(scope, b"accept-language")
    return translation.get_language_from_request(request)


# --- in a thread ----------------------------------------------------------------------------


def send(admission: Admission, text: str, id: str | None) -> Submission:
    owner = confirm_still(admission)
    return actions.submit(owner, text, conversation=admission.conversation, message_id=id)


def stop(admission: Admission, run: str) -> None:
    actions.request_stop(find(admission, run))


def retry(admission: Admission, run: str) -> Run:
    return actions.retry(confirm_still(admission), find(admission, run))


def find(admission: Admission, run: str) -> Run:
    """Return a run of the conversation."""
    owner = confirm_still(admission)
    row = find_run(owner, run) if run.isprintable() else None
    if row is None or row.conversation_id != admission.conversation.pk:
        raise NotThere
    return row
