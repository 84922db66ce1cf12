"""A process dies while somebody looks on: the page ends with the whole answer, and never shows any of it twice."""

from __future__ import annotations

import os
import signal

import pytest
from playwright.sync_api import Page, expect

from . import chat
from .site import LONG, LiveSite

#: It costs the site a process, and the test the seconds in which another one starts.
pytestmark = pytest.mark.wide

#: Looks at the page as often as it is painted: how many answers there are, and how often a line stands in them.
WATCH = """
    window.seen = { most: 0, answers: 0, looks: 0 };
    const look = () => {
      const bodies = [...document.querySelectorAll("[data-body]")];
      const text = bodies.map((body) => body.innerText).join("\\n");
      window.seen.most = Math.max(window.seen.most, text.split("Item 1 ").length - 1);
      window.seen.answers = Math.max(window.seen.answers, bodies.length);
      window.seen.looks += 1;
      requestAnimationFrame(look);
    };
    look();
"""


@pytest.mark.parametrize("killed", ["workers", "webs"])
def test_the_page_ends_with_the_whole_answer_once(site: LiveSite, page: Page, killed: str) -> None:
    """In mid-text: with the worker half of the answer goes, and comes again; with the web process only the line."""
    chat.catch_copies(page)
    chat.open_new(page, "resting")
    page.evaluate(WATCH)
    chat.say(page, "Go on, whatever happens")
    conversation = chat.wait_for_conversation(page)
    # Its first item is there, and a pause of 2.5 s has begun.
    expect(chat.body(page)).to_contain_text("Item 1 ", timeout=20_000)
    victims = getattr(site, killed)()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    chat.wait_for_end(page, timeout=60_000)
    assert not set(victims) & set(getattr(site, killed)())
    chat.answer(page).locator("[data-copy]").click()
    assert chat.copied(page) == LONG
    assert chat.messages(page, conversation) == ["Go on, whatever happens", LONG]
    seen = page.evaluate("window.seen")
    assert (seen["most"], seen["answers"]) == (1, 1)
    assert seen["looks"] > 10
    live = chat.body(page).inner_text()
    page.reload()
    expect(chat.answer(page).locator("[data-meta]")).to_contain_text("tokens", timeout=20_000)
    assert chat.body(page).inner_text() == live
