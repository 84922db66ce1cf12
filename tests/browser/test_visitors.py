"""People without an account, in a chat inside of a site's own page."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from . import chat
from .site import LiveSite
from .test_connection import REFUSED
from .test_page import check_with_axe
from .test_streaming import SHOWN
from .test_widget import BUTTON, panel, say

pytestmark = pytest.mark.wide


@pytest.fixture
def member(new_context: Callable[..., BrowserContext]) -> Page:
    """The page of somebody who is signed in."""
    return new_context().new_page()


@pytest.fixture
def visitor(member: Page, new_context: Callable[..., BrowserContext]) -> Page:
    """A page in a browser that the site has never seen."""
    context = new_context()
    context.clear_cookies()
    return context.new_page()


def inline(page: Page) -> FrameLocator:
    return page.frame_locator(".llmapp-chat")


def text_length(frame: FrameLocator) -> int:
    return len(frame.locator("[data-body]").last.inner_text())


def wait_for_text(frame: FrameLocator, characters: int) -> None:
    expect(frame.locator("[data-body]").last).to_have_text(re.compile(rf".{{{characters},}}", re.S))


def test_a_visitor_asks_in_the_widget_and_it_goes_on_from_page_to_page(visitor: Page) -> None:
    visitor.goto("/host/open/")
    assert visitor.context.cookies() == []
    visitor.click(BUTTON)
    say(panel(visitor), "first")
    expect(panel(visitor).locator("[data-run]")).to_have_attribute("data-status", "completed")
    expect(panel(visitor).locator("[data-body]")).to_have_text("A quick answer for anybody.")
    check_with_axe(visitor)
    visitor.click("text=Another page")
    visitor.click(BUTTON)
    expect(panel(visitor).locator("[data-text]").first).to_have_text("first")
    say(panel(visitor), "second")
    expect(panel(visitor).locator("[data-run]").last).to_have_attribute("data-status", "completed")
    expect(panel(visitor).locator("[data-run]")).to_have_count(2)
    panel(visitor).get_by_role("link", name="New chat").click()
    expect(panel(visitor).locator("[data-empty]")).to_be_visible()


@pytest.mark.parametrize("sockets", [True, False], ids=["websocket", "server-sent events"])
def test_an_answer_survives_a_reload(visitor: Page, sockets: bool) -> None:
    if not sockets:
        visitor.add_init_script(REFUSED)
    visitor.goto("/host/open-resting/inline/")
    say(inline(visitor), "Show me everything")
    for share in (0.1, 0.5):
        wait_for_text(inline(visitor), int(SHOWN * share))
        answer = inline(visitor).locator("[data-run]")
        expect(answer).to_have_attribute("data-status", "in_progress")
        before = text_length(inline(visitor))
        visitor.reload()
        wait_for_text(inline(visitor), before)
    expect(inline(visitor).locator("[data-run]")).to_have_attribute("data-status", "completed", timeout=30_000)
    expect(inline(visitor).locator("[data-run]")).to_have_count(1)
    expect(inline(visitor).locator("[data-body]")).to_contain_text("ends without a line feed")


def test_a_visitor_stops_an_answer_and_tries_again(visitor: Page) -> None:
    visitor.goto("/host/open-endless/inline/")
    frame = inline(visitor)
    say(frame, "go on")
    expect(frame.locator("[data-body]")).to_contain_text("word")
    frame.locator(chat.BOX).press("Escape")
    expect(frame.locator("[data-run]")).to_have_attribute("data-status", "cancelled")
    frame.get_by_role("button", name="Try again").click()
    expect(frame.locator("[data-run]").last).to_have_attribute("data-status", "in_progress")
    expect(frame.locator("[data-body]").last).to_contain_text("word")
    frame.get_by_role("button", name="Stop").click()
    expect(frame.locator("[data-run]").last).to_have_attribute("data-status", "cancelled")


def test_a_flood_is_answered_with_a_sentence_and_a_member_s_chat_goes_on(member: Page, visitor: Page) -> None:
    chat.open_new(member, "resting")
    chat.say(member, "Show me everything")
    chat.wait_for_text(member, 10)
    visitor.goto("/host/open/inline/")
    frame = inline(visitor)
    refusal = frame.locator("[data-refusal]")
    for number in range(1, 8):
        say(frame, f"flood {number}")
        if number == 7:
            break
        expect(frame.locator("[data-run]")).to_have_count(number)
        expect(frame.locator("[data-run]").last).to_have_attribute("data-status", "completed")
    expect(refusal).to_be_visible()
    expect(refusal).to_contain_text(re.compile(r"Too many messages in a minute\. Try again in \d+ seconds?\."))
    # What was not sent is back in the box.
    expect(frame.locator(chat.BOX)).to_have_value("flood 7")
    expect(frame.locator("[data-run]")).to_have_count(6)
    chat.wait_for_end(member)
    chat.say(member, "And again")
    expect(member.locator("[data-run]")).to_have_count(2)


def test_who_signs_in_goes_on_with_the_conversation(site: LiveSite, visitor: Page) -> None:
    site.shell(
        "from django.contrib.auth import get_user_model as model;"
        "model().objects.filter(username='vera').exists() or model().objects.create_user('vera', password='a long one')"
    )
    visitor.goto("/host/open/")
    visitor.click(BUTTON)
    say(panel(visitor), "before")
    expect(panel(visitor).locator("[data-run]")).to_have_attribute("data-status", "completed")
    tab = visitor.context.new_page()
    tab.goto("/accounts/login/?next=/chat/")
    tab.fill("[name=username]", "vera")
    tab.fill("[name=password]", "a long one")
    tab.press("[name=password]", "Enter")
    tab.wait_for_url("**/chat/")
    expect(tab.locator("[data-row]")).to_contain_text("before")
    # The socket of before belongs to a session that has ended.
    connection = panel(visitor).locator("[data-connection]")
    expect(connection).to_contain_text("Reload the page", timeout=15_000)
    visitor.reload()
    visitor.click(BUTTON)
    expect(panel(visitor).locator("[data-text]").first).to_have_text("before")
    say(panel(visitor), "after")
    expect(panel(visitor).locator("[data-run]").last).to_have_attribute("data-status", "completed")
    expect(panel(visitor).locator("[data-run]")).to_have_count(2)


def test_an_agent_that_is_not_public_asks_a_visitor_to_sign_in(visitor: Page) -> None:
    visitor.goto("/host/quick/inline/")
    expect(inline(visitor).get_by_role("link", name="Sign in")).to_be_visible()
