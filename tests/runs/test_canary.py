"""A key goes through everything that a provider can do, and is found nowhere but in its own encrypted place."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.apps import apps

from llmapp.backends import litellm
from llmapp.models import AgentSettings, Attempt, Breaker, Conversation, Credential, Run

from .faults import ANSWER, FAULTS, Behaviour, chunk
from .loopback import BACKENDS, Loopback
from .support import events_of

pytestmark = pytest.mark.usefixtures("no_chance", "nothing_cached")

#: No word of a provider's looks like it, and it needs no quoting itself but in a URL.
CANARY = "sk-canary-Zq7/Xv+93kLmWp52Rt=="
#: What is long enough to be of use to anybody: its middle, and all ways to write the whole.
PIECES = ("canary-Zq7", "Zq7/Xv", "93kLmWp52Rt")
WRITTEN = {
    "as it is": CANARY,
    "for a URL": quote(CANARY, safe=""),
    "for a form": quote(CANARY),
    "in base64": base64.b64encode(CANARY.encode()).decode(),
    "in base64 with its name": base64.b64encode(f"Bearer {CANARY}".encode()).decode(),
    "in base64 for a URL": base64.urlsafe_b64encode(CANARY.encode()).decode(),
    "in JSON": CANARY.replace("/", "\\/"),
    "in hexadecimal": CANARY.encode().hex(),
}


class Kept(logging.Handler):
    """Keeps all that any logger says, with all that a record carries."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        parts = [record.getMessage(), repr(record.__dict__)]
        if record.exc_info and record.exc_info[1] is not None:
            parts += traceback.format_exception(record.exc_info[1])
        self.texts.append("\n".join(parts))


@pytest.fixture
def everything_logged() -> Iterator[Kept]:
    """All loggers at DEBUG, those of libraries too: also what is made quiet as a whole."""
    litellm.load()
    kept = Kept()
    names = ["", "llmapp", "litellm", "LiteLLM", "httpx", "httpcore", "aiohttp", "asyncio", "openai", "httpx_aiohttp"]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(kept)
    yield kept
    logging.getLogger().removeHandler(kept)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


#: Rows of a run; the others are looked at whole.
OF_A_RUN = {"Attempt": "call__run", "Call": "run", "RunEvent": "run", "Run": "pk"}


