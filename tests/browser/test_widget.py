"""A chat inside of a site's own pages: by keyboard, on a phone, from page to page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from . import chat
from .test_page import check_with_axe

BUTTON, PANEL = ".llmapp-widget-button", ".llmapp-widget-panel"


def panel(page: Page) -> FrameLocator:
    return page.frame_locator(f"{PANEL} iframe")


def say(frame: FrameLocator, text: str) -> None:
    # A page that is open already takes Enter; one that is still loading does not.
    expect(frame.locator("body[data-frame]")).to_be_attached()
    frame.locator(chat.BOX).fill(text)
    frame.locator(chat.BOX).press("Enter")


def test_it_opens_and_closes_by_keyboard(page: Page) -> None:
    page.goto("/host/quick/")
    page.locator(BUTTON).focus()
    page.keyboard.press("Enter")
    box = panel(page).locator(chat.BOX)
    expect(box).to_be_focused()
    expect(page.locator(BUTTON)).to_have_attribute("aria-expanded", "true")
    page.keyboard.type("By keyboard")
    page.keyboard.press("Enter")
    expect(panel(page).locator("[data-run]")).to_have_attribute("data-status", "completed")
    expect(panel(page).locator("[data-body]")).to_have_text("A quick answer with code.")
    page.keyboard.press("Escape")
    expect(page.locator(PANEL)).to_be_hidden()
    expect(page.locator(BUTTON)).to_be_focused()
    expect(page.locator(BUTTON)).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(box).to_be_focused()
    expect(panel(page).locator("[data-run]")).to_have_count(1)
    page.locator(".llmapp-widget-close").focus()
    page.keyboard.press("Escape")
    expect(page.locator(PANEL)).to_be_hidden()


def test_escape_stops_the_answer_first(page: Page) -> None:
    page.goto("/host/endless/")
    page.click(BUTTON)
    say(panel(page), "go on")
    answer = panel(page).locator("[data-run]")
    expect(answer.locator("[data-body]")).to_contain_text("word")
    page.keyboard.press("Escape")
    expect(answer).to_have_attribute("data-status", "cancelled")
    expect(page.locator(PANEL)).to_be_visible()


def test_the_conversation_goes_on_from_page_to_page_until_a_new_one_is_asked_for(page: Page) -> None:
    page.goto("/host/quick/")
    page.click(BUTTON)
    say(panel(page), "first")
    expect(panel(page).locator("[data-run]")).to_have_attribute("data-status", "completed")
    page.click("text=Another page")
    page.click(BUTTON)
    expect(panel(page).locator("[data-text]").first).to_have_text("first")
    panel(page).get_by_role("link", name="New chat").click()
    expect(panel(page).locator("[data-empty]")).to_be_visible()
    page.reload()
    page.click(BUTTON)
    expect(panel(page).locator("[data-empty]")).to_be_visible()


def test_on_a_phone_it_takes_the_screen(new_context: Callable[..., BrowserContext]) -> None:
    page = new_context(viewport={"width": 375, "height": 700}).new_page()
    page.goto("/host/quick/")
    page.click(BUTTON)
    expect(panel(page).locator(chat.BOX)).to_be_focused()
    assert page.locator(PANEL).bounding_box() == {"x": 0, "y": 0, "width": 375, "height": 700}
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    # What is behind it is out of reach.
    page.locator("[aria-label=Search]").focus()
    assert page.evaluate("document.activeElement.ariaLabel") != "Search"
    page.click(".llmapp-widget-close")
    expect(page.locator(BUTTON)).to_be_focused()


def test_who_never_opens_it_loads_no_chat(page: Page) -> None:
    page.goto("/host/quick/")
    assert page.locator("iframe").count() == 0


@pytest.mark.parametrize("width", [375, 1280])
def test_a_chat_in_the_page_does_not_take_the_focus(new_context: Callable[..., BrowserContext], width: int) -> None:
    page = new_context(viewport={"width": width, "height": 700}).new_page()
    page.goto("/host/quick/inline/")
    frame = page.frame_locator(".llmapp-chat")
    expect(frame.locator(chat.BOX)).to_be_visible()
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    say(frame, "inline")
    expect(frame.locator("[data-run]")).to_have_attribute("data-status", "completed")
    expect(frame.locator("[data-sidebar]")).to_have_count(0)
    check_with_axe(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_who_is_not_signed_in_is_shown_the_way_and_comes_back(new_context: Callable[..., BrowserContext]) -> None:
    new_context()
    page = new_context().new_page()
    page.context.clear_cookies()
    page.goto("/host/quick/?page=2")
    page.click(BUTTON)
    panel(page).get_by_role("link", name="Sign in").click()
    page.wait_for_url("**/accounts/login/?next=/host/quick/%3Fpage%3D2")
