"""What is wrong now, as all processes have to know it: so that it is told once, and mailed seldom."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Alarm(models.Model):
    """Something that is wrong, from when it was first seen until it is over: one row an occasion.

    `told_at` is None while it has not lasted long enough to be told.
    """

    #: Of what, such as `run_stuck:` and the id of the run.
    name = models.CharField(max_length=150, primary_key=True)
    signal = models.CharField(max_length=30)
    #: What the signal carries: ids and numbers, nothing that anybody wrote.
    facts = models.JSONField(default=dict)
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("alarm")
        verbose_name_plural = _("alarms")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class Mailing(models.Model):
    """When a subject was mailed to the admins last, and how many times it was left out since."""

    subject = models.CharField(max_length=150, primary_key=True)
    mailed_at = models.DateTimeField(null=True)
    left_out = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("mailing")
        verbose_name_plural = _("mailings")
        default_permissions = ()

    def __str__(self) -> str:
        return self.subject
