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
