"""What the JSON interface and the websocket answer when they cannot do what was asked.

An error before a stream is `{"error": {"code", "message"}}`; `message` is a sentence for people.

    401 unauthenticated         no session, or a token that is not valid
    403 csrf_failed             a session without its CSRF token
    404 not_found               not there, or not yours
    405 method_not_allowed      with an `Allow` header
    409 conversation_busy
    413 body_too_large, message_too_long
    422 invalid_json            the body is not a JSON object
    422 invalid_field           a field or parameter has the wrong type or value; the message names it
    422 id_invalid, title_empty, message_empty, and those of `run_input`
    429 too_many_runs, too_many_conversations, too_many_streams   with `Retry-After`, in seconds
    503 unavailable             the database is away; with `Retry-After`
    503 busy                    too many at this moment; with `Retry-After`
"""

from __future__ import annotations

from typing import TypeVar

from django.http import HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from llmapp.runs import away
from llmapp.runs.access import NotThere
from llmapp.runs.refused import Refused

#: Seconds after which it is worth another try while the database is away.
RETRY_AFTER = 5

R = TypeVar("R", bound=HttpResponse)


class ApiError(Exception):
    """An answer that is not the one that was asked for."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def response(self) -> HttpResponse:
        body = {"error": {"code": self.code, "message": self.message}}
        response = JsonResponse(body, status=self.status, headers={"Cache-Control": "no-store", **self.headers})
        return said_elsewhere(response) if self.status == 503 else response


def said_elsewhere(response: R) -> R:
    """Keep Django from an error in the log, and a mail to the site's admins, for each request while a server is away.

    `llmapp.away` says it once. Django has no other door for it than this mark of its own.
    """
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def answer_to(error: Exception) -> ApiError | None:
    """Return what is said of an exception that means no fault of ours; None for any other."""
    match error:
        case ApiError():
            return error
        case NotThere():
            return not_found()
        case _ if away.is_away(error):
            return unavailable()
        case _ if away.is_locked(error):
            away.noticed(error)
            return busy()
        case Refused():
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            return ApiError(error.status, error.code, error.message, headers)
    return None


def unauthenticated() -> ApiError:
    return ApiError(401, "unauthenticated", _("Sign in, or send a valid API token."), {"WWW-Authenticate": "Bearer"})


def csrf_failed() -> ApiError:
    return ApiError(403, "csrf_failed", _("The CSRF token is missing or wrong. Reload the page and try again."))


def not_found() -> ApiError:
    return ApiError(404, "not_found", _("There is no such thing, or it is not yours."))


def method_not_allowed(method: str, allowed: str) -> ApiError:
    message = _("This address does not take %(method)s; it takes %(allowed)s.")
    values = {"method": method, "allowed": allowed}
    return ApiError(405, "method_not_allowed", message % values, {"Allow": allowed})


def body_too_large(limit: int) -> ApiError:
    message = _("The body is too large: at most %(limit)d KiB can be sent.") % {"limit": limit // 1024}
    return ApiError(413, "body_too_large", message)


def invalid_json() -> ApiError:
    return ApiError(422, "invalid_json", _("A JSON object is expected."))


def invalid_field(name: str, problem: str) -> ApiError:
    return ApiError(422, "invalid_field", f"{name}: {problem}")


def unavailable() -> ApiError:
    message = _("The database cannot be reached right now. Try again in a moment.")
    return ApiError(503, "unavailable", message, {"Retry-After": str(RETRY_AFTER)})


def busy() -> ApiError:
    message = _("Too much is asked of this site at this moment. Try again in a moment.")
    return ApiError(503, "busy", message, {"Retry-After": str(RETRY_AFTER)})


def internal_error() -> ApiError:
    return ApiError(500, "internal_error", _("Something went wrong on the server. Try again."))
