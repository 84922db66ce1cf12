"""System checks of what is around us: Celery, addresses, middleware, websockets. A hint that is followed mends it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core.asgi import get_asgi_application
from django.test import AsyncClient, override_settings
from django.urls import path, re_path
from kombu import Queue

from llmapp import checks
from llmapp.consumers import ConversationConsumer
from llmapp.routing import websocket_urlpatterns, with_websockets
from llmapp.runs.queue import QUEUE, TASK

from .test_checks import found

# --- Celery ------------------------------------------------------------------------------------------


@pytest.fixture
def celery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Celery]]:
    """Make the Celery app of a site with these settings, and let the checks see it."""
    with contextlib.ExitStack() as overridden:

        def make(**values: Any) -> Celery:
            # Celery reads Django's settings again and again: they stay so to the end of the test.
            overridden.enter_context(override_settings(**values))
            app = Celery("theirs", set_as_current=False)
            app.config_from_object("django.conf:settings", namespace="CELERY")
            for module in (checks.celery, checks.stored):
                monkeypatch.setattr(module, "current_app", app)
            return app

        yield make


ELSEWHERE = {"*": {"exchange": "theirs", "routing_key": "theirs"}}
CELERY: list[tuple[dict[str, Any], str | None, dict[str, Any]]] = [
    # settings, the id, what the hint says
    ({}, None, {}),
    ({"CELERY_WORKER_POOL": "threads"}, None, {}),
    ({"CELERY_WORKER_POOL": "prefork"}, None, {}),
    ({"CELERY_WORKER_POOL": "gevent"}, "llmapp.E005", {"CELERY_WORKER_POOL": "threads"}),
    ({"CELERY_WORKER_POOL": "celery.concurrency.eventlet:TaskPool"}, "llmapp.E005", {"CELERY_WORKER_POOL": "prefork"}),
    ({"CELERY_ACCEPT_CONTENT": ["json", "pickle"]}, "llmapp.W003", {"CELERY_ACCEPT_CONTENT": ["json"]}),
    ({"CELERY_TASK_ALWAYS_EAGER": True}, "llmapp.W004", {"CELERY_TASK_ALWAYS_EAGER": False}),
    ({"CELERY_BROKER_URL": "memory://", "CELERY_BROKER_TRANSPORT": None}, "llmapp.W005",
     {"CELERY_BROKER_URL": "redis://127.0.0.1:1"}),
    ({"CELERY_BROKER_URL": ["redis+socket:///x", "redis://b"], "CELERY_BROKER_TRANSPORT": None}, None, {}),
    # Queues and routes
    ({"CELERY_TASK_QUEUES": [Queue("celery")]}, None, {}),
    ({"CELERY_TASK_CREATE_MISSING_QUEUES": False, "CELERY_TASK_QUEUES": [Queue("celery")]}, "llmapp.E007",
     {"CELERY_TASK_QUEUES": [Queue("celery"), Queue(QUEUE)]}),
    ({"CELERY_TASK_DEFAULT_QUEUE": "theirs"}, None, {}),
    ({"CELERY_TASK_ROUTES": {"*": {"queue": "theirs"}}}, None, {}),
    ({"CELERY_TASK_ROUTES": ELSEWHERE}, "llmapp.E007",
     {"CELERY_TASK_ROUTES": [{"llmapp.*": {"queue": QUEUE}}, ELSEWHERE]}),
]  # fmt: skip


@pytest.mark.parametrize("values, id, hint", CELERY)
def test_celery(celery: Callable[..., Celery], values: dict[str, Any], id: str | None, hint: dict[str, Any]) -> None:
    celery(**values)
    assert list(found()) == ([id] if id else [])
    celery(**values | hint)
    assert found() == {}


MEMORY = {"CELERY_BROKER_URL": "memory://", "CELERY_BROKER_TRANSPORT": None, "CELERY_BROKER_TRANSPORT_OPTIONS": {}}


def waiting(app: Celery) -> int:
    """Send a run as `runs.queue` does, and return how many wait in its queue."""
    with app.connection_for_write() as connection:
        app.send_task(TASK, args=["x"], queue=QUEUE, retry=False, ignore_result=True, connection=connection)
        number: int = connection.default_channel._size(QUEUE)
        connection.default_channel.queue_purge(QUEUE)
        return number


def test_whatever_the_routes_say_of_queues_a_run_is_in_its_own(celery: Callable[..., Celery]) -> None:
    assert waiting(celery(**MEMORY, CELERY_TASK_ROUTES={"*": {"queue": "theirs"}})) == 1


def test_e007_is_true(celery: Callable[..., Celery]) -> None:
    assert waiting(celery(**MEMORY, CELERY_TASK_ROUTES=ELSEWHERE)) == 0
    closed = celery(**MEMORY, CELERY_TASK_CREATE_MISSING_QUEUES=False, CELERY_TASK_QUEUES=[Queue("celery")])
    with pytest.raises(Exception, match=QUEUE):
        waiting(closed)


def test_w004_is_true(celery: Callable[..., Celery]) -> None:
    """A run waits in its queue: `send_task` is never eager, and says so."""
    with pytest.warns(UserWarning, match="no effect on send_task"):
        assert waiting(celery(**MEMORY, CELERY_TASK_ALWAYS_EAGER=True)) == 1


# --- the site ----------------------------------------------------------------------------------------


def without(*names: str) -> dict[str, Any]:
    return {"MIDDLEWARE": [path for path in settings.MIDDLEWARE if not path.endswith(names)]}


AUTH, CSRF = "AuthenticationMiddleware", "CsrfViewMiddleware"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

SITES: list[tuple[dict[str, Any], list[str], str]] = [
    # settings, the ids, words of the hint
    ({"ALLOWED_HOSTS": ["*"]}, ["llmapp.W006"], "Name the hosts"),
    ({"ALLOWED_HOSTS": ["*"], "DEBUG": True}, [], ""),
    ({"ALLOWED_HOSTS": [".example.com"]}, [], ""),
    ({"ASGI_APPLICATION": None}, ["llmapp.W007"], "ASGI_APPLICATION = "),
    ({"ROOT_URLCONF": "tests.interfaces.test_checks_of_sites"}, ["llmapp.W009"], 'include("llmapp.urls")'),
    ({"ROOT_URLCONF": "tests.interfaces.prefixed"}, [], ""),
    (without(AUTH), ["llmapp.W010"], AUTH),
    (without(AUTH) | {"MIDDLEWARE": [*without(AUTH)["MIDDLEWARE"], f"{__name__}.OwnAuthentication"]}, [], ""),
    (without(CSRF), ["llmapp.W011"], CSRF),
    ({"TEMPLATES": [{**TEMPLATES[0], "APP_DIRS": False}]}, ["llmapp.W012"], "APP_DIRS"),
]

#: Addresses without ours.
urlpatterns: list[Any] = []


class OwnAuthentication(AuthenticationMiddleware):
    """One that a site made of Django's."""


