"""The chat page as it arrives: what it shows, to whom, and what the browser may do with it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.files.storage import FileSystemStorage
from django.test import AsyncClient, Client
from django.utils import timezone

import llmapp
from llmapp import tokens
from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Conversation, Message, Run
from llmapp.views import thread
from llmapp.views.thread import Thread
from tests.support.conversations import grown

pytestmark = pytest.mark.django_db(transaction=True)

CODE = '<div class="llmapp-code" data-language="python"><pre tabindex="0"><code>x</code></pre></div>'


@pytest.fixture
def page(person: Any) -> Client:
    """A browser in which `person` is signed in."""
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def exchange(person: Any, agent: AgentSettings) -> Callable[..., Run]:
    """Make a question with an answer, in one conversation unless told otherwise."""

    def make(
        question: str, answer: str = "", status: str = RunStatus.COMPLETED, again: Run | None = None, **fields: Any
    ) -> Run:
        conversation = Conversation.objects.first() or Conversation.objects.create(user=person, agent=agent, title="T")
        if again:
            message = again.message
        else:
            message = conversation.messages.create(role="user", text=question, parent=conversation.leaf)
        now = timezone.now()
        active = status in (RunStatus.QUEUED, RunStatus.IN_PROGRESS)
        run = Run.objects.create(
            user=person,
            conversation=conversation,
            agent=agent,
            agent_slug=agent.slug,
            message=message,
            status=status,
            created_at=now,
            started_at=now,
            queue_until=now,
            ended_at=None if active else now,
            **fields,
        )
        conversation.leaf = message
        if answer:
            conversation.leaf = Message.objects.create(
                conversation=conversation, role="assistant", parent=message, run=run, text=answer, html=CODE
            )
        conversation.save()
        return run

    return make


def articles(content: str) -> list[str]:
    """Return what stands in the conversation, by its keys."""
    thread = content[content.index("data-thread=") :].partition("llmapp-dock")[0]
    return re.findall(r'data-key="(\w:[^"]+)"', thread)


def open_page(page: Client, **query: str) -> str:
    conversation = Conversation.objects.get()
    answer = page.get(f"/chat/{conversation.pk}/", query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_person_who_is_not_signed_in_is_sent_to_the_sign_in() -> None:
    answer = Client().get("/chat/")
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/chat/"


def test_a_token_opens_the_page_and_a_bad_one_does_not(person: Any, agent: AgentSettings) -> None:
    headers = {"Authorization": f"Bearer {tokens.issue(person)}"}
    assert Client().get("/chat/", headers=headers).status_code == 200
    assert Client().get("/chat/", headers={"Authorization": "Bearer no"}).status_code == 401


def test_somebody_elses_conversation_is_not_there(
    stranger: AsyncClient, exchange: Callable[..., Run], other: Any
) -> None:
    run = exchange("mine")
    client = Client()
    client.force_login(other)
    assert client.get(f"/chat/{run.conversation_id}/").status_code == 404
    assert client.get(f"/chat/{uuid.uuid4()}/").status_code == 404
    assert client.get(f"/chat/{run.conversation_id}/?thread=x").status_code == 404


def test_the_policy_lets_nothing_in_but_the_sites_own_files(page: Client, agent: AgentSettings) -> None:
    answer = page.get("/chat/")
    policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    assert policy["connect-src"] == "'self' ws://testserver"
    assert "unsafe" not in str(policy)
    assert "no-store" in answer["Cache-Control"]


def test_nothing_in_the_markup_needs_more_than_the_policy_allows(page: Client, exchange: Callable[..., Run]) -> None:
    exchange('<script>alert(1)</script> & "quotes"', "an answer")
    content = open_page(page)
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", content)
    scripts = re.findall(r"<script\b([^>]*)>", content)
    assert all('type="application/json"' in script or " src=" in script for script in scripts)
    assert "<style" not in content
    assert not re.search(r'(?:src|href)="(?:https?:)?//', content)
    assert "&lt;script&gt;alert(1)" in content


def test_texts_can_be_copied_byte_for_byte(page: Client, exchange: Callable[..., Run]) -> None:
    question, answer = "a\r\nb\tc </script> \u2028 ", "\n<b>x</b>\r\n😀  \n"
    exchange(question, answer)
    found = re.findall(r'<script type="application/json">(.*?)</script>', open_page(page))
    assert [json.loads(text) for text in found] == [question, [answer]]


def test_an_answer_brings_its_numbers_and_nothing_for_unknown_ones(page: Client, exchange: Callable[..., Run]) -> None:
    exchange("q", "a", model_name="small", input_tokens=1200, cost="0.000001230")
    content = open_page(page)
    assert 'data-model="small"' in content
    assert 'data-input-tokens="1200"' in content
    assert 'data-output-tokens=""' in content
    assert 'data-cost="0.000001230"' in content


def test_what_is_known_of_an_end_is_said_with_it(page: Client, exchange: Callable[..., Run]) -> None:
    """The page's script gets it too, to say times by the reader's clock."""
    facts = {"reset_at": "2026-03-01T14:05:00+00:00"}
    exchange("q", status=RunStatus.FAILED, error_kind="quota_exhausted", error_facts=facts)
    content = open_page(page)
    assert "The limit resets at March 1, 2026, 14:05 (UTC)." in content
    assert 'data-facts="{&quot;reset_at&quot;: &quot;2026-03-01T14:05:00+00:00&quot;}"' in content


def test_a_run_that_waits_says_when_it_goes_on(page: Client, exchange: Callable[..., Run]) -> None:
    """Its log says only for how long, which a reader who comes later cannot add up."""
    until = timezone.now() + timedelta(minutes=9)
    exchange("q", status=RunStatus.QUEUED, not_before=until)
    assert f'data-until="{until.isoformat()}"' in open_page(page)


@pytest.mark.parametrize(
    "count, note",
    [
        (None, ""),
        (1, "1 earlier message was summarised for the model; it is kept."),
        (1200, "1,200 earlier messages were summarised for the model; they are kept."),
    ],
)
def test_how_much_was_summarised_stands_under_the_answer(
    page: Client, exchange: Callable[..., Run], count: int | None, note: str
) -> None:
    exchange("q", "a", summarised=count)
    places = re.findall(r"<p class=.llmapp-summarised. data-summarised( hidden)?>(.*?)</p>", open_page(page))
    # The other one is the template for answers to come.
    assert sorted(places) == sorted([(" hidden", ""), ("" if note else " hidden", note)])


@pytest.mark.parametrize(
    "status, kind, title, cause",
    [
        (RunStatus.FAILED, ErrorKind.AUTH, "The answer failed.", "Ask an administrator to check it."),
        (RunStatus.INCOMPLETE, ErrorKind.STREAM_INTERRUPTED, "The answer is not complete.", "The connection broke off"),
        (RunStatus.CANCELLED, "", "You stopped this answer.", ""),
    ],
)
def test_an_end_says_what_happened_and_what_to_do(
    page: Client, exchange: Callable[..., Run], status: str, kind: str, title: str, cause: str
) -> None:
    exchange("q", status=status, error_kind=kind)
    content = open_page(page)
    assert title in content
    assert cause in content
    assert "Try again" in content


def test_a_run_that_goes_on_is_an_empty_place(page: Client, exchange: Callable[..., Run]) -> None:
    """The page replays its log; a message that a step has finished already must not stand there twice."""
    run = exchange("q", "first step", status=RunStatus.QUEUED)
    content = open_page(page)
    assert articles(content) == [f"m:{run.message_id}", f"r:{run.pk}"]
    assert 'data-status="queued"' in content
    assert "first step" not in content


def test_a_run_that_ends_while_the_page_is_made_is_shown_with_its_answer(exchange: Callable[..., Run]) -> None:
    """The page looks for the conversation first: what it read of it may be old when it reads the runs."""
    run = exchange("q")
    before_the_end = Conversation.objects.get()
    assert before_the_end.leaf_id == run.message_id
    answer = run.messages.create(conversation=before_the_end, role="assistant", parent=run.message, text="a", html=CODE)
    Conversation.objects.update(leaf=answer)
    (shown,) = Thread.of(before_the_end).exchanges
    assert [message.pk for message in shown.answers[0].messages] == [answer.pk]


def test_only_the_path_is_shown(page: Client, exchange: Callable[..., Run]) -> None:
    """The answer that was asked for again has replaced the first one, also when it brought no text."""
    first = exchange("q", "half", status=RunStatus.INCOMPLETE)
    second = exchange("q", "whole", again=first)
    assert articles(open_page(page)) == [f"m:{first.message_id}", f"r:{second.pk}"]
    third = exchange("q", status=RunStatus.FAILED, again=first)
    assert articles(open_page(page)) == [f"m:{first.message_id}", f"r:{third.pk}"]
    fourth = exchange("next", "fine")
    assert articles(open_page(page))[2:] == [f"m:{fourth.message_id}", f"r:{fourth.pk}"]


def test_the_thread_alone_comes_only_when_it_has_changed(page: Client, exchange: Callable[..., Run]) -> None:
    run = exchange("q", "a")
    content = open_page(page)
    found = re.search(r'data-thread="(\w+)"', content)
    assert found
    path = f"/chat/{run.conversation_id}/"
    assert page.get(path, {"thread": found[1]}).status_code == 204
    exchange("next", "b")
    fresh = page.get(path, {"thread": found[1]})
    assert fresh.status_code == 200
    assert len(articles(fresh.content.decode())) == 4
    assert b"<html" not in fresh.content


def questions(content: str) -> list[str]:
    return re.findall(r"Number \d+\.(?=</div>)", content)


def numbers(first: int, last: int) -> list[str]:
    return [f"Number {n}." for n in range(first, last)]


@pytest.mark.parametrize("address", ["/chat/{}/", "/chat/embed/scripted/{}/"])
def test_the_end_of_a_long_conversation_is_shown_and_leads_to_what_is_before(
    page: Client, person: Any, agent: AgentSettings, address: str
) -> None:
    """As pages, and as what an open page asks for: the same messages, each once."""
    path = address.format(grown(person, agent, 90).pk)
    content = page.get(path).content.decode()
    for first, last in [(25, 45), (5, 25), (0, 5)]:
        assert questions(content) == numbers(first, last)
        assert len(articles(content)) == 2 * (last - first)
        earlier = re.search(r'href="(\?before=[^"]+)"', content)
        assert bool(earlier) == bool(first)
        if earlier:
            content = page.get(path + earlier[1]).content.decode()
            part = page.get(f"{path}{earlier[1]}&thread=").content.decode()
            assert (questions(part), articles(part)) == (questions(content), articles(content))
            assert "<html" not in part


def test_what_stands_before_another_conversations_message_is_not_there(
    page: Client, person: Any, agent: AgentSettings
) -> None:
    here, there = grown(person, agent, 4), grown(person, agent, 4)
    for before in (here.leaf_id, there.leaf_id, uuid.uuid4(), "1"):
        answer = page.get(f"/chat/{here.pk}/?before={before}&thread=")
        assert answer.status_code == (200 if before == here.leaf_id else 404)


def test_a_run_that_starts_while_the_page_is_made_is_not_shown_as_another_ones_end(
    exchange: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is that of one moment: a try that began after it waits for the next look."""
    first = exchange("q", "half", status=RunStatus.INCOMPLETE)
    read = thread.messages_to

    def read_while_it_starts(*args: Any, **kwargs: Any) -> Any:
        exchange("q", again=first, status=RunStatus.QUEUED)
        return read(*args, **kwargs)

    monkeypatch.setattr(thread, "messages_to", read_while_it_starts)
    (shown,) = Thread.of(Conversation.objects.get()).exchanges
    assert [(answer.run.pk, answer.raw) for answer in shown.answers] == [(first.pk, ["half"])]


