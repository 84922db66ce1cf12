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
from pathlib import Path
from unittest import mock

from tests.support.site import Site

from . import machine, provider
from .provider import WARM_UP
from .stacks import TOML

SIZES = (20, 200, 2000)
LISTS = (10, 10_000)

#: Makes one person for each size, with one conversation of so many messages, and one for each length of a list.
FILL = """
import uuid
from django.contrib.auth import get_user_model
from llmapp import tokens
from llmapp.models import AgentSettings, Conversation, Message
agent = AgentSettings.objects.get(slug="bench")

def person(name):
    return get_user_model().objects.create(username=name)

def conversation(user, size):
    made = Conversation.objects.create(user=user, agent=agent, title=f"{{size}} messages")
    ids = [uuid.uuid4() for _ in range(size)]
    text = "A paragraph with **bold** words, `code`, and an end. " * 8
    Message.objects.bulk_create([
        Message(
            id=ids[n], conversation=made, parent_id=ids[n - 1] if n else None,
            role="assistant" if n % 2 else "user", text=text, html=f"<p>{{text}}</p>" if n % 2 else "",
        )
        for n in range(size)
    ], batch_size=500)
    made.leaf_id = ids[-1]
    made.save()
    return made

for size in {sizes!r}:
    user = person(f"size-{{size}}")
    print("size", size, tokens.issue(user), conversation(user, size).pk)
for length in {lists!r}:
    user = person(f"list-{{length}}")
    rows = [Conversation(user=user, agent=agent, title=f"Conversation {{n}}") for n in range(length)]
    Conversation.objects.bulk_create(rows, batch_size=500)
    print("list", length, tokens.issue(user), rows[-1].pk)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", choices=["embedded", "server"], default="embedded")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    for line in [*machine.head(), *machine.warnings(1), f"stack: {options.stack}", ""]:
        print(line)
    with (
        provider.running(1000, 5) as url,
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"LLMAPP_TEST_STACK": options.stack}),
        Site(Path(folder) / "home", TOML.format(url=url)) as site,
    ):
        compare(site, options.repeats)


def compare(site: Site, repeats: int) -> None:
    print(f"{'what':<34}" + "".join(f"{stored:>16}" for stored in ("little", "", "much", "ratio")))
    filled = site.manage("shell", "-v", "0", "-c", FILL.format(sizes=SIZES, lists=LISTS))
    made = [line.split() for line in filled.stdout.splitlines() if line.split()[0] in ("size", "list")]
    sizes = {int(number): (token, id) for kind, number, token, id in made if kind == "size"}
    lists = {int(number): (token, id) for kind, number, token, id in made if kind == "list"}
    measures: list[tuple[str, dict[int, tuple[str, str]], Callable[[Site, str, str], float]]] = [
        ("conversation: its page", sizes, page),
        ("conversation: its messages (API)", sizes, messages),
        ("conversation: a turn's first token", sizes, turn),
        ("list: the chat page", lists, chat),
        ("list: its first page (API)", lists, conversations),
    ]
    for name, stored, measure in measures:
        # In turn, so that a noisy moment is everybody's.
        times: dict[int, list[float]] = {size: [] for size in stored}
        for _ in range(repeats):
            for size, (token, id) in stored.items():
                times[size].append(measure(site, token, id))
        print(row(name, times), flush=True)


def row(name: str, times: dict[int, list[float]]) -> str:
    """Write medians in milliseconds, and the last as a multiple of the first."""
    medians = [statistics.median(values) * 1000 for values in times.values()]
    cells = [f"{size}: {median:.1f} ms" for size, median in zip(times, medians, strict=True)]
    if len(cells) == 2:
        cells.insert(1, "")
    return f"{name:<34}" + "".join(f"{cell:>16}" for cell in [*cells, f"{medians[-1] / medians[0]:.2f}"])


# --- what is measured, in seconds --------------------------------------------------------------


def page(site: Site, token: str, id: str) -> float:
    return _get(site, token, f"/chat/{id}/")


def messages(site: Site, token: str, id: str) -> float:
    return _get(site, token, f"/api/conversations/{id}/messages")


def chat(site: Site, token: str, id: str) -> float:
    return _get(site, token, "/chat/")


def conversations(site: Site, token: str, id: str) -> float:
    return _get(site, token, "/api/conversations/")


def _get(site: Site, token: str, path: str) -> float:
    began = time.perf_counter()
    answer = site.http.get(path, headers={"Authorization": f"Bearer {token}"})
    answer.raise_for_status()
    return time.perf_counter() - began


def turn(site: Site, token: str, id: str) -> float:
    """Send a message, and wait for the first token of the answer."""
    body = {"threadId": id, "messages": [{"id": str(time.monotonic_ns()), "role": "user", "content": WARM_UP}]}
    began, first = time.perf_counter(), None
    headers = {"Authorization": f"Bearer {token}"}
    while True:
        with site.http.stream("POST", "/api/agents/bench/runs", json=body, headers=headers) as answer:
            if answer.status_code == 429:
                answer.read()
                time.sleep(float(answer.headers["Retry-After"]))
                began = time.perf_counter()
                continue
            answer.raise_for_status()
            for line in answer.iter_lines():
                if first is None and "TEXT_MESSAGE_CONTENT" in line:
                    first = time.perf_counter() - began
        assert first is not None, "no token came"
        return first


if __name__ == "__main__":
    main()
