"""From the sign-in link to the last byte: what is sent is what is shown, wherever it is watched from."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from . import chat
from .site import LONG

#: What the page shows of the long answer, roughly: marks are not shown. Each share is shown when the provider rests.
SHOWN = 640


def test_an_answer_survives_three_reloads_byte_for_byte(new_context: Callable[..., BrowserContext]) -> None:
    page, other = new_context().new_page(), new_context().new_page()
    chat.catch_copies(page)
    chat.open_new(page, "resting")
    chat.say(page, "Show me\n  everything 😀")
    conversation = chat.wait_for_conversation(page)
    other.goto(f"/chat/{conversation}/")
    for share in (0.1, 0.5, 0.9):
        chat.wait_for_text(page, int(SHOWN * share))
        expect(chat.answer(page)).to_have_attribute("data-status", "in_progress")
        before = chat.shown(page)
        page.reload()
        chat.wait_for_text(page, before)
        chat.wait_for_text(other, before)
    chat.wait_for_end(page)
    chat.wait_for_end(other)
    assert chat.body(page).inner_html() == chat.body(other).inner_html()
    assert chat.messages(page, conversation) == ["Show me\n  everything 😀", LONG]
    chat.answer(page).locator("[data-copy]").click()
    assert chat.copied(page) == LONG
    live = chat.body(page).inner_text()
    page.reload()
    expect(chat.answer(page).locator("[data-meta]")).to_contain_text("tokens")
    assert chat.body(page).inner_text() == live
    chat.answer(page).locator("[data-copy]").click()
    assert chat.copied(page) == LONG
    page.locator("article [data-copy]").first.click()
    assert chat.copied(page) == "Show me\n  everything 😀"


def test_text_grows_and_no_mark_stands_about(page: Page) -> None:
    chat.open_new(page, "long")
    page.evaluate("""
        window.seen = [];
        const watch = () => {
          const body = document.querySelector("[data-body]");
          if (body) window.seen.push([performance.now(), body.innerText.length, /[*`]/.test(body.innerText)]);
          setTimeout(watch, 25);
        };
        watch();
    """)
    chat.say(page, "grow")
    chat.wait_for_end(page)
    seen = page.evaluate("window.seen")
    assert len({length for _, length, _ in seen}) > 30
    raw_since, longest = None, 0.0
    for at, _, raw in seen:
        raw_since = (raw_since or at) if raw else None
        longest = max(longest, at - raw_since if raw_since else 0)
    # 150 ms between two renderings, and the way here; on a busy machine all of it takes longer.
    assert longest < 1_000


def test_stop_in_the_second_browser_ends_it_in_both(new_context: Callable[..., BrowserContext]) -> None:
    page, other = new_context().new_page(), new_context().new_page()
    chat.open_new(page, "endless")
    chat.say(page, "go on")
    conversation = chat.wait_for_conversation(page)
    chat.wait_for_text(page, 40)
    other.goto(f"/chat/{conversation}/")
    chat.wait_for_text(other, 40)
    other.locator("[data-stop]").click()
    chat.wait_for_end(page, "cancelled", timeout=5_000)
    chat.wait_for_end(other, "cancelled", timeout=5_000)
    assert chat.body(page).inner_text() == chat.body(other).inner_text()
    expect(chat.answer(page).locator("[data-retry]")).to_be_visible()
    expect(page.locator("[data-send]")).to_be_visible()


def test_a_message_from_one_tab_appears_in_the_other(new_context: Callable[..., BrowserContext]) -> None:
    context = new_context()
    page, other = context.new_page(), context.new_page()
    chat.open_new(page, "quick")
    chat.say(page, "first")
    conversation = chat.wait_for_conversation(page)
    chat.wait_for_end(page)
    other.goto(f"/chat/{conversation}/")
    chat.say(other, "second")
    expect(page.locator("[data-run]")).to_have_count(2)
    chat.wait_for_end(page)
    assert page.locator("[data-text]").all_text_contents()[:2] == ["first", "second"]


def test_try_again_replaces_what_broke_off(page: Page) -> None:
    chat.open_new(page, "cut")
    chat.say(page, "cut it")
    chat.wait_for_end(page, "incomplete")
    expect(chat.body(page)).to_have_text("Half of an ans")
    first = chat.answer(page).get_attribute("data-run")
    chat.answer(page).locator("[data-retry]").click()
    expect(page.locator(f'[data-run="{first}"]')).to_have_count(0)
    chat.wait_for_end(page, "incomplete")
    expect(page.locator("[data-run]")).to_have_count(1)


def test_code_is_coloured_named_and_copied(page: Page) -> None:
    chat.catch_copies(page)
    chat.open_new(page, "code")
    chat.say(page, "code")
    chat.wait_for_end(page)
    expect(page.locator(".llmapp-code-language")).to_have_text("python")
    assert page.locator(".llmapp-code span[class^=hl-]").count() > 0
    page.locator(".llmapp-code-copy").click()
    expect(page.locator(".llmapp-code-copy")).to_have_text("Copied")
    assert chat.copied(page) == "print('a')\n\nprint(1 < 2)"


def test_reasoning_is_folded_away(page: Page) -> None:
    chat.open_new(page, "thinking")
    chat.say(page, "think")
    chat.wait_for_end(page)
    for _ in ("live", "after a reload"):
        expect(page.locator("[data-reasoning-text]")).to_be_hidden()
        page.locator("summary").click()
        expect(page.locator("[data-reasoning-text]")).to_have_text("First I think.\n\nThen I write.")
        page.reload()


def test_numbers_stand_under_an_answer(page: Page) -> None:
    chat.open_new(page, "quick")
    chat.say(page, "numbers")
    chat.wait_for_end(page)
    meta = chat.answer(page).locator("[data-meta]")
    expect(meta).to_contain_text("quick")
    expect(meta).to_contain_text("tokens")
    expect(meta).to_contain_text("$0.0000")
    live = meta.inner_text()
    page.reload()
    expect(meta).to_have_text(live.replace("\n", ""))
