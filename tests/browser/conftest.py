"""Real Chromium in front of the whole site.

Every page is watched: an error in its console, an exception or a breach of the content security policy
fails the test in which it happened.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from .site import LiveSite

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: What a browser says about a request that was answered with an error, or not at all, which tests provoke.
EXPECTED = ("Failed to load resource", "WebSocket connection to")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    with LiveSite(tmp_path_factory.mktemp("browser") / "home") as made:
        yield made


# For one module, not for the session: while Playwright's loop is there, pytest-asyncio can't run its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        except Error:
            if os.environ.get("CI"):
                raise
            pytest.skip("Chromium cannot be started: the chat page is NOT tested")
        yield browser
        browser.close()


def chromium() -> str | None:
    """Return the browser of this machine; None for Playwright's own."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def signed_in(site: LiveSite) -> dict[str, Any]:
    """Hold the cookies of who followed the link, which works once. Filled by the first that needs it."""
    return {}


@pytest.fixture
def new_context(browser: Browser, site: LiveSite, signed_in: dict[str, Any]) -> Iterator[Callable[..., BrowserContext]]:
    """Make browsers in which the demo's user is signed in: each has its own storage, as on a device of its own."""
    problems: list[str] = []
    contexts = []

    def make(**options: Any) -> BrowserContext:
        if not signed_in:
            signed_in.update(sign_in(browser, site))
        context = browser.new_context(storage_state=signed_in, base_url=site.url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: problems.append(str(error.error)))
        contexts.append(context)
        return context

    yield make
    if contexts:
        stop_all(contexts[0])
    for context in contexts:
        context.close()
    problems = [problem for problem in problems if not problem.startswith(EXPECTED)]
    assert not problems, "\n".join(problems)


def stop_all(context: BrowserContext) -> None:
    """End what is still being written: a person may have three at a time."""
    context.set_offline(False)
    cookies = {cookie["name"]: cookie["value"] for cookie in context.cookies()}  # type: ignore[typeddict-item]
    headers = {"X-CSRFToken": cookies.get("csrftoken", "")}
    for conversation in context.request.get("/api/conversations/").json()["conversations"]:
        if run := conversation["active_run"]:
            context.request.post(f"/api/runs/{run}/stop", headers=headers)


def sign_in(browser: Browser, site: LiveSite) -> dict[str, Any]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.link())
    assert page.url == f"{site.url}/chat/"
    state = context.storage_state()
    context.close()
    return dict(state)


@pytest.fixture
def page(new_context: Callable[..., BrowserContext]) -> Page:
    return new_context().new_page()
