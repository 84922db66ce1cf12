"""A reader who is slow is waited for, also by Daphne.

An ASGI application waits in `send` until the server has room, and so reads no faster than its reader. Daphne
(4.2.3) returns at once and keeps all of it: a browser that reads a byte a second has a long answer wait in the memory
of its web process. Here `send` waits once what is kept for one connection is more than Twisted's buffer (64 KB), until
it is empty; meanwhile the log keeps the rest.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

logger = logging.getLogger("llmapp.sockets")

#: Seconds for a reader to take what is kept for it. Then it is cut off: it holds a place, and comes back to go on
#: where it was.
PATIENCE = 60.0


class Valve:
    """What Twisted tells whether a connection has room: a "push producer". Lost connections let everybody pass."""

    def __init__(self) -> None:
        self._room = asyncio.Event()
        self._room.set()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's word
        self._room.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._room.set()

    stopProducing = resumeProducing  # noqa: N815

    async def wait(self) -> bool:
        """Wait for room. False: there was none for too long."""
        if self._room.is_set():
            return True
        try:
            async with asyncio.timeout(PATIENCE):
                await self._room.wait()
        except TimeoutError:
            return False
        return True


_valves: WeakKeyDictionary[Any, Valve] = WeakKeyDictionary()


def mend_daphne() -> None:
    """Teach the Daphne of this process, if it is one, to wait. A second time does nothing."""
    if (module := sys.modules.get("daphne.server")) is None or getattr(module.Server.handle_reply, "waits", False):
        return
    tell = module.Server.handle_reply

    async def handle_reply(self: Any, protocol: Any, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await _answer(tell, self, protocol, message)
        elif message["type"] == "websocket.send":
            await _send(tell, self, protocol, message)
        else:
            await tell(self, protocol, message)

    handle_reply.waits = True  # type: ignore[attr-defined]
    module.Server.handle_reply = handle_reply


async def _answer(tell: Any, server: Any, request: Any, message: Mapping[str, Any]) -> None:
    """Pass a piece of a body on. What fits into one piece is not waited for."""
    valve = _valves.get(request)
    if not message.get("more_body"):
        if valve is not None and request.channel is not None:
            request.unregisterProducer()
        return await tell(server, request, message)  # type: ignore[no-any-return]
    if valve is None and request.channel is not None:
        valve = _valves[request] = Valve()
        request.registerProducer(valve, True)
    await tell(server, request, message)
    if valve is not None and not await valve.wait() and request.channel is not None:
        _say_cut(request)
        # A stream of HTTP/2 has only the second.
        getattr(request.channel, "forceAbortClient", request.channel.loseConnection)()


async def _send(tell: Any, server: Any, socket: Any, message: Mapping[str, Any]) -> None:
    if socket.state != socket.STATE_OPEN:
        return await tell(server, socket, message)  # type: ignore[no-any-return]
    if (valve := _valves.get(socket)) is None:
        valve = _valves[socket] = Valve()
        # The HTTP channel that this connection began as is told nothing any more that it could use.
        socket.unregisterProducer()
        socket.registerProducer(valve, True)
    await tell(server, socket, message)
    if not await valve.wait():
        _say_cut(socket)
        # No close code: it would stand in line behind all the rest.
        socket.dropConnection(abort=True)


def _say_cut(protocol: Any) -> None:
    client = (getattr(protocol, "client_addr", None) or ["?"])[0]
    about = {"action": "slow_reader_cut", "client": client}
    logger.info("a reader at %s took nothing for %d s and is cut off", client, PATIENCE, extra=about)
