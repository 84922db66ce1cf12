"""The way of a request: method, sign-in, CSRF, handler, answer; and how bodies and parameters are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from llmapp.runs.access import NotThere

from . import errors
from .auth import Identity, identify
from .bridge import in_thread, own_transactions, release
from .sse import EVENTS, HEADERS, Stream
from .turns import Busy, turn

#: Bytes of a request's body. What starts a run brings its whole thread along.
BODY_LIMIT = 64 * 1024
RUN_BODY_LIMIT = 4 * 1024 * 1024

Handler = Callable[..., "dict[str, Any] | HttpResponse | Stream"]


def endpoint(*, visitors: bool = False, **handlers: Handler) -> Callable[..., Any]:
    """Make an asynchronous view of one handler a method: `endpoint(GET=list_them, POST=make_one)`.

    With `visitors`, also people without an account may call it.

    A handler is called in a thread as `handler(request, identity, **url_arguments)` and returns a dict
    (200), a response, or a `Stream`. It may raise `ApiError`, `NotThere` and `Refused`.

    HEAD is answered like GET, without a body: the server leaves it out, but a stream has to end first.
    """

    @own_transactions
    @csrf_exempt  # checked in `_admit`, for sessions only
    async def view(request: HttpRequest, **arguments: str) -> HttpResponseBase:
        try:
            async with turn(request):
                result = await in_thread(_answer, handlers, visitors, request, arguments)
        except Busy:
            return errors.busy().response()
        if isinstance(result, Stream):
            return result.response(in_thread=isinstance(request, WSGIRequest))
        return result

    return view


def _answer(
    handlers: dict[str, Handler], visitors: bool, request: HttpRequest, arguments: dict[str, str]
) -> HttpResponse | Stream:
    try:
        result = _handle(handlers, visitors, request, arguments)
    except Exception as error:
        if (answer := errors.answer_to(error)) is None:
            raise
        return answer.response()
    if isinstance(result, Stream):
        # Before the next one has its turn.
        release()
        return HttpResponse(content_type=EVENTS, headers=HEADERS) if request.method == "HEAD" else result
    response = JsonResponse(result) if isinstance(result, dict) else result
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _handle(
    handlers: dict[str, Handler], visitors: bool, request: HttpRequest, arguments: dict[str, str]
) -> dict[str, Any] | HttpResponse | Stream:
    method = "GET" if request.method == "HEAD" else request.method or ""
    if (handler := handlers.get(method)) is None:
        raise errors.method_not_allowed(request.method or "", ", ".join(handlers))
    identity = _admit(request, visitors)
    if not all(id.isprintable() for id in arguments.values()):
        raise NotThere  # no id is like that, and a database might stumble over it
    return handler(request, identity, **arguments)


def _admit(request: HttpRequest, visitors: bool) -> Identity:
    if (identity := identify(request, visitors)) is None:
        raise errors.unauthenticated()
    # A browser never adds a token by itself, so a forged request cannot have one.
    if not identity.token and not _csrf_holds(request):
        raise errors.csrf_failed()
    return identity


def _csrf_holds(request: HttpRequest) -> bool:
    check = CsrfViewMiddleware(_checked)
    check.process_request(request)
    return check.process_view(request, _checked, (), {}) is None


def _checked(request: HttpRequest) -> HttpResponse:
    """Stand for a view that is not exempt: the middleware looks no further."""
    return HttpResponse()


# --- reading --------------------------------------------------------------------------------


def read_body(request: HttpRequest, limit: int = BODY_LIMIT) -> dict[str, Any]:
    """Return the body, a JSON object of at most `limit` bytes; an empty body is an empty object."""
    raw = request.read(limit + 1)
    if len(raw) > limit:
        raise errors.body_too_large(limit)
    body = parse_object(raw) if raw.strip() else {}
    if body is None:
        raise errors.invalid_json()
    return body


def parse_object(raw: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object that `raw` spells, or None. Half an emoji is no text, so it is no JSON here."""
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_text(body: dict[str, Any], name: str) -> str | None:
    """Return an optional text of a body."""
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise errors.invalid_field(name, _("a text is expected."))


def read_number(text: str, name: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """Return the whole number that a query parameter or header spells."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    problem = _("a whole number from %(least)d to %(most)d is expected.") % {"least": least, "most": most}
    raise errors.invalid_field(name, problem)
