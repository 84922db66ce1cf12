"""Visitors without an account: what is theirs, how much they may send, and how long it is kept."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmapp import submit
from llmapp.models import AgentSettings, Conversation, Message, Run, RunEvent, Visitor
from llmapp.runs import access, actions, limits, owner, sweeper
from llmapp.runs.clock import db_now
from tests.support import stack

from .support import at_once, events_of, refusal, wait_until

NotThere = access.NotThere


@pytest.fixture(autouse=True)
def _nobody_was_told() -> None:
    limits._told.clear()


@pytest.fixture
def agent(scripted: Any, enqueued: Any) -> AgentSettings:
    made: AgentSettings = scripted(access="public")
    return made


def visitor(address: str = "here") -> Visitor:
    made = Visitor()
    made.address = address
    return made


def sent(who: Any, text: str = "Hi", **options: Any) -> Run:
    """Send a message whose answer has ended."""
    run = submit(who, text, **options).run
    actions.request_stop(run)
    run.refresh_from_db()
    return run


def long_ago(seconds: float, **of: Any) -> None:
    moment = timezone.now() - timedelta(seconds=seconds)
    Run.objects.filter(**of).update(created_at=moment)
    Conversation.objects.update(updated_at=moment)
    Visitor.objects.update(seen_at=moment)


@pytest.fixture
def allow(settings: Any) -> Callable[..., None]:
    """Set limits; those that are not named allow anything."""

    def allow(**given: int) -> None:
        names = ("ACTIVE_RUNS", "SENDS_PER_MINUTE", "SENDS_PER_DAY")
        wide = {f"{who}_{name}": 10_000 for who in ("VISITOR", "ADDRESS") for name in names}
        settings.LLMAPP = {**settings.LLMAPP, **wide, "VISITORS_ACTIVE_RUNS": 10_000, **given}

    return allow


# --- whose it is ----------------------------------------------------------------------------


def test_a_message_belongs_to_a_visitor_whose_row_is_made_with_it(agent: AgentSettings) -> None:
    one = visitor("a mark")
    run = submit(one, "Hi").run
    assert (run.user, run.visitor, run.address) == (None, one, "a mark")
    assert (run.conversation.user, run.conversation.visitor) == (None, one)
    assert Visitor.objects.get() == one


def test_a_refused_message_leaves_no_row(agent: AgentSettings, allow: Any) -> None:
    allow(ADDRESS_SENDS_PER_MINUTE=0)
    assert refusal(submit, visitor(), "").code == "message_empty"
    assert refusal(submit, visitor(), "Hi").code == "too_many_runs"
    assert not Visitor.objects.exists()


@pytest.mark.parametrize("owned_by", [(), ("user", "visitor")], ids=["nobody", "both"])
def test_the_database_wants_exactly_one_owner(person: Any, agent: AgentSettings, owned_by: tuple[str, ...]) -> None:
    run = submit(visitor(), "Hi").run
    fields = {"user": person, "visitor": run.visitor}
    owners = {name: fields[name] if name in owned_by else None for name in fields}
    for rows in (Conversation.objects.all(), Run.objects.all()):
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**owners)


WHO = ["another visitor", "a user", "a superuser"]


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", ["ours", "the client's"])
def test_somebody_else_s_is_not_there(
    person: Any, agent: AgentSettings, django_user_model: Any, who: str, name: str
) -> None:
    root = django_user_model.objects.create_superuser("root", password="x")
    stranger = {"another visitor": visitor(), "a user": person, "a superuser": root}[who]
    theirs = submit(visitor(), "Secret", thread_id="thread", run_id="run").run
    conversation = theirs.conversation
    thread_id, run_id = ("thread", "run") if name == "the client's" else (str(conversation.pk), str(theirs.pk))
    for find in (access.find_conversation, access.find_run):
        with pytest.raises(NotThere):
            find(stranger, thread_id if find is access.find_conversation else run_id)
    for function in (
        lambda: submit(stranger, "Hi", conversation=conversation),
        lambda: actions.retry(stranger, theirs),
    ):
        with pytest.raises(NotThere):
            function()
    assert Message.objects.count() == 1


def test_a_visitor_finds_nothing_of_a_user_s(person: Any, agent: AgentSettings) -> None:
    theirs = submit(person, "Secret", thread_id="thread", run_id="run").run
    for find, ids in [
        (access.find_conversation, ["thread", str(theirs.conversation_id)]),
        (access.find_run, ["run", str(theirs.pk)]),
    ]:
        for id in ids:
            with pytest.raises(NotThere):
                find(visitor(), id)
    with pytest.raises(NotThere):
        submit(visitor(), "Hi", conversation=theirs.conversation)


def test_names_are_each_visitor_s_own(person: Any, agent: AgentSettings) -> None:
    names = {"thread_id": "t", "run_id": "r", "idempotency_key": "k"}
    runs = {submit(who, "Hi", **names).run.pk for who in (person, visitor(), visitor())}
    assert len(runs) == 3


@pytest.mark.parametrize("names", [{"run_id": "r"}, {"idempotency_key": "k"}, {"thread_id": "t", "message_id": "m"}])
def test_the_same_request_again_is_the_first_run(agent: AgentSettings, names: Any) -> None:
    one = visitor()
    first = submit(one, "Hi", **names)
    again = submit(one, "Hi", **names)
    assert (again.run, first.created, again.created) == (first.run, True, False)


@pytest.mark.parametrize(
    "setting, for_visitors, for_anybody",
    [
        ("public", True, True),
        ("authenticated", False, True),
        ("staff", False, False),
        ("groups", False, False),
    ],
)
def test_who_may_use_an_agent(
    scripted: Any, django_user_model: Any, setting: str, for_visitors: bool, for_anybody: bool
) -> None:
    agent = scripted(access=setting)
    agent.groups.add(Group.objects.create(name="writers"))
    user = django_user_model.objects.create_user("eve")
    assert access.agents_for(visitor()).exists() is for_visitors
    assert access.agents_for(user).exists() is for_anybody
    AgentSettings.objects.update(enabled=False)
    assert not access.agents_for(visitor()).exists()


@pytest.mark.parametrize("change", [{"access": "staff"}, {"access": "authenticated"}, {"enabled": False}])
def test_what_an_agent_said_is_shut_with_it(agent: AgentSettings, change: Any) -> None:
    one = visitor()
    run = sent(one)
    AgentSettings.objects.update(**change)
    for function in (
        lambda: access.find_run(one, str(run.pk)),
        lambda: access.find_conversation(one, str(run.conversation_id)),
        lambda: submit(one, "Hi", conversation=run.conversation),
        lambda: actions.retry(one, run),
    ):
        with pytest.raises(NotThere):
            function()


# --- how much -------------------------------------------------------------------------------


def test_a_visitor_s_message_has_a_limit_of_its_own(person: Any, agent: AgentSettings, allow: Any) -> None:
    allow(VISITOR_MESSAGE_LENGTH=5)
    sent(visitor(), "12345")
    assert refusal(submit, visitor(), "123456").code == "message_too_long"
    submit(person, "123456")


#: (limit, who sent before, whether they are still answered, seconds for me to wait, the sentence)
FLOODS = [
    ({"VISITOR_ACTIVE_RUNS": 1}, "me", True, 5, "answer is being written"),
    ({"VISITOR_SENDS_PER_MINUTE": 2}, "me me", False, 50, "Try again in 50 seconds."),
    ({"VISITOR_SENDS_PER_DAY": 2}, "me me", False, 86_390, "Try again in 24 hours."),
    ({"ADDRESS_ACTIVE_RUNS": 2}, "you you", True, 5, "from your network. Try again in 5 seconds."),
    ({"ADDRESS_SENDS_PER_MINUTE": 2}, "you me", False, 50, "from your network. Try again in 50 seconds."),
    ({"ADDRESS_SENDS_PER_DAY": 2}, "you you", False, 86_390, "from your network. Try again in 24 hours."),
    ({"VISITORS_ACTIVE_RUNS": 2}, "far far", True, 5, "Many people are asking"),
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: next(iter(flood[0])))
def test_who_sends_too_much_is_told_when_to_come_back(
    person: Any, agent: AgentSettings, allow: Any, flood: Any
) -> None:
    """By session, by address and all together; users go on as if nothing was, and so do visitors from elsewhere."""
    given, before, active, wait, sentence = flood
    allow(**given)
    me = visitor("here")
    for who in before.split():
        (submit if active else sent)({"me": me, "you": visitor("here"), "far": visitor("there")}[who], "Hi")
    long_ago(10)
    refused = refusal(submit, me, "Hi")
    assert (refused.code, refused.status) == ("too_many_runs", 429)
    assert refused.retry_after is not None
    assert abs(refused.retry_after - wait) <= 1
    assert sentence.replace("50", str(refused.retry_after)) in refused.message
    assert submit(person, "Hi").created
    if "VISITORS_ACTIVE_RUNS" not in given:
        assert submit(visitor("elsewhere"), "Hi").created


@pytest.mark.parametrize("flood", [flood for flood in FLOODS if flood[3] > 5], ids=lambda flood: next(iter(flood[0])))
def test_a_limit_ends_with_its_window(agent: AgentSettings, allow: Any, flood: Any) -> None:
    given, before, _active, wait, _sentence = flood
    allow(**given)
    me = visitor("here")
    for who in before.split():
        sent(me if who == "me" else visitor("here"))
    long_ago(wait + 11)
    assert submit(me, "Hi").created


def test_a_limit_of_nothing_allows_nothing(agent: AgentSettings, allow: Any) -> None:
    allow(VISITOR_SENDS_PER_MINUTE=0)
    assert refusal(submit, visitor(), "Hi").retry_after == 60


def test_trying_again_counts_like_sending(agent: AgentSettings, allow: Any) -> None:
    allow(VISITOR_SENDS_PER_MINUTE=2)
    one = visitor()
    run = sent(one)
    actions.request_stop(actions.retry(one, run))
    assert refusal(actions.retry, one, run).code == "too_many_runs"


@pytest.mark.parametrize("by", ["session", "address"])
def test_a_flood_takes_no_locks(agent: AgentSettings, allow: Any, by: str) -> None:
    """It is refused from memory for a moment; a repeat of what was taken gets its run all the same."""
    allow(**{"VISITOR_ACTIVE_RUNS" if by == "session" else "ADDRESS_ACTIVE_RUNS": 1})
    one = visitor()
    first = submit(one, "Hi", run_id="r").run
    who = one if by == "session" else visitor()
    said = refusal(submit, who, "Hi")
    with CaptureQueriesContext(connection) as captured:
        again = refusal(submit, who, "Hi", message_id="m")
    assert (again.message, again.retry_after) == (said.message, said.retry_after)
    assert not captured.captured_queries
    assert submit(one, "Hi", run_id="r").run == first
    assert refusal(actions.retry, who, first).code == "too_many_runs"
    actions.request_stop(first)
    limits._told.clear()
    assert submit(who, "Hi").created


def test_a_refusal_is_remembered_for_a_moment_and_for_no_user(
    person: Any, agent: AgentSettings, allow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(VISITOR_ACTIVE_RUNS=1, MAX_ACTIVE_RUNS_PER_USER=1)
    monkeypatch.setattr(limits, "MOMENT", 0.5)
    for who in (person, one := visitor()):
        run = submit(who, "Hi").run
        refusal(submit, who, "Hi")
        actions.request_stop(run)
        if who is one:
            refusal(submit, who, "Hi")
            time.sleep(0.5)
        assert submit(who, "Hi").created


def test_users_do_not_count_for_visitors(person: Any, agent: AgentSettings, allow: Any) -> None:
    allow(VISITORS_ACTIVE_RUNS=1, ADDRESS_ACTIVE_RUNS=1)
    submit(person, "Hi")
    assert submit(visitor(), "Hi").created


@pytest.mark.parametrize("same", ["session", "address", "site"])
def test_of_two_sends_at_once_only_as_many_run_as_are_allowed(agent: AgentSettings, allow: Any, same: str) -> None:
    """They wait for each other, so that both cannot be the last one allowed."""
    name = {"session": "VISITOR_ACTIVE_RUNS", "address": "ADDRESS_ACTIVE_RUNS", "site": "VISITORS_ACTIVE_RUNS"}[same]
    allow(**{name: 1})
    id = uuid.uuid4()

    def send(number: int) -> Any:
        one = visitor(f"place {number}" if same == "site" else "here")
        one.pk = id if same == "session" else one.pk
        return submit(one, "Hi")

    results = at_once(*[lambda n=n: send(n) for n in range(4)])
    assert sorted(getattr(r, "code", "sent") for r in results) == ["sent", *["too_many_runs"] * 3]


def test_one_request_that_comes_twice_at_once_is_one_run(agent: AgentSettings) -> None:
    id = uuid.uuid4()

    def send() -> Any:
        return submit(Visitor(pk=id), "Hi", thread_id="t", run_id="r", message_id="m")

    results = at_once(*[send] * 3)
    assert len({r.run.pk for r in results}) == 1
    assert Visitor.objects.count() == Conversation.objects.count() == 1


def test_a_user_s_send_takes_no_more_queries_than_its_limits(person: Any, agent: AgentSettings) -> None:
    """Two counts, as ever; a visitor's takes seven."""
    now = db_now()
    for who, number in [(person, 2), (visitor(), 7)]:
        with transaction.atomic(), CaptureQueriesContext(connection) as captured:
            limits.check(who, now)
        assert len(captured) - (who is not person and connection.vendor == "postgresql") == number


