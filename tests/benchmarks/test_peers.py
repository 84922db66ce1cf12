"""Other people's stacks: what is said when one cannot be had, and how Chainlit's protocol is read."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from benchmarks import peer_stacks
from benchmarks.chainlit_clients import SocketIO
from benchmarks.peer_stacks import NAMES, _started
from benchmarks.running import Missing
from llmapp.backends.stamps import token
from llmapp.measuring.clients import Job
from tests.measuring.test_clients import serving
from tests.support.site import ROOT

SERVER = """
import http.server, sys
host, port = sys.argv[-3], int(sys.argv[-1])
http.server.ThreadingHTTPServer((host, port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peer_stacks, "PEERS", tmp_path / "peers")
    monkeypatch.setattr(peer_stacks, "_version", lambda programs, package: "1.2.3")
    return tmp_path


def install(folder: Path, program: str, python: str = sys.executable) -> None:
    path = folder / "peers" / "chainlit" / "bin" / "chainlit"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!{python}\n{program}")
    path.chmod(0o755)


def start(folder: Path) -> str:
    with _started("Chainlit", [], str(folder), {}, "/") as peer:
        return peer.version


def test_one_that_is_up(peers: Path) -> None:
    install(peers, SERVER)
    assert start(peers) == "1.2.3"


@pytest.mark.parametrize(
    "program, python, said",
    [
        (None, "", "not installed: make bench-peers"),
        ("import sys; print('first'); sys.exit('no licence')", sys.executable, "does not start: no licence"),
        ("raise SystemExit(3)", sys.executable, "does not start: exit code 3"),
        ("import time; time.sleep(60)", sys.executable, "does not start: no answer in 1 s"),
        ("", "/nowhere/python", "does not start: .*No such file.*make bench-peers"),
    ],
)
def test_one_that_cannot_be_had_says_why(
    peers: Path, program: str | None, python: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_stacks, "PATIENCE", 1.0)
    if program is not None:
        install(peers, program, python)
    with pytest.raises(Missing, match=said):
        start(peers)


@pytest.mark.parametrize("environment, _program", NAMES.values())
def test_each_has_its_pins(environment: str, _program: str) -> None:
    """Exact versions, no host's name, and never the two releases of litellm that were malicious."""
    lines = (ROOT / "benchmarks" / f"peers-{environment}.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    for line in pins:
        assert re.fullmatch(r"[a-z-]+(\[\w+\])?==[0-9.]+", line)
        assert line.rpartition("==")[2] not in ("1.82.7", "1.82.8")
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PEERS :="))
    assert environment in line.split()


async def chainlit(request: web.Request) -> web.WebSocketResponse:
    """Answer as Chainlit 2 does: an end at once, then a start with a token in it, tokens, all of it again, an end."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str('0{"sid": "a", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000}')
    async for message in socket:
        assert message.type is WSMsgType.TEXT
        if message.data.startswith("40"):
            assert {"sessionId", "clientType"} <= set(json.loads(message.data[2:]))
            await socket.send_str('40{"sid": "b"}')
        elif message.data == '42["connection_successful"]':
            await socket.send_str('42["task_end", {}]')
        elif message.data.startswith('42["client_message"'):
            assert json.loads(message.data[2:])[1]["message"]["output"] == "Go on."
            tokens = [token(number) for number in range(1, 4)]
            await socket.send_str('42["task_start", {}]')
            await socket.send_str("42" + json.dumps(["stream_start", {"output": tokens[0]}]))
            await socket.send_str("2")
            for one in tokens[1:]:
                await socket.send_str("42" + json.dumps(["stream_token", {"token": one}]))
            await socket.send_str("42" + json.dumps(["new_message", {"output": "".join(tokens)}]))
            await socket.send_str('42["task_end", {}]')
    return socket


async def refusing(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str('0{"sid": "a"}')
    await socket.send_str('44{"message": "authentication failed"}')
    return socket


async def test_an_answer_of_chainlit_is_counted_once() -> None:
    async with serving(chainlit) as url:
        requests = [{"url": url.rstrip("/"), "words": "Go on."}] * 2
        result = await SocketIO(Job(requests, '["stream_', 100, 5)).run()
    assert result.tokens == [3, 3]
    assert result.errors == []
    assert len(result.first) == 2


async def test_a_refusal_of_chainlit_is_said() -> None:
    async with serving(refusing) as url:
        requests = [{"url": url.rstrip("/"), "words": "Go on."}]
        result = await SocketIO(Job(requests, '["stream_', 100, 5)).run()
    assert result.errors == ['refused: 44{"message": "authentication failed"}']
