"""Sends the request of an attempt once more, for a person who looks for what went wrong with it.

To the same model, with a key of its provider's pool: the one that was used, where it is still there. What comes back
is kept with the probe and shown; the conversation, its run and what is known about keys and models stay as they are.
"""

from __future__ import annotations

import asyncio
from typing import Any

from llmapp.backends.base import Secret
from llmapp.core.usage import spell
from llmapp.models import Probe

from . import probe
from .asking import Asker, Outcome
from .briefing import model_of
from .probe import OK
from .probe_report import Failed, Report
from .probe_subject import Key, keys_of
from .probe_verdict import judge
from .requests import Gone, rebuilt
from .threads import DatabaseThreads


async def send_again(row: Probe, report: Report, threads: DatabaseThreads) -> bool:
    """Send it, keep what came back, and say whether the model answered. Raises `Undecipherable`."""
    await report.begin("again")
    try:
        outcome, key = await _ask(row, threads)
        await threads.call(probe.keep_outcome, row.pk, _kept(outcome, key))
        await _say(row, outcome, key, report)
    except Gone:
        await report.end(probe.FAILED, "messages_gone")
        return False
    except Failed:
        return False
    return True


async def _ask(row: Probe, threads: DatabaseThreads) -> tuple[Outcome, Key]:
    assert row.model is not None
    assert row.attempt is not None
    request = await threads.call(rebuilt, row.attempt.request or {"messages": []})
    key = await threads.call(_key, row)
    deadline = asyncio.get_running_loop().time() + probe.LIMIT
    async with Asker(key.secret, deadline) as asker:
        return await asker.repeat(model_of(row.model, 1), request), key


def _key(row: Probe) -> Key:
    keys = keys_of(row.provider_id)
    used = row.attempt.credential_id if row.attempt else None
    return next((key for key in keys if key.secret.id == used), keys[0] if keys else Key(Secret(id=None)))


async def _say(row: Probe, outcome: Outcome, key: Key, report: Report) -> None:
    if outcome.reply is None:
        assert row.model is not None
        url, has_key = row.provider.base_url or row.provider.name, key.secret.id is not None
        verdict = judge(outcome, url=url, model=row.model.model, hint=key.hint, has_key=has_key)
        await report.fail(verdict.code, verdict.detail, **verdict.values)
    elif outcome.first_token is None:
        await report.end(OK, "whole")
    else:
        await report.end(OK, "first_token", seconds=f"{outcome.first_token:.2f}")


def _kept(outcome: Outcome, key: Key) -> dict[str, Any]:
    """Return what is shown of it, as JSON: {"status", "kind", "words", "text", "finish_reason", "tokens", ...}."""
    result, reply, failure = outcome.result, outcome.reply, outcome.failure
    usage = result.usage if result else None
    cost = result.cost if result else None
    return {
        "key": key.hint,
        "status": (outcome.facts.status if outcome.facts else None) or (result.status if result else None),
        "kind": str(failure.kind) if failure else "",
        "words": failure.detail if failure else "",
        "text": reply.text if reply else "",
        "reasoning": reply.reasoning if reply else "",
        "finish_reason": str(reply.finish_reason or "") if reply else "",
        "tokens": usage.to_dict() if usage else {},
        "cost": None if cost is None else spell(cost),
        "first_token": outcome.first_token,
        "seconds": result.duration if result else None,
    }