def test_who_may_use_no_agent_is_told_so(page: Client, person: Any) -> None:
    content = page.get("/chat/").content.decode()
    assert "No agent is available to you" in content
    assert "disabled" in content


def test_the_agent_of_an_old_conversation_may_be_gone(page: Client, exchange: Callable[..., Run], agent: Any) -> None:
    exchange("q", "a")
    agent.enabled = False
    agent.save()
    content = open_page(page)
    assert '"agent": null' in content
    assert "disabled" in content


def test_modules_can_be_served_under_hashed_names(tmp_path: Path) -> None:
    """The storage that a site may use rewrites imports only as it can read them."""

    class Storage(ManifestStaticFilesStorage):
        support_js_module_import_aggregation = True

    storage = Storage(location=tmp_path, base_url="/static/")
    source = Path(llmapp.__file__).parent / "static"
    paths = {
        str(path.relative_to(source)): (FileSystemStorage(source), str(path.relative_to(source)))
        for path in source.rglob("*")
        if path.is_file()
    }
    for name, (files, path) in paths.items():
        with files.open(path) as file:
            storage.save(name, file)
    for _name, _hashed, processed in storage.post_process(paths):
        assert not isinstance(processed, Exception)
    for module in tmp_path.rglob("*.????????????.js"):
        for imported in re.findall(r'from "([^"]+)"', module.read_text()):
            assert (module.parent / imported).exists(), (module.name, imported)
            assert re.search(r"\.[0-9a-f]{12}\.js$", imported), (module.name, imported)


def test_it_speaks_chinese(page: Client, agent: AgentSettings) -> None:
    content = page.get("/chat/", headers={"Accept-Language": "zh-CN"}).content.decode()
    assert 'lang="zh-hans"' in content
    assert "新对话" in content
