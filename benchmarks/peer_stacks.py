"""Other people's stacks, each with its own packages: `make bench-peers` puts them into `benchmarks/peers/NAME`.

Each is started as its documentation says, with one process and its defaults, but for what would call home or load a
model that no answer needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .provider import WARM_UP
from .running import Missing, Running, chat

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"

#: Each peer as the tables call it -> its environment, and the program in it.
NAMES = {
    "LiteLLM proxy": ("litellm", "litellm"),
    "Chainlit": ("chainlit", "chainlit"),
    "Open WebUI": ("open-webui", "open-webui"),
}

#: Seconds for a peer to start.
PATIENCE = 120.0


def is_installed(stack: str) -> bool:
    environment, program = NAMES[stack]
    return (PEERS / environment / "bin" / program).exists()


@contextlib.contextmanager
def litellm_proxy(provider: str, streams: int) -> Iterator[Running]:
    """LiteLLM's proxy in front of the provider."""
    model = {"model": "openai/bench", "api_base": provider, "api_key": "sk-bench"}
    config = {"model_list": [{"model_name": "bench", "litellm_params": model}]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        # JSON is YAML.
        path.write_text(json.dumps(config))
        # It does not start without a key that is hard to guess.
        key = f"sk-{secrets.token_urlsafe(32)}"
        authorization = {"Authorization": f"Bearer {key}"}
        environment = {
            "LITELLM_MASTER_KEY": key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
        }
        with _started("LiteLLM proxy", ["--config", str(path)], folder, environment, "/health/liveliness") as peer:
            url = f"{peer.url}/v1"
            yield Running(
                peer.version,
                chat(url, WARM_UP, **authorization),
                [chat(url, **authorization)] * streams,
                "",
                {"proxy": [peer.pid]},
            )


@contextlib.contextmanager
def chainlit(provider: str, streams: int) -> Iterator[Running]:
    """Chainlit with `chainlit_app.py`, which streams from the provider with OpenAI's client."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"OPENAI_BASE_URL": provider, "OPENAI_API_KEY": "sk-bench", "CHAINLIT_APP_ROOT": folder}
        arguments = ["run", str(HERE / "chainlit_app.py"), "--headless"]
        with _started("Chainlit", arguments, folder, environment, "/") as peer:
            yield Running(
                peer.version,
                {"url": peer.url, "words": WARM_UP},
                [{"url": peer.url, "words": "Go on."}] * streams,
                '["stream_',
                {"web": [peer.pid]},
                clients="benchmarks.chainlit_clients",
            )


@contextlib.contextmanager
def open_webui(provider: str, streams: int) -> Iterator[Running]:
    """Open WebUI on SQLite, all streams one user's, through its documented API. Its own page hears by Socket.IO."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "DATA_DIR": folder,
            "OPENAI_API_BASE_URL": provider,
            "OPENAI_API_KEY": "sk-bench",
            "ENABLE_OLLAMA_API": "false",
            "WEBUI_AUTH": "false",
            "WEBUI_SECRET_KEY": "bench",
            "OFFLINE_MODE": "true",
            # No model for retrieval: nothing is retrieved, and it would be fetched.
            "RAG_EMBEDDING_ENGINE": "openai",
            "ANONYMIZED_TELEMETRY": "false",
            "DO_NOT_TRACK": "true",
        }
        with _started("Open WebUI", ["serve"], folder, environment, "/health") as peer:
            signed_in = _post(f"{peer.url}/api/v1/auths/signin", {"email": "admin@localhost", "password": "admin"})
            authorization = {"Authorization": f"Bearer {signed_in['token']}"}
            url = f"{peer.url}/api"
            yield Running(
                peer.version,
                chat(url, WARM_UP, **authorization),
                [chat(url, **authorization)] * streams,
                "",
                {"web": [peer.pid]},
            )


# --- starting one -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    """One that answers at `url`."""

    url: str
    pid: int
    version: str


@contextlib.contextmanager
def _started(
    stack: str, arguments: Sequence[str], folder: str, environment: Mapping[str, str], path: str
) -> Iterator[Peer]:
    """Start a peer on a free port, and wait until `path` answers. Raises `Missing`."""
    if not is_installed(stack):
        raise Missing("not installed: make bench-peers")
    name, program = NAMES[stack]
    programs = PEERS / name / "bin"
    port = _free_port()
    log = Path(folder, "peer.log")
    with log.open("w") as output:
        try:
            process = subprocess.Popen(
                [programs / program, *arguments, "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder,
                env={**_own_environment(), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            # Its Python has gone.
            raise Missing(f"does not start: {error}; make bench-peers") from None
    try:
        url = f"http://127.0.0.1:{port}"
        if not _is_up(url + path, process):
            raise Missing(f"does not start: {_why(process, log)}")
        yield Peer(url, process.pid, _version(programs, name))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _own_environment() -> dict[str, str]:
    """Return ours without what would have a peer import our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_up(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the URL answers; False when the program ended or takes too long."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.2)
    return False


def _why(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the last words of a program that ended."""
    if process.poll() is None:
        return f"no answer in {PATIENCE:.0f} s"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit code {process.returncode}"


def _version(programs: Path, package: str) -> str:
    command = [programs / "python", "-c", f"from importlib.metadata import version as v; print(v({package!r}))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except OSError as error:
        raise Missing(f"does not answer: {error}") from None
