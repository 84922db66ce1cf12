"""What a probe is about: the provider, a model of it, and its keys, read from their rows."""

from __future__ import annotations

from dataclasses import dataclass

from llmapp.backends.base import Endpoint, Secret
from llmapp.calls.base import ModelSpec
from llmapp.models import Credential, LanguageModel, Probe

from .briefing import endpoint_of, model_of


@dataclass(frozen=True, slots=True)
class Key:
    secret: Secret
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tested. `model` is None for a provider without any; `keys` is empty for one that needs none."""

    endpoint: Endpoint
    model: ModelSpec | None
    keys: tuple[Key, ...]
    #: Whether what the model can do is wanted too.
    in_depth: bool = False


def subject_of(row: Probe) -> Subject:
    """Read what is to be tested. Raises `Undecipherable` when a key cannot be read."""
    model = row.model or LanguageModel.objects.filter(provider=row.provider, enabled=True).order_by("pk").first()
    if model is not None:
        model.provider = row.provider
    return Subject(
        endpoint=endpoint_of(row.provider, 1),
        model=None if model is None else model_of(model, 1),
        keys=tuple(keys_of(row.provider_id)),
        in_depth=row.kind == Probe.Kind.MODEL,
    )


def keys_of(provider_id: int) -> list[Key]:
    keys = []
    for credential in Credential.objects.filter(provider_id=provider_id, enabled=True):
        secrets = credential.secrets()
        secret = Secret(id=credential.pk, api_key=secrets.pop("api_key", ""), extra=secrets)
        keys.append(Key(secret, credential.hint))
    return keys
