"""What is measured side by side: each stack starts, says how a stream is asked of it, and which processes it is."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from unittest import mock

from tests.support.site import Site

from .peer_stacks import chainlit, litellm_proxy, open_webui
from .provider import WARM_UP
from .running import Missing, Request, Running, ask, chat

TOML = """
[[providers]]
name = "bench"
backend = "openai_compatible"
base_url = "{url}"
api_keys = ["sk-bench"]
timeouts = {{ connect = 10, first_token = 60, idle = 60, total = 600 }}

[[models]]
name = "bench"
provider = "bench"
model = "bench"

[[agents]]
slug = "bench"
model = "bench"
access = "authenticated"
"""

#: Makes so many people, each with a token: one person may have few answers at a time.
PEOPLE = """
from django.contrib.auth import get_user_model
from llmapp import tokens
for number in range({count}):
    user, _ = get_user_model().objects.get_or_create(username=f"bench-{{number}}")
    print("token", tokens.issue(user))
"""


@contextlib.contextmanager
def direct(provider: str, streams: int) -> Iterator[Running]:
    """The provider itself: what the clients and the machine add."""
    yield Running("", chat(provider, WARM_UP), [chat(provider)] * streams, "", {})


@contextlib.contextmanager
def embedded(provider: str, streams: int) -> Iterator[Running]:
    """llmapp on files: SQLite and a queue in a folder."""
    with _llmapp("embedded", provider, streams) as running:
        yield running


@contextlib.contextmanager
def server(provider: str, streams: int) -> Iterator[Running]:
    """llmapp on PostgreSQL and Redis, with Daphne."""
    for name, port in (("PostgreSQL", 5432), ("Redis", 6379)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                raise Missing(f"no {name} on port {port}")
    with _llmapp("server", provider, streams) as running:
        yield running


@contextlib.contextmanager
def _llmapp(stack: str, provider: str, streams: int) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"LLMAPP_TEST_STACK": stack}):
        room = ["--concurrency", str(max(64, streams + 8))]
        with Site(Path(folder) / "home", TOML.format(url=provider), arguments=room) as site:
            made = site.manage("shell", "-v", "0", "-c", PEOPLE.format(count=streams))
            tokens = [line.split()[1] for line in made.stdout.splitlines() if line.startswith("token ")]
            url = f"{site.url}/api/agents/bench/runs"
            requests = [_run(url, token) for token in tokens]
            yield Running(
                metadata.version("llmapp"),
                _run(url, tokens[0], WARM_UP),
                requests,
                "TEXT_MESSAGE_CONTENT",
                {"worker": site.workers(), "web": site.webs()},
            )


def _run(url: str, token: str, words: str = "Go on.") -> Request:
    message = {"id": "first" if words == WARM_UP else "next", "role": "user", "content": words}
    return ask(url, {"messages": [message]}, Authorization=f"Bearer {token}")


STACKS = {
    "direct SSE": direct,
    "llmapp embedded": embedded,
    "llmapp server": server,
    "LiteLLM proxy": litellm_proxy,
    "Chainlit": chainlit,
    "Open WebUI": open_webui,
}
