"""Long messages into a model whose real window is a tenth of the configured one: all of them are answered."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from llmapp.models import AgentSettings, Attempt, ConversationSummary, LanguageModel, Message, Run
from tests.support.provider import Received

from .loopback import BACKENDS, Loopback
from .support import events_of

pytestmark = pytest.mark.usefixtures("no_chance", "nothing_cached")

REAL = 4096
LONG = 12
ANSWER = "A short answer to it. " * 20


def message(number: int) -> str:
    """Return a message of some 1,000 tokens, unlike the others."""
    return f"Message {number}: " + " ".join(f"word{number}x{n}" for n in range(400))


class Talk:
    """Twelve messages, and what became of them."""

    def __init__(self, at_loopback: Loopback, person: Any, process: Any) -> None:
        self.server = at_loopback.server
        self.runs: list[Run] = []
        conversation = None
        for number in range(LONG):
            run = at_loopback.run(person, process, message(number), conversation)
            conversation = run.conversation
            self.runs.append(run)

    @property
    def answered(self) -> list[Received]:
        """Return the requests that got an answer, those for a summary left out."""
        return [r for r in self.server.requests if not self.is_refused(r) and "You keep the notes" not in str(r.body)]

    def is_refused(self, request: Received) -> bool:
        texts = [str(said.get("content")) for said in request.body["messages"]]
        per_token = self.server.default.get("chars_per_token", 4)
        return round(sum(map(len, texts)) / per_token) > self.server.default["window"]

    @property
    def refused(self) -> list[Received]:
        return [request for request in self.server.requests if self.is_refused(request)]

    def check(self) -> None:
        """What holds whatever the model and its summaries are like."""
        assert [run.status for run in self.runs] == ["completed"] * LONG
        said = Message.objects.order_by("created_at")
        assert [m.text for m in said if m.role == "user"] == [message(n) for n in range(LONG)]
        assert [m.text for m in said if m.role == "assistant"] == [ANSWER] * LONG
        assert all(m.complete for m in said)
        # The last user message, whole, in each request that was answered.
        asked = Counter(request.body["messages"][-1]["content"] for request in self.answered)
        assert asked == Counter(message(n) for n in range(LONG))
        for run in self.runs:
            assert events_of(run)[-1]["type"] == "RUN_FINISHED"
        assert self.runs[-1].summarised


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("configured", [REAL * 10, None])
@pytest.mark.parametrize("chars_per_token", [4, 2.5])
def test_all_are_answered(
    at_loopback: Loopback, person: Any, process: Any, backend: str, configured: int | None, chars_per_token: float
) -> None:
    """The limit is learned at the first refusal; from then on what would be too long is not sent."""
    at_loopback.agent(backend=backend, of_model={"context_window": configured})
    at_loopback.server.default = {"window": REAL, "chars_per_token": chars_per_token, "answer": ANSWER}
    talk = Talk(at_loopback, person, process)
    talk.check()
    model = LanguageModel.objects.get()
    assert (model.lessons.window, model.context_window) == (REAL, configured)
    assert ConversationSummary.objects.exists()
    assert 1 <= len(talk.refused) <= 2
    summaries = Attempt.objects.filter(action="Summarise").count()
    assert summaries <= LONG // 2
    assert Attempt.objects.count() == len(talk.server.requests) == LONG + len(talk.refused) + summaries


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_summary_that_always_fails(at_loopback: Loopback, person: Any, process: Any, backend: str) -> None:
    """An outline takes its place; no run fails for it, and none asks for it again and again."""
    agent = at_loopback.agent(backend=backend, of_model={"context_window": REAL * 10})
    at_loopback.model("notes", agent.model.provider)
    AgentSettings.objects.update(summary_model="notes")
    at_loopback.server.default = {"window": REAL, "answer": ANSWER}
    at_loopback.server.models["notes"] = {"status": 500, "body": {"error": {"message": "broken"}}}
    talk = Talk(at_loopback, person, process)
    talk.check()
    asked = Counter(at_loopback.models_asked)
    assert asked["main"] <= LONG + 2
    assert 1 <= asked["notes"] <= LONG // 2
