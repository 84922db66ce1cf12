"""Tests of a connection: each mistake ends at its stage, with a sentence that says what to do about it.

Against a real server on loopback, through the executor and the backends that runs use.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from llmapp.models import Credential, LanguageModel, Probe
from llmapp.models import Provider as ProviderRow
from llmapp.runs import features, probe, probing
from llmapp.runs.clock import db_now
from llmapp.runs.probe_sentences import SENTENCES, TITLES, sentence, summary, title
from tests.support.loopback import closed_port
from tests.support.provider import HTML, Provider

CANARY = "sk-canary-9b7e-NEVER-SHOWN"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Take the place of the broker."""
    taken: list[uuid.UUID] = []
    monkeypatch.setattr(probe, "enqueue", taken.append)
    return taken


def row(url: str, *keys: str, model: str | None = "good", **fields: Any) -> ProviderRow:
    made = ProviderRow.objects.create(name="local", base_url=url, **{"timeouts": {"connect": 2}, **fields})
    for key in keys:
        credential = Credential(provider=made)
        credential.set_secrets({"api_key": key})
        credential.save()
    if model is not None:
        LanguageModel.objects.create(name="m", provider=made, model=model)
    return made


def examined(subject: ProviderRow, model: LanguageModel | None = None) -> Probe:
    """Carry a probe out, as a worker does."""
    started = probe.start(subject, model)
    probing.carry_out(started.pk)
    started.refresh_from_db()
    return started


def states(found: Probe) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in found.stages}


def said(found: Probe) -> str:
    """Return the sentence of the stage that failed."""
    (failed,) = [stage for stage in found.stages if stage["state"] == "failed"]
    return sentence(failed["code"], failed["values"])


def test_all_is_well(provider: Provider, handed: list[uuid.UUID]) -> None:
    found = examined(row(provider.url, CANARY))
    assert states(found) == {
        "resolve": "ok",
        "connect": "ok",
        "tls": "skipped",
        "sign_in": "ok",
        "answer": "ok",
        "end": "ok",
    }
    assert found.passed is True
    assert found.started_at is not None
    assert found.ended_at is not None
    assert provider.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert len(provider.requests) == 1


#: What the provider does, or is -> the stage at which it ends, and words of the sentence.
MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    ("wrong key", {"status": 401, "body": {"error": {"message": "bad", "code": "invalid_api_key"}}},
     "sign_in", "does not accept the key that ends with HOWN"),
    ("wrong path, as JSON", {"status": 404, "body": {"detail": "Not Found"}}, "sign_in", "(HTTP 404)"),
    ("wrong path, as a page", {"status": 404, "headers": {"content-type": "text/html"}, "body": HTML},
     "sign_in", "A web page answers at"),
    ("a page with 200", {"status": 200, "headers": {"content-type": "text/html"}, "body": HTML},
     "sign_in", "A web page answers at"),
    ("wrong method", {"status": 405, "body": {"detail": "Method Not Allowed"}}, "sign_in", "(HTTP 405)"),
    ("leads elsewhere", {"status": 301, "headers": {"location": "http://127.0.0.1:1/"}, "body": ""},
     "sign_in", "leads elsewhere"),
    ("wrong model", {"status": 404, "body": {"error": {"message": "no such model", "code": "model_not_found"}}},
     "answer", "The provider has no model called good"),
    ("wrong model with 400", {"status": 400, "body": {"error": {"code": "model_not_found", "message": "good"}}},
     "answer", "The provider has no model called good"),
    ("no right to the model", {"status": 403, "body": {"error": {"message": "You do not have access"}}},
     "answer", "it may not use good"),
    ("no credit", {"status": 402, "body": {"error": {"message": "Insufficient balance"}}}, "answer", "no credit left"),
    ("too many requests", {"status": 429, "headers": {"retry-after": "60"}, "body": {}}, "answer", "too many requests"),
    ("down", {"status": 503, "body": {"error": {"message": "overloaded"}}}, "answer", "down or overloaded (HTTP 503)"),
    ("down behind a proxy", {"status": 502, "headers": {"content-type": "text/html"}, "body": HTML},
     "answer", "down or overloaded (HTTP 502)"),
    ("refuses the request", {"status": 400, "body": {"error": {"message": "temperature is odd"}}},
     "answer", "refuses this request"),
    ("no answer of a model", {"status": 200, "body": {"hello": "world"}}, "answer", "no answer of a model"),
    ("cut in mid-answer", {"stop_after": 3, "end": "fin"}, "end", "its end never came"),
    ("a clean cut", {"stop_after": 3, "end": "clean", "finish_reason": None, "done": False}, "end",
     "its end never came"),
    ("stalls in mid-answer", {"stall_after": 2}, "end", "stood still"),
    ("never answers", {"silent": True}, "answer", "No answer came in time"),
    ("not HTTP", {"bytes": "SSH-2.0-OpenSSH\r\n"}, "answer", "no answer of a model"),
]  # fmt: skip


