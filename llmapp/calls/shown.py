"""What a person has seen of a call's answer, over all of its attempts: nothing twice, and nothing lost."""

from __future__ import annotations

from llmapp.core.output import Seam
from llmapp.core.stream import Delta, Finish, FinishReason, ReasoningDelta, TextDelta

from .base import Notice, Sink

#: The words that a model ends its answer with, and not a limit or a filter.
ENDS = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})


class Shown:
    """Passes deltas on to the sink. An attempt that goes on with shown text is fitted to its end.

    What such an attempt said before it was clear whether it goes on or repeats is held back; if it breaks
    there, that is not shown: the next attempt is asked for it again.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._parts: list[str] = []
        self._seam: Seam | None = None
        #: White space before any text: an answer that is nothing else is none, and is never shown.
        self._space = ""
        self._length_before = 0
        #: Whether thoughts went to the sink.
        self._thoughts = False

    @property
    def text(self) -> str:
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def begin(self) -> None:
        """An attempt begins. Where there is text, what it says is meant to go on with it."""
        text = self.text
        self._length_before, self._space = len(text), ""
        self._seam = Seam(text) if text else None

    @property
    def had_text(self) -> bool:
        """Whether there was text before the attempt."""
        return self._length_before > 0

    @property
    def has_grown(self) -> bool:
        """Whether the attempt brought any text that was not there before."""
        return len(self.text) > self._length_before

    async def pass_on(self, delta: Delta) -> None:
        """Show what of a delta is new."""
        if isinstance(delta, TextDelta):
            await self._pass_text(delta.text)
            return
        if isinstance(delta, Finish) and delta.reason in ENDS:
            self._flush()
        self._thoughts = self._thoughts or isinstance(delta, ReasoningDelta)
        self._sink.delta(delta)

    async def _pass_text(self, text: str) -> None:
        if self._seam is None:
            self._say(text)
            return
        was_abandoned = self._seam.abandoned
        piece = self._seam.feed(text)
        if self._seam.abandoned and not was_abandoned:
            await self.withdraw()
        self._say(piece)

    def _flush(self) -> None:
        """It is the end of the answer: show what was held back at the seam."""
        if self._seam is not None:
            self._say(self._seam.flush())
            self._seam = None

    def _say(self, text: str) -> None:
        text = self._space + text
        if not self._parts and not text.strip():
            self._space = text
        elif text:
            self._space = ""
            self._parts.append(text)
            self._sink.delta(TextDelta(text))

    async def withdraw(self) -> None:
        """Take back all that was shown."""
        self._parts, self._length_before = [], 0
        self._thoughts = False
        await self._sink.withdraw()

    async def end_thoughts(self) -> None:
        """Close what an attempt without any text has thought."""
        if self._thoughts and not self._parts:
            await self.withdraw()


class Nobody:
    """The sink of what nobody sees."""

    def delta(self, delta: Delta) -> None: ...

    def notice(self, notice: Notice) -> None: ...

    async def withdraw(self) -> None: ...
