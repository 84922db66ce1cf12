"""Questions to a provider or a model, asked to see whether it works, and what came of them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .providers import LanguageModel, Provider


class Probe(models.Model):
    """A test of a provider's connection, a check of what a model can do, or a request of a run that is sent again.
    A worker carries it out.

    `stages` is a list of {"name", "state", "code", "values", "detail", "seconds"} in the order in which they
    were reached: `state` is running, ok, failed or skipped; `code` names a sentence of `runs.probe_sentences`
    and `values` fills it; `detail` is the provider's own words; `seconds` is how long the stage took.
    """

    class Kind(models.TextChoices):
        CONNECTION = "connection", _("connection")
        MODEL = "model", _("model")
        REQUEST = "request", _("request")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    provider = models.ForeignKey(Provider, models.CASCADE, related_name="probes", verbose_name=_("provider"))
    #: The model that is asked; None for a connection that is tested with whichever there is.
    model = models.ForeignKey(
        LanguageModel, models.CASCADE, null=True, blank=True, related_name="probes", verbose_name=_("model")
    )
    #: The attempt whose request is sent again.
    attempt = models.ForeignKey(
        "llmapp.Attempt", models.CASCADE, null=True, blank=True, related_name="probes", verbose_name=_("attempt")
    )
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("asked by")
    )
    stages = models.JSONField(_("stages"), default=list)
    #: What came back to a request that was sent again, as `runs.resending` writes it.
    outcome = models.JSONField(default=dict, blank=True, editable=False)
    #: None while it goes on.
    passed = models.BooleanField(_("passed"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    #: When a worker took it.
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        verbose_name = _("probe")
        verbose_name_plural = _("probes")
        ordering = ["-created_at"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, passed__isnull=True)
                | Q(ended_at__isnull=False, passed__isnull=False),
                name="llmapp_probe_passed_iff_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
