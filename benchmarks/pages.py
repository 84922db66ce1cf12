"""Do pages and turns get slower as more is stored? The same pages with little and with much behind them.

python -m benchmarks.pages                      on files
python -m benchmarks.pages --stack server       on PostgreSQL and Redis
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from llmapp.measuring.figures import cell
from tests.support.site import Site

from . import machine, provider
from .provider import WARM_UP
from .settings import HEADER
from .stacks import TOML

#: Messages of one conversation, and conversations of one person.
MESSAGES = (20, 200, 2000)
CONVERSATIONS = (20, 10_000)

#: Makes a person for each number, with a conversation of so many messages, or with so many conversations. Prints what
#: it is, the number, a token that speaks for the person, and the id of a conversation.
FILL = """
from django.contrib.auth import get_user_model
from django.db import connection
from llmapp import tokens
from llmapp.models import AgentSettings, Conversation
from tests.support.conversations import grown
agent = AgentSettings.objects.get(slug="bench")
text = "A paragraph with **bold** words, `code`, and an end. " * 8

def person(name):
    return get_user_model().objects.create(username=name)

for number in {messages!r}:
    user = person(f"messages-{{number}}")
    print("messages", number, tokens.issue(user), grown(user, agent, number, text).pk)
for number in {conversations!r}:
    user = person(f"conversations-{{number}}")
    rows = [Conversation(user=user, agent=agent, title=f"Conversation {{n}}") for n in range(number)]
    Conversation.objects.bulk_create(rows, batch_size=500)
    print("conversations", number, tokens.issue(user), rows[-1].pk)
if connection.vendor == "postgresql":
    # As it does by itself, a minute after so many rows came.
    connection.cursor().execute("ANALYZE")
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is of a kind, and how to ask for it."""

    number: int
    token: str
    conversation: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer: seconds, and where they can be told the queries of the web process and the bytes of the body."""

    seconds: float
    queries: int | None = None
    size: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", choices=["embedded", "server"], default="embedded")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    for line in [*machine.head(), *machine.warnings(1), f"stack: {options.stack}", "", header()]:
        print(line, flush=True)
    with (
        provider.running(1000, 5) as url,
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"LLMAPP_TEST_STACK": options.stack}),
        Site(
            Path(folder) / "home",
            TOML.format(url=url),
            environment={"DJANGO_SETTINGS_MODULE": "benchmarks.settings"},
        ) as site,
    ):
        compare(site, options.repeats)


def compare(site: Site, repeats: int) -> None:
    """Measure the same with little and with much in turn, so that a noisy moment is everybody's."""
    stored = fill(site)
    for name, (kind, measure) in MEASURES.items():
        found: dict[int, list[Measured]] = {one.number: [] for one in stored[kind]}
        for repeat in range(repeats + 1):
            for one in stored[kind]:
                measured = measure(site, one)
                if repeat:  # the first is a warm-up
                    found[one.number].append(measured)
        smallest = statistics.median(one.seconds for one in next(iter(found.values())))
        for number, measurements in found.items():
            print(row(name, kind, number, measurements, smallest), flush=True)


def fill(site: Site) -> dict[str, list[Stored]]:
    """Store what is to be asked for, by its kind."""
    made = site.manage("shell", "-v", "0", "-c", FILL.format(messages=MESSAGES, conversations=CONVERSATIONS))
    stored: dict[str, list[Stored]] = {"messages": [], "conversations": []}
    for kind, number, token, conversation in (line.split() for line in made.stdout.splitlines()):
        stored[kind].append(Stored(int(number), token, conversation))
    return stored


# --- the table ------------------------------------------------------------------------------


def header() -> str:
    return f"{'what':<32}{'stored':>22}{'ms':>20}{'to the smallest':>17}{'queries':>9}{'bytes':>11}"


def row(name: str, kind: str, number: int, measured: list[Measured], smallest: float) -> str:
    median = statistics.median(one.seconds for one in measured)
    milliseconds = cell([one.seconds * 1000 for one in measured])
    queries = "/".join(sorted({"-" if one.queries is None else str(one.queries) for one in measured}))
    size = measured[-1].size
    return (
        f"{name:<32}{f'{number} {kind}':>22}{milliseconds:>20}{median / smallest:>17.2f}{queries:>9}"
        f"{'-' if size is None else size:>11}"
    )


# --- what is measured -----------------------------------------------------------------------


def page(site: Site, stored: Stored) -> Measured:
    return _get(site, stored, f"/chat/{stored.conversation}/")


def messages(site: Site, stored: Stored) -> Measured:
    return _get(site, stored, f"/api/conversations/{stored.conversation}/messages")


def newest_messages(site: Site, stored: Stored) -> Measured:
    return _get(site, stored, f"/api/conversations/{stored.conversation}/messages?limit=20")


def chat(site: Site, stored: Stored) -> Measured:
    return _get(site, stored, "/chat/")


def conversations(site: Site, stored: Stored) -> Measured:
    return _get(site, stored, "/api/conversations/?limit=20")


def _get(site: Site, stored: Stored, path: str) -> Measured:
    began = time.perf_counter()
    answer = site.http.get(path, headers={"Authorization": f"Bearer {stored.token}"})
    seconds = time.perf_counter() - began
    answer.raise_for_status()
    return Measured(seconds, int(answer.headers[HEADER]), len(answer.content))


def turn(site: Site, stored: Stored) -> Measured:
    """Send a message, wait for the first token of the answer, and let it end. The queries are those of the submit."""
    message = {"id": str(time.monotonic_ns()), "role": "user", "content": WARM_UP}
    body = {"threadId": stored.conversation, "messages": [message]}
    headers = {"Authorization": f"Bearer {stored.token}"}
    began, first = time.perf_counter(), None
    with site.http.stream("POST", "/api/agents/bench/runs", json=body, headers=headers) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if first is None and "TEXT_MESSAGE_CONTENT" in line:
                first = time.perf_counter() - began
    assert first is not None, "no token came"
    return Measured(first, int(answer.headers[HEADER]))


Measure = Callable[[Site, Stored], Measured]
MEASURES: dict[str, tuple[str, Measure]] = {
    "the page of a conversation": ("messages", page),
    "its messages (API)": ("messages", messages),
    "its newest 20 (API)": ("messages", newest_messages),
    "a turn, to its first token": ("messages", turn),
    "the chat page": ("conversations", chat),
    "the newest 20 of the list (API)": ("conversations", conversations),
}


if __name__ == "__main__":
    main()
