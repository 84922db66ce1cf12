"""Clients that speak our websocket, as the chat page does: it is open before its stream is asked for."""

from __future__ import annotations

from typing import Any

import aiohttp

from llmapp.backends.stamps import now
from llmapp.measuring import clients

ENDS = (b'"RUN_FINISHED"', b'"RUN_ERROR"')


class Sockets(clients.Clients):
    """A request is {"url", "headers", "frame"}."""

    async def prepare(self, session: aiohttp.ClientSession) -> None:
        self._sockets = [
            await session.ws_connect(request["url"], headers=request["headers"]) for request in self._job.requests
        ]

    async def read(self, session: aiohttp.ClientSession, number: int, request: dict[str, Any]) -> None:
        socket, began = self._sockets[number], now()
        await socket.send_json(request["frame"])
        try:
            async for message in socket:
                at, frame = now(), str(message.data).encode()
                self.note(number, frame, at, began)
                if frame.startswith(b'{"type": "error"'):
                    self.result.errors.append(str(message.data)[:200])
                    return
                if frame.startswith(b'{"type":"event"') and any(end in frame for end in ENDS):
                    return
            self.result.errors.append(f"the socket was closed: {socket.close_code}")
        finally:
            await socket.close()


if __name__ == "__main__":
    clients.main(Sockets)
