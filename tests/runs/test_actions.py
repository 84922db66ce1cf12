"""What people and programs may ask for, and what they are refused."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from llmapp import submit
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Conversation, Message, Run
from llmapp.runs import access, actions, lease, queue, thread
from llmapp.runs.clock import db_now

from .support import at_once, events_of, refusal, types_of


@pytest.fixture
def agent(scripted: Any) -> AgentSettings:
    made: AgentSettings = scripted()
    return made


@pytest.fixture
def stranger(transactional_db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("mallory", is_staff=True)


def end(run: Run) -> None:
    actions.request_stop(run)


def test_a_message_and_its_run_are_stored_together(person: Any, agent: AgentSettings, enqueued: Any) -> None:
    """A conversation with a title, a message, a queued run with its first event, and a task."""
    run = submit(person, "What is  a\nlease?").run
    assert run.status == RunStatus.QUEUED
    assert run.conversation.title == "What is a lease?"
    assert run.conversation.leaf == run.message
    assert types_of(run) == ["RUN_STARTED"]
    assert events_of(run)[0]["input"]["messages"][0]["content"] == "What is  a\nlease?"
    assert enqueued == [run.pk]


@pytest.mark.parametrize(
    "text, code, status",
    [
        ("", "message_empty", 422),
        (" \n\t", "message_empty", 422),
        ("x" * 100_001, "message_too_long", 413),
        ("a\0b", "message_content", 422),
        ("half an emoji \ud83d", "message_content", 422),
    ],
)
def test_a_message_that_cannot_be_taken_is_refused(
    person: Any, agent: AgentSettings, text: str, code: str, status: int
) -> None:
    """Nothing is stored, not even a conversation."""
    refused = refusal(submit, person, text)
    assert (refused.code, refused.status) == (code, status)
    assert not Conversation.objects.exists()


def test_the_longest_message_is_taken(person: Any, agent: AgentSettings) -> None:
    """The limit itself is allowed."""
    assert submit(person, "x" * 100_000).created


@pytest.mark.parametrize("key", ["message_id", "run_id", "idempotency_key"])
@pytest.mark.parametrize("value", ["mine-1", "6a8d2a53-4d11-4a5e-9d3e-3a4d5f6b7c81"])
def test_the_same_request_again_is_the_first_run(person: Any, agent: AgentSettings, key: str, value: str) -> None:
    """A repeat stores nothing, whether it names the run, the message or a key of its own."""
    first = submit(person, "Hi", thread_id="t", **{key: value})
    end(first.run)
    again = submit(person, "Hi", thread_id="t", **{key: value})
    assert (again.run, again.created) == (first.run, False)
    assert Run.objects.count() == Message.objects.count() == 1


def test_ids_of_clients_are_kept(person: Any, agent: AgentSettings) -> None:
    """A UUID becomes ours; any other string is kept beside ours; both find it again."""
    known = uuid.uuid4()
    run = submit(person, "Hi", thread_id=str(known), run_id="run/1").run
    assert run.conversation.pk == known
    started = events_of(run)[0]
    assert (started["threadId"], started["runId"]) == (str(known), "run/1")
    assert access.find_run(person, "run/1") == access.find_run(person, str(run.pk)) == run
    end(run)
    other = submit(person, "Hi", thread_id="thread one").run
    assert other.conversation.thread_id == "thread one"
    assert access.find_conversation(person, "thread one") == other.conversation


def test_ids_of_clients_are_each_persons_own(person: Any, stranger: Any, agent: AgentSettings) -> None:
    """Two people may call their runs and threads the same; a UUID of somebody else's run is no secret door."""
    mine = submit(person, "Hi", thread_id="t", run_id="r").run
    theirs = submit(stranger, "Ho", thread_id="t", run_id="r").run
    assert mine.pk != theirs.pk
    assert mine.conversation != theirs.conversation
    copied = submit(stranger, "Ho", run_id=str(mine.pk)).run
    assert copied.pk != mine.pk
    assert copied.public_id == str(mine.pk)
    assert access.find_run(stranger, str(mine.pk)) == copied
    assert access.find_run(person, str(mine.pk)) == mine


def test_someone_elses_things_are_not_there(person: Any, stranger: Any, agent: AgentSettings) -> None:
    """Neither found nor written to."""
    run = submit(person, "Hi").run
    for look in (access.find_run, access.find_conversation):
        with pytest.raises(access.NotThere):
            look(stranger, run.pk)
    with pytest.raises(access.NotThere):
        submit(stranger, "Hi", thread_id=str(run.conversation.pk))


