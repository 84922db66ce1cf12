"""`llmapp stress`: what it refuses at once, what it says about a site, and what it leaves behind: nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, models

import llmapp
from llmapp import tokens
from llmapp.management import stress, stress_site
from llmapp.management.stress import Busy, Place
from llmapp.measuring.figures import Measured
from llmapp.models import AgentSettings, Conversation, Duty, Run
from llmapp.runs import access, actions, lease
from llmapp.runs.installed import versions
from tests.support.loopback import closed_port

database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def silent() -> Iterator[str]:
    """A web server that takes connections and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("llmapp", "stress", *arguments)
    assert caught.value.returncode == 1
    return str(caught.value)


def stored() -> dict[str, int]:
    """Count the rows of each table, ours and the site's."""
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


# --- what is refused ------------------------------------------------------------------------


@database
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--streams", "0"], "--streams must be from 1 to 5000"),
        (["--seconds", "601"], "--seconds must be from 1 to 600"),
        (["--url", "chat.example.org"], "--url must be like http://127.0.0.1:8000/, not chat.example.org."),
        (["--url", "http://127.0.0.1:nine/"], "--url must be like"),
        (["--url", "ftp://127.0.0.1/"], "--url must be like"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], words: str) -> None:
    assert refusal(*arguments).startswith(words)


@database
def test_no_web_server() -> None:
    url = f"http://127.0.0.1:{closed_port()}/"
    assert refusal("--url", url).startswith(f"No web server answers at {url} (Connection refused).")


@database
def test_no_worker(silent: str) -> None:
    before, began = stored(), time.monotonic()
    assert refusal("--url", silent).startswith("No worker is there. Start one: celery -A project worker")
    assert time.monotonic() - began < 5
    assert stored() == before


