"""What is measured side by side: each stack starts, says how a stream is asked of it, and which processes it is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.site import Site

from .provider import WARM_UP

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"

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

Request = dict[str, Any]


class Missing(Exception):
    """A stack that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that is up."""

    version: str
    #: Asks for a short answer: the first run of a process imports and connects, which is another question.
    warm_up: Request
    #: One request for each of so many streams.
    requests: list[Request]
    #: What the events with tokens have in them.
    marker: str
    #: Processes by what they are: worker, web, proxy.
    processes: dict[str, list[int]]


def ask(url: str, body: Any, **headers: str) -> Request:
    return {"method": "POST", "url": url, "headers": headers, "json": body}


def chat(url: str, words: str = "Go on.") -> Request:
    """Return a request in OpenAI's chat format."""
    messages = [{"role": "user", "content": words}]
    return ask(f"{url}/chat/completions", {"model": "bench", "stream": True, "messages": messages})


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
            people = [line.split()[1:] for line in made.stdout.splitlines() if line.startswith("person ")]
            ask_one = _by_request if over_http else _by_socket
            yield Running(
                metadata.version("llmapp"),
                ask_one(site.url, *people[0], words=WARM_UP),
                [ask_one(site.url, *person) for person in people],
                "TEXT_MESSAGE_CONTENT",
                {"worker": site.workers(), "web": site.webs()},
            )


def _by_request(url: str, token: str, conversation: str, words: str = "Go on.") -> Request:
    message = {"id": f"{words} {conversation}", "role": "user", "content": words}
    body = {"threadId": conversation, "messages": [message]}
    return ask(f"{url}/api/agents/bench/runs", body, Authorization=f"Bearer {token}")


def _by_socket(url: str, token: str, conversation: str, words: str = "Go on.") -> Request:
    return {
        "socket": f"{url.replace('http', 'ws', 1)}/ws/conversations/{conversation}/",
        "headers": {"Authorization": f"Bearer {token}"},
        "frame": {"type": "send", "id": f"{words} {conversation}", "text": words},
    }


@contextlib.contextmanager
def litellm_proxy(provider: str, streams: int) -> Iterator[Running]:
    """LiteLLM's proxy in front of the provider, as its documentation starts it."""
    program = PEERS / "litellm" / "bin" / "litellm"
    if not program.exists():
        raise Missing("not installed: make bench-peers")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        model = {"model": "openai/bench", "api_base": provider, "api_key": "sk-bench"}
        # JSON is YAML.
        config.write_text(json.dumps({"model_list": [{"model_name": "bench", "litellm_params": model}]}))
        port = _free_port()
        process = subprocess.Popen(
            [program, "--config", config, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_up(f"{url}/health/liveliness", process)
            version, pids = _version(program.parent, "litellm"), {"proxy": [process.pid]}
            yield Running(version, chat(f"{url}/v1", WARM_UP), [chat(f"{url}/v1")] * streams, "", pids)
        finally:
            process.terminate()
            process.wait(20)


def _version(programs: Path, package: str) -> str:
    command = [programs / "python", "-c", f"from importlib.metadata import version as v; print(v({package!r}))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise Missing(f"does not start (exit code {process.poll()})")


STACKS = {
    "direct SSE": direct,
    "llmapp embedded": embedded,
    "llmapp server": server,
    "llmapp server SSE": server_http,
    "LiteLLM proxy": litellm_proxy,
}
