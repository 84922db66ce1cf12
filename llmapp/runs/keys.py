"""The key pool of a provider, as calls see it."""

from __future__ import annotations

from llmapp.backends.base import Secret
from llmapp.calls.base import ModelSpec
from llmapp.core.errors import Failure
from llmapp.models import Credential

from .threads import DatabaseThreads


class DatabaseKeyPool:
    """The `KeyPool` over the rows of `Credential`: the first usable one is taken."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | None:
        return await self._threads.patiently(self._pick, model.endpoint.id, avoid)

    def _pick(self, provider_id: int, avoid: frozenset[int]) -> Secret | None:
        usable = list(Credential.objects.filter(provider_id=provider_id, enabled=True))
        if not usable:
            return Secret(id=None)
        for credential in usable:
            if credential.pk not in avoid:
                secrets = credential.secrets()
                return Secret(id=credential.pk, api_key=secrets.pop("api_key", ""), extra=secrets)
        return None

    async def report(self, secret: Secret, failure: Failure | None) -> None:
        """Nothing is remembered about keys between calls yet."""