@database
def test_not_even_one_answer(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, it is said within seconds, and nothing is left."""
    lease.register(4, versions())
    monkeypatch.setattr(stress, "WARM_UP", 0.5)
    before = stored()
    said = refusal("--url", silent)
    assert said.startswith(f"Not even one answer came through {silent}: not over after")
    assert said.endswith("manage.py llmapp doctor")
    assert stored() == before


@database
def test_one_at_a_time(silent: str) -> None:
    lease.register(4, versions())
    with stress_site.prepared(1, 5, 50, 30):
        assert refusal("--url", silent).startswith("Another stress test is running, or one was killed; try again in")
        assert AgentSettings.objects.filter(slug=stress_site.NAME).exists()


# --- what is made, and removed --------------------------------------------------------------


@database
def test_nothing_is_left_even_of_runs_that_nobody_ends(
    django_user_model: Any, monkeypatch: pytest.MonkeyPatch, enqueued: Any
) -> None:
    monkeypatch.setattr(stress_site, "PATIENCE", 0.2)
    before = stored()
    with suppress(KeyboardInterrupt), stress_site.prepared(2, 5, 50, 30) as people:
        user = tokens.find(people[0])
        assert tokens.find(people[1]) not in (None, user)
        claimed = actions.submit(user, "5", agent=stress_site.NAME).run
        lease.claim(claimed.pk, lease.register(1, versions()).pk)
        actions.submit(tokens.find(people[1]), "5", agent=stress_site.NAME)
        raise KeyboardInterrupt
    assert not Run.objects.exists()
    assert not Conversation.objects.exists()
    assert {**stored(), "llmapp.Worker": 0} == {**before, "llmapp.Worker": 0}


@database
def test_what_a_killed_one_left_goes_with_the_next_one() -> None:
    before = stored()
    abandoned = stress_site.prepared(2, 5, 50, 0)
    abandoned.__enter__()
    with stress_site.prepared(1, 5, 50, 30):
        assert get_user_model().objects.filter(username__startswith=stress_site.NAME).count() == 1
    assert stored() == before


@database
def test_only_its_own_people_see_the_agent(django_user_model: Any) -> None:
    other = django_user_model.objects.create_user("eve", is_staff=True)
    with stress_site.prepared(1, 5, 50, 30) as people:
        assert [agent.slug for agent in access.agents_for(tokens.find(people[0]))] == [stress_site.NAME]
        assert not access.agents_for(other).exists()


@database
def test_who_was_put_into_its_group_stays(django_user_model: Any) -> None:
    """An administrator who wants to look is not removed with what was made."""
    other = django_user_model.objects.create_user("eve")
    with stress_site.prepared(1, 5, 50, 30):
        other.groups.add(Group.objects.get(name=stress_site.NAME))
    assert [user.get_username() for user in get_user_model().objects.all()] == ["eve"]


@database
def test_no_letter_to_new_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's own receivers of `post_save` hear nothing of them."""
    from django.db.models.signals import post_save

    heard: list[Any] = []

    def receiver(**signal: Any) -> None:
        heard.append(signal["instance"])

    post_save.connect(receiver, sender=get_user_model())
    try:
        with stress_site.prepared(2, 5, 50, 30):
            assert heard == []
    finally:
        post_save.disconnect(receiver, sender=get_user_model())


class Member(AbstractBaseUser):
    """A site's own kind of user: known by a number, without an address."""

    phone = models.CharField(max_length=40, unique=True)
    USERNAME_FIELD = "phone"

    class Meta:
        app_label = "tests"


class Subscriber(AbstractBaseUser):
    """Another one, known by its address."""

    mail = models.EmailField(unique=True)
    USERNAME_FIELD = EMAIL_FIELD = "mail"

    class Meta:
        app_label = "tests"


@pytest.mark.parametrize(
    "users, names",
    [
        (User, {"username": "x", "email": "x@example.invalid"}),
        (Member, {"phone": "x"}),
        (Subscriber, {"mail": "x"}),
    ],
)
def test_users_have_what_a_site_knows_them_by(users: Any, names: dict[str, str]) -> None:
    assert stress_site._names(users, "x") == names


@database
def test_users_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise IntegrityError("NOT NULL constraint failed: auth_user.phone\nDETAIL")

    monkeypatch.setattr(stress_site, "_make_people", refuse)
    before = stored()
    with (
        pytest.raises(CommandError, match="No users can be made for the test: NOT NULL constraint failed"),
        stress_site.prepared(1, 5, 50, 30),
    ):
        pytest.fail("not reached")
    assert stored() == before


# --- what is said ---------------------------------------------------------------------------

WELL = Measured(p50=3.0, p99=9.0, first=80.0, cpu=400.0, memory=150.0, lost=0, errors=[], steady=10.0)
CALM = Busy(machine=0.2, worker=0.2, web=0.2)


def changed(**values: Any) -> Measured:
    return Measured(**{name: values.get(name, getattr(WELL, name)) for name in Measured.__slots__})


@pytest.mark.parametrize(
    "measured, room, busy, words",
    [
        (WELL, 50, CALM, None),
        # At the limit is within it.
        (changed(p99=200.0, first=2000.0), 50, CALM, None),
        (changed(p99=None), 50, CALM, None),
        (WELL, 49, CALM, "room for 49 of 50 answers. Start more"),
        (WELL, -3, CALM, "room for 0 of 50 answers"),
        (changed(errors=["429: too\nmany", "x"]), 50, CALM, "2 streams failed, the first: 429: too many."),
        (changed(lost=1), 50, CALM, "1 token did not arrive."),
        (changed(p99=201.0), 50, CALM, "later than 200 ms (201 ms)"),
        (changed(first=2001.0), 50, CALM, "longer than 2000 ms (2001 ms)"),
        # What is wrong first is said first.
        (changed(lost=9, errors=["x"], p99=999.0), 9, CALM, "room for 9 of 50"),
        (changed(p99=999.0), 50, Busy(0.99, 0.99, 0.99), "All cores of this machine are busy"),
        (changed(p99=999.0), 50, Busy(0.5, 0.95, 0.95), "start more worker processes"),
        (changed(p99=999.0), 50, Busy(0.5, None, 0.95), "The web processes use a whole core each"),
    ],
)
def test_what_was_missed(measured: Measured, room: int, busy: Busy, words: str | None) -> None:
    said = stress.what_was_missed(measured, room, 50, busy)
    assert said is None if words is None else words in str(said)


@pytest.mark.parametrize(
    "error, words",
    [
        ("ClientConnectorError: Cannot connect\nto host", "ClientConnectorError: Cannot connect to host"),
        ('429: {"error": {"code": "too_many_runs", "message": "Wait \\"a\\" moment."}}', 'Wait "a" moment'),
        ('id: 3\ndata: {"type":"RUN_ERROR","message":"It broke off."}', "It broke off"),
        # What was cut off is shown as it is.
        ('500: {"message": "It bro', '500: {"message": "It bro'),
    ],
)
def test_an_error_in_words(error: str, words: str) -> None:
    assert stress.in_words(error) == words


@pytest.mark.parametrize(
    "vendor, words", [("sqlite", "SQLite has one writer"), ("postgresql", "look at database, broker and network")]
)
def test_advice_when_nothing_is_full(vendor: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress.connection, "vendor", vendor)
    assert words in stress.advice(Busy(0.5, None, None))


@pytest.mark.parametrize(
    "measured, words",
    [
        (WELL, "Ok: 50 answers at a time, no token lost, and 99 of 100 are there within 9 ms."),
        (changed(p99=9.1), "Ok: 50 answers at a time, no token lost, and 99 of 100 are there within 10 ms."),
        (changed(p99=None), "Ok, as far as can be told"),
    ],
)
def test_the_verdict(measured: Measured, words: str) -> None:
    assert stress.verdict(measured, 50).startswith(words)


@pytest.mark.parametrize(
    "measured, more",
    [
        (WELL, []),
        (changed(p50=None, p99=None, steady=0.0), []),
        (changed(steady=0.0), ["The answers never ran all at once: the delays are those of all tokens."]),
    ],
)
def test_the_table(measured: Measured, more: list[str]) -> None:
    head, figures, *notes = stress.table(50, measured, ["a note"])
    assert len(head) == len(figures)
    assert figures.split()[0] == "50"
    assert notes == ["a note", *more]


@pytest.mark.parametrize(
    "place, words",
    [
        (Place([1], [2], True), []),
        (Place([], [2], True), ["without the workers"]),
        (Place([1], [], True), ["without the web processes"]),
        (Place([], [], False), ["without the workers", "without the web processes", "Delays are unknown"]),
    ],
)
def test_what_the_figures_leave_out(place: Place, words: list[str]) -> None:
    notes = stress.about_place("http://chat.example.org/", place)
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


@database
def test_a_worker_of_this_process_is_found_and_one_elsewhere_is_not() -> None:
    here = lease.register(4, {"llmapp": llmapp.__version__})
    assert stress.look_around([here], None) == Place([here.pid], [], True)
    container = lease.register(4, {})
    boot, _namespace, rest = str(container.versions["process"]).split("/", 2)
    container.versions["process"] = f"{boot}/4026531999/{rest}"
    assert stress.look_around([here, container], None) == Place([here.pid], [], True)
    container.versions["process"] = f"another-boot/4026531999/{rest}"
    assert stress.look_around([here, container], None) == Place([here.pid], [], False)


def test_a_web_process_may_open_too_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress.processes, "files_allowed", lambda pid: {7: 256, 8: 1024}[pid])
    assert stress.about_files(300, Place([], [7, 8], True)) == []
    (note,) = stress.about_files(400, Place([], [7, 8], True))
    assert note == "Too few open files: a web process may have 256 and needs about 300 (ulimit -n)."
    monkeypatch.setattr(stress.processes, "allow_files", lambda needed: 64)
    assert "this command may have 64" in stress.about_files(1, Place([], [], True))[0]


@database
def test_the_place_of_a_killed_one_is_free_after_its_time() -> None:
    with stress_site.prepared(1, 5, 50, 30):
        assert Duty.objects.filter(name=stress_site.NAME).exists()
    assert not Duty.objects.filter(name=stress_site.NAME).exists()
