"""The history of agents: what an agent looked like after each change."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from llmapp.models import AgentSettings, AgentVersion, LanguageModel
from llmapp.snapshot import KEYS

#: What a version holds besides the names of the model and of the groups.
FIELDS = tuple(name for name in KEYS["agents"] if name != "model")


class CannotRestore(Exception):
    """A version names what is not there any more. The text is one line; nothing was changed."""


def values_of(agent: AgentSettings) -> dict[str, Any]:
    """Return everything that is set on an agent, as JSON can hold it."""
    values = {name: getattr(agent, name) for name in FIELDS}
    groups = sorted(agent.groups.values_list("name", flat=True))
    return {**values, "model": agent.model.name, "groups": groups}


def record(agent: AgentSettings, changed_by: Any = None) -> AgentVersion | None:
    """Write a version if the agent differs from the last one. Call it in the transaction of the change."""
    values = values_of(agent)
    last = agent.versions.first()
    if last is not None and last.values == values:
        return None
    number = last.number + 1 if last is not None else 1
    return AgentVersion.objects.create(agent=agent, number=number, values=values, changed_by=changed_by)


@transaction.atomic
def restore(version: AgentVersion, changed_by: Any = None) -> AgentVersion | None:
    """Make an agent what a version says, as a new version; None when it is that already. Raises `CannotRestore`."""
    agent, values = version.agent, version.values
    models = {model.name: model for model in LanguageModel.objects.all()}
    groups = {group.name: group for group in Group.objects.filter(name__in=values["groups"])}
    # A version of an earlier release may lack what came later.
    named = [values["model"], *values["fallbacks"], values.get("summary_model") or values["model"]]
    gone = [name for name in named if name not in models]
    if gone:
        raise CannotRestore(_("There is no model {names} any more.").format(names=", ".join(dict.fromkeys(gone))))
    if missing := [name for name in values["groups"] if name not in groups]:
        raise CannotRestore(_("There is no group {names} any more.").format(names=", ".join(missing)))
    for name in FIELDS:
        setattr(agent, name, values.get(name, getattr(agent, name)))
    agent.model = models[values["model"]]
    try:
        agent.full_clean()
    except ValidationError as error:
        raise CannotRestore(" ".join(error.messages)) from None
    agent.save()
    agent.groups.set(groups.values())
    return record(agent, changed_by)
