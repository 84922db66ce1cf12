"""People without an account, who chat with a public agent."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

#: Of what a user or a visitor owns.
ONE_OWNER = Q(user__isnull=False, visitor__isnull=True) | Q(user__isnull=True, visitor__isnull=False)


class Visitor(models.Model):
    """Who is known by a session only. The row is made with the first message, so that crawlers leave none.

    It holds nothing about the person. A visitor who signs in hands everything over to the user, and is deleted.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    #: When it last sent something.
    seen_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    #: What doors ask of a user, and would ask of it.
    is_staff = False
    #: The mark of the network address that it sends from now (`api.address`). Not stored here.
    address = ""

    class Meta:
        verbose_name = "visitor"
        default_permissions = ()

    def __str__(self) -> str:
        return _("visitor {id}").format(id=str(self.id)[:8])