# --- signing in -----------------------------------------------------------------------------


def test_who_signs_in_takes_everything_along(person: Any, agent: AgentSettings) -> None:
    one, other = visitor(), visitor("there")
    run, theirs = sent(one), sent(other)
    running = submit(one, "Go on", conversation=run.conversation).run
    owner.adopt(one, person)
    assert {access.find_run(person, str(r.pk)).user for r in (run, running)} == {person}
    assert access.find_conversation(person, run.conversation_id).visitor is None
    assert list(Visitor.objects.all()) == [other]
    assert access.find_run(other, str(theirs.pk)) == theirs
    with pytest.raises(NotThere):
        access.find_run(one, str(run.pk))
    assert [e["type"] for e in events_of(running)] == ["RUN_STARTED"]


def test_a_run_that_is_being_written_goes_on_as_the_user_s(person: Any, scripted: Any, in_background: Any) -> None:
    scripted([{"text": "a "}, {"pause": 0.5}, {"text": "b"}], access="public")
    one = visitor()
    run = submit(one, "Hi").run
    in_background(run)
    wait_until(lambda: Run.objects.filter(pk=run.pk, status="in_progress").exists())
    owner.adopt(one, person)
    wait_until(lambda: Run.objects.filter(pk=run.pk, status="completed").exists())
    run.refresh_from_db()
    assert (run.user, run.visitor) == (person, None)


