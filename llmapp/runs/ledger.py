"""Writes calls and attempts down, as rows: who was asked what, with which key, how it ended, what it cost."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from llmapp.backends.base import ModelRequest, Secret
from llmapp.calls.base import AttemptResult, Call, ModelSpec
from llmapp.core.errors import CallFailed, ErrorKind, Failure
from llmapp.core.messages import ChatMessage
from llmapp.models import Attempt, Credential, LanguageModel
from llmapp.models import Call as CallRow
from llmapp.signals import attempt_ended, send_on_commit

from . import journal, lease, records, telemetry
from .requests import Recipe, recipe
from .threads import DatabaseThreads


class RunLedger:
    """The `Ledger` of one run. A database that is away is waited for: what a provider said must not fail by it.

    So every entry may be made twice, when the first try did arrive. None is opened for a run that is not ours any
    more, `LeaseLost` instead: nobody would close it.
    """

    def __init__(self, run_id: uuid.UUID, worker_id: uuid.UUID, threads: DatabaseThreads) -> None:
        self._run_id = run_id
        self._worker_id = worker_id
        self._threads = threads
        #: Of each call that goes on, the conversation as it is stored.
        self._paths: dict[int, Sequence[ChatMessage]] = {}
        #: Of each attempt that goes on, what its records say of it.
        self._attempts: dict[int, dict[str, Any]] = {}

    async def call_started(self, call: Call) -> int:
        id = await self._threads.patiently(self._open_call)
        self._paths[id] = call.messages
        return id

    def _open_call(self) -> int:
        with transaction.atomic():
            lease.hold(self._run_id, self._worker_id)
            tried = Exists(Attempt.objects.filter(call=OuterRef("pk")))
            calls = CallRow.objects.filter(run_id=self._run_id).order_by("-pk")
            last = calls.values_list("pk", "ended_at", tried).first()
            pk, ended_at, was_tried = last or (0, None, True)
            if ended_at is None and not was_tried:
                # Ours, of a try whose answer was lost.
                return pk
            turn = journal.open_turn(self._run_id)
            return CallRow.objects.create(run_id=self._run_id, turn_id=turn, started_at=Now()).pk

    async def call_ended(self, call_id: int, failure: Failure | None) -> None:
        self._paths.pop(call_id, None)
        await self._threads.patiently(self._close_call, call_id, failure)

    def _close_call(self, call_id: int, failure: Failure | None) -> None:
        kind = str(failure.kind) if failure else ""
        closed = CallRow.objects.filter(pk=call_id, ended_at=None).update(ended_at=Now(), error_kind=kind)
        if closed:
            telemetry.closed(CallRow, call_id)
        if closed and failure:
            text = f"call {call_id} failed: {kind}"
            records.write_on_commit(
                records.calls, logging.WARNING, "call_failed", text, run=self._run_id, call=call_id, kind=kind
            )

    async def attempt_started(
        self, call_id: int, number: int, model: ModelSpec, secret: Secret, request: ModelRequest
    ) -> int:
        written = recipe(request, self._paths.get(call_id, ()))
        size = request.characters
        id = await self._threads.patiently(self._open_attempt, call_id, number, model, secret, written, size)
        self._attempts[id] = {"run": self._run_id, "attempt": id, "number": number, "model": model.name}
        self._attempts[id] |= {"provider": model.endpoint.name, "credential": secret.id}
        records.asked(request.messages, **self._attempts[id])
        return id

    def _open_attempt(
        self, call_id: int, number: int, model: ModelSpec, secret: Secret, written: Recipe, characters: int
    ) -> int:
        attempt = Attempt(call_id=call_id, number=number, model_id=model.id, model_name=model.name, request=written)
        attempt.credential_id, attempt.started_at = secret.id, Now()
        attempt.input_characters = characters
        try:
            with transaction.atomic():
                mine = lease.held(self._run_id, self._worker_id)
                if not mine.update(attempts_used=F("attempts_used") + 1, model_name=model.name):
                    raise lease.LeaseLost
                attempt.save(force_insert=True)
        except IntegrityError:
            first = Attempt.objects.filter(call_id=call_id, number=number).values_list("pk", flat=True).first()
            if first is not None:
                return first  # that try did arrive
            if not LanguageModel.objects.filter(pk=model.id).exists():
                detail = f"model {model.name!r} was deleted meanwhile"
                raise CallFailed(Failure(kind=ErrorKind.MODEL_NOT_FOUND, detail=detail)) from None
            if secret.id is None or Credential.objects.filter(pk=secret.id).exists():
                raise
            # Its key was deleted meanwhile: the request may still go out, and no later one will.
            return self._open_attempt(call_id, number, model, replace(secret, id=None), written, characters)
        return attempt.pk

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None:
        known = self._attempts.pop(attempt_id, {"run": self._run_id, "attempt": attempt_id})
        await self._threads.patiently(self._close_attempt, attempt_id, result, known)

    def _close_attempt(self, attempt_id: int, result: AttemptResult, known: dict[str, Any]) -> None:
        failure = result.failure
        kind = str(failure.kind) if failure else ""
        closed = Attempt.objects.filter(pk=attempt_id, ended_at=None).update(
            ended_at=Now(),
            first_token=result.first_token,
            status_code=result.status,
            finish_reason=str(result.finish_reason or ""),
            error_kind=kind,
            error_detail=failure.detail[:2000] if failure else "",
            action=result.action[:60],
            waited=result.waited,
            cost=result.cost,
            **result.usage.to_dict(),
        )
        if closed:  # the first time that this arrives
            _tell(result, kind, known)
            telemetry.closed(Attempt, attempt_id)


def _tell(result: AttemptResult, kind: str, known: dict[str, Any]) -> None:
    level = logging.WARNING if kind else logging.INFO
    text = f"attempt {known['attempt']} {kind or 'ok'}"
    facts = {"http_status": result.status, "next": result.action, "waited": result.waited, "seconds": result.duration}
    facts |= {"kind": kind, "first_token": result.first_token}
    records.write_on_commit(records.calls, level, "attempt_ended", text, **known, **facts)
    records.attempt_cost(result.usage.to_dict(), result.cost, **known)
    about = {"attempt_id": known["attempt"], "run_id": known["run"], "kind": kind, "action": result.action}
    send_on_commit(attempt_ended, Attempt, **about)
