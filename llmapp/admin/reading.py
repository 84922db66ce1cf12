"""Whoever reads what people wrote leaves a trace: an entry in the admin's history and a line in the log."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.translation import gettext as _

from llmapp.models import Conversation, Run

logger = logging.getLogger("llmapp.access")

PERMISSION = "llmapp.view_conversation_content"

#: The history's flag for a reading: Django's own are 1 to 3, addition, change and deletion.
READ = 4


def may_read(request: HttpRequest) -> bool:
    return bool(request.user.has_perm(PERMISSION))


def note(request: HttpRequest, row: Conversation | Run) -> None:
    """Write down that this person now reads this. Raises `PermissionDenied`. Call it before anything is shown."""
    if not may_read(request):
        raise PermissionDenied
    person: Any = request.user
    kind = str(row._meta.model_name)
    LogEntry.objects.create(
        user_id=person.pk,
        content_type=ContentType.objects.get_for_model(row, for_concrete_model=False),
        object_id=str(row.pk),
        # Not its title, which is what somebody wrote.
        object_repr=f"{row._meta.verbose_name} {row.pk}"[:200],
        action_flag=READ,
        change_message=_("Read the content."),
    )
    logger.info(
        "user %s reads %s %s",
        person.pk,
        kind,
        row.pk,
        extra={"action": "content_read", "reader": str(person.pk), kind: str(row.pk)},
    )