def rows(run: Run | None = None) -> Iterator[tuple[str, str]]:
    """Give all rows of the app as text, of what belongs to runs those of this one; of a key all but its secret."""
    for model in apps.get_app_config("llmapp").get_models():
        field = OF_A_RUN.get(model.__name__)
        found = model._default_manager.filter(**{field: run.pk} if run is not None and field else {})
        names = [f.attname for f in model._meta.concrete_fields if (model, f.attname) != (Credential, "secret")]
        for values in found.values(*names):
            yield model.__name__, repr({name: _plain(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    return bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else value


#: Of a run, and of the site.
PAGES = (
    "/admin/llmapp/run/{run}/change/",
    "/admin/llmapp/run/{run}/log/",
    "/admin/llmapp/run/{run}/attempts/{attempt}/request/",
    "/chat/{conversation}/",
    "/api/runs/{run}",
)
SITE_PAGES = (
    "/admin/llmapp/run/",
    "/admin/llmapp/provider/",
    "/admin/llmapp/provider/{provider}/change/",
    "/admin/llmapp/overview/",
    "/chat/",
)


def pages(client: Any, run: Run, addresses: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    attempt = Attempt.objects.filter(call__run=run).first()
    assert run.agent is not None
    assert attempt is not None
    facts = {"run": run.pk, "attempt": attempt.pk, "conversation": run.conversation_id}
    facts["provider"] = run.agent.model.provider_id
    for address in addresses:
        answer = client.get(address.format(**facts))
        assert answer.status_code == 200, address
        yield address, answer.content.decode()


def found_in(where: str, text: str) -> Iterator[str]:
    for name, written in WRITTEN.items():
        if written in text:
            yield f"{name}, in {where}: {around(text, written)}"
    for piece in PIECES:
        if piece in text:
            yield f"a piece, in {where}: {around(text, piece)}"


def around(text: str, found: str) -> str:
    at = text.index(found)
    return text[max(at - 80, 0) : at + 80]


def leaks(run: Run, client: Any, logged: Kept, addresses: tuple[str, ...]) -> list[str]:
    places = [("a record", text) for text in logged.texts]
    places += [("an event", repr(events_of(run))), *rows(run), *pages(client, run, addresses)]
    return [leak for where, text in places for leak in found_in(where, text)]


def error(status: int, said: str, **headers: str) -> Behaviour:
    return {"status": status, "headers": headers, "body": {"error": {"message": said, "code": said, "param": said}}}


HALVES = f"key {CANARY[:16]} {CANARY[16:]}"
#: A provider that quotes the key, in each way, and in each place.
QUOTES: dict[str, Behaviour] = {
    "in the body and the head of a refusal": {"echo_key": True},
    **{
        f"{name}, refused": error(401, f"the key {written} is wrong", **{"x-key": written})
        for name, written in WRITTEN.items()
    },
    **{f"{name}, broken": error(500, f"failed with {written}") for name, written in WRITTEN.items()},
    "in two halves": error(401, HALVES),
    "in a page": {"status": 502, "headers": {"content-type": "text/html"}, "body": f"<p>Bearer {CANARY}</p>"},
    "in an error of the stream": {"error_after": [3, {"message": f"Bearer {CANARY} is out", "type": CANARY}]},
    "in JSON that is none": {"raw": f'data: {{"key": "{CANARY}\n\ndata: [DONE]\n\n'},
    "in an answer that is none": {"status": 200, "body": {"key": CANARY}},
    "in bytes that are no HTTP": {"bytes": f"{CANARY}\r\n\r\n"},
    "in a head that is no head": {"bytes": f"HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n"},
    "in a status line": {"bytes": f"HTTP/1.1 401 {CANARY}\r\ncontent-length: 0\r\n\r\n"},
    "in a model that it does not know": error(404, f"no model for {CANARY}"),
    "in a retry header": error(429, "slow down", **{"retry-after": CANARY, "x-ratelimit-reset-requests": CANARY}),
    "in a sentence about a parameter": error(
        400, f"Unsupported parameter: '{CANARY}' is not supported with this model."
    ),
    "in a parameter": {
        "status": 400,
        "body": {"error": {"message": "Unsupported parameter", "param": CANARY, "code": "unsupported_parameter"}},
    },
    "in a finish reason": {"raw": chunk({"content": "Well"}, CANARY)},
    "in usage": {"usage": {"prompt_tokens": CANARY, "completion_tokens": 1, CANARY: 1}},
    "in a window": error(400, f"maximum context length is 4096 tokens for {CANARY}"),
}


def behaviours() -> Iterator[tuple[str, Behaviour, dict[str, Any]]]:
    """Give what the provider does, and what the agent's settings are."""
    for name, behaviour in QUOTES.items():
        yield name, behaviour, {}
    for fault in FAULTS:
        yield fault.name, fault.behaviour, fault.settings


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_key_is_nowhere(
    at_loopback: Loopback,
    person: Any,
    process: Any,
    client: Any,
    settings: Any,
    everything_logged: Kept,
    backend: str,
) -> None:
    """Whatever the provider does, and whoever looks afterwards, and wherever."""
    settings.LLMAPP = {**settings.LLMAPP, "SENDS_PER_MINUTE": 1000, "LOG_CONTENT": True}
    agent = at_loopback.agent(backend=backend, keys=(CANARY,), attempts=2)
    at_loopback.run(person, process)
    type(at_loopback.row).objects.update(timeouts={"first_token": 0.3, "idle": 0.3}, version=2)
    person.is_superuser = True
    person.save()
    client.force_login(person)
    found: dict[str, list[str]] = {}
    # What a page shows is in the rows, which are all looked at: so not all pages each time.
    first, *_ = QUOTES
    shown: dict[str, tuple[str, ...]] = {first: PAGES} | {fault.name: () for fault in FAULTS}
    for name, behaviour, wishes in behaviours():
        Credential.objects.update(**Credential.FRESH)
        Breaker.objects.all().delete()
        AgentSettings.objects.filter(pk=agent.pk).update(settings=wishes)
        everything_logged.texts.clear()
        at_loopback.server.requests.clear()
        at_loopback.server.default = {"answer": ANSWER, **behaviour}
        run = at_loopback.run(person, process, name)
        assert at_loopback.server.requests, name
        if leaked := leaks(run, client, everything_logged, shown.get(name, PAGES[:1])):
            found[name] = leaked
    assert not found, "\n".join(f"{name}: {leak}" for name, all in found.items() for leak in all)
    assert not leaks(run, client, everything_logged, SITE_PAGES)


def test_it_would_be_found(person: Any, everything_logged: Kept) -> None:
    """In a record's text and its fields, in an exception, in a row."""
    logging.getLogger("httpcore").debug("with %s", CANARY)
    logging.getLogger("llmapp").info("fields", extra={"request": {"key": CANARY}})
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("aiohttp").exception("it failed")
    assert [list(found_in("a record", text)) != [] for text in everything_logged.texts] == [True] * 3
    Conversation.objects.create(user=person, title=CANARY)
    assert [where for where, text in rows() if list(found_in(where, text))] == ["Conversation"]
