"""Agents as a site's owner sets them up: instructions, a model, fallbacks, limits, access."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from .providers import LanguageModel


class AgentSettings(models.Model):
    """An agent. Named apart from `llmapp.Agent`, which is the same thing written in code."""

    class Access(models.TextChoices):
        STAFF = "staff", _("staff")
        AUTHENTICATED = "authenticated", _("everybody who is signed in")
        GROUPS = "groups", _("members of the groups below")
        PUBLIC = "public", _("everybody, also visitors without an account")

    slug = models.SlugField(_("slug"), max_length=100, unique=True)
    name = models.CharField(_("name"), max_length=100, blank=True)
    description = models.CharField(_("description"), max_length=300, blank=True)
    model = models.ForeignKey(LanguageModel, models.PROTECT, related_name="agents", verbose_name=_("model"))
    #: Names of models, in the order in which they are tried.
    fallbacks = models.JSONField(_("fallbacks"), default=list, blank=True)
    #: The name of the model that summarises long conversations. Blank: the one that answers does.
    summary_model = models.CharField(_("summary model"), max_length=100, blank=True)
    instructions = models.TextField(_("instructions"), blank=True)
    access = models.CharField(_("access"), max_length=20, choices=Access, default=Access.STAFF)
    groups = models.ManyToManyField("auth.Group", blank=True, related_name="+", verbose_name=_("groups"))
    timeout = models.FloatField(
        _("timeout"),
        default=600,
        validators=[MinValueValidator(1), MaxValueValidator(86_400)],
        help_text=_("Seconds for a run."),
    )
    attempts = models.PositiveIntegerField(_("attempts"), default=12, validators=[MinValueValidator(1)])
    max_turns = models.PositiveIntegerField(_("turns"), default=20, validators=[MinValueValidator(1)])
    timeout_limit = models.PositiveIntegerField(_("timeout limit"), default=3, validators=[MinValueValidator(1)])
    violation_limit = models.PositiveIntegerField(_("violation limit"), default=1, validators=[MinValueValidator(1)])
    slow_after = models.FloatField(
        _("slow after"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1), MaxValueValidator(86_400)],
        help_text=_("Seconds after which an answer that is not there is reported as slow. Empty: never."),
    )
    settings = models.JSONField(_("settings"), default=dict, blank=True, help_text=_("Passed to the model."))
    enabled = models.BooleanField(_("enabled"), default=True)
    position = models.PositiveIntegerField(_("position"), default=0)

    class Meta:
        verbose_name = _("agent")
        verbose_name_plural = _("agents")
        ordering = ["position", "slug"]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return self.name or self.slug.replace("-", " ").replace("_", " ").capitalize()


class AgentVersion(models.Model):
    """What an agent looked like after a change: who changed it, when, and everything that was set."""

    agent = models.ForeignKey(AgentSettings, models.CASCADE, related_name="versions", verbose_name=_("agent"))
    number = models.PositiveIntegerField(_("number"))
    values = models.JSONField(_("values"))
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("changed by")
    )
    changed_at = models.DateTimeField(_("changed at"), auto_now_add=True)

    class Meta:
        verbose_name = _("agent version")
        verbose_name_plural = _("agent versions")
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["agent", "number"], name="llmapp_agent_version_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_id}/{self.number}"