@pytest.mark.parametrize("name, behaviour, stage, words", MISTAKES, ids=[case[0] for case in MISTAKES])
def test_a_mistake_ends_at_its_stage(
    provider: Provider, handed: list[uuid.UUID], name: str, behaviour: dict[str, Any], stage: str, words: str
) -> None:
    provider.models["good"] = behaviour
    timeouts = {"connect": 2, "first_token": 0.5, "idle": 0.5, "total": 3}
    found = examined(row(provider.url, CANARY, timeouts=timeouts))
    assert found.passed is False
    assert words in said(found)
    order = ["resolve", "connect", "tls", "sign_in", "answer", "end"]
    assert [stage["name"] for stage in found.stages] == order
    at = order.index(stage)
    assert [states(found)[name] for name in order if name != "tls"] == [
        "ok" if order.index(name) < at else "failed" if name == stage else "skipped" for name in order if name != "tls"
    ]
    assert len(provider.requests) <= 1


@pytest.mark.parametrize(
    "url, stage, words",
    [
        ("http://no-such-host.invalid/v1", "resolve", "Nobody knows a host called no-such-host.invalid"),
        ("http://127.0.0.1:{closed}/v1", "connect", "nothing listens on port {closed}"),
        ("https://127.0.0.1:{port}/v1", "tls", "does not speak TLS on port {port}"),
        ("nonsense", "resolve", "The base URL is not an address"),
    ],
)
def test_a_way_that_leads_nowhere(
    provider: Provider, handed: list[uuid.UUID], url: str, stage: str, words: str
) -> None:
    ports = {"closed": closed_port(), "port": provider.port}
    found = examined(row(url.format(**ports), CANARY))
    assert states(found)[stage] == "failed"
    assert words.format(**ports) in said(found)
    assert provider.requests == []


def test_a_key_that_is_missing(provider: Provider, handed: list[uuid.UUID]) -> None:
    provider.models["good"] = {"status": 401, "body": {"error": {"message": "You didn't provide an API key"}}}
    assert "none is stored" in said(examined(row(provider.url)))


def test_a_provider_that_needs_no_key(provider: Provider, handed: list[uuid.UUID]) -> None:
    found = examined(row(provider.url))
    assert found.passed is True
    assert "authorization" not in provider.requests[0].headers


def test_a_provider_without_a_model(provider: Provider, handed: list[uuid.UUID]) -> None:
    found = examined(row(provider.url, CANARY, model=None))
    assert [states(found)[name] for name in ("connect", "sign_in", "answer", "end")] == ["ok", *["skipped"] * 3]
    assert "Add a model of this provider" in sentence(found.stages[-3]["code"], {})


def test_each_key_of_the_pool_is_tried(provider: Provider, handed: list[uuid.UUID]) -> None:
    provider.push({}, {"status": 401, "body": {"error": {"code": "invalid_api_key"}}})
    found = examined(row(provider.url, "sk-the-first-0001", "sk-the-second-0002"))
    assert found.passed is False
    assert "the key that ends with 0002" in said(found)
    assert [r.headers["authorization"][-4:] for r in provider.requests] == ["0001", "0002"]


