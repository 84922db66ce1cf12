"""What the failure of a question says about the settings: at which stage it ends, and which sentence helps.

A pure function over what was said, so that each mistake is a row of a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmapp.core.errors import ErrorFacts, ErrorKind

from .asking import Outcome

#: Kinds that mean one thing, whatever else was said: stage and sentence.
PLAIN: dict[ErrorKind, tuple[str, str]] = {
    ErrorKind.PERMISSION: ("answer", "no_permission"),
    ErrorKind.BILLING: ("answer", "no_credit"),
    ErrorKind.QUOTA_EXHAUSTED: ("answer", "no_quota"),
    ErrorKind.RATE_LIMIT: ("answer", "rate_limited"),
    ErrorKind.OVERLOADED: ("answer", "provider_down"),
    ErrorKind.SERVER_ERROR: ("answer", "provider_down"),
    ErrorKind.CONNECTION: ("sign_in", "broken_connection"),
}

#: A status that says "not here", by whatever server.
NOT_HERE = (404, 405, 410, 501)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`stage` is where it ends; what comes before it went well."""

    stage: str
    code: str
    values: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


def judge(outcome: Outcome, *, url: str, model: str, hint: str, has_key: bool) -> Verdict:
    """Return what is wrong. `hint` is the end of the key, `url` where it was asked."""
    assert outcome.failure is not None
    failure, facts = outcome.failure, outcome.facts or ErrorFacts()
    values = {"url": url, "model": model, "hint": hint or "…", "status": facts.status or "–"}
    stage, code = _place(outcome, failure.kind, facts, model, has_key)
    # A whole web page as the provider's words would help nobody.
    return Verdict(stage, code, values, "" if code == "web_page" else failure.detail[:500])


def _place(outcome: Outcome, kind: ErrorKind, facts: ErrorFacts, model: str, has_key: bool) -> tuple[str, str]:
    began = outcome.first_token is not None
    if _is_page(facts.body) and (facts.status or 200) < 500:
        return "sign_in", "web_page"
    if facts.status is not None and 300 <= facts.status < 400:
        return "sign_in", "redirected"
    if kind is ErrorKind.AUTH:
        return "sign_in", "wrong_key" if has_key else "no_key"
    if kind is ErrorKind.STREAM_INTERRUPTED:
        return ("end" if began else "answer"), "cut"
    if kind is ErrorKind.TIMEOUT:
        return ("end", "stalled") if began else ("answer", "too_slow")
    if kind is ErrorKind.MODEL_NOT_FOUND or facts.status in NOT_HERE:
        return ("answer", "wrong_model") if _speaks_of(facts, model) else ("sign_in", "wrong_path")
    if kind is ErrorKind.INVALID_RESPONSE:
        return "answer", "not_an_answer"
    return PLAIN.get(kind, ("answer", "refused"))


def _is_page(body: object) -> bool:
    return isinstance(body, str) and body.lstrip("\ufeff \t\r\n")[:1] == "<"


def _speaks_of(facts: ErrorFacts, model: str) -> bool:
    """Say whether a "not found" is about the model: about a path it would not name one."""
    said = f"{facts.body} {facts.exception or ''}".lower()
    return "model" in said or (bool(model) and model.lower() in said) or facts.status not in NOT_HERE
