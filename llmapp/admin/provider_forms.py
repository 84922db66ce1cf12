"""The forms of a provider and of its keys. A key goes in and never comes out again.

Nothing here puts what was typed as a key into a message, an attribute of a page or a log.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from llmapp.backends import BACKENDS
from llmapp.conf import app_settings
from llmapp.core.timeouts import Timeouts
from llmapp.destinations import Destination, destination, destination_of
from llmapp.management import config_values as values
from llmapp.models import Credential, Provider

from .base import RowForm
from .fields import RuleField, TableField, judged

TITLES = {
    "openai_compatible": gettext_lazy("OpenAI-compatible (most providers and local servers)"),
    "litellm": gettext_lazy("litellm (Anthropic, AWS, Google and others)"),
    "scripted": gettext_lazy("Scripted (plays a script, for demos and tests)"),
}

LABELS = {
    "connect": (gettext_lazy("To connect"), gettext_lazy("Seconds until the connection stands.")),
    "first_token": (gettext_lazy("To the first token"), gettext_lazy("Seconds until the answer begins.")),
    "idle": (gettext_lazy("Between two tokens"), gettext_lazy("Seconds of silence within an answer.")),
    "total": (gettext_lazy("In all"), gettext_lazy("Seconds for one attempt, from its start to its end.")),
}

DROPS = gettext_lazy("Changing scheme, host or port drops the keys below: they have to be typed again.")


def backends(current: str = "") -> list[tuple[str, str]]:
    """Return the choice of backends; one that is stored but gone is offered too, and said to be."""
    known = [(alias, str(TITLES.get(alias, alias))) for alias in {**BACKENDS, **app_settings.BACKENDS}]
    if current and current not in dict(known):
        known.append((current, _("%(name)s (not installed)") % {"name": current}))
    return known


class ProviderForm(RowForm[Provider]):
    """A provider. `moved` says after validation whether its keys would go somewhere else than before."""

    backend = forms.ChoiceField(label=gettext_lazy("Backend"), help_text=gettext_lazy("How it is spoken to."))
    base_url = RuleField(
        values.base_url,
        label=gettext_lazy("Base URL"),
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vURLField", "placeholder": "https://api.openai.com/v1"}),
    )
    headers = TableField(
        values.headers,
        label=gettext_lazy("Headers"),
        help_text=gettext_lazy("JSON, sent with each request. Not for keys: everybody who sees this page sees them."),
    )
    options = TableField(
        values.table, label=gettext_lazy("Options"), help_text=gettext_lazy("JSON, for the backend. Not for keys.")
    )
    timeout_connect = forms.FloatField(required=False)
    timeout_first_token = forms.FloatField(required=False)
    timeout_idle = forms.FloatField(required=False)
    timeout_total = forms.FloatField(required=False)

    class Meta:
        model = Provider
        fields = ["name", "backend", "base_url", "key_strategy", "headers", "options", "enabled"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._before = destination_of(self.instance) if self.instance.pk else None
        if "backend" in self.fields:
            self.fields["backend"].choices = backends(self.instance.backend)  # type: ignore[attr-defined]
            self.fields["base_url"].help_text = self._about_the_address()
            self._explain_timeouts()

    def _about_the_address(self) -> str:
        usual = _("Where the API begins; it often ends with /v1.")
        return f"{usual} {DROPS}" if self.instance.pk and self.instance.credentials.exists() else usual

    def _explain_timeouts(self) -> None:
        for part in fields(Timeouts):
            field = self.fields[f"timeout_{part.name}"]
            field.label, field.help_text = LABELS[part.name]
            field.widget.attrs |= {"placeholder": f"{part.default:g}", "min": "0", "step": "any"}
            field.initial = self.instance.timeouts.get(part.name)

    @property
    def moved(self) -> bool:
        return self._before is not None and self._before != self._after

    @property
    def _after(self) -> Destination:
        data = self.cleaned_data
        return destination(data["backend"], data["base_url"], data["options"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        given = {part.name: data.get(f"timeout_{part.name}") for part in fields(Timeouts)}
        for name, value in given.items():
            self._judge_timeout(name, value)
        self.instance.timeouts = {name: value for name, value in given.items() if value is not None}
        if data.get("backend") == "openai_compatible" and data.get("base_url") == "":
            self.add_error("base_url", _("This backend needs to know where the API is."))
        return data

    def _judge_timeout(self, name: str, value: float | None) -> None:
        if value is not None:
            try:
                judged(values.seconds, value)
            except ValidationError as error:
                self.add_error(f"timeout_{name}", error)


class KeyInput(forms.PasswordInput):
    """Shows that a key is stored by its last characters, beside an empty field."""

    def __init__(self) -> None:
        super().__init__(
            render_value=False, attrs={"autocomplete": "new-password", "spellcheck": "false", "class": "vTextField"}
        )


class CredentialForm(RowForm[Credential]):
    """A key. An empty field keeps the one that is stored."""

    key = forms.CharField(label=gettext_lazy("Key"), required=False, widget=KeyInput, max_length=20_000)

    class Meta:
        model = Credential
        fields = ["position", "enabled"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "key" in self.fields:
            self.fields["key"].widget.attrs["placeholder"] = _("stored; empty keeps it")
        if "position" in self.fields:
            self.fields["position"].help_text = _("Keys are taken in this order.")

    @sensitive_variables()
    def clean_key(self) -> dict[str, str] | None:
        """Return the set of secrets that was typed: a plain key, or a JSON object of several."""
        typed: str = self.cleaned_data["key"]
        if not typed:
            if self.instance.pk is None:
                raise ValidationError(_("A key is missing."))
            return None
        return _several(typed) if typed.startswith("{") else {"api_key": typed}

    @sensitive_variables()
    def save(self, commit: bool = True) -> Credential:
        if self.typed:
            self.instance.set_secrets(self.cleaned_data["key"])
        return super().save(commit)

    @property
    def typed(self) -> bool:
        """Whether a key was typed."""
        return bool(getattr(self, "cleaned_data", {}).get("key"))


@sensitive_variables()
def _several(typed: str) -> dict[str, str]:
    try:
        (secrets,) = values.api_keys([json.loads(typed)])
    except ValueError:
        # The parser's own words would quote what was typed.
        raise ValidationError(_('Several secrets are written as JSON: {"name": "value"}.')) from None
    return secrets
