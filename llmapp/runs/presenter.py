"""Shows a growing answer as rendered Markdown: settled blocks, and the open one at intervals.

It watches the events of one run on their way into the log and adds `llmapp.block` events between them.
Readers show text that no block covers yet as it is, so a token never waits for the renderer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from llmapp.core import events as ev
from llmapp.core.events import Event
from llmapp.rendering.markdown import Block, MarkdownStream, assemble, render

Emit = Callable[[Event], None]

#: Seconds between two renderings of the open block: raw asterisks stand about no longer.
INTERVAL = 0.15
#: An open block of more characters is rendered less often: each time it is stored, sent and shown as a whole.
LENGTH = 2_000
#: What rendering may take of a core for one run: an open block that takes 1 ms is rendered each 0.3 s.
SHARE = 1 / 300
#: Seconds between two renderings at most: what is settled waits for them too.
LONGEST_PAUSE = 3.0
#: An open block of this many characters takes milliseconds to render: that is done in a thread.
INLINE = 4_000


def pause_after(seconds: float, characters: int) -> float:
    """Return how many seconds to wait after a rendering that took `seconds` of a core, of so many open characters."""
    return min(max(INTERVAL, INTERVAL * characters / LENGTH, seconds / SHARE), LONGEST_PAUSE)


class Presenter:
    """Renders the text messages of one run, one after the other."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._current: _Rendering | None = None
        self._abandoned: list[_Rendering] = []

    def watch(self, event: Event) -> None:
        """Take note of an event that was just emitted."""
        match event["type"]:
            case ev.TEXT_MESSAGE_START:
                # An earlier message of the run, if it was not finished, is rendered from its text in the end.
                self._abandon()
                self._current = _Rendering(self._emit, event["messageId"])
            case ev.TEXT_MESSAGE_CONTENT if self._current is not None:
                self._current.add(event["delta"])
            case ev.MESSAGES_SNAPSHOT:
                # What was said is withdrawn: nothing of it is shown after that.
                self._abandon()

    def _abandon(self) -> None:
        if self._current is not None:
            self._current.abandon()
            self._abandoned.append(self._current)
            self._current = None

    async def finish(self) -> str:
        """Render what is left of the current message, and return the whole of it as HTML.

        Growing blocks and one full rendering are compared; where they differ the full one wins.
        """
        await self.stop()
        return "" if self._current is None else await self._current.finish()

    async def stop(self) -> None:
        """End the rendering at intervals. What it is doing in a thread is waited for: the stream has one user."""
        renderings, self._abandoned = [*self._abandoned, *filter(None, [self._current])], []
        for rendering in renderings:
            await rendering.stop()


class _Rendering:
    """One message on its way to HTML."""

    def __init__(self, emit: Emit, message_id: str) -> None:
        self._emit = emit
        self._message_id = message_id
        self._pending: list[str] = []
        self._blocks: list[Block] = []
        self._stream = MarkdownStream()
        self._seconds = 0.0
        self._is_abandoned = False
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._keep_rendering())

    def add(self, text: str) -> None:
        self._pending.append(text)
        self._news.set()

    def abandon(self) -> None:
        """Send nothing more."""
        self._is_abandoned = True
        self._ended.set()
        self._news.set()

    async def finish(self) -> str:
        text, self._pending = "".join(self._pending), []
        blocks, html = await asyncio.to_thread(self._render_rest, text)
        self._send(blocks)
        if assemble(self._blocks) != html:
            self._emit(ev.custom("llmapp.render", messageId=self._message_id, html=html))
        return html

    def _render_rest(self, text: str) -> tuple[list[Block], str]:
        blocks = [*self._stream.feed(text), *self._stream.finish()]
        return blocks, render(self._stream.text)

    async def stop(self) -> None:
        if self._task is not None:
            self._ended.set()
            self._news.set()
            await self._task
            self._task = None

    async def _keep_rendering(self) -> None:
        while True:
            await self._news.wait()
            if self._ended.is_set():
                return
            self._news.clear()
            before = self._seconds
            await self._render_once()
            # The cheaper of two, because what is used for the first time is also loaded.
            seconds = pause_after(min(before, self._seconds), self._stream.open_cost)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.wait()

    async def _render_once(self) -> None:
        text, self._pending = "".join(self._pending), []
        if len(text) + self._stream.open_cost < INLINE:
            blocks, open_block = self._feed_and_open(text)
        else:
            blocks, open_block = await asyncio.to_thread(self._feed_and_open, text)
        if self._is_abandoned:
            return
        self._send(blocks)
        if open_block is not None:
            self._send_one(open_block)

    def _feed_and_open(self, text: str) -> tuple[list[Block], Block | None]:
        began = time.thread_time()
        blocks, open_block = self._stream.feed(text), self._stream.open()
        self._seconds = time.thread_time() - began
        return blocks, open_block

    def _send(self, blocks: list[Block]) -> None:
        for block in blocks:
            self._blocks.append(block)
            self._send_one(block)

    def _send_one(self, block: Block) -> None:
        self._emit(
            ev.custom(
                "llmapp.block",
                messageId=self._message_id,
                index=block.index,
                mode=block.mode,
                html=block.html,
                end=block.end,
                settled=block.settled,
            )
        )
