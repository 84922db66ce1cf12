"""Rendered Markdown between the deltas."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmapp.core import events as ev
from llmapp.rendering.markdown import render
from llmapp.runs import presenter

TEXT = "# Title\n\nSome *text* here.\n\n- one\n- two\n\n```python\nx = 1\n```\n\nThe end."


async def show(pieces: list[str], pause: float = 0) -> tuple[list[dict[str, Any]], str]:
    events: list[ev.Event] = []
    made = presenter.Presenter(events.append)
    made.watch(ev.text_start("m"))
    for piece in pieces:
        made.watch(ev.text_content("m", piece))
        await asyncio.sleep(pause)
    html = await made.finish()
    assert {e["name"] for e in events} <= {"llmapp.block", "llmapp.render"}
    return [e["value"] for e in events if e["name"] == "llmapp.block"], html


async def test_every_character_is_covered_by_settled_blocks_in_the_end() -> None:
    """In order, and the last one ends where the text ends."""
    blocks, html = await show([TEXT[n : n + 7] for n in range(0, len(TEXT), 7)])
    settled = [b for b in blocks if b["settled"]]
    assert [b["index"] for b in settled] == list(range(len(settled)))
    ends = [b["end"] for b in settled]
    assert ends == sorted(ends)
    assert ends[-1] == len(TEXT)
    assert html == render(TEXT)


async def test_the_open_block_is_shown_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No asterisk stands about while a word in bold is being written."""
    monkeypatch.setattr(presenter, "INTERVAL", 0.01)
    blocks, _ = await show(["so **impor", "tant** it is"], pause=0.05)
    shown = [b["html"] for b in blocks if not b["settled"]]
    assert shown[0].strip() == "<p>so <strong>impor</strong></p>"


async def test_the_open_block_is_not_rendered_for_every_token() -> None:
    """At intervals only, however fast the tokens come."""
    blocks, _ = await show(["word "] * 300, pause=0.001)
    assert len([b for b in blocks if not b["settled"]]) <= 8


@pytest.mark.parametrize(
    ("characters", "seconds", "pause"),
    [
        (100, 0.0001, presenter.INTERVAL),
        (1_000, 0.0005, presenter.INTERVAL),
        # Long, or costly: the share of a core that rendering takes stays what it is.
        (6_000, 0.0001, 3 * presenter.INTERVAL),
        (500, 0.001, 0.3),
        (6_000, 0.005, 1.5),
        # But never so long that the answer seems to stand still.
        (90_000, 0.1, presenter.LONGEST_PAUSE),
    ],
)
def test_what_costs_more_is_rendered_less_often(characters: int, seconds: float, pause: float) -> None:
    """A block of more than a few lines, and one that takes the parser long."""
    assert presenter.pause_after(seconds, characters) == pytest.approx(pause)


async def test_a_long_open_block_is_rendered_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns while a thread renders."""
    monkeypatch.setattr(presenter, "INLINE", 10)
    monkeypatch.setattr(presenter, "INTERVAL", 0.001)
    blocks, html = await show(["some longer words "] * 50, pause=0.002)
    assert blocks
    assert html == render("some longer words " * 50)


async def test_a_full_rendering_wins_where_growing_blocks_could_not_know() -> None:
    """A link whose address comes at the end was shown as text; the whole message is sent anew."""
    text = "See [the docs][1].\n\nMore.\n\n[1]: https://example.org/\n"
    events: list[ev.Event] = []
    made = presenter.Presenter(events.append)
    made.watch(ev.text_start("m"))
    for piece in text.splitlines(keepends=True):
        made.watch(ev.text_content("m", piece))
        await asyncio.sleep(presenter.INTERVAL)
    html = await made.finish()
    assert events[-1]["name"] == "llmapp.render"
    assert events[-1]["value"] == {"messageId": "m", "html": html}
    assert 'href="https://example.org/"' in html


async def test_nothing_to_show_is_nothing() -> None:
    """A run that never said a word has no message to render."""
    assert await presenter.Presenter(lambda event: None).finish() == ""


async def test_what_is_withdrawn_is_rendered_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing follows of a message after the snapshot that takes it back, and nothing of it is in the next one."""
    monkeypatch.setattr(presenter, "INTERVAL", 0.01)
    monkeypatch.setattr(presenter, "INLINE", 0)  # in a thread, which may be at it when the message goes
    events: list[ev.Event] = []
    made = presenter.Presenter(events.append)
    made.watch(ev.text_start("old"))
    made.watch(ev.text_content("old", "# Old\n\nwords"))
    await asyncio.sleep(0)
    made.watch(ev.messages_snapshot([]))
    before = len(events)
    assert await made.finish() == ""
    made.watch(ev.text_start("new"))
    made.watch(ev.text_content("new", "New *words*"))
    assert await made.finish() == render("New *words*")
    assert {event["value"]["messageId"] for event in events[before:]} == {"new"}