def test_a_key_that_cannot_be_read_any_more(provider: Provider, handed: list[uuid.UUID], settings: Any) -> None:
    from cryptography.fernet import Fernet

    made = row(provider.url, CANARY)
    settings.LLMAPP = {**settings.LLMAPP, "ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}
    assert "cannot be read with this site's encryption keys" in said(examined(made))


def test_a_backend_that_the_worker_does_not_have(handed: list[uuid.UUID]) -> None:
    assert "There is no backend called theirs" in said(examined(row("", backend="theirs")))


def test_the_key_is_in_nothing_that_is_stored_or_logged(
    provider: Provider, handed: list[uuid.UUID], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.models["good"] = {"echo_key": True}
    found = examined(row(provider.url, CANARY))
    assert found.passed is False
    assert "NEVER" not in str(found.stages) + caplog.text


def test_stages_are_seen_while_they_are_reached(
    provider: Provider, handed: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []
    write = probe.write

    def note(id: uuid.UUID, stages: list[Any]) -> None:
        write(id, stages)
        seen.append(states(Probe.objects.get()))

    monkeypatch.setattr(probe, "write", note)
    examined(row(provider.url, CANARY))
    assert {"resolve": "running"} in seen
    assert {"resolve": "ok", "connect": "ok", "tls": "skipped", "sign_in": "running"} in seen


def test_what_fails_in_our_own_code_is_said_to(
    handed: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch, provider: Provider
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(probing, "examine", broken)
    found = examined(row(provider.url, CANARY))
    assert found.passed is False
    assert "failed in our own code" in said(found)
    assert CANARY not in str(found.stages)


def test_a_probe_that_takes_too_long_is_given_up(
    provider: Provider, handed: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "LIMIT", 0.3)
    provider.models["good"] = {"silent": True}
    found = examined(row(provider.url, CANARY))
    assert found.passed is False
    assert "took too long" in said(found) or "No answer came in time" in said(found)


# --- on its way to a worker ------------------------------------------------------------------


def test_it_is_carried_out_once(provider: Provider, handed: list[uuid.UUID]) -> None:
    found = examined(row(provider.url))
    assert handed == [found.pk]
    probing.carry_out(found.pk)
    probing.carry_out(uuid.uuid4())
    assert len(provider.requests) == 1


def test_one_worker_takes_it(provider: Provider, handed: list[uuid.UUID]) -> None:
    id = probe.start(row(provider.url)).pk
    assert probe.claim(id) is not None
    assert probe.claim(id) is None


def test_a_second_press_follows_the_first(provider: Provider, handed: list[uuid.UUID]) -> None:
    made = row(provider.url)
    model = LanguageModel.objects.get()
    first = probe.start(made)
    assert probe.start(made).pk == first.pk
    assert probe.start(made, model).pk != first.pk
    probing.carry_out(first.pk)
    assert probe.start(made).pk != first.pk


def test_a_broker_that_does_not_take_it(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **options: Any) -> None:
        raise OSError("amqp://user:password@host")

    monkeypatch.setattr("llmapp.runs.probe.current_app.send_task", refuse, raising=False)
    started = probe.start(row(provider.url))
    started.refresh_from_db()
    assert "The broker did not take the test" in said(started)
    assert "password" not in str(started.stages)


NOW = db_now


@pytest.mark.parametrize(
    "age, fields, alive, standing",
    [
        (1, {}, False, "waiting"),
        (6, {}, False, "no_worker"),
        (6, {}, True, "busy"),
        (6, {"started": 1}, False, "running"),
        (300, {"started": 250}, True, "lost"),
        (300, {"started": 250, "passed": True}, True, "passed"),
        (300, {"passed": False}, False, "failed"),
    ],
)
def test_how_a_probe_stands(age: float, fields: dict[str, Any], alive: bool, standing: str) -> None:
    now = db_now()
    started = now - timedelta(seconds=fields["started"]) if "started" in fields else None
    row = Probe(created_at=now - timedelta(seconds=age), started_at=started, passed=fields.get("passed"))
    assert probe.standing(row, now, alive) == standing
    assert summary(standing)


def test_no_worker_comes_with_the_command() -> None:
    assert summary("no_worker", command="celery -A site").endswith("Start one: celery -A site")


def test_every_code_has_its_sentence() -> None:
    """Sentences are filled without fail, and each code that is written somewhere has one."""
    values: dict[str, Any] = dict.fromkeys(
        ["host", "addresses", "version", "backend", "port", "seconds", "hint", "url", "status", "model"], "x"
    )
    for code in SENTENCES:
        assert sentence(code, values)
    assert sentence("of an earlier release", {}) == "of an earlier release"
    assert set(features.FEATURES) <= set(TITLES)
    assert title("stream") == "Streaming"


# --- what a model can do ---------------------------------------------------------------------

TOOL_CALL = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]


def check(provider: Provider, answer: Callable[[Any], dict[str, Any]] | None = None) -> dict[str, Any]:
    made = row(provider.url, CANARY)
    model = LanguageModel.objects.get()
    found = examined(made, model)
    assert found.passed is True, found.stages
    model.refresh_from_db()
    capabilities: dict[str, Any] = model.capabilities
    return capabilities


def test_what_a_model_can_do_is_stored_with_the_time(provider: Provider, handed: list[uuid.UUID]) -> None:
    provider.models["good"] = {"answer": '{"colour": "red"}'}
    found = check(provider)
    assert found["checked_at"]
    assert set(found["features"]) == set(features.FEATURES)
    assert found["features"]["stream"] == "works"
    assert found["features"]["json_mode"] == "works"
    # It takes tools and does not use them.
    assert found["features"]["tools"] == "unused"


def test_each_question_asks_for_its_feature(provider: Provider, handed: list[uuid.UUID]) -> None:
    provider.models["good"] = {"answer": "yes"}
    check(provider)
    asked = {name: request.body for name, request in zip(["first", *features.FEATURES], provider.requests, strict=True)}
    assert asked["stream"]["stream"] is True
    assert asked["tools"]["stream"] is False
    assert asked["tools"]["tools"][0]["function"]["name"] == "get_weather"
    assert (asked["streamed_tools"]["stream"], "tools" in asked["streamed_tools"]) == (True, True)
    assert asked["tool_choice"]["tool_choice"]["function"]["name"] == "get_weather"
    assert asked["json_mode"]["response_format"] == {"type": "json_object"}
    assert asked["schema"]["response_format"]["type"] == "json_schema"
    assert asked["stream_options"]["stream_options"] == {"include_usage": True}
    assert asked["system_role:developer"]["messages"][0]["role"] == "developer"
    assert "max_completion_tokens" not in asked["output_limit:max_tokens"]
    assert "max_tokens" not in asked["output_limit:max_completion_tokens"]


@pytest.mark.parametrize(
    "behaviour, state",
    [
        ({"tool_calls": TOOL_CALL, "finish_reason": "tool_calls"}, "works"),
        ({"answer": "It is sunny."}, "unused"),
        ({"status": 400, "body": {"error": {"message": "tools are not supported"}}}, "refused"),
        ({"status": 429, "body": {}}, "unknown"),
    ],
)
def test_what_an_answer_says_about_a_feature(
    provider: Provider, handed: list[uuid.UUID], behaviour: dict[str, Any], state: str
) -> None:
    provider.push({"answer": "yes"}, {"answer": "yes"}, behaviour)
    assert check(provider)["features"]["tools"] == state


def test_a_model_that_does_not_answer_is_not_looked_at_closer(provider: Provider, handed: list[uuid.UUID]) -> None:
    provider.models["good"] = {"status": 401, "body": {}}
    made = row(provider.url, CANARY)
    found = examined(made, LanguageModel.objects.get())
    assert found.passed is False
    assert LanguageModel.objects.get().capabilities == {}
    assert len(provider.requests) == 1
