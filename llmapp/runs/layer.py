"""The other bell: a channel layer between processes, where the site has one beside PostgreSQL.

The log writer sends one message a batch to one group, with the batch inside; so the hub of a web process
need not ask the database for each token. NOTIFY stays beside it: it announces what is written outside of
the log writer, what is too large for a message, and everything while the layer is away.

Nothing depends on a message: layers drop some, and deliver others late or twice. A reader takes an entry
that continues what it has, and reads the log for all else.

A layer's client belongs to the event loop that made it. So each end has a loop and a layer of its own,
in a thread of its own, and never shares the site's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import InMemoryChannelLayer, channel_layers
from django.db import connection
from django.utils.module_loading import import_string

from .bell import Deliver, News, Tail, Wanted

logger = logging.getLogger("llmapp.runs")

GROUP = "llmapp.log"
NEWS, ECHO = "llmapp.news", "llmapp.echo"

#: Characters of the entries of one message. A larger batch is only announced.
LARGEST = 512 * 1024
#: Seconds that the log writer waits for the layer: once, then it does without.
PATIENCE = 0.25
#: Seconds after which a layer that failed is tried again: at first, and at most.
AGAIN, AGAIN_AT_MOST = 1.0, 10.0
#: Seconds for which NOTIFY goes on to ring when the layer has come up: listeners find their way later than we do.
SETTLED = 15.0
#: Seconds between two looks of a listener whether it still hears, and what a connection is waited for.
CONFIRM, SUBSCRIBE = 5.0, 1.5
#: Seconds after which a listener sees that it is not needed any more.
TICK = 0.5


def is_there() -> bool:
    """Say whether the site has a layer that other processes hear. SQLite's tail needs none."""
    if connection.vendor != "postgresql" or not (path := _backend()):
        return False
    try:
        return not issubclass(import_string(path), InMemoryChannelLayer)
    except ImportError:
        logger.warning("the channel layer %s cannot be imported", path, extra={"action": "layer_missing"})
        return False


def name() -> str:
    """Return what kind of layer it is, for people."""
    return _backend().rpartition(".")[2]


def _backend() -> str:
    return str(channel_layers.configs.get(DEFAULT_CHANNEL_LAYER, {}).get("BACKEND", ""))


def _new_layer() -> Any:
    return channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)


class Ringer:
    """The log writer's end. Awaits the layer, but never for longer than `PATIENCE`."""

    def __init__(self) -> None:
        self._context: AbstractContextManager[BlockingPortal] = start_blocking_portal("asyncio", name="llmapp-layer")
        self._portal = self._context.__enter__()
        self._layer: Any = None
        self._up_since: float | None = None
        self._complained = False
        self._pause = AGAIN
        self._loop = self._portal.call(_running_loop)
        self._portal.start_task_soon(self._come_up, 0.0)

    @property
    def up(self) -> bool:
        return self._up_since is not None

    @property
    def settled(self) -> bool:
        """Whether the layer has been up for so long that everybody hears it."""
        return self._up_since is not None and time.monotonic() - self._up_since > SETTLED

    def takes(self, news: Sequence[News]) -> bool:
        """Say whether the layer is up and these fit into one message."""
        return self.up and sum(len(item.data) for item in news) <= LARGEST

    def ring(self, news: Sequence[News]) -> bool:
        """Tell every hub, in one message. False: it did not work, and somebody else has to."""
        sending = asyncio.run_coroutine_threadsafe(self._send(news, PATIENCE), self._loop)
        try:
            sending.result(PATIENCE)
        except Exception as error:
            # Each layer has its own exceptions.
            sending.cancel()
            self._go_down(error)
            return False
        return True

    def close(self) -> None:
        self._portal.call(self._portal.stop, True)
        self._context.__exit__(None, None, None)

    def _go_down(self, error: Exception) -> None:
        self._complain(error)
        if self.settled:
            self._pause = AGAIN
        self._up_since = None
        self._portal.start_task_soon(self._come_up, self._pause)

    # --- on the layer's loop ----------------------------------------------------------------

    async def _send(self, news: Sequence[News], patience: float) -> None:
        if self._layer is None:
            self._layer = _new_layer()
        async with asyncio.timeout(patience):
            await self._layer.group_send(GROUP, {"type": NEWS, "runs": _packed(news)})

    async def _come_up(self, pause: float) -> None:
        """Try until a message without news goes through. The log writer is not held up by it."""
        while True:
            await asyncio.sleep(pause)
            try:
                await self._send([], SUBSCRIBE)
            except Exception as error:
                self._complain(error)
                pause = self._pause = min(2 * self._pause, AGAIN_AT_MOST)
            else:
                break
        self._up_since = time.monotonic()
        if self._complained:
            self._complained = False
            logger.warning("the channel layer is back", extra={"action": "layer_back"})

    def _complain(self, error: Exception) -> None:
        """Say that it is away, once each time."""
        if self._complained:
            return
        self._complained = True
        logger.warning(
            "the channel layer fails (%s); NOTIFY rings until it is back", said(error), extra={"action": "layer_failed"}
        )


