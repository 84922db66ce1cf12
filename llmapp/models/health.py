"""How providers and models have done lately, for all workers. The rules are in `core.health`."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from .providers import LanguageModel, Provider


class Breaker(models.Model):
    """The breaker of a model, or of a whole provider. There is a row only while there is something to remember."""

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="breakers", db_index=False)
    model = models.ForeignKey(LanguageModel, models.CASCADE, null=True, related_name="breakers", db_index=False)
    #: Failures one after the other, and when the last of them was.
    in_a_row = models.PositiveIntegerField(default=0)
    failed_at = models.DateTimeField(null=True)
    failed_by = models.CharField(max_length=30, blank=True)
    #: How often it has opened since it was closed, since when, and until when.
    openings = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    #: While one call tries: until when the others wait for it.
    probe_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "breaker"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["model"], name="llmapp_breaker_of_model"),
            models.UniqueConstraint(
                fields=["provider"], condition=Q(model__isnull=True), name="llmapp_breaker_of_provider"
            ),
        ]
        indexes = [models.Index(fields=["provider"], name="llmapp_breaker_provider")]

    def __str__(self) -> str:
        return f"{self.provider_id}/{self.model_id or '*'}"


class Observation(models.Model):
    """After a failure of this kind this was done, and the attempt that followed was answered or not."""

    model = models.ForeignKey(LanguageModel, models.CASCADE, related_name="observations")
    kind = models.CharField(max_length=30)
    action = models.CharField(max_length=60)
    ok = models.BooleanField()
    at = models.DateTimeField()

    class Meta:
        verbose_name = "observation"
        default_permissions = ()
        indexes = [models.Index(fields=["at"], name="llmapp_observation_at")]

    def __str__(self) -> str:
        return f"{self.kind} {self.action} {self.ok}"
