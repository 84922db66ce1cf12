"""Whatever breaks, the official client, the log and the stored message hold the same text, byte for byte.

Each turn has a provider that fails in a random way, some times, and then is well; or never is. What a person has seen
is the provider's whole answer where the run completed, and else the beginning of it: nothing twice, nothing changed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from llmapp import tokens
from llmapp.core.transcript import Transcript
from llmapp.models import Attempt, Conversation, Run
from llmapp.runs import health
from tests.runs.loopback import BACKENDS, Loopback
from tests.runs.support import events_of
from tests.support.provider import Provider, tokens_of

pytestmark = pytest.mark.acceptance

TURNS = 12
OF_WORDS = (
    "train leaves nine early very very well-known über Straße naïve 二 二は二 🙂 🧑\u200d🚀 e\u0301 *both* **all** "
    "`code` 10.5 e.g. and and the the of of it's <b> &amp; \\ $x$ [link](https://example.org) — … ok"
)
WORDS = OF_WORDS.split()
#: A tool call whose arguments are cut.
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the'}}

Behaviour = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """What a provider does in one turn. `answers` are those that it may have said in the end."""

    behaviours: list[Behaviour]
    answers: list[str]
    is_well_at_last: bool


def document(chance: random.Random) -> str:
    """Return Markdown of several blocks, with what is hard to cut: code, rows, pictures, words said twice."""

    def words(count: int) -> str:
        return " ".join(
            chance.choice(WORDS) + chance.choice(["", "", "", str(chance.randrange(99))]) for _ in range(count)
        )

    makers: list[Callable[[], str]] = [
        lambda: words(chance.randint(8, 30)) + ".",
        lambda: f"## {words(3)}",
        lambda: "\n".join(f"- {words(chance.randint(2, 6))}" for _ in range(chance.randint(2, 5))),
        lambda: (
            f"```python\nfor n in range({chance.randrange(99)}):\n    print(n)\n\n\nx = {chance.randrange(999)}\n```"
        ),
        lambda: f"| {words(1)} | b |\n|---|--:|\n" + "\n".join(f"| {words(1)} | {n} |" for n in range(3)),
        lambda: f"> {words(6)}\n> {words(3)}",
    ]
    return "\n\n".join(chance.choice(makers)() for _ in range(chance.randint(1, 6)))


def plan(chance: random.Random) -> Planned:
    """Draw some faults, one after the other, and whether it is well after them."""
    answer = document(chance)
    whole = {"answer": answer, "cut_bytes": chance.choice([0, 0, 0, 1, 3, 7])}
    size = len(tokens_of(answer))
    behaviours: list[Behaviour] = []
    answers = [answer]
    for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 4])):
        cut = {"stop_after": chance.randint(1, max(size - 1, 1)), "end": chance.choice(["fin", "rst", "clean"])}
        again = chance.choice([{}, {"overlap": chance.randint(12, 60)}, {"anew": True}])
        busy = {"status": chance.choice([500, 503, 429]), "headers": {"retry-after-ms": "5"}, "body": "no"}
        late = {"error_after": [chance.randint(0, size), {"message": "overloaded", "type": "overloaded_error"}]}
        calling = {"tool_calls": [CALL], "stop_after": size + 1, "end": "clean"}
        fault = chance.choice([cut, cut, cut, late, busy, busy, calling, {"finish_reason": None, "done": False}])
        behaviours.append({**whole, **again, **fault})
    is_well_at_last = chance.random() < 0.8
    if is_well_at_last:
        behaviours.append(whole | chance.choice([{}, {"overlap": 20}, {"anew": True}]))
    else:
        behaviours.append({**whole, "stop_after": 1, "end": "clean", "anew": True})
    return Planned(behaviours, answers, is_well_at_last)


@pytest.fixture
def at_loopback(transactional_db: None) -> Iterator[Loopback]:
    with Provider() as server:
        yield Loopback(server)


@pytest.fixture
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No back-off, and no breaker: what is looked at here is the text."""
    monkeypatch.setattr("llmapp.calls.executor.random.random", lambda: 0.0)
    monkeypatch.setattr("llmapp.core.health.IN_A_ROW", 10**6)
    monkeypatch.setattr(health, "OF_BREAKERS", 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_text_is_never_duplicated_and_never_changed(
    official_client: Any,
    daphne: str,
    working: Any,
    without_waits: None,
    person: Any,
    at_loopback: Loopback,
    backend: str,
    seed: int,
) -> None:
    """Cut anywhere, gone on with, begun again or taken over by the second model."""
    chance = random.Random(f"{backend} {seed}")
    at_loopback.agent("main", "spare", backend=backend)
    plans = {f"turn {n} of {seed}": plan(chance) for n in range(TURNS)}
    at_loopback.server.plans.update({text: list(planned.behaviours) for text, planned in plans.items()})
    says = [word for text in plans for word in ("--say", text)]
    header = f"Authorization: Bearer {tokens.issue(person)}"
    turns = official_client(f"{daphne}/api/agents/a/runs", "--header", header, "--thread", "t", *says)
    assert [(turn.accepted, turn.error) for turn in turns] == [(True, None)] * TURNS

    runs = {run.message.text: run for run in Run.objects.select_related("message")}
    for (text, planned), turn in zip(plans.items(), turns, strict=True):
        run = runs[text]
        role, held = turn.said[-1]
        held = held if role == "assistant" else ""
        told = "".join(Transcript(events_of(run)).texts.values())
        stored = "".join(run.messages.filter(role="assistant").values_list("text", flat=True))
        assert (held, told) == (stored, stored), text
        assert run.status in ("completed", "incomplete", "failed")
        if planned.is_well_at_last:
            assert run.status == "completed", text
        if run.status == "completed":
            assert stored in planned.answers, text
        else:
            assert any(answer.startswith(stored) for answer in planned.answers), text
    # One after the other, and each answer where it belongs.
    contents = [content for role, content in turns[-1].said if role == "user"]
    assert contents == list(plans)
    assert Conversation.objects.count() == 1
    happened = Counter(Attempt.objects.exclude(action="").values_list("action", flat=True))
    assert {"Continue", "Restart", "SwitchModel"} <= set(happened), happened
