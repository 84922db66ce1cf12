"""One answer in the OpenAI chat format, from its bytes to deltas. No IO.

* An answer ended only if the provider said so: by a finish reason, or by its end marker after content.
  A stream that merely stops is `stream_interrupted`; what was no answer at all is `invalid_response`.
* Whatever was readable before an error is given out before the error is raised.
* After a finish reason nothing can make an answer fail any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind
from llmapp.core.sse import EventTooLarge, SSEDecoder, SSEvent
from llmapp.core.stream import Delta, Finish, FinishReason

from .openai_format import ChunkReader

END_MARKER = "[DONE]"

#: What a line of a stream begins with.
FIELDS = (b":", b"data", b"event", b"id", b"retry")

#: Bytes of an answer that is not streamed, and of one that is no answer and gets quoted in the ledger.
MAX_DOCUMENT = 16 * 1024 * 1024
MAX_QUOTE = 2_000


class AnswerReader:
    """Reads the body of a 200: `feed` its chunks until `ended`, then take `end()`."""

    def __init__(self, provider: str, status: int, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._status = status
        self._headers = headers
        self._chunks = ChunkReader()
        self._decoder = SSEDecoder()
        self._is_document: bool | None = None
        self._is_stream = True
        self._saw_data = False
        self._head: list[bytes] = []
        self._size = 0
        #: The end marker came: nothing of interest follows.
        self.ended = False

    @property
    def finished(self) -> bool:
        """Whether the provider said that the answer is over."""
        return self._chunks.finished

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Take the next bytes and give the deltas that they complete. Raises `BackendError`."""
        if self._is_document is not False or self._size < MAX_QUOTE:
            self._keep(chunk)
        if self._is_document is None:
            chunk = b"".join(self._head)
            if not (start := chunk.lstrip(b"\xef\xbb\xbf \t\r\n")):
                return
            # Where a stream was asked for, a JSON document or a web page can still be what comes.
            self._is_document = start[:1] in (b"{", b"[", b"<")
            self._is_stream = start.startswith(FIELDS)
        if not self._is_document:
            yield from self._read_events(self._decode(chunk))

    def end(self) -> Iterator[Delta]:
        """Give what the end of the body completes. Raises `BackendError` when the answer is not whole."""
        if self._is_document:
            yield from self._read_document()
        else:
            yield from self._end_of_stream()

    # -- as a stream

    def _decode(self, chunk: bytes) -> list[SSEvent]:
        try:
            return self._decoder.decode(chunk)
        except EventTooLarge as error:
            raise self._fail(ErrorKind.INVALID_RESPONSE, str(error)) from None

    def _read_events(self, events: list[SSEvent], may_be_cut: bool = False) -> Iterator[Delta]:
        for event in events:
            if self.ended:
                return
            data = event.data.strip()
            if data == END_MARKER:
                self.ended = True
            elif data:
                yield from self._read_event(event, may_be_cut)

    def _read_event(self, event: SSEvent, may_be_cut: bool) -> Iterator[Delta]:
        try:
            body = json.loads(event.data)
        except (ValueError, RecursionError):
            if may_be_cut or self.finished:
                return
            raise self._quote(event.data, None if event.event == "error" else ErrorKind.INVALID_RESPONSE) from None
        yield from self._read_body(body, is_error=event.event == "error")

    def _read_body(self, body: object, is_error: bool = False) -> Iterator[Delta]:
        self._saw_data = True
        if is_error or says_error(body):
            if self.finished:
                return
            raise self._quote(body)
        if isinstance(body, Mapping):
            yield from self._chunks.read(body)
        if self._chunks.broke and not self.finished:
            raise self._fail(ErrorKind.SERVER_ERROR, f"finish_reason: {self._chunks.broke}")

    def _end_of_stream(self) -> Iterator[Delta]:
        yield from self._read_events(self._decoder.flush(), may_be_cut=True)
        if self.finished:
            return
        yield from self._chunks.flush()
        if self.ended and self._chunks.has_content:
            yield Finish(FinishReason.STOP, END_MARKER)
        elif self._chunks.saw_choices or (self._is_stream and not self._saw_data):
            raise self._fail(ErrorKind.STREAM_INTERRUPTED, "the stream ended without a finish reason")
        else:
            raise self._quote(parse_body(b"".join(self._head)), ErrorKind.INVALID_RESPONSE)

    # -- as a document

    def _keep(self, chunk: bytes) -> None:
        self._head.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_DOCUMENT:
            raise self._fail(ErrorKind.INVALID_RESPONSE, f"an answer of more than {MAX_DOCUMENT} bytes")

    def _read_document(self) -> Iterator[Delta]:
        body = parse_body(b"".join(self._head))
        if not isinstance(body, Mapping | list):
            raise self._quote(body, ErrorKind.INVALID_RESPONSE)
        yield from self._read_body(body)
        if not self._chunks.saw_choices:
            raise self._quote(body, ErrorKind.INVALID_RESPONSE)
        if not self.finished:
            yield from self._chunks.flush()
            yield Finish(FinishReason.STOP)  # nobody said so, but the document is whole

    # -- what went wrong

    def _quote(self, body: object, kind: ErrorKind | None = None) -> BackendError:
        if isinstance(body, str):
            body = body[:MAX_QUOTE]
        facts = ErrorFacts(provider=self._provider, status=self._status, headers=self._headers, body=body)
        return BackendError(facts, kind)

    def _fail(self, kind: ErrorKind, text: str) -> BackendError:
        facts = ErrorFacts(provider=self._provider, status=self._status, headers=self._headers, exception=text)
        return BackendError(facts, kind)


def says_error(body: object) -> bool:
    """Say whether a chunk of a 200 is an error object."""
    if isinstance(body, list):
        return any(says_error(item) for item in body[:10])
    if not isinstance(body, Mapping):
        return False
    return bool(body.get("error")) or "error" in (body.get("object"), body.get("type"))


def parse_body(raw: bytes) -> object:
    """Return the parsed JSON where it is JSON, else the text."""
    text = raw.decode(errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