@pytest.mark.parametrize(
    "fields, staff, superuser, in_group, allowed",
    [
        ({"access": "staff"}, True, False, False, True),
        ({"access": "staff"}, False, False, False, False),
        ({"access": "staff"}, False, True, False, True),
        ({"access": "authenticated"}, False, False, False, True),
        ({"access": "groups"}, True, False, False, False),
        ({"access": "groups"}, False, False, True, True),
        ({"access": "authenticated", "enabled": False}, True, True, False, False),
    ],
)
def test_agents_are_offered_to_those_who_may_use_them(
    django_user_model: Any, agent: AgentSettings, enqueued: Any,
    fields: Any, staff: bool, superuser: bool, in_group: bool, allowed: bool,
) -> None:  # fmt: skip
    """Who may not use an agent does not see it, and cannot send to it."""
    from django.contrib.auth.models import Group

    user = django_user_model.objects.create_user("eve", is_staff=staff, is_superuser=superuser)
    group = Group.objects.create(name="friends")
    AgentSettings.objects.update(**fields)
    agent.groups.add(group)
    if in_group:
        user.groups.add(group)
    assert list(access.agents_for(user)) == ([agent] if allowed else [])
    if not allowed:
        with pytest.raises(access.NotThere):
            submit(user, "Hi", agent="scripted")


def test_a_conversation_is_busy_while_a_run_is_active(person: Any, agent: AgentSettings) -> None:
    """The second message is refused, and stored not even once."""
    run = submit(person, "Hi").run
    refused = refusal(submit, person, "again", conversation=run.conversation)
    assert (refused.code, refused.status) == ("conversation_busy", 409)
    assert Message.objects.count() == 1


def test_the_database_allows_one_active_run_in_a_conversation(person: Any, agent: AgentSettings) -> None:
    """Even if the code should forget to ask."""
    run = submit(person, "Hi").run
    run.pk, run.client_id, run._state.adding = uuid.uuid4(), None, True
    with pytest.raises(IntegrityError), transaction.atomic():
        run.save(force_insert=True)


@pytest.mark.parametrize("status, leased", [("queued", True), ("in_progress", False), ("completed", True)])
def test_the_database_holds_a_lease_exactly_while_in_progress(
    person: Any, agent: AgentSettings, status: str, leased: bool
) -> None:
    """A run without its worker, or a worker without its run, cannot be written."""
    run = submit(person, "Hi").run
    worker = lease.register(1, {}) if leased else None
    ended = db_now() if status == "completed" else None
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(status=status, worker=worker, ended_at=ended)


def test_more_active_runs_than_allowed_are_refused(person: Any, stranger: Any, agent: AgentSettings) -> None:
    """Of one person: others are not affected."""
    runs = [submit(person, "Hi").run for _ in range(3)]
    refused = refusal(submit, person, "Hi")
    assert (refused.code, refused.status, refused.retry_after) == ("too_many_runs", 429, 5)
    assert submit(stranger, "Hi").created
    end(runs[0])
    assert submit(person, "Hi").created


def test_more_messages_a_minute_than_allowed_are_refused(person: Any, agent: AgentSettings, settings: Any) -> None:
    """The answer says when the next one may come."""
    settings.LLMAPP = {**settings.LLMAPP, "SENDS_PER_MINUTE": 4}
    for _ in range(4):
        end(submit(person, "Hi").run)
    refused = refusal(submit, person, "Hi")
    assert (refused.code, refused.status) == ("too_many_runs", 429)
    assert 50 <= (refused.retry_after or 0) <= 60
    Run.objects.update(created_at=db_now() - timedelta(seconds=61))
    assert submit(person, "Hi").created


def test_a_broker_that_is_away_loses_nothing(person: Any, agent: AgentSettings, monkeypatch: Any) -> None:
    """The message is stored, and the person is told that it will start."""
    monkeypatch.setattr(queue, "enqueue", lambda run_id: False)
    run = submit(person, "Hi").run
    last = events_of(run)[-1]
    assert (last["name"], last["value"]["action"]) == ("llmapp.notice", "queue")
    assert run.status == RunStatus.QUEUED


def test_a_submit_that_is_rolled_back_leaves_nothing(person: Any, agent: AgentSettings, enqueued: Any) -> None:
    """No run, no task."""
    with transaction.atomic():
        submit(person, "Hi")
        transaction.set_rollback(True)
    assert not Run.objects.exists()
    assert not enqueued


def test_try_again_answers_the_same_message(person: Any, agent: AgentSettings) -> None:
    """A new run beside the old one; the old answer stays in the tree, off the path."""
    run = submit(person, "Hi").run
    assert refusal(actions.retry, person, run).code == "conversation_busy"
    end(run)
    answer = Message.objects.create(
        conversation=run.conversation, parent=run.message, role="assistant", text="half", complete=False, run=run
    )
    Conversation.objects.update(leaf=answer)
    run.conversation.refresh_from_db()
    new = actions.retry(person, run)
    assert new.message == run.message
    assert Conversation.objects.get().leaf == run.message
    assert Message.objects.filter(pk=answer.pk).exists()
    assert Message.objects.filter(role="user").count() == 1


def test_of_two_sends_at_once_one_is_busy(person: Any, agent: AgentSettings) -> None:
    """One run, one message, and a refusal that says why."""
    conversation = Conversation.objects.create(user=person)
    results = at_once(*[lambda: submit(person, "Hi", conversation=conversation)] * 2)
    assert sorted(getattr(r, "code", "sent") for r in results) == ["conversation_busy", "sent"]
    assert Message.objects.count() == 1


