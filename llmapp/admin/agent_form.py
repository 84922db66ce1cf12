"""The form of an agent: other models by choice, limits with their units, settings that are JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp.management import config_values as values
from llmapp.models import AgentSettings, LanguageModel

from .base import RowForm
from .fields import OrderField, TableField

#: Field -> what it counts, or is measured in.
UNITS = {
    "timeout": gettext_lazy("Seconds for a whole run, over all of its attempts."),
    "attempts": gettext_lazy("Requests to models in one run, over every retry, key and model."),
    "max_turns": gettext_lazy("Rounds in one run: a model's reply, and the tools that it asked for."),
    "timeout_limit": gettext_lazy("Attempts that may time out before the run gives up."),
    "violation_limit": gettext_lazy("Refusals by a provider's content policy before the run gives up."),
    "slow_after": gettext_lazy("Seconds after which an answer is reported as slow. Empty: never."),
    "position": gettext_lazy("Agents are offered in this order; a new chat begins with the first."),
    "slug": gettext_lazy("Programs and addresses call it by this."),
    "name": gettext_lazy("What people see. Empty: made from the slug."),
    "access": gettext_lazy(
        "Public: visitors without an account chat in pages that show it, and each answer costs what it costs,"
        " whoever asks. The settings VISITOR_… and ADDRESS_… limit what a visitor, a network and all of them may send."
    ),
    "instructions": gettext_lazy("What the model is told before each conversation."),
}


def model_choices(gone: list[str]) -> list[tuple[str, str]]:
    """Return all models by name, those that cannot be used with the reason, and names that no model has."""
    choices = []
    for model in LanguageModel.objects.select_related("provider"):
        usable = model.enabled and model.provider.enabled
        choices.append((model.name, model.name if usable else _("%(name)s (disabled)") % {"name": model.name}))
    known = {name for name, _title in choices}
    missing = dict.fromkeys(name for name in gone if name not in known)
    return [*choices, *((name, _("%(name)s (deleted)") % {"name": name}) for name in missing)]


Known = dict[str, LanguageModel]


def names_of(agent: AgentSettings) -> list[str]:
    """Return the names of all models that an agent may ask, each once."""
    return list(dict.fromkeys([agent.model.name, *agent.fallbacks, *filter(None, [agent.summary_model])]))


def known_models(agents: Iterable[AgentSettings]) -> Known:
    """Return the models that agents name, as far as they are there, in one query."""
    names = {name for agent in agents for name in names_of(agent)}
    return {row.name: row for row in LanguageModel.objects.filter(name__in=names).select_related("provider")}


def passed_over(agent: AgentSettings, known: Known) -> list[str]:
    """Return the models of an agent that are deleted or disabled, in a word."""
    said = []
    for name in names_of(agent):
        row = known.get(name)
        if row is None:
            said.append(_("%(name)s (deleted)") % {"name": name})
        elif not row.enabled or not row.provider.enabled:
            said.append(_("%(name)s (disabled)") % {"name": name})
    return said


def unusable(agent: AgentSettings, known: Known) -> list[str]:
    """Return a sentence for each model of an agent that is deleted or disabled."""
    sentences = []
    for name in names_of(agent):
        row = known.get(name)
        if row is None and name in agent.fallbacks:
            sentences.append(_("The fallback %(name)s names a model that is not there any more.") % {"name": name})
        elif row is None:
            text = _("The summary model %(name)s is not there any more: the agent's own model summarises.")
            sentences.append(text % {"name": name})
        elif not row.enabled:
            sentences.append(_("The model %(name)s is disabled, and is passed over.") % {"name": name})
        elif not row.provider.enabled:
            text = _("The model %(name)s is passed over: its provider %(provider)s is disabled.")
            sentences.append(text % {"name": name, "provider": row.provider.name})
    return sentences


class AgentForm(RowForm[AgentSettings]):
    settings = TableField(
        values.settings,
        label=gettext_lazy("Settings"),
        help_text=gettext_lazy('JSON, passed to the model, such as {"temperature": 0.2}.'),
    )

    class Meta:
        model = AgentSettings
        exclude = ["fallbacks"]
        widgets = {"instructions": forms.Textarea(attrs={"rows": 10, "class": "vLargeTextField"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Somebody who may only look gets a form without most fields.
        for name in UNITS.keys() & self.fields.keys():
            self.fields[name].help_text = UNITS[name]
        chain = list(self.instance.fallbacks)
        self.fields["fallbacks"] = OrderField(
            model_choices(chain),
            len(chain),
            label=gettext_lazy("Fallbacks"),
            help_text=gettext_lazy("Asked in this order when the model before does not answer."),
            initial=chain,
        )
        self.initial["fallbacks"] = chain
        if "summary_model" in self.fields:
            names = [
                ("", _("The agent's own model")),
                *model_choices(list(filter(None, [self.instance.summary_model]))),
            ]
            self.fields["summary_model"] = forms.ChoiceField(
                choices=names,
                required=False,
                label=gettext_lazy("Summary model"),
                help_text=gettext_lazy("Summarises the beginning of a conversation that has become too long."),
            )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        model = data.get("model")
        if model is not None and model.name in data.get("fallbacks", []):
            text = _("%(name)s is the agent's own model: it cannot be its fallback.") % {"name": model.name}
            self.add_error("fallbacks", text)
        self._judge_access(data)
        self.instance.fallbacks = data.get("fallbacks", self.instance.fallbacks)
        return data

    def _judge_access(self, data: dict[str, Any]) -> None:
        by_group = data.get("access") == AgentSettings.Access.GROUPS
        if by_group and not data.get("groups"):
            self.add_error("groups", _("Choose the groups whose members may use it."))
        elif not by_group and data.get("groups"):
            # What is not said by `access` would be forgotten by a file, and mean nothing.
            data["groups"] = data["groups"].none()
