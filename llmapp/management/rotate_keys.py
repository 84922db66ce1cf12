"""`llmapp rotate-keys`: encrypt every key of every provider with the first of LLMAPP["ENCRYPTION_KEYS"].

Each key is a transaction of its own. Until the old encryption keys leave the ring, all keys can be read with it, those
that are done and those that are not: it may be interrupted at any time, and goes on when it is run again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from enum import Enum

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp import encryption
from llmapp.models import Credential

from .processes import Say


class Outcome(Enum):
    ROTATED = "rotated"
    CURRENT = "current"
    UNREADABLE = "unreadable"
    GONE = "gone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def handle(say: Say) -> None:
    """Rotate all keys. Raises `CommandError` if any cannot be read."""
    counts: Counter[Outcome] = Counter()
    unreadable: list[str] = []
    try:
        for credential in Credential.objects.select_related("provider").order_by("pk"):
            outcome = rotate(credential)
            counts[outcome] += 1
            if outcome is Outcome.UNREADABLE:
                unreadable.append(f"{credential.provider.name} {credential}")
    except (ImproperlyConfigured, ValueError) as error:
        # The second is what `Fernet` says of an encryption key that is none, without repeating it.
        raise CommandError(str(error)) from None
    for line in _summary(counts):
        say(line)
    if unreadable:
        raise CommandError(_("No encryption key of the ring reads: {keys}.").format(keys=", ".join(unreadable)))


def rotate(credential: Credential) -> Outcome:
    """Encrypt one credential anew, unless somebody changes it at this moment: then theirs is tried."""
    while True:
        old = bytes(credential.secret)
        if encryption.is_current(old):
            return Outcome.CURRENT
        try:
            new = encryption.rotated(old)
        except encryption.Undecipherable:
            return Outcome.UNREADABLE
        # One statement, and only if it is still what was read.
        if Credential.objects.filter(pk=credential.pk, secret=old).update(secret=new):
            return Outcome.ROTATED
        try:
            credential.refresh_from_db(fields=["secret"])
        except Credential.DoesNotExist:
            return Outcome.GONE


def _summary(counts: Counter[Outcome]) -> list[str]:
    done, current = counts[Outcome.ROTATED], counts[Outcome.CURRENT]
    lines = [ngettext("{number} key is encrypted anew.", "{number} keys are encrypted anew.", done).format(number=done)]
    if current:
        text = ngettext("{number} key was so already.", "{number} keys were so already.", current)
        lines.append(text.format(number=current))
    return lines
