"""The event stream decoder: rules of the WHATWG, and indifference to how the bytes are cut."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.sse import EventTooLarge, SSEDecoder, SSEvent

TABLE = [
    # the usual
    (b"data: a\n\n", [SSEvent("a")]),
    (b"data:a\n\ndata:  b\n\n", [SSEvent("a"), SSEvent(" b")]),
    # line ends
    (b"data: a\r\rdata: b\r\r", [SSEvent("a"), SSEvent("b")]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [SSEvent("a"), SSEvent("b")]),
    (b"data: a\ndata: b\rdata: c\r\n\n", [SSEvent("a\nb\nc")]),
    # what is not data
    (b": ping\n\n: ping\n\ndata: a\n\n", [SSEvent("a")]),
    (b"event: x\n\ndata: a\n\n", [SSEvent("a")]),
    (b"nonsense\ndata: a\nnonsense: b\n\n", [SSEvent("a")]),
    (b"data\n\ndata:\n\n", [SSEvent(""), SSEvent("")]),
    # names and ids
    (b"event: error\ndata: a\n\ndata: b\n\n", [SSEvent("a", "error"), SSEvent("b")]),
    (b"id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [SSEvent("a", id="7"), SSEvent("b", id="7"), SSEvent("c")]),
    (b"id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n", [SSEvent("a", id="7"), SSEvent("b", id="7")]),
    # text
    ("\ufeffdata: ä€😀\n\ndata: \ufeff\n\n".encode(), [SSEvent("ä€😀"), SSEvent("\ufeff")]),
    (b"data: \xff\n\n", [SSEvent("\ufffd")]),
    # the end
    (b"data: a\n\ndata: b", [SSEvent("a"), SSEvent("b")]),
    (b"data: a\n", [SSEvent("a")]),
    (b"event: x\n", []),
    (b"", []),
]


def decoded(*chunks: bytes) -> list[SSEvent]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.decode(chunk)] + decoder.flush()


@pytest.mark.parametrize("raw, events", TABLE)
def test_events(raw: bytes, events: list[SSEvent]) -> None:
    """Bytes become the events that the standard says."""
    assert decoded(raw) == events


@pytest.mark.parametrize("raw, events", TABLE)
def test_any_cut(raw: bytes, events: list[SSEvent]) -> None:
    """Two cuts anywhere, and single bytes, change nothing."""
    for first in range(len(raw) + 1):
        for second in range(first, len(raw) + 1):
            assert decoded(raw[:first], raw[first:second], raw[second:]) == events
    assert decoded(*(raw[i : i + 1] for i in range(len(raw)))) == events


@given(
    st.lists(st.sampled_from([b"data: x", b"data:", b"id: 1", b":", b"\n", b"\r", b"\r\n", b"\xf0\x9f", b"\x98\x80"]))
)
def test_random_streams_are_indifferent_to_cuts(pieces: list[bytes]) -> None:
    """Whatever is in the stream, one chunk and many give the same events."""
    assert decoded(b"".join(pieces)) == decoded(*pieces)


def test_a_cr_ends_its_event_at_once() -> None:
    """A stream of CRs is not one line late."""
    assert SSEDecoder().decode(b"data: a\r\r") == [SSEvent("a")]


@pytest.mark.parametrize(
    "line, retry",
    [(b"retry: 1500", 1500), (b"retry: 1.5", None), (b"retry: -1", None), (b"retry: 9" + b"9" * 30, None)],
)
def test_retry(line: bytes, retry: int | None) -> None:
    """The reconnection time is kept when it is a plain number."""
    decoder = SSEDecoder()
    decoder.decode(line + b"\n")
    assert decoder.retry == retry


@pytest.mark.parametrize(
    "endless", [b"data: " + b"x" * 100, b"data: xxxxxxxxxx\n", b"data:\n", b"x" * 100, b": " + b"x" * 100]
)
def test_an_event_without_end_is_an_error(endless: bytes) -> None:
    """Lines and events are refused beyond the limit, before they fill the memory."""
    decoder = SSEDecoder(max_event=1_000)
    with pytest.raises(EventTooLarge):
        list(map(decoder.decode, [endless] * 2_000))


def test_many_small_events_are_no_large_one() -> None:
    """The limit is for one event: comments and finished events do not add up."""
    decoder = SSEDecoder(max_event=100)
    for _ in range(100):
        assert decoder.decode(b": a comment\nid: 1\ndata: a\n\n") == [SSEvent("a", id="1")]


def test_a_large_line_costs_no_more_than_its_length() -> None:
    """A line of two megabytes in pieces takes about twice the time of one megabyte, and not four times."""

    def seconds(size: int) -> float:
        decoder, start = SSEDecoder(), time.process_time()
        for _ in range(size // 64):
            decoder.decode(b"x" * 64)
        decoder.decode(b"\n")
        return time.process_time() - start

    assert min(seconds(2_000_000) for _ in range(3)) < 3.5 * min(seconds(1_000_000) for _ in range(3))
