"""Carries a probe out: the way to the provider stage by stage, then what a model of it can do.

It runs on an event loop and with clients of its own, and closes them: what is tested is whether a connection
can be made at all, not whether the ones that runs keep are still warm.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from llmapp.backends import UnknownBackend, backend_class, reach
from llmapp.backends.base import Endpoint, Secret
from llmapp.calls.base import ModelSpec
from llmapp.conf import app_settings
from llmapp.core.messages import ChatMessage, Role
from llmapp.encryption import Undecipherable
from llmapp.models import Probe

from . import features, probe
from .asking import Asker, Outcome
from .keys import use_again
from .probe import FAILED, OK, Stage
from .probe_report import Failed, Report
from .probe_subject import Key, Subject, subject_of
from .probe_verdict import judge
from .resending import send_again
from .threads import DatabaseThreads

logger = logging.getLogger("llmapp.runs")

#: Short, cheap, and the same for every model.
QUESTION = (ChatMessage(Role.USER, "Answer with the single word: yes"),)

#: Further keys of the pool that are tried after the first.
FURTHER_KEYS = 5

WAY, ANSWER = ("resolve", "connect", "tls"), ("sign_in", "answer", "end")

# -- in a worker, or in a command


def carry_out(id: uuid.UUID) -> None:
    """Carry a stored probe out, unless somebody else does. Whatever happens, it ends."""
    if (row := probe.claim(id)) is None:
        return
    try:
        asyncio.run(_carry_out(row))
    except Exception as error:
        # Its text might quote a request; the type is enough to find the place.
        logger.error("probe %s raised %s", id, type(error).__qualname__, extra={"action": "probe_failed"})
        probe.finish(id, False, [Stage("worker", FAILED, "internal", detail=type(error).__name__)])


async def _carry_out(row: Probe) -> None:
    threads = DatabaseThreads(1, "llmapp-probe")
    try:

        async def save(stages: list[Stage]) -> None:
            await threads.call(probe.write, row.pk, stages)

        report = Report(save)
        passed, found = False, None
        try:
            async with asyncio.timeout(probe.LIMIT):
                if row.kind == Probe.Kind.REQUEST:
                    passed = await send_again(row, report, threads)
                else:
                    passed, found = await examine(await threads.call(subject_of, row), report)
        except Undecipherable:
            report.stages = [Stage("sign_in", FAILED, "undecipherable")]
        except TimeoutError:
            await _give_up(report)
        await threads.call(probe.finish, row.pk, passed, report.stages)
        if found is not None and row.model_id is not None:
            await threads.call(features.store, row.model_id, found)
        await threads.call(use_again, report.good_keys)
    finally:
        await asyncio.to_thread(threads.close)


async def _give_up(report: Report) -> None:
    if report.stages:
        report.stages[-1].state, report.stages[-1].code = FAILED, "took_too_long"


# -- stage by stage


async def examine(subject: Subject, report: Report) -> tuple[bool, features.Found | None]:
    """Go as far as it goes. Returns whether all is well, and what the model can do where that was asked.

    Needs no database: a command may bring its own `report`.
    """
    try:
        await _go_there(subject.endpoint, report)
        if subject.model is None:
            await report.skip(ANSWER[0], code="no_model")
            await report.skip(*ANSWER[1:])
            return True, None
        keys = subject.keys or (Key(Secret(id=None)),)
        await _ask(subject.model, keys[0], report)
        for key in keys[1 : 1 + FURTHER_KEYS]:
            await _try_key(subject.model, key, report)
        if not subject.in_depth:
            return True, None
        return True, await _look_closer(subject.model, keys[0], report)
    except Failed:
        missing = [name for name in (*WAY, *ANSWER) if name not in {stage.name for stage in report.stages}]
        await report.skip(*missing)
        return False, None


async def _go_there(endpoint: Endpoint, report: Report) -> None:
    await report.begin("resolve")
    await _know_backend(endpoint, report)
    if not endpoint.base_url:
        report.stages.pop()
        await report.skip(*WAY, code="no_address")
        return
    try:
        host, port, is_secure = reach.address(endpoint.base_url)
    except ValueError:
        await report.fail("bad_address")
    patience = endpoint.timeouts.connect
    values = {"host": host, "port": port, "seconds": f"{patience:g}"}
    try:
        found = await reach.resolve(host, port, patience)
        await report.end(OK, "addresses", host=host, addresses=", ".join(found[:3]))
        await report.begin("connect")
        await reach.connect(host, port, patience)
        await report.end(OK)
        if not is_secure:
            await report.skip("tls", code="plain")
            return
        await report.begin("tls")
        await report.end(OK, "tls_version", version=await reach.secure(host, port, patience))
    except reach.Unreachable as error:
        await report.fail(error.code, error.detail, **values)


async def _know_backend(endpoint: Endpoint, report: Report) -> None:
    try:
        await asyncio.to_thread(backend_class, endpoint.backend, app_settings.BACKENDS)
    except (UnknownBackend, ImportError, AttributeError) as error:
        await report.fail("unknown_backend", type(error).__name__, backend=endpoint.backend)


async def _ask(model: ModelSpec, key: Key, report: Report) -> None:
    """Sign in, get an answer, see it end: one request, of which each part is a stage."""
    await report.begin("sign_in")
    began = asyncio.Event()
    async with Asker(key.secret, _deadline()) as asker:
        asking = asyncio.ensure_future(asker.ask(model, QUESTION, on_first_token=began.set))
        waiting = asyncio.ensure_future(began.wait())
        await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if began.is_set():
            await _signed_in(key, report)
        outcome = await asking
    if outcome.reply is None:
        await _say_why(model, key, outcome, report)
    if not began.is_set():
        await _signed_in(key, report)
    report.took(key.secret)
    await _answered(outcome, report)
    await report.begin("end")
    await report.end(OK)


async def _signed_in(key: Key, report: Report) -> None:
    await report.end(OK, "with_key" if key.hint else "without_key" if key.secret.id is None else "", hint=key.hint)
    await report.begin("answer")


async def _answered(outcome: Outcome, report: Report) -> None:
    seconds = outcome.first_token
    if seconds is None:
        await report.end(OK, "whole")
    else:
        await report.end(OK, "first_token", seconds=f"{seconds:.2f}")


async def _say_why(model: ModelSpec, key: Key, outcome: Outcome, report: Report) -> None:
    """End the stage at which it failed; those before it went well."""
    verdict = _verdict(model, key, outcome)
    if verdict.stage != "sign_in" and report.stages[-1].name == "sign_in":
        await _signed_in(key, report)
    if verdict.stage == "end":
        await _answered(outcome, report)
        await report.begin("end")
    await report.fail(verdict.code, verdict.detail, **verdict.values)


def _verdict(model: ModelSpec, key: Key, outcome: Outcome) -> Any:
    url = model.endpoint.base_url or model.endpoint.name
    return judge(outcome, url=url, model=model.model, hint=key.hint, has_key=key.secret.id is not None)


async def _try_key(model: ModelSpec, key: Key, report: Report) -> None:
    await report.begin("key")
    async with Asker(key.secret, _deadline()) as asker:
        outcome = await asker.ask(model, QUESTION)
    if outcome.reply is not None:
        report.took(key.secret)
        await report.end(OK, "with_key" if key.hint else "", hint=key.hint)
        return
    verdict = _verdict(model, key, outcome)
    await report.fail(verdict.code, verdict.detail, **verdict.values)


async def _look_closer(model: ModelSpec, key: Key, report: Report) -> features.Found:
    found: features.Found = {}
    async with Asker(key.secret, _deadline()) as asker:
        for name, look in features.FEATURES.items():
            await report.begin(name)
            finding = await look(asker, model)
            found[name] = finding.state
            await report.end(features.STAGE_STATES[finding.state], features.SENTENCES[finding.state], finding.detail)
    return found


def _deadline() -> float:
    return asyncio.get_running_loop().time() + probe.LIMIT