class LayerTail(Tail):
    """The hub's end: takes messages as they come, and makes sure that it still hears."""

    #: Whether it was well when it was last looked at: a failure is said once.
    _well = True

    def _follow(self) -> None:
        while not self._over:
            try:
                # A loop for each try: with it end the connections of a layer that fails.
                asyncio.run(self._hear())
            except Exception as error:
                if self._well:
                    logger.warning(
                        "the channel layer cannot be heard (%s); NOTIFY and a slow poll are",
                        said(error),
                        extra={"action": "layer_deaf"},
                    )
                self._well = False
                self._call(self._ready.set)
                self._stopping.wait(AGAIN)

    async def _hear(self) -> None:
        layer = _new_layer()
        async with asyncio.timeout(SUBSCRIBE):
            channel = await layer.new_channel()
            await layer.group_add(GROUP, channel)
        self._call(self._ready.set)
        self._heard = False
        receiving = asyncio.create_task(self._receive(layer, channel))
        try:
            await self._watch(layer, channel, receiving)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(SUBSCRIBE):
                    await layer.group_discard(GROUP, channel)
        finally:
            receiving.cancel()
            await asyncio.wait([receiving])

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            self._heard = True
            if message.get("type") == NEWS:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        try:
            news = list(_unpacked(message["runs"], self._wanted))
        except (KeyError, TypeError, ValueError):
            # Another version wrote it. Readers find what they miss in the log.
            if self._well:
                logger.warning("messages of the channel layer cannot be read", extra={"action": "layer_unreadable"})
            self._well = False
            return
        if news:
            self._call(self._deliver, news)

    async def _watch(self, layer: Any, channel: str, receiving: asyncio.Task[None]) -> None:
        """Return when nobody needs us any more; raise when we hear nothing, not even ourselves."""
        due = 0.0
        while not self._over:
            if receiving.done():
                receiving.result()
            if time.monotonic() >= due:
                if due and not self._heard:
                    raise TimeoutError("it is silent")
                self._well = self._well or self._heard
                self._heard, due = False, time.monotonic() + CONFIRM
                async with asyncio.timeout(CONFIRM):
                    # Some layers forget who is in a group: after a day, or when their server starts again.
                    await layer.group_add(GROUP, channel)
                    await layer.send(channel, {"type": ECHO})
            await asyncio.sleep(TICK)


def tail(deliver: Deliver, wanted: Wanted) -> LayerTail | None:
    """Start to listen, where there is a layer."""
    return LayerTail(deliver, wanted) if is_there() else None


async def works() -> bool:
    """Send a message and wait for it, for `doctor`. Raises what the layer raises."""
    layer = _new_layer()
    async with asyncio.timeout(SUBSCRIBE):
        channel = await layer.new_channel()
        await layer.send(channel, {"type": ECHO})
        return bool((await layer.receive(channel))["type"] == ECHO)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _packed(news: Iterable[News]) -> list[Any]:
    """Write news down, each run once: its names are longer than a token."""
    runs: dict[uuid.UUID, list[Any]] = {}
    for item in news:
        if (run := runs.get(item.run_pk)) is None:
            run = runs[item.run_pk] = [str(item.run_pk), str(item.conversation_pk), item.run, []]
        run[3].append([item.seq, item.status, item.data])
    return list(runs.values())


def _unpacked(runs: Iterable[list[Any]], wanted: Wanted) -> Iterator[News]:
    for run, conversation, name, entries in runs:
        run_pk, conversation_pk = uuid.UUID(run), uuid.UUID(conversation)
        if wanted(run_pk, conversation_pk):
            for seq, status, data in entries:
                yield News(run_pk, int(seq), str(status), str(data), conversation_pk, str(name))
