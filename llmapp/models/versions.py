"""The history of the whole configuration: providers, models and agents, without secrets."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class ConfigurationVersion(models.Model):
    """What was set up after a change: who changed it, when, and everything but the secrets.

    Its number is its primary key: a database counts without gaps that matter, and never gives one twice.
    """

    class Source(models.TextChoices):
        FILE = "file", _("file")
        ADMIN = "admin", _("admin")
        RESTORE = "restore", _("restored")
        DEMO = "demo", _("demo")
        # Rows that were changed by other programs, or before there was a history.
        OTHER = "other", _("elsewhere")

    values = models.JSONField(_("values"))
    source = models.CharField(_("source"), max_length=10, choices=Source)
    #: The name of the file, or the number of the version that was restored.
    note = models.CharField(_("note"), max_length=200, blank=True)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("changed by")
    )
    #: Who was signed in to the machine, where a command made the change.
    login = models.CharField(_("login"), max_length=150, blank=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now_add=True)

    class Meta:
        verbose_name = _("configuration version")
        verbose_name_plural = _("configuration versions")
        ordering = ["-id"]
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def who(self) -> str:
        return str(self.changed_by) if self.changed_by is not None else self.login

    @property
    def where(self) -> str:
        """By which door the change came, and the name of the file or the number that was restored."""
        return " ".join(filter(None, [self.get_source_display(), self.note]))
