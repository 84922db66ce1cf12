"""Clients of Chainlit: a message and its answer over Socket.IO, as Chainlit's page talks to its server.

Packets of Engine.IO 4 and Socket.IO 5, on a websocket: "0" the server opens, "40" connect, "42" an event, "2" ping,
"3" pong. A library for it would cost more CPU a token than what is measured.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import aiohttp

from llmapp.measuring import clients
from llmapp.measuring.clients import now


class SocketIO(clients.Clients):
    async def read(self, session: aiohttp.ClientSession, number: int, request: dict[str, Any]) -> None:
        address = f"{request['url']}/ws/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(address, max_msg_size=0) as socket:
            began, started = now(), False
            async for message in socket:
                at, packet = now(), str(message.data)
                if packet.startswith("0"):
                    auth = {"sessionId": str(uuid.uuid4()), "clientType": "webapp"}
                    await socket.send_str("40" + json.dumps(auth))
                elif packet.startswith("40"):
                    await _emit(socket, "connection_successful")
                    began = now()
                    await _emit(socket, "client_message", {"message": _step(request["words"]), "fileReferences": []})
                elif packet.startswith("44"):
                    self.result.errors.append(f"refused: {packet[:200]}")
                    return
                elif packet == "2":
                    await socket.send_str("3")
                elif packet.startswith('42["task_start"'):
                    started = True
                elif packet.startswith('42["task_end"') and started:
                    return
                else:
                    self.note(number, packet.encode(), at, began)


async def _emit(socket: aiohttp.ClientWebSocketResponse, *event: Any) -> None:
    await socket.send_str("42" + json.dumps(event))


def _step(words: str) -> dict[str, Any]:
    """Return a person's message as the page sends it."""
    return {
        "id": str(uuid.uuid4()),
        "name": "User",
        "type": "user_message",
        "output": words,
        "createdAt": "2026-01-01T00:00:00Z",
    }


if __name__ == "__main__":
    clients.main(SocketIO)
