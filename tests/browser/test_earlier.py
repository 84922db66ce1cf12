"""A long conversation: its end is shown, and what was said before when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from . import chat
from .site import LiveSite

FILL = """
from django.contrib.auth import get_user_model
from llmapp.models import AgentSettings
from tests.support.conversations import grown
user, agent = get_user_model().objects.get(username="admin"), AgentSettings.objects.get(slug={agent!r})
print(grown(user, agent, {messages}).pk)
"""
#: Messages of a conversation that is shown in three parts, the last of them short.
THREE_PARTS = 90
SHOWN = 40


@pytest.fixture
def opened(page: Page, site: LiveSite) -> Callable[..., Page]:
    """Open a conversation with as many messages, with an agent that plays."""

    def make(messages: int, agent: str = "quick") -> Page:
        id = site.manage("shell", "-v", "0", "-c", FILL.format(agent=agent, messages=messages)).stdout.strip()
        page.goto(f"/chat/{id}/")
        return page

    return make


def button(page: Page) -> Locator:
    return page.get_by_role("button", name="Show earlier messages")


def keys(page: Page) -> list[str]:
    """Return what stands in the thread, from its first message to its last."""
    return page.locator("[data-thread] > [data-key]").evaluate_all("found => found.map(({ dataset }) => dataset.key)")


def expect_shown(page: Page, messages: int) -> None:
    expect(page.locator("[data-thread] > [data-key]")).to_have_count(messages)


def questions(page: Page) -> list[str]:
    return page.locator(".llmapp-bubble").all_text_contents()


def numbers(first: int, last: int) -> list[str]:
    return [f"Number {n}." for n in range(first, last)]


def test_the_end_is_shown_and_the_rest_comes_in_parts(opened: Callable[..., Page]) -> None:
    """In order, nothing twice and nothing left out; at the start the button is gone."""
    page = opened(THREE_PARTS)
    for first, shown in [(25, SHOWN), (5, 2 * SHOWN), (0, THREE_PARTS)]:
        expect_shown(page, shown)
        assert questions(page) == numbers(first, THREE_PARTS // 2)
        assert len(set(keys(page))) == shown
        if first:
            button(page).click()
    expect(button(page)).to_have_count(0)
    assert page.locator("[data-thread] > [data-key]").first.locator("[data-text]").text_content() == "Number 0."


def test_a_short_conversation_has_no_button(opened: Callable[..., Page]) -> None:
    page = opened(SHOWN)
    expect_shown(page, SHOWN)
    expect(button(page)).to_have_count(0)


@pytest.mark.parametrize("width, height", [(1280, 800), (375, 700)])
def test_what_is_seen_stays_where_it_is(opened: Callable[..., Page], page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    opened(THREE_PARTS)
    button(page).scroll_into_view_if_needed()
    first = page.locator(f'[data-key="{keys(page)[0]}"]')
    before = first.bounding_box()
    button(page).click()
    expect_shown(page, 2 * SHOWN)
    after = first.bounding_box()
    assert before
    assert after
    assert abs(after["y"] - before["y"]) < 1


def test_with_the_keyboard_alone(opened: Callable[..., Page]) -> None:
    """The button keeps the focus as long as it is there; then the first message has it."""
    page = opened(THREE_PARTS)
    button(page).focus()
    page.keyboard.press("Enter")
    expect_shown(page, 2 * SHOWN)
    expect(page.locator("[data-announcer]")).to_have_text("40 earlier messages are shown.")
    expect(button(page)).to_be_focused()
    page.keyboard.press("Enter")
    expect_shown(page, THREE_PARTS)
    expect(page.locator("[data-thread] > [data-key]").first).to_be_focused()


def test_pressed_twice_it_comes_once(opened: Callable[..., Page]) -> None:
    page = opened(THREE_PARTS)
    held: list[bool] = []
    page.route("**/chat/*/?before=*", lambda route: (held.append(True), page.wait_for_timeout(300), route.continue_()))
    button(page).dblclick()
    expect_shown(page, 2 * SHOWN)
    assert held == [True]


def test_an_answer_is_written_meanwhile(opened: Callable[..., Page]) -> None:
    """It goes on, and the thread that it leaves is that of the server, with all that was asked for above it."""
    page = opened(THREE_PARTS, agent="resting")
    chat.say(page, "Go on.")
    chat.wait_for_text(page, 100)
    seen = chat.shown(page)
    button(page).click()
    expect_shown(page, 2 * SHOWN + 2)
    assert chat.answer(page).get_attribute("data-status") == "in_progress"
    chat.wait_for_text(page, seen + 1)
    button(page).click()
    expect_shown(page, THREE_PARTS + 2)
    chat.wait_for_end(page)
    assert questions(page) == [*numbers(0, THREE_PARTS // 2), "Go on."]
    assert len(set(keys(page))) == THREE_PARTS + 2


def test_what_was_said_elsewhere_is_put_below_what_was_asked_for(
    opened: Callable[..., Page], new_context: Callable[..., BrowserContext]
) -> None:
    """After a lost connection the server shows the end of the thread again, and no more."""
    page = opened(THREE_PARTS)
    button(page).click()
    expect_shown(page, 2 * SHOWN)
    page.context.set_offline(True)
    elsewhere = new_context().new_page()
    elsewhere.goto(page.url)
    chat.say(elsewhere, "From elsewhere.")
    chat.wait_for_end(elsewhere)
    page.context.set_offline(False)
    expect_shown(page, 2 * SHOWN + 2)
    assert questions(page) == [*numbers(5, THREE_PARTS // 2), "From elsewhere."]
    button(page).click()
    expect_shown(page, THREE_PARTS + 2)
    assert questions(page) == [*numbers(0, THREE_PARTS // 2), "From elsewhere."]


def test_when_it_cannot_be_loaded_it_says_so_and_can_be_pressed_again(opened: Callable[..., Page]) -> None:
    page = opened(THREE_PARTS)
    page.route("**/chat/*/?before=*", lambda route: route.abort())
    button(page).click()
    expect(page.locator("[data-refusal-text]")).to_have_text("That did not work. Try again.")
    page.unroute("**/chat/*/?before=*")
    button(page).click()
    expect_shown(page, 2 * SHOWN)


def test_without_scripts_it_is_a_link(opened: Callable[..., Page], new_context: Callable[..., BrowserContext]) -> None:
    plain = new_context(java_script_enabled=False).new_page()
    plain.goto(opened(THREE_PARTS).url)
    for first, last in [(25, 45), (5, 25), (0, 5)]:
        assert questions(plain) == numbers(first, last)
        expect(button(plain)).to_have_count(0)
        if first:
            plain.get_by_role("link", name="Show earlier messages").click()
