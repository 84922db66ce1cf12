"""The page around the messages: the list, the keyboard, scrolling, screen readers, small screens, languages."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from . import chat
from .site import LiveSite

AXE = Path(__file__).parent.parent / "node" / "node_modules" / "axe-core" / "axe.min.js"


def check_with_axe(page: Page) -> None:
    path = Path(os.environ.get("AXE_CORE", AXE))
    if not path.exists():
        assert not os.environ.get("CI"), "axe-core is needed: run `npm ci` in tests/node"
        pytest.skip("axe-core is not installed: accessibility is NOT tested; run `npm ci` in tests/node")
    page.evaluate(path.read_text())
    found = page.evaluate("""
        axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
          .then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map((node) =>
            [id, node.target.join(" "), node.any.map((check) => check.message).join("; ")].join(" | "))))
    """)
    assert found == []


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 375)])
def test_axe_finds_nothing(new_context: Callable[..., BrowserContext], scheme: str, width: int) -> None:
    context = new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    chat.open_new(page, "code")
    check_with_axe(page)
    chat.say(page, "code")
    chat.wait_for_end(page)
    check_with_axe(page)
    chat.open_new(page, "cut")
    chat.say(page, "cut")
    chat.wait_for_end(page, "incomplete")
    check_with_axe(page)
    if width == 375:
        page.locator("[data-open-sidebar]").click()
        check_with_axe(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.locator("[data-row-options]").first.click()
    check_with_axe(page)
    page.locator("[data-delete]").click()
    check_with_axe(page)


def test_everything_can_be_done_by_keyboard(page: Page) -> None:
    title = f"Keyboard {uuid.uuid4().hex[:6]}"
    chat.open_new(page, "quick")
    page.locator(".llmapp-skip").focus()
    expect(page.locator(":focus")).to_have_text("Skip to the message box")
    page.keyboard.press("Enter")
    expect(page.locator(chat.BOX)).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    chat.wait_for_end(page)
    expect(page.locator(chat.BOX)).to_be_focused()
    conversation = chat.wait_for_conversation(page)
    row = page.locator(f'[data-row="{conversation}"]')
    expect(row).to_have_count(1)
    row.locator("[data-row-options]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-rename]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-rename-dialog] input")).to_be_focused()
    page.keyboard.type(title)
    page.keyboard.press("Enter")
    expect(row.locator("[data-row-title]")).to_have_text(title)
    expect(page.locator("[data-title]")).to_have_text(title)
    expect(row.locator("[data-row-options]")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[data-delete-dialog]")).to_contain_text(title)
    page.keyboard.press("Escape")
    expect(row.locator("[data-row-options]")).to_be_focused()
    # No waiting from here on: as fast as keys can be pressed.
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat/")
    expect(page.locator(f'[data-row="{conversation}"]')).to_have_count(0)
    assert page.request.get(f"/chat/{conversation}/").status == 404


def test_escape_stops_the_answer_and_the_focus_stays(page: Page) -> None:
    chat.open_new(page, "endless")
    chat.say(page, "go on")
    chat.wait_for_text(page, 20)
    page.keyboard.press("Escape")
    chat.wait_for_end(page, "cancelled", timeout=5_000)
    expect(page.locator(chat.BOX)).to_be_focused()


def test_scrolling_follows_only_at_the_live_edge(page: Page) -> None:
    page.set_viewport_size({"width": 700, "height": 500})
    chat.open_new(page, "endless")
    chat.say(page, "go on")
    distance = "(s => s.scrollHeight - s.scrollTop - s.clientHeight)(document.querySelector('[data-scroller]'))"
    chat.wait_for_text(page, 900)
    assert page.evaluate(distance) < 40
    page.mouse.move(350, 200)
    page.mouse.wheel(0, -120)
    expect(page.locator("[data-latest]")).to_be_visible()
    top = page.evaluate("document.querySelector('[data-scroller]').scrollTop")
    chat.wait_for_text(page, 1200)
    assert page.evaluate("document.querySelector('[data-scroller]').scrollTop") == top
    page.locator("[data-latest]").click()
    expect(page.locator("[data-latest]")).to_be_hidden()
    chat.wait_for_text(page, 1400)
    page.wait_for_function(f"{distance} < 40")
    page.keyboard.press("Escape")


def test_nothing_lies_over_the_suggestions_of_an_empty_chat(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 280})
    chat.open_new(page, "quick")
    scroller = page.locator("[data-scroller]")
    assert scroller.evaluate("s => s.scrollHeight - s.clientHeight") > 40
    # Observers have been called when a frame was painted.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("[data-latest]")).to_be_hidden()


def test_the_mark_before_the_agent_s_name_stays(page: Page) -> None:
    """Also when the choice between agents has become one of them."""
    chat.open_new(page, "quick")
    expect(page.locator(".llmapp-picker .llmapp-mark")).to_be_visible()
    chat.say(page, "hello")
    expect(page.locator("select[data-agents]")).to_have_count(0)
    expect(page.locator(".llmapp-picker .llmapp-mark")).to_be_visible()
    expect(page.locator(".llmapp-picker")).to_have_text("quick", ignore_case=True)


def test_screen_readers_hear_states_and_no_tokens(page: Page) -> None:
    chat.open_new(page, "endless")
    page.evaluate("""
        window.said = [];
        new MutationObserver(() => {
          const text = document.querySelector("[data-announcer]").textContent;
          if (text) window.said.push(text);
        }).observe(document.querySelector("[data-announcer]"), { childList: true });
    """)
    chat.say(page, "go on")
    chat.wait_for_text(page, 200)
    page.keyboard.press("Escape")
    chat.wait_for_end(page, "cancelled")
    page.wait_for_timeout(200)
    assert page.evaluate("window.said") == ["The answer is being written.", "The answer has ended."]
    assert page.locator("[aria-live], [role=log], [role=status]").count() == 1


def test_the_list_is_a_drawer_on_a_small_screen(new_context: Callable[..., BrowserContext]) -> None:
    page = new_context(viewport={"width": 375, "height": 700}).new_page()
    chat.open_new(page, "quick")
    expect(page.locator("[data-sidebar]")).to_be_hidden()
    page.locator("[data-open-sidebar]").click()
    expect(page.locator("[data-close-sidebar]")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("[data-sidebar]")).to_be_hidden()
    expect(page.locator("[data-open-sidebar]")).to_be_focused()


MANY = """
from django.contrib.auth import get_user_model
from llmapp.models import Conversation
user = get_user_model().objects.get(username="admin")
Conversation.objects.bulk_create(Conversation(user=user, title=f"Old {n}") for n in range(100))
"""


def test_older_conversations_are_fetched(page: Page, site: LiveSite) -> None:
    """The first ones of the list come with the page, the others when its end is in sight."""
    site.shell(MANY)
    page.goto("/chat/")
    for n in range(2, 6):
        page.locator("[data-more]").scroll_into_view_if_needed()
        page.wait_for_function("n => document.querySelectorAll('[data-row]').length >= n", arg=min(40 * n, 100))
        if page.locator("[data-more]").is_hidden():
            break
    expect(page.locator("[data-more]")).to_be_hidden()
    ids = page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.dataset.row)")
    assert len(set(ids)) == len(ids) >= 100


def test_the_page_speaks_chinese(new_context: Callable[..., BrowserContext]) -> None:
    page = new_context(locale="zh-CN").new_page()
    chat.open_new(page, "cut")
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    expect(page.locator("[data-title]")).to_have_text("新对话")
    chat.say(page, "断")
    chat.wait_for_end(page, "incomplete")
    for _ in ("live", "after a reload"):
        expect(page.locator("[data-end]")).to_contain_text("回答不完整")
        expect(page.locator("[data-retry]")).to_have_text("重试")
        page.reload()
