"""What calls keep for later ones: what providers said about their models, summaries of conversations."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from django.db import transaction

from llmapp.calls.base import ModelSpec, Summary
from llmapp.core.learned import Learned
from llmapp.models import LanguageModel

from . import records, summaries
from .threads import DatabaseThreads


class DatabaseNotebook:
    """The `Notebook` of one conversation."""

    def __init__(self, threads: DatabaseThreads, conversation_id: uuid.UUID) -> None:
        self._threads = threads
        self._conversation_id = conversation_id

    async def learn(self, model: ModelSpec, lesson: Learned) -> None:
        await self._threads.patiently(learn, model.id, lesson)

    async def summary(self, refs: Sequence[str]) -> Summary | None:
        return await self._threads.patiently(summaries.latest, refs)

    async def keep_summary(self, summary: Summary) -> None:
        await self._threads.patiently(summaries.keep, self._conversation_id, summary)


def learn(model_id: int, lesson: Learned) -> None:
    """Add a lesson to what is known of a model. Two that learn at once are both heard."""
    with transaction.atomic():
        row = LanguageModel.objects.select_for_update(of=("self",)).filter(pk=model_id).first()
        if row is None:
            return
        before = row.lessons
        after = before.and_also(lesson)
        if after == before:
            return
        LanguageModel.objects.filter(pk=model_id).update(learned=after.to_dict())
    said = ", ".join(f"{name} {value}" for name, value in lesson.to_dict().items())
    records.write_on_commit(records.calls, logging.INFO, "learned", f"{row.name}: {said}", model=row.name)


def forget(model_id: int) -> bool:
    """Forget what was learned about a model. Says whether there was anything."""
    return bool(LanguageModel.objects.filter(pk=model_id).exclude(learned={}).update(learned={}))
