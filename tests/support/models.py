"""Rows of a provider with keys and models, and how calls see them."""

from __future__ import annotations

from llmapp.calls.base import ModelSpec
from llmapp.models import Credential, LanguageModel, Provider
from llmapp.runs.briefing import model_of


def make_model(*keys: str, name: str = "small", provider: Provider | None = None, **fields: str) -> LanguageModel:
    """Make a model, and its provider with these keys."""
    if provider is None:
        provider = Provider.objects.create(name=f"of {name}", backend="scripted", **fields)
    for position, key in enumerate(keys):
        add_key(provider, key, position)
    return LanguageModel.objects.create(name=name, provider=provider, model=name)


def add_key(provider: Provider, key: str, position: int = 0) -> Credential:
    credential = Credential(provider=provider, position=position)
    credential.set_secrets({"api_key": key})
    credential.save()
    return credential


def spec_of(model: LanguageModel) -> ModelSpec:
    return model_of(LanguageModel.objects.select_related("provider").get(pk=model.pk), 1)
