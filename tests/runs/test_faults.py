"""Each fault of a provider, through each HTTP backend, from the submit to the last event."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmapp import submit
from llmapp.backends import litellm
from llmapp.models import AgentSettings, Attempt, Call, Credential, LanguageModel, Run
from llmapp.models import Provider as ProviderRow
from tests.support.provider import Provider

from .faults import ANSWER, BACKENDS, FAULTS, Cell, Fault, page
from .support import events_of, text_of

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
KEY = "sk-canary-0123456789"


@pytest.fixture(scope="module", autouse=True)
def everything_is_loaded() -> None:
    """Some faults leave less time than litellm takes to be imported."""
    litellm.load()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmapp.calls.executor.random.random", lambda: 0.0)


def agent(provider: Provider, backend: str, fault: Fault) -> AgentSettings:
    row = ProviderRow.objects.create(
        name="loopback",
        backend=backend,
        base_url=provider.url,
        timeouts={"first_token": 20, "idle": 10} | fault.timeouts,
    )
    credential = Credential(provider=row)
    credential.set_secrets({"api_key": KEY})
    credential.save()
    name = "openai/m" if backend == "litellm" else "m"
    model = LanguageModel.objects.create(name="m", provider=row, model=name)
    return AgentSettings.objects.create(slug="scripted", model=model, attempts=6, settings=fault.settings)


@pytest.mark.parametrize("when", ["once", "always"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault(
    person: Any,
    process: Any,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    backend: str,
    when: str,
) -> None:
    """The run ends as its cell says, once, with all of it written down; and the key is nowhere."""
    agent(provider, backend, fault)
    provider.reset()
    provider.default = {"answer": ANSWER}
    if when == "once":
        provider.push({"answer": ANSWER, **fault.behaviour})
    else:
        provider.default |= fault.behaviour
    run = submit(person, "Hi").run
    process.execute(run.pk)
    run.refresh_from_db()
    assert happened(run) == fault.cell(backend, when)
    assert run.error_message == fault.cell(backend, when).sentence
    assert text_of(run).startswith(("", ANSWER)[run.status == "completed"])
    assert not Call.objects.filter(ended_at=None).exists()
    assert not Attempt.objects.filter(ended_at=None).exists()
    assert events_of(run)[-1]["metadata"]["llmapp.status"] == run.status
    assert KEY not in everything(run) + caplog.text


def happened(run: Run) -> Cell:
    failed = Attempt.objects.filter(call__run=run).order_by("number").exclude(action="")
    return Cell(run.status, run.error_kind, " ".join(failed.values_list("action", flat=True)))


def everything(run: Run) -> str:
    """Return all that is stored of a run, as text."""
    rows = [*Attempt.objects.filter(call__run=run).values(), *Call.objects.filter(run=run).values()]
    return repr([Run.objects.filter(pk=run.pk).values().get(), rows, events_of(run)])


def test_the_page_is_of_this_table() -> None:
    """`python -m tests.runs.faults > docs/faults.md` makes it."""
    assert PAGE.read_text().splitlines() == list(page())
