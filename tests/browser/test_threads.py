"""A conversation of several turns on one page: each answer stays, for the reader and for the model."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from . import chat


def test_three_turns_on_one_socket_survive_a_reload(page: Page) -> None:
    """What was answered is still there, in order, and nothing is empty."""
    chat.open_new(page, "quick")
    for number in range(3):
        chat.say(page, f"turn {number}")
        expect(page.locator("[data-run]")).to_have_count(number + 1)
        chat.wait_for_end(page)
    conversation = chat.wait_for_conversation(page)
    said = [words for number in range(3) for words in (f"turn {number}", "A quick answer with `code`.")]
    assert chat.messages(page, conversation) == said
    page.reload()
    expect(page.locator("[data-run]")).to_have_count(3)
    assert page.locator("[data-body]").all_inner_texts() == ["A quick answer with code."] * 3


def test_a_long_thread_scrolls_in_its_place_and_never_takes_the_page_with_it(page: Page) -> None:
    """What only screen readers see counts too: focus or a search would scroll to it, and the box be gone."""
    page.set_viewport_size({"width": 800, "height": 320})
    chat.open_new(page, "quick")
    for number in range(3):
        chat.say(page, f"turn {number}")
        expect(page.locator("[data-run]")).to_have_count(number + 1)
        chat.wait_for_end(page)
    assert page.evaluate("document.scrollingElement.scrollHeight - innerHeight") == 0