def test_names_that_the_user_has_already_are_given_up(person: Any, agent: AgentSettings) -> None:
    one = visitor()
    names = {"thread_id": "t", "run_id": "r", "idempotency_key": "k"}
    mine, theirs = sent(person, **names), sent(one, **names)
    owner.adopt(one, person)
    assert access.find_run(person, "r") == mine
    assert access.find_conversation(person, "t") == mine.conversation
    assert access.find_run(person, str(theirs.pk)).conversation_id == theirs.conversation_id
    kept = sent(two := visitor(), thread_id="t2", run_id="r2")
    owner.adopt(two, person)
    assert access.find_run(person, "r2") == kept


def test_who_never_said_anything_takes_nothing_along(person: Any, agent: AgentSettings) -> None:
    owner.adopt(visitor(), person)
    assert not Visitor.objects.exists()


def test_a_send_that_meets_the_sign_in_ends_on_one_side(person: Any, agent: AgentSettings) -> None:
    """Either it was first and goes along, or it finds nothing; never is a run one's and its conversation another's."""
    one = visitor()
    conversation = sent(one).conversation
    results = at_once(lambda: owner.adopt(one, person), lambda: submit(one, "Hi", conversation=conversation))
    assert [type(r) for r in results if isinstance(r, Exception)] in ([], [NotThere])
    for run in Run.objects.select_related("conversation"):
        assert (run.user, run.visitor) == (run.conversation.user, run.conversation.visitor)


