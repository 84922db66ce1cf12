"""What a site has to have around us: addresses, middleware, templates, websockets.

Each of these a site may have left out for a reason of its own, so they are warnings: it can silence them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core.checks import CheckMessage, Tags, Warning
from django.middleware.csrf import CsrfViewMiddleware
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from llmapp.whereabouts import asgi_application

from .registry import check

#: An address of ours, as a router sees it.
SOCKET = "ws/conversations/0/"

#: Under these names ASGI applications keep the one that they wrap.
INNER = ("inner", "application", "app")


@check(Tags.security)
def check_hosts() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS and not settings.DEBUG:
        yield Warning(
            "ALLOWED_HOSTS allows any name: a page of anybody who points a name here may open websockets.",
            hint="Name the hosts of this site. Websockets take what their origin must be from ALLOWED_HOSTS.",
            id="llmapp.W006",
        )


@check("llmapp")
def check_urls() -> Iterator[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    try:
        reverse("llmapp:chat")
    except NoReverseMatch:
        yield Warning(
            "The site's addresses do not include llmapp.urls: there is no chat, no API and no health.",
            hint='Add path("assistant/", include("llmapp.urls")) to the urlpatterns of ROOT_URLCONF.',
            id="llmapp.W009",
        )


@check("llmapp")
def check_sign_in() -> Iterator[CheckMessage]:
    if not _has_middleware(AuthenticationMiddleware):
        yield Warning(
            "No middleware signs people in: whoever opens the chat is sent to the sign-in again and again.",
            hint="Add django.contrib.auth.middleware.AuthenticationMiddleware behind the SessionMiddleware, "
            "unless a middleware of your own sets request.user.",
            id="llmapp.W010",
        )


@check(Tags.security)
def check_csrf() -> Iterator[CheckMessage]:
    if not _has_middleware(CsrfViewMiddleware):
        yield Warning(
            "No middleware gives out CSRF tokens: what the chat page sends over HTTP is refused with 403.",
            hint="Add django.middleware.csrf.CsrfViewMiddleware to MIDDLEWARE.",
            id="llmapp.W011",
        )


def _has_middleware(wanted: type) -> bool:
    found = [import_string(path) for path in settings.MIDDLEWARE]
    return any(isinstance(each, type) and issubclass(each, wanted) for each in found)


@check(Tags.templates)
def check_templates() -> Iterator[CheckMessage]:
    try:
        get_template("llmapp/chat.html")
    except TemplateDoesNotExist:
        yield Warning(
            "The templates of llmapp are not found: its pages cannot be shown.",
            hint='Set "APP_DIRS": True in the TEMPLATES entry for DjangoTemplates, or add the loader app_directories.',
            id="llmapp.W012",
        )


@check("llmapp")
def check_asgi_setting() -> Iterator[CheckMessage]:
    if not asgi_application():
        yield Warning(
            "ASGI_APPLICATION is not set: `manage.py llmapp serve` does not find the site.",
            hint='Set it to the application in your asgi.py: ASGI_APPLICATION = "mysite.asgi.application".',
            id="llmapp.W007",
        )


@check("llmapp", deploy=True)
def check_websockets() -> Iterator[CheckMessage]:
    """For `--deploy` only: it imports the site's `asgi.py`, which other commands have no use for."""
    if not (name := asgi_application()):
        return
    try:
        answers = answers_websockets(import_string(name))
    except ImportError as error:
        yield Warning(
            f"ASGI_APPLICATION {name!r} cannot be imported: {error}",
            hint='Name module and variable with a dot: "mysite.asgi.application".',
            id="llmapp.W008",
        )
        return
    if answers is False:
        yield Warning(
            "ASGI_APPLICATION has no websockets of llmapp: answers come by server-sent events instead.",
            hint="At the end of asgi.py: application = llmapp.routing.with_websockets(application). With a router of "
            "your own: put llmapp.routing.websocket_urlpatterns into it.",
            id="llmapp.W008",
        )


def answers_websockets(application: Any) -> bool | None:
    """Say whether a websocket of ours would be answered; None where that cannot be seen from outside."""
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.handlers.asgi import ASGIHandler

    while application is not None:
        if isinstance(application, ASGIHandler):
            return False
        if isinstance(application, ProtocolTypeRouter):
            application = application.application_mapping.get("websocket")
            if application is None:
                return False
        elif isinstance(application, URLRouter):
            return any(_leads_to_us(route) for route in application.routes)
        else:
            application = next((getattr(application, name) for name in INNER if hasattr(application, name)), None)
    return None


def _leads_to_us(route: Any) -> bool:
    from llmapp.consumers import ConversationConsumer

    if route.pattern.match(SOCKET) is None:
        return False
    # What is behind another router or a wrapper is taken for ours: the address is.
    return getattr(route.callback, "consumer_class", ConversationConsumer) is ConversationConsumer
