"""Where models come from: providers, their keys, and the models that they serve."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from llmapp import encryption
from llmapp.core.keys import FILL_FIRST, ROUND_ROBIN
from llmapp.core.learned import Learned
from llmapp.core.timeouts import Timeouts
from llmapp.core.usage import Prices


class Provider(models.Model):
    """An endpoint that serves models."""

    class KeyStrategy(models.TextChoices):
        FILL_FIRST = FILL_FIRST, _("the first key that can be used")
        ROUND_ROBIN = ROUND_ROBIN, _("all keys in turn")

    name = models.CharField(_("name"), max_length=100, unique=True)
    backend = models.CharField(_("backend"), max_length=100, default="openai_compatible")
    base_url = models.CharField(_("base URL"), max_length=500, blank=True)
    timeouts = models.JSONField(_("timeouts"), default=dict, blank=True, help_text=_("In seconds."))
    headers = models.JSONField(_("headers"), default=dict, blank=True, help_text=_("Sent with each request."))
    options = models.JSONField(_("options"), default=dict, blank=True, help_text=_("For the backend."))
    key_strategy = models.CharField(
        _("which key is asked"), max_length=20, choices=KeyStrategy, default=KeyStrategy.FILL_FIRST
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    # Counts the saves: a process that holds a client of an older version makes a new one.
    version = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.version += 1
        if (fields := kwargs.get("update_fields")) is not None:
            kwargs["update_fields"] = {*fields, "version"}
        super().save(*args, **kwargs)
        # Whoever changes it may have mended it.
        self.breakers.all().delete()

    @property
    def effective_timeouts(self) -> Timeouts:
        return Timeouts.from_dict(self.timeouts)


class Credential(models.Model):
    """One API key, or set of secrets, in the pool of a provider. Stored encrypted, never shown again."""

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="credentials", verbose_name=_("provider"))
    position = models.PositiveIntegerField(_("position"), default=0)
    # The encrypted JSON of {"api_key": ..., further secrets}.
    secret = models.BinaryField(editable=False)
    hint = models.CharField(_("last characters"), max_length=4, blank=True, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    #: What became of it: the rules are in `core.keys`. Times are the database's.
    benched_until = models.DateTimeField(_("rests until"), null=True, blank=True, editable=False)
    bench_kind = models.CharField(_("failed last by"), max_length=30, blank=True, editable=False)
    failures_in_a_row = models.PositiveIntegerField(default=0, editable=False)
    failed_at = models.DateTimeField(null=True, blank=True, editable=False)
    dead_since = models.DateTimeField(_("refused since"), null=True, blank=True, editable=False)
    #: Kept where keys are taken in turn.
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    #: The fields that a key begins with.
    FRESH: ClassVar[dict[str, Any]] = {
        "benched_until": None,
        "bench_kind": "",
        "failures_in_a_row": 0,
        "failed_at": None,
        "dead_since": None,
    }

    class Meta:
        verbose_name = _("credential")
        verbose_name_plural = _("credentials")
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"…{self.hint}" if self.hint else f"#{self.pk}"

    def set_secrets(self, secrets: dict[str, str]) -> None:
        """Encrypt and keep `secrets`. Only the last characters of a key that is long enough stay readable.

        What became of the key before is nothing to the new one.
        """
        self.secret = encryption.encrypt(secrets)
        key = secrets.get("api_key", "")
        self.hint = key[-4:] if len(key) >= 12 else ""
        for name, value in self.FRESH.items():
            setattr(self, name, value)

    def secrets(self) -> dict[str, str]:
        """Decrypt. Raises `encryption.Undecipherable` when no key of the ring fits."""
        return encryption.decrypt(bytes(self.secret))


class LanguageModel(models.Model):
    """One model of a provider: window, prices, capabilities."""

    class Streaming(models.TextChoices):
        AUTO = "auto", _("automatic")
        ALWAYS = "always", _("always")
        NEVER = "never", _("never")

    class SystemRole(models.TextChoices):
        SYSTEM = "system", "system"
        DEVELOPER = "developer", "developer"
        USER = "user", "user"

    name = models.CharField(_("name"), max_length=100, unique=True)
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="models", verbose_name=_("provider"))
    model = models.CharField(_("the provider's name for it"), max_length=200)
    context_window = models.PositiveIntegerField(
        _("context window"), null=True, blank=True, validators=[MinValueValidator(1)], help_text=_("In tokens.")
    )
    max_output_tokens = models.PositiveIntegerField(
        _("output limit"), null=True, blank=True, validators=[MinValueValidator(1)], help_text=_("In tokens.")
    )
    tokens_per_minute = models.PositiveIntegerField(
        _("tokens a minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("What the provider allows, over all keys. Calls wait or go elsewhere before it is used up."),
    )
    input_price = models.DecimalField(
        _("input price"),
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("USD per million tokens. Leave empty when unknown."),
    )
    cached_input_price = models.DecimalField(
        _("cached input price"),
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
    )
    cache_write_price = models.DecimalField(
        _("cache write price"),
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
    )
    output_price = models.DecimalField(
        _("output price"), max_digits=12, decimal_places=6, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    streaming = models.CharField(_("streaming"), max_length=10, choices=Streaming, default=Streaming.AUTO)
    system_role = models.CharField(_("system role"), max_length=10, choices=SystemRole, default=SystemRole.SYSTEM)
    #: What a check found out: {"checked_at": ISO time, "features": {name: works|refused|unused|unknown}}.
    capabilities = models.JSONField(_("capabilities"), default=dict, blank=True, editable=False)
    #: What its provider said of it: `core.learned`, as JSON.
    learned = models.JSONField(_("learned"), default=dict, blank=True, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)

    #: Where one of these changes, what was learned is about something else.
    LEARNED_ABOUT: ClassVar[tuple[str, ...]] = ("provider_id", "model", "context_window")

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("update_fields") is None and self.pk is not None and self._is_another():
            self.learned = {}
            self.forget_health()
        super().save(*args, **kwargs)

    def _is_another(self) -> bool:
        before = type(self)._default_manager.filter(pk=self.pk).values(*self.LEARNED_ABOUT).first()
        return before is not None and any(getattr(self, name) != value for name, value in before.items())

    def forget_health(self) -> None:
        """Begin anew: its breaker is closed, and what has helped is open again."""
        self.breakers.all().delete()
        self.observations.all().delete()

    @property
    def lessons(self) -> Learned:
        return Learned.from_dict(self.learned)

    @property
    def prices(self) -> Prices:
        return Prices(
            input=self.input_price,
            cached_input=self.cached_input_price,
            cache_write=self.cache_write_price,
            output=self.output_price,
        )
