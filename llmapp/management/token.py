"""`llmapp token`: make an API token for a user, and print it, once."""

from __future__ import annotations

import argparse

from django.contrib.auth import get_user_model
from django.core.management import CommandError
from django.utils.translation import gettext as _

from llmapp import tokens

from .processes import Say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("username", help=_("Whom the token stands for."))
    parser.add_argument("--days", type=int, help=_("Days until it expires; it never does without."))


def handle(username: str, days: int | None, say: Say) -> None:
    if days is not None and not 1 <= days <= 36500:
        raise CommandError(_("--days must be from 1 to 36500."))
    users = get_user_model()
    try:
        user = users._default_manager.get_by_natural_key(username)
    except users.DoesNotExist:
        raise CommandError(_("There is no user %s.") % username) from None
    if not user.is_active:
        raise CommandError(_("The user %s is not active.") % username)
    say(tokens.issue(user, days))
