"""Server-sent events, decoded from bytes as they arrive, by the rules of the WHATWG.

* A line ends with LF, CR or CRLF; a chunk may end anywhere, also between CR and LF or inside a character.
* A blank line ends an event. Only an event with a `data` line is one; comments and other fields are not.
* Unlike a browser, `flush` also gives the event whose blank line never came, because some providers leave
  it out after the last one. It may have been cut: its reader has to check.
* An event may be large, but not without a limit: an error, not memory, is what a hostile stream gets.

Each byte is looked at once, however the stream is cut, so that a line of a megabyte costs no more than
a thousand short ones.
"""

from __future__ import annotations

from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"

#: Bytes in one event, or in one line. Providers put whole images and tool results into one.
MAX_EVENT = 16 * 1024 * 1024


class EventTooLarge(ValueError):
    """One event of the stream is larger than the limit."""


@dataclass(frozen=True, slots=True)
class SSEvent:
    """One event. `id` is the last id that the stream gave, in this event or before it."""

    data: str
    event: str = "message"
    id: str = ""


class SSEDecoder:
    """Turns bytes into events.

    `retry` is the reconnection time that the stream asked for, in milliseconds, or None.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.retry: int | None = None
        self.last_event_id = ""
        self._max_event = max_event
        self._line: list[bytes] = []  # pieces of the line that is not over yet
        self._data: list[bytes] = []  # the data lines of the event that is not over yet
        self._event = b""
        self._size = 0
        self._after_cr = False
        self._at_start = True

    def decode(self, chunk: bytes) -> list[SSEvent]:
        """Take the next bytes and return the events that they complete. Raises `EventTooLarge`."""
        if not chunk:
            return []
        events: list[SSEvent] = []
        first, *others = self._unify_line_ends(chunk).split(b"\n")
        self._hold(first)
        for piece in others:
            self._end_line(events)
            self._hold(piece)
        return events

    def flush(self) -> list[SSEvent]:
        """Return the event that the end of the stream left open, if it had data."""
        events: list[SSEvent] = []
        if self._line:
            self._end_line(events)
        self._end_event(events)
        return events

    def _unify_line_ends(self, chunk: bytes) -> bytes:
        # A CR ends its line at once, so that a stream of CRs is not one line late; the LF that may follow is skipped.
        if self._after_cr and chunk[0] == 0x0A:
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return chunk
        self._after_cr = chunk[-1] == 0x0D
        if b"\r" in chunk:
            return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._line.append(piece)
        self._size += len(piece)
        if self._size > self._max_event:
            raise EventTooLarge(f"an event of more than {self._max_event} bytes")

    def _end_line(self, events: list[SSEvent]) -> None:
        line = b"".join(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        if not line:
            self._end_event(events)
        else:
            self._read_field(line)

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            return
        self._size -= len(line)  # only data adds up
        if name == b"event":
            self._event = value
        elif name == b"id" and b"\0" not in value:
            self.last_event_id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            self.retry = int(value)

    def _end_event(self, events: list[SSEvent]) -> None:
        if self._data:
            data = b"\n".join(self._data).decode(errors="replace")
            events.append(SSEvent(data, self._event.decode(errors="replace") or "message", self.last_event_id))
            self._data.clear()
        self._event = b""
        self._size = 0
