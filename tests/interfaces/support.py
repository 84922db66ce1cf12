"""What tests of the interfaces read and say."""

from __future__ import annotations

import json
from typing import Any

from channels.testing import WebsocketCommunicator

from llmapp.routing import websocket_application

HOST = b"testserver"


def user_message(text: Any = "Hi", id: str = "m1", **fields: Any) -> dict[str, Any]:
    return {"id": id, "role": "user", "content": text, **fields}


def run_input(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages) or [user_message()], **fields}


async def post(client: Any, path: str, body: Any = None, **options: Any) -> Any:
    return await client.post(path, data=json.dumps(body), content_type="application/json", **options)


async def start(client: Any, *messages: dict[str, Any], agent: str = "scripted", **fields: Any) -> Any:
    """Start a run over HTTP. The stream of the answer is left unread."""
    headers = fields.pop("headers", {})
    return await post(client, f"/api/agents/{agent}/runs", run_input(*messages, **fields), headers=headers)


def code(response: Any) -> str:
    """Return the code of an error, having checked its shape."""
    body = json.loads(response.content)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    return str(body["error"]["code"])


async def read_stream(response: Any) -> list[dict[str, Any]]:
    """Return the events of a stream to its end, each with its `seq`."""
    assert response.status_code == 200, response.content
    text = b"".join([chunk async for chunk in response]).decode()
    return parse_stream(text)


def parse_stream(text: str) -> list[dict[str, Any]]:
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append({"seq": int(fields.get("id", 0)), **json.loads(fields["data"])})
    return events


def seqs(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames]


class Socket(WebsocketCommunicator):  # type: ignore[misc]
    """A page's websocket: `await socket.open()`, then `say` and `hear`."""

    def __init__(self, conversation: Any, client: Any = None, *, headers: dict[str, str] | None = None) -> None:
        pairs = {b"host": HOST, b"origin": b"http://" + HOST}
        if client is not None:
            pairs[b"cookie"] = "; ".join(f"{c.key}={c.value}" for c in client.cookies.values()).encode()
        pairs |= {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        given = [(name, value) for name, value in pairs.items() if value]
        super().__init__(websocket_application(), f"/ws/conversations/{conversation}/", headers=given)

    async def open(self) -> bool:
        connected, _ = await self.connect(timeout=5)
        return bool(connected)

    async def say(self, **frame: Any) -> None:
        await self.send_json_to(frame)

    async def hear(self, kind: str, timeout: float = 5, **facts: Any) -> dict[str, Any]:
        """Return the next frame of this type with these facts, and pass over all others."""
        while True:
            frame: dict[str, Any] = await self.receive_json_from(timeout=timeout)
            if frame["type"] == kind and facts.items() <= frame.items():
                return frame

    async def hear_run(self, run: str | None = None) -> list[dict[str, Any]]:
        """Return the frames of a run's events, to the terminal one."""
        frames = []
        while True:
            frame = await self.hear("event")
            if run is not None and frame["run"] != run:
                continue
            frames.append(frame)
            if frame["event"]["type"] in ("RUN_FINISHED", "RUN_ERROR"):
                return frames

    async def hear_close(self, timeout: float = 15) -> int:
        while True:
            message = await self.receive_output(timeout=timeout)
            if message["type"] == "websocket.close":
                return int(message["code"])