def test_of_two_sends_at_once_only_as_many_run_as_are_allowed(person: Any, agent: AgentSettings, settings: Any) -> None:
    """They wait for each other, so that both cannot be the last one allowed."""
    settings.LLMAPP = {**settings.LLMAPP, "MAX_ACTIVE_RUNS_PER_USER": 1}
    results = at_once(*[lambda: submit(person, "Hi")] * 3)
    assert sorted(getattr(r, "code", "sent") for r in results) == ["sent", "too_many_runs", "too_many_runs"]


UUIDS = [f"{n}a8d2a53-4d11-4a5e-9d3e-3a4d5f6b7c81" for n in range(1, 4)]


@pytest.mark.parametrize("known", [False, True], ids=["new thread", "known thread"])
@pytest.mark.parametrize("thread", ["t", UUIDS[0]])
@pytest.mark.parametrize(
    "keys",
    [
        {"message_id": "m"},
        {"run_id": "r"},
        {"idempotency_key": "k"},
        # what AG-UI clients send
        {"message_id": UUIDS[1], "run_id": UUIDS[2]},
    ],
    ids=lambda keys: " ".join(keys),
)
def test_one_request_that_comes_twice_at_once_is_one_run(
    person: Any, agent: AgentSettings, settings: Any, keys: Any, thread: str, known: bool
) -> None:
    """All get the same answer, also where no further run would be allowed."""
    settings.LLMAPP = {**settings.LLMAPP, "MAX_ACTIVE_RUNS_PER_USER": 1}
    if known:
        end(submit(person, "before", thread_id=thread).run)
    results = at_once(*[lambda: submit(person, "Hi", thread_id=thread, **keys)] * 3)
    assert len({r.run.pk for r in results}) == 1
    assert sum(r.created for r in results) == 1
    assert Message.objects.filter(text="Hi").count() == 1
    assert Conversation.objects.count() == 1
    assert str(Conversation.objects.get().thread_id) == thread


@pytest.mark.parametrize("thread", ["t", UUIDS[0]])
def test_two_messages_at_once_into_a_new_thread_are_one_thread(person: Any, agent: AgentSettings, thread: str) -> None:
    """The second one finds it busy."""
    results = at_once(*[lambda n=n: submit(person, f"Hi {n}", thread_id=thread) for n in range(3)])
    assert sorted(getattr(r, "code", "sent") for r in results) == ["conversation_busy", "conversation_busy", "sent"]
    assert Conversation.objects.count() == 1


def test_a_conversation_that_was_read_long_ago_is_read_again(person: Any, agent: AgentSettings, process: Any) -> None:
    """A socket holds the row of the moment at which it was opened; what came since counts."""
    opened = Conversation.objects.create(user=person)
    for number in range(3):
        run = submit(person, f"number {number}", conversation=opened).run
        process.execute(run.pk)
        actions.rename(Conversation.objects.get(), f"renamed {number}")
    told = thread.history(Conversation.objects.get().leaf_id)
    assert [message.role for message in told] == ["user", "assistant"] * 3
    assert Conversation.objects.get().title == "renamed 2"


def test_a_conversation_that_was_deleted_is_not_there(person: Any, agent: AgentSettings) -> None:
    """Neither for a message nor for another try."""
    run = submit(person, "Hi").run
    end(run)
    stale = Run.objects.select_related("conversation", "message").get()
    Conversation.objects.all().delete()
    with pytest.raises(access.NotThere):
        submit(person, "Hi", conversation=stale.conversation)
    with pytest.raises(access.NotThere):
        actions.retry(person, stale)


@pytest.mark.parametrize("title, kept", [("  A  new\nname ", "A new name"), ("x" * 300, "x" * 200)])
def test_a_conversation_is_renamed(person: Any, agent: AgentSettings, title: str, kept: str) -> None:
    """To one line that fits."""
    conversation = submit(person, "Hi").run.conversation
    actions.rename(conversation, title)
    assert Conversation.objects.get().title == kept


def test_a_title_is_needed(person: Any, agent: AgentSettings) -> None:
    """Blanks are none."""
    assert refusal(actions.rename, submit(person, "Hi").run.conversation, " \n").code == "title_empty"


@pytest.mark.parametrize(
    "text, title",
    [
        ("Short", "Short"),
        ("word " * 30, "word " * 11 + "word…"),
        ("字" * 100, "字" * 60 + "…"),
    ],
)
def test_a_title_is_made_of_the_first_words(text: str, title: str) -> None:
    """Cut between words, where there are any."""
    assert actions.title_from(text) == title


@pytest.mark.parametrize("bad", ["", "x" * 201, "a\nb", "\x7f"])
def test_ids_that_cannot_be_kept_are_refused(person: Any, agent: AgentSettings, bad: str) -> None:
    """Too long, empty, or with control characters."""
    assert refusal(submit, person, "Hi", run_id=bad).code == "id_invalid"


def test_a_deleted_conversation_takes_everything_with_it(person: Any, agent: AgentSettings, process: Any) -> None:
    """Also while a run is in progress: its worker finds it gone."""
    run = submit(person, "Hi").run
    process.execute(run.pk)
    actions.delete(run.conversation)
    assert not Run.objects.exists()
    assert not Message.objects.exists()