def test_who_comes_from_nowhere_is_not_counted_with_everybody(person: Any, agent: AgentSettings, allow: Any) -> None:
    """What users send has no mark of a network, and what visitors sent loses it after a day."""
    allow(ADDRESS_ACTIVE_RUNS=1, ADDRESS_SENDS_PER_MINUTE=1)
    submit(person, "Hi")
    submit(visitor(""), "Hi")
    assert submit(visitor(""), "Hi").created


# --- how long -------------------------------------------------------------------------------


def test_what_a_visitor_said_is_deleted_after_its_time(person: Any, agent: AgentSettings, settings: Any) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "VISITOR_DAYS": 3}
    sent(visitor())
    sent(person)
    long_ago(3 * 86_400 - 60)
    sweeper.forget_visitors(timezone.now())
    assert Run.objects.count() == 2
    long_ago(3 * 86_400 + 60)
    sweeper.forget_visitors(timezone.now())
    assert [run.user for run in Run.objects.all()] == [person]
    assert (Conversation.objects.count(), Message.objects.count(), Visitor.objects.count()) == (1, 1, 0)
    assert set(RunEvent.objects.values_list("run__user", flat=True)) == {person.pk}


def test_an_answer_that_is_being_written_is_not_deleted(agent: AgentSettings) -> None:
    run = submit(visitor(), "Hi").run
    long_ago(400 * 86_400)
    sweeper.forget_visitors(timezone.now())
    assert Run.objects.get() == run
    assert Visitor.objects.exists()


