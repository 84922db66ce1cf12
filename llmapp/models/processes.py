"""Processes of the site: what a row of each of them says."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _


class Process(models.Model):
    """A process that is there, or was. Times are the database's clock.

    What came later than the first release has a default in the database: processes of an earlier one register too.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hostname = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    versions = models.JSONField(_("versions"), default=dict)
    #: Migrations, settings and keys, as `runs.installed` describes them; never a secret.
    setup = models.JSONField(default=dict, db_default={}, editable=False)
    #: What it has open: streams of providers, or sockets of people. Ages are seconds at its last heartbeat.
    open = models.JSONField(default=dict, db_default={}, editable=False)
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)

    class Meta:
        abstract = True
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"


class WebProcess(Process):
    """One process that answers requests."""

    class Meta(Process.Meta):
        verbose_name = _("web process")
        verbose_name_plural = _("web processes")