@pytest.mark.parametrize("values, ids, words", SITES)
def test_sites(values: dict[str, Any], ids: list[str], words: str) -> None:
    with override_settings(**values):
        said = found()
    assert list(said) == ids
    assert words in "".join(said.values())


async def test_w010_is_true(client: AsyncClient) -> None:
    with override_settings(**without(AUTH, "MessageMiddleware")):
        response = await client.get("/chat/")
    assert (response.status_code, response.headers["Location"]) == (302, "/accounts/login/?next=/chat/")


async def test_w011_is_true(person: Any, agent: Any) -> None:
    for values, status in [({}, 404), (without(CSRF), 403)]:
        with override_settings(**values):
            browser = AsyncClient(enforce_csrf_checks=True)
            await browser.aforce_login(person)
            await browser.get("/chat/")
            token = browser.cookies["csrftoken"].value if "csrftoken" in browser.cookies else "none"
            response = await browser.post("/api/runs/x/stop", headers={"X-CSRFToken": token})
        assert response.status_code == status


# --- websockets --------------------------------------------------------------------------------------

pages = get_asgi_application()


async def theirs(scope: Any, receive: Any, send: Any) -> None: ...


class Wrapped:
    def __init__(self, inner: Any) -> None:
        self.app = inner


def router(*routes: Any) -> Any:
    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(list(routes))))
    return ProtocolTypeRouter({"http": pages, "websocket": sockets})


APPLICATIONS: list[tuple[str, Any, bool | None]] = [
    ("plain Django", pages, False),
    ("plain Django, wrapped", Wrapped(pages), False),
    ("ours", with_websockets(pages), True),
    ("ours, wrapped", Wrapped(with_websockets(pages)), True),
    ("a router without websockets", ProtocolTypeRouter({"http": pages}), False),
    ("their websockets only", router(path("ws/news/", theirs)), False),
    ("theirs and ours", router(path("ws/news/", theirs), *websocket_urlpatterns), True),
    ("theirs in front of ours", router(re_path("^ws/", theirs), *websocket_urlpatterns), True),
    ("ours under another address", router(path("sockets/<conversation>/", ConversationConsumer.as_asgi())), False),
    ("what nobody can look into", theirs, None),
]


@pytest.mark.parametrize("name, application, answers", APPLICATIONS, ids=[case[0] for case in APPLICATIONS])
def test_what_an_application_answers(name: str, application: Any, answers: bool | None) -> None:
    assert checks.site.answers_websockets(application) is answers


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.asgi.application", pages)


def deployed() -> list[str]:
    from django.core.checks import run_checks

    ids = [str(message.id) for message in run_checks(include_deployment_checks=True)]
    return [id for id in ids if id.startswith("llmapp.")]


def test_the_demo_site_has_websockets() -> None:
    assert deployed() == []


@pytest.mark.parametrize("name", ["project.asgi:application", "project.nowhere.application", "application"])
def test_an_application_that_cannot_be_imported(name: str) -> None:
    with override_settings(ASGI_APPLICATION=name):
        assert deployed() == ["llmapp.W008"]


def test_a_site_that_is_deployed_without_websockets_is_told(plain: None) -> None:
    assert deployed() == ["llmapp.W008"]
    assert found() == {}