def test_old_ones_go_in_small_batches(agent: AgentSettings, allow: Any) -> None:
    allow()
    for _number in range(sweeper.CONVERSATIONS_AT_ONCE + 2):
        sent(visitor())
    long_ago(400 * 86_400)
    sweeper.forget_visitors(timezone.now())
    assert Conversation.objects.count() == Visitor.objects.count() == 2
    sweeper.forget_visitors(timezone.now())
    assert not Conversation.objects.exists()


@pytest.mark.parametrize("at", ["llmapp_conversation", "llmapp_visitor"])
def test_who_comes_back_while_they_are_forgotten_loses_nothing_new(agent: AgentSettings, at: str) -> None:
    one = visitor()
    old = sent(one)
    if at == "llmapp_visitor":
        old.conversation.delete()
    long_ago(400 * 86_400)
    runs: list[Run] = []

    def come_back() -> None:
        at_once(lambda: runs.append(submit(one, "Hi again").run))

    coming = threading.Thread(target=come_back)

    def interrupt(execute: Any, sql: str, *rest: Any) -> Any:
        """Come back just after it was seen who is gone."""
        result = execute(sql, *rest)
        if not coming.ident and sql.startswith("SELECT") and f'FROM "{at}"' in sql and "LIMIT 1 " not in f"{sql} ":
            coming.start()
            coming.join(1)
        return result

    with connection.execute_wrapper(interrupt):
        sweeper.forget_visitors(timezone.now())
    coming.join(10)
    assert [run.pk for run in runs] == list(Run.objects.filter(status="queued").values_list("pk", flat=True))
    assert Visitor.objects.get() == one


@pytest.mark.skipif(not stack.on_servers(), reason="SQLite's writers come one by one anyway")
def test_a_sign_in_waits_for_what_is_forgotten_and_the_other_way_round(
    person: Any, agent: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs before conversations here, and conversations before runs there, would be a deadlock."""
    one = visitor()
    sent(one)
    long_ago(400 * 86_400)
    real = actions.delete

    def slowly(conversation: Conversation) -> None:
        time.sleep(0.5)
        real(conversation)

    def sign_in() -> None:
        time.sleep(0.2)
        owner.adopt(one, person)

    monkeypatch.setattr(sweeper, "delete", slowly)
    assert at_once(lambda: sweeper.forget_visitors(timezone.now()), sign_in) == [None, None]
    assert not Conversation.objects.exists()


def test_marks_of_networks_are_kept_for_a_day(agent: AgentSettings) -> None:
    old, new = sent(visitor("a")), sent(visitor("b"))
    long_ago(86_400 + 1, pk=old.pk)
    sweeper.forget_addresses(timezone.now())
    assert dict(Run.objects.values_list("pk", "address")) == {old.pk: "", new.pk: "b"}


def test_the_sweeper_does_both(agent: AgentSettings) -> None:
    assert {sweeper.forget_addresses, sweeper.forget_visitors} <= set(sweeper.TASKS.values())
