"""`llmapp token`, and how a token is found again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone

from llmapp import tokens
from llmapp.models import ApiToken

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> Any:
    return get_user_model().objects.create_user("ada")


def test_the_command_prints_a_token_that_stands_for_its_user(ada: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("llmapp", "token", "ada")
    token = capsys.readouterr().out.strip()
    assert token.startswith("llmapp_")
    assert tokens.find(token) == ada


def test_only_a_hash_is_stored(ada: Any) -> None:
    token = tokens.issue(ada)
    row = ApiToken.objects.values().get()
    assert token not in str(row)
    assert row["hint"] == token[-4:]
    assert len(row["digest"]) == 64


def test_each_token_is_another_one(ada: Any) -> None:
    assert tokens.issue(ada) != tokens.issue(ada)


@pytest.mark.parametrize("days, found", [(None, True), (1, True)])
def test_a_token_is_good_until_its_day(ada: Any, days: int | None, found: bool) -> None:
    assert (tokens.find(tokens.issue(ada, days)) == ada) is found


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"revoked_at": timezone.now()},
    ],
    ids=["expired", "revoked"],
)
def test_a_token_that_is_over_finds_nobody(ada: Any, change: dict[str, Any]) -> None:
    token = tokens.issue(ada)
    ApiToken.objects.update(**change)
    assert tokens.find(token) is None


def test_a_token_of_somebody_who_left_finds_nobody(ada: Any) -> None:
    token = tokens.issue(ada)
    ada.is_active = False
    ada.save()
    assert tokens.find(token) is None


@pytest.mark.parametrize("token", ["", "llmapp_", "llmapp_unknown", "\ud83d", "x" * 100_000])
def test_what_is_no_token_finds_nobody(token: str) -> None:
    assert tokens.find(token) is None


@pytest.mark.parametrize(
    "arguments, said",
    [(["nobody"], "nobody"), (["ada", "--days", "0"], "--days"), (["ada", "--days", "-3"], "--days")],
)
def test_what_cannot_be_is_one_line(ada: Any, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("llmapp", "token", *arguments)
    assert not ApiToken.objects.exists()


def test_nobody_gets_a_token_for_somebody_who_left(ada: Any) -> None:
    ada.is_active = False
    ada.save()
    with pytest.raises(CommandError, match="not active"):
        call_command("llmapp", "token", "ada")
