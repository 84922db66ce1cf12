"""What is measured side by side: each stack starts, says how a stream is asked of it, and which processes it is."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from unittest import mock

from llmapp.measuring import clients
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

#: Seconds. For almost so long after its start a worker rings with NOTIFY beside the channel layer.
SETTLED = 16

#: Makes so many people, each with a token and a conversation: one person may have few answers at a time.
PEOPLE = """
from django.contrib.auth import get_user_model
from llmapp import tokens
from llmapp.models import AgentSettings, Conversation
agent = AgentSettings.objects.get(slug="bench")
for number in range({count}):
    user, _ = get_user_model().objects.get_or_create(username=f"bench-{{number}}")
    print("person", tokens.issue(user), Conversation.objects.create(user=user, agent=agent).pk)
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
    """llmapp on PostgreSQL and Redis, with Daphne; over websockets, as its page does it."""
    with _server(provider, streams, over_http=False) as running:
        yield running


@contextlib.contextmanager
def server_http(provider: str, streams: int) -> Iterator[Running]:
    """The same over server-sent events, which programs use: sign-in, middleware and all for each request."""
    with _server(provider, streams, over_http=True) as running:
        yield running


@contextlib.contextmanager
def _server(provider: str, streams: int, over_http: bool) -> Iterator[Running]:
    for name, port in (("PostgreSQL", 5432), ("Redis", 6379)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                raise Missing(f"no {name} on port {port}")
    with _llmapp("server", provider, streams, over_http) as running:
        yield running


@contextlib.contextmanager
def _llmapp(stack: str, provider: str, streams: int, over_http: bool = False) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"LLMAPP_TEST_STACK": stack}):
        room = ["--concurrency", str(max(64, streams + 8))]
        with Site(Path(folder) / "home", TOML.format(url=provider), web=1, workers=1, arguments=room) as site:
            made = site.manage("shell", "-v", "0", "-c", PEOPLE.format(count=streams))
            if stack == "server":
                time.sleep(SETTLED)
            people = [line.split()[1:] for line in made.stdout.splitlines() if line.startswith("person ")]
            ask_one = _by_request if over_http else _by_socket
            yield Running(
                metadata.version("llmapp"),
                ask_one(site.url, *people[0], words=WARM_UP),
                [ask_one(site.url, *person) for person in people],
                "TEXT_MESSAGE_CONTENT",
                {"worker": site.workers(), "web": site.webs()},
                clients.__name__ if over_http else "benchmarks.socket_clients",
            )


def _by_request(url: str, token: str, conversation: str, words: str = "Go on.") -> Request:
    message = {"id": f"{words} {conversation}", "role": "user", "content": words}
    body = {"threadId": conversation, "messages": [message]}
    return ask(f"{url}/api/agents/bench/runs", body, Authorization=f"Bearer {token}")


def _by_socket(url: str, token: str, conversation: str, words: str = "Go on.") -> Request:
    return {
        "url": f"{url.replace('http', 'ws', 1)}/ws/conversations/{conversation}/",
        "headers": {"Authorization": f"Bearer {token}"},
        "frame": {"type": "send", "id": f"{words} {conversation}", "text": words},
    }


STACKS = {
    "direct SSE": direct,
    "llmapp embedded": embedded,
    "llmapp server": server,
    "llmapp server SSE": server_http,
    "LiteLLM proxy": litellm_proxy,
    "Chainlit": chainlit,
    "Open WebUI": open_webui,
}
