"""What was asked of models, how often, with what result, and what it cost."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from llmapp.core.errors import ErrorKind

from .conversations import Message
from .providers import Credential, LanguageModel
from .runs import Run

KINDS = [(kind.value, kind.value) for kind in ErrorKind]


class Turn(models.Model):
    """One round of a run: a model's reply, and the tools that it asked for. Together they are the run's journal.

    A turn with a `finish_reason` is finished: its message is stored, and no takeover asks for it again.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="turns", verbose_name=_("run"), db_index=False)
    number = models.PositiveIntegerField(_("number"))
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    finish_reason = models.CharField(_("finish reason"), max_length=20, blank=True)
    error_kind = models.CharField(_("error"), max_length=30, blank=True, choices=KINDS)
    #: What it said; None where it said nothing, or has not finished.
    message = models.ForeignKey(Message, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        ordering = ["run", "number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="llmapp_turn_unique"),
            models.CheckConstraint(
                condition=Q(finish_reason="") | Q(ended_at__isnull=False), name="llmapp_turn_finished_is_ended"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"


class Call(models.Model):
    """What a turn asks of a model. It has one or more attempts."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="calls", verbose_name=_("run"))
    #: None for calls of earlier versions.
    turn = models.ForeignKey(Turn, models.CASCADE, null=True, related_name="calls", verbose_name=_("turn"))
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    error_kind = models.CharField(_("error"), max_length=30, blank=True, choices=KINDS)

    class Meta:
        verbose_name = _("call")
        verbose_name_plural = _("calls")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.pk}"


class Attempt(models.Model):
    """One request to one model with one credential. Times are seconds since its start."""

    call = models.ForeignKey(Call, models.CASCADE, related_name="attempts", verbose_name=_("call"))
    number = models.PositiveIntegerField(_("number"))
    # Its index is the one below, which also finds the latest of a model.
    model = models.ForeignKey(
        LanguageModel, models.SET_NULL, null=True, related_name="+", verbose_name=_("model"), db_index=False
    )
    model_name = models.CharField(_("model"), max_length=100)
    credential = models.ForeignKey(
        Credential, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("credential")
    )
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    first_token = models.FloatField(_("first token"), null=True, blank=True, help_text=_("Seconds."))
    status_code = models.PositiveSmallIntegerField(_("HTTP status"), null=True, blank=True)
    finish_reason = models.CharField(_("finish reason"), max_length=20, blank=True)
    error_kind = models.CharField(_("error"), max_length=30, blank=True, choices=KINDS)
    error_detail = models.TextField(_("the provider's words"), blank=True)
    action = models.CharField(_("action"), max_length=60, blank=True)
    waited = models.FloatField(_("waited"), null=True, blank=True, help_text=_("Seconds, after it failed."))
    #: What was asked, as `runs.requests` writes it down: without the key. None for attempts of earlier versions.
    request = models.JSONField(null=True, blank=True, editable=False)

    #: Of the request, as `ModelRequest.characters` counts them.
    input_characters = models.PositiveIntegerField(_("input characters"), null=True, blank=True)
    input_tokens = models.BigIntegerField(_("input tokens"), null=True, blank=True)
    cached_input_tokens = models.BigIntegerField(_("cached input tokens"), null=True, blank=True)
    cache_write_tokens = models.BigIntegerField(_("cache write tokens"), null=True, blank=True)
    output_tokens = models.BigIntegerField(_("output tokens"), null=True, blank=True)
    reasoning_tokens = models.BigIntegerField(_("reasoning tokens"), null=True, blank=True)
    cost = models.DecimalField(_("cost"), max_digits=18, decimal_places=9, null=True, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["call", "number"]
        indexes = [
            models.Index(fields=["started_at"], name="llmapp_attempt_started"),
            models.Index(fields=["model", "-started_at"], name="llmapp_attempt_of_model"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["call", "number"], name="llmapp_attempt_unique"),
            models.CheckConstraint(
                condition=Q(finish_reason="") | Q(ended_at__isnull=False), name="llmapp_attempt_finished_is_ended"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} {self.number}"
