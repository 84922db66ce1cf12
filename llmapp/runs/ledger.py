"""Writes calls and attempts down, as rows: who was asked, with which key, how it ended, what it cost."""

from __future__ import annotations

import logging
import uuid

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from llmapp.backends.base import Secret
from llmapp.calls.base import AttemptResult, Call, ModelSpec
from llmapp.core.errors import Failure
from llmapp.models import Attempt, Run
from llmapp.models import Call as CallRow

from .threads import DatabaseThreads

logger = logging.getLogger("llmapp.calls")


class RunLedger:
    """The `Ledger` of one run. A database that is away is waited for: what a provider said must not fail by it.

    So every entry may be made twice, when the first try did arrive.
    """

    def __init__(self, run_id: uuid.UUID, threads: DatabaseThreads) -> None:
        self._run_id = run_id
        self._threads = threads

    async def call_started(self, call: Call) -> int:
        return await self._threads.patiently(self._open_call)

    def _open_call(self) -> int:
        tried = Exists(Attempt.objects.filter(call=OuterRef("pk")))
        calls = CallRow.objects.filter(run_id=self._run_id).order_by("-turn")
        last = calls.values_list("pk", "turn", "ended_at", tried).first()
        pk, turn, ended_at, was_tried = last or (0, 0, None, True)
        if ended_at is None and not was_tried:
            # Ours, of a try whose answer was lost.
            return pk
        return CallRow.objects.create(run_id=self._run_id, turn=turn + 1, started_at=Now()).pk

    async def call_ended(self, call_id: int, failure: Failure | None) -> None:
        await self._threads.patiently(self._close_call, call_id, failure)

    def _close_call(self, call_id: int, failure: Failure | None) -> None:
        kind = str(failure.kind) if failure else ""
        CallRow.objects.filter(pk=call_id, ended_at=None).update(ended_at=Now(), error_kind=kind)

    async def attempt_started(self, call_id: int, number: int, model: ModelSpec, secret: Secret) -> int:
        return await self._threads.patiently(self._open_attempt, call_id, number, model, secret)

    def _open_attempt(self, call_id: int, number: int, model: ModelSpec, secret: Secret) -> int:
        attempt = Attempt(call_id=call_id, number=number, model_id=model.id, model_name=model.name)
        attempt.credential_id, attempt.started_at = secret.id, Now()
        try:
            with transaction.atomic():
                attempt.save(force_insert=True)
                Run.objects.filter(pk=self._run_id).update(attempts_used=F("attempts_used") + 1, model_name=model.name)
        except IntegrityError:
            first = Attempt.objects.filter(call_id=call_id, number=number).values_list("pk", flat=True).first()
            if first is None:
                raise
            return first  # that try did arrive
        return attempt.pk

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None:
        await self._threads.patiently(self._close_attempt, attempt_id, result)

    def _close_attempt(self, attempt_id: int, result: AttemptResult) -> None:
        failure = result.failure
        Attempt.objects.filter(pk=attempt_id, ended_at=None).update(
            ended_at=Now(),
            first_token=result.first_token,
            status_code=result.status,
            finish_reason=str(result.finish_reason or ""),
            error_kind=str(failure.kind) if failure else "",
            error_detail=failure.detail[:2000] if failure else "",
            action=result.action[:60],
            cost=result.cost,
            **result.usage.to_dict(),
        )
        level = logging.WARNING if failure else logging.INFO
        logger.log(
            level,
            "attempt %s %s",
            attempt_id,
            failure.kind if failure else "ok",
            extra={"action": "attempt_ended", "run": str(self._run_id), "next": result.action},
        )
