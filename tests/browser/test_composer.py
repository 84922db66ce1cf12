"""The message box: what is sent, what is refused, and that nothing typed is lost."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from . import chat


def test_a_message_that_is_empty_or_too_long_stays_in_the_box(page: Page) -> None:
    chat.open_new(page, "quick")
    chat.say(page, "  \n ")
    expect(page.locator("[data-send]")).to_be_disabled()
    long = "ß" * 100_001
    chat.say(page, long)
    expect(page.locator("[data-length]")).to_have_text("100,001 of 100,000 characters")
    expect(page.locator("[data-send]")).to_be_disabled()
    assert page.input_value(chat.BOX) == long
    assert page.url.endswith("?agent=quick")


def test_a_refusal_of_the_server_gives_the_draft_back(new_context: Callable[..., BrowserContext]) -> None:
    """Three answers are being written; a fourth is refused, in a new chat and in one that is there."""
    context = new_context()
    pages = [context.new_page() for _ in range(4)]
    fresh = pages.pop()
    for page in pages:
        chat.open_new(page, "endless")
        chat.say(page, "go on")
        chat.wait_for_text(page, 10)
    chat.open_new(fresh, "quick")
    chat.say(fresh, "one too many")
    expect(fresh.locator("[data-refusal]")).to_contain_text("3 answers are being written")
    expect(fresh.locator(chat.BOX)).to_have_value("one too many")
    expect(fresh.locator("article")).to_have_count(0)
    pages[0].keyboard.press("Escape")
    chat.wait_for_end(pages[0], "cancelled", timeout=5_000)
    fresh.press(chat.BOX, "Enter")
    chat.wait_for_end(fresh)
    expect(fresh.locator("[data-refusal]")).to_be_hidden()
    chat.open_new(pages[0], "endless")
    chat.say(pages[0], "again")
    chat.wait_for_text(pages[0], 10)
    chat.say(fresh, "over the socket")
    expect(fresh.locator("[data-refusal]")).to_contain_text("3 answers are being written")
    expect(fresh.locator(chat.BOX)).to_have_value("over the socket")
    expect(fresh.locator("article")).to_have_count(2)
    for page in pages:
        page.keyboard.press("Escape")
        chat.wait_for_end(page, "cancelled", timeout=5_000)


def test_a_second_message_waits_for_the_answer(page: Page) -> None:
    chat.open_new(page, "endless")
    chat.say(page, "one")
    chat.wait_for_text(page, 20)
    chat.say(page, "two")
    expect(page.locator("[data-refusal]")).to_contain_text("still being written")
    expect(page.locator(chat.BOX)).to_have_value("two")
    page.reload()
    expect(page.locator(chat.BOX)).to_have_value("two")
    page.keyboard.press("Escape")
    chat.wait_for_end(page, "cancelled")


def test_enter_that_ends_a_composition_does_not_send(page: Page) -> None:
    chat.open_new(page, "quick")
    page.fill(chat.BOX, "你好")
    page.evaluate("""
        const box = document.querySelector("#llmapp-text");
        for (const more of [{ isComposing: true }, { keyCode: 229 }])
          box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...more }));
    """)
    page.press(chat.BOX, "Shift+Enter")
    expect(page.locator("article")).to_have_count(0)
    expect(page.locator(chat.BOX)).to_have_value("你好\n")


def test_a_suggestion_is_sent(page: Page) -> None:
    chat.open_new(page, "quick")
    page.locator("[data-prompt]").first.click()
    chat.wait_for_end(page)
    expect(page.locator("[data-text]").first).to_contain_text("hash table")


def test_the_agent_of_a_new_chat_can_be_chosen(page: Page) -> None:
    page.goto("/chat/")
    page.select_option("[data-agents]", "code")
    expect(page.locator(chat.BOX)).to_have_attribute("placeholder", "Message Code")
    chat.say(page, "code")
    chat.wait_for_end(page)
    expect(chat.answer(page).locator("[data-agent]")).to_have_text("Code")
