"""What a stress test needs of a site: people with tokens, and an agent that only they may use. All of it goes again.

Everything bears one name. So what a test that was killed left behind is found and removed by the next one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from llmapp import tokens
from llmapp.core import run_state
from llmapp.models import AgentSettings, Conversation, Duty, LanguageModel, Provider, Run
from llmapp.runs import actions
from llmapp.runs.clock import db_now

from .config_apply import next_position

#: The name of the provider, the model, the agent and the group, and the beginning of each user's.
NAME = "llmapp-stress"

#: Seconds for workers to end the runs that are stopped.
PATIENCE = 10.0


@contextlib.contextmanager
def prepared(people: int, most: int, rate: float, seconds: float) -> Iterator[list[str]]:
    """Give a token for each of so many people, and remove everything in the end, however that comes.

    An answer has as many tokens as the message says, at most `most`, `rate` a second. `seconds` is how long the test
    may take. Raises `CommandError` while another one is running.
    """
    with _alone(seconds):
        remove()
        try:
            yield _make(people, most, rate, seconds)
        finally:
            remove()


@contextlib.contextmanager
def _alone(seconds: float) -> Iterator[None]:
    """Hold the place of the one who tests, at most for so long: who was killed holds it no longer."""
    now = db_now()
    until = now + timedelta(seconds=seconds)
    Duty.objects.filter(name=NAME, until__lte=now).delete()
    duty, made = Duty.objects.get_or_create(name=NAME, defaults={"until": until})
    if not made:
        wait = max(1, round((duty.until - now).total_seconds()))
        raise CommandError(
            _("Another stress test is running, or one was killed; try again in {wait} s.").format(wait=wait)
        )
    try:
        yield
    finally:
        Duty.objects.filter(name=NAME, until=until).delete()


def _make(people: int, most: int, rate: float, seconds: float) -> list[str]:
    try:
        with transaction.atomic():
            group = Group.objects.create(name=NAME)
            _make_agent(group, most, rate, seconds)
            return [tokens.issue(user, days=1) for user in _make_people(people, group)]
    except (IntegrityError, ValueError) as error:
        # Users may have to have what only the site knows of, or be spread over two tables.
        raise CommandError(
            _("No users can be made for the test: {why}").format(why=str(error).splitlines()[0])
        ) from None


def _make_agent(group: Group, most: int, rate: float, seconds: float) -> None:
    script = [{"options": {"tokens_per_second": rate}}, {"stamps": most}]
    timeouts = {"total": seconds}
    provider = Provider.objects.create(name=NAME, backend="scripted", options={"script": script}, timeouts=timeouts)
    model = LanguageModel.objects.create(name=NAME, provider=provider, model=NAME)
    agent = AgentSettings.objects.create(
        slug=NAME,
        model=model,
        access=AgentSettings.Access.GROUPS,
        timeout=seconds,
        # A superuser sees it too: not as the one that a new chat begins with.
        position=next_position(),
    )
    agent.groups.add(group)


def _make_people(number: int, group: Group) -> list[Any]:
    users = get_user_model()
    made = []
    for n in range(number):
        user = users(**_names(users, f"{NAME}-{n}"))
        user.set_unusable_password()
        made.append(user)
    # In bulk, which sends no signals: a site may write letters to its new users.
    users._default_manager.bulk_create(made)
    for user in made:
        user.groups.add(group)
    return made


def _names(users: Any, name: str) -> dict[str, str]:
    """Return what is different for each user, whatever the site's users are called by."""
    email = users.get_email_field_name()
    has_email = any(field.name == email for field in users._meta.get_fields())
    return {**({email: f"{name}@example.invalid"} if has_email else {}), users.USERNAME_FIELD: name}


def remove() -> None:
    """Remove everything that bears the name. Runs that go on are stopped first.

    Whoever else was put into the group stays.
    """
    users = get_user_model()
    ours = {f"{users.USERNAME_FIELD}__startswith": f"{NAME}-"}
    people = users._default_manager.filter(groups__name=NAME, **ours)
    _stop(Run.objects.filter(user__in=people, status__in=run_state.ACTIVE))
    for conversation in Conversation.objects.filter(user__in=people):
        actions.delete(conversation)
    people.delete()
    AgentSettings.objects.filter(slug=NAME).delete()
    LanguageModel.objects.filter(name=NAME).delete()
    Provider.objects.filter(name=NAME).delete()
    Group.objects.filter(name=NAME).delete()


def _stop(runs: Any) -> None:
    for run in runs:
        actions.request_stop(run)
    until = time.monotonic() + PATIENCE
    # One whose worker is gone is deleted as it is.
    while runs.exists() and time.monotonic() < until:
        time.sleep(0.1)
