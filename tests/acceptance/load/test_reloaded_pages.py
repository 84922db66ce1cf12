"""A page in a browser that is reloaded again and again while its answer comes.

A module of its own: while Playwright's loop is there, pytest-asyncio can't run its own, and tests come in any order.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser import chat
from tests.browser.conftest import ARGUMENTS, chromium
from tests.support.provider import Provider
from tests.support.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

TENTHS = range(1, 10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield made
        made.close()


def test_a_page_that_is_reloaded_at_each_tenth(site: Site, provider: Provider, browser: Browser) -> None:
    """What it shows has each word once, and in the end it is what the provider said."""
    words = [f"word{number}" for number in range(200)]
    provider.default = {"tokens_per_second": 12, "answer": " ".join(words)}
    context = browser.new_context(base_url=site.url)
    context.set_default_timeout(30_000)
    page = context.new_page()
    chat.catch_copies(page)
    page.goto(site.sign_in_link)
    chat.open_new(page, "direct")
    chat.say(page, "reload")
    chat.wait_for_conversation(page)
    for tenth in TENTHS:
        chat.wait_for_text(page, len(" ".join(words)) * tenth // 10)
        page.reload()
        chat.wait_for_text(page, 1)
        seen = chat.body(page).inner_text().split()
        assert seen[:-1] == words[: len(seen) - 1]
        # The last one may be half a word.
        assert words[len(seen) - 1].startswith(seen[-1])
    chat.wait_for_end(page, timeout=60_000)
    expect(chat.body(page)).to_have_text(" ".join(words))
    chat.answer(page).locator("[data-copy]").click()
    assert chat.copied(page) == " ".join(words)
    context.close()
