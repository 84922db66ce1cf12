"""Bad lines: no websockets, sockets that die, no network, no worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from . import chat
from .site import LONG

#: Websockets as behind a proxy that refuses them, and behind one that swallows them.
REFUSED = "window.WebSocket = class { constructor() { setTimeout(() => this.onclose({ code: 1006 })) } close() {} }"
SWALLOWED = "window.WebSocket = class { close() {} }"

#: Keeps every socket where a test can cut it.
KEPT = """
    const Real = window.WebSocket;
    window.sockets = [];
    window.WebSocket = class extends Real {
      constructor(...args) { super(...args); window.sockets.push(this); }
    };
"""


@pytest.mark.parametrize("broken", [REFUSED, SWALLOWED], ids=["refused", "swallowed"])
def test_without_websockets_everything_goes_over_http(new_context: Callable[..., BrowserContext], broken: str) -> None:
    context = new_context()
    context.add_init_script(broken)
    page = context.new_page()
    chat.catch_copies(page)
    chat.open_new(page, "long")
    chat.say(page, "one")
    conversation = chat.wait_for_conversation(page)
    chat.wait_for_text(page, 200)
    page.reload()
    chat.wait_for_text(page, 250)
    chat.wait_for_end(page)
    chat.answer(page).locator("[data-copy]").click()
    assert chat.copied(page) == LONG
    chat.say(page, "two")
    expect(page.locator("[data-run]")).to_have_count(2)
    chat.wait_for_text(page, 20)
    page.locator("[data-stop]").click()
    chat.wait_for_end(page, "cancelled", timeout=5_000)
    assert chat.messages(page, conversation)[:3] == ["one", LONG, "two"]
    chat.answer(page).locator("[data-retry]").click()
    expect(chat.answer(page)).to_have_attribute("data-status", "in_progress")
    page.locator("[data-stop]").click()
    chat.wait_for_end(page, "cancelled", timeout=5_000)


def test_without_websockets_a_second_tab_sees_the_message(new_context: Callable[..., BrowserContext]) -> None:
    context = new_context()
    page = context.new_page()
    chat.open_new(page, "quick")
    chat.say(page, "first")
    conversation = chat.wait_for_conversation(page)
    chat.wait_for_end(page)
    other = context.new_page()
    other.add_init_script(REFUSED)
    other.goto(f"/chat/{conversation}/")
    expect(other.locator("[data-run]")).to_have_count(1)
    chat.say(page, "second")
    expect(other.locator("[data-run]")).to_have_count(2)
    chat.wait_for_end(other)


def test_a_socket_that_dies_loses_nothing(page: Page) -> None:
    page.add_init_script(KEPT)
    chat.catch_copies(page)
    chat.open_new(page, "long")
    chat.say(page, "cut the line")
    for characters in (80, 250, 450):
        chat.wait_for_text(page, characters)
        page.evaluate("window.sockets.at(-1).close()")
    chat.wait_for_end(page)
    chat.answer(page).locator("[data-copy]").click()
    assert chat.copied(page) == LONG
    assert page.evaluate("window.sockets.length") == 4


def test_what_was_said_elsewhere_while_away_is_there_after_the_return(
    new_context: Callable[..., BrowserContext],
) -> None:
    context = new_context()
    page, other = context.new_page(), context.new_page()
    page.add_init_script(KEPT)
    chat.open_new(other, "quick")
    chat.say(other, "first")
    conversation = chat.wait_for_conversation(other)
    chat.wait_for_end(other)
    page.goto(f"/chat/{conversation}/")
    expect(page.locator("[data-run]")).to_have_count(1)
    # Away: the socket is dead, and none can be opened.
    page.evaluate("""() => {
        window.back = window.WebSocket;
        window.WebSocket = class { close() {} };
        window.sockets.at(-1).close();
    }""")
    chat.say(other, "second")
    expect(other.locator("[data-run]")).to_have_count(2)
    chat.wait_for_end(other)
    page.evaluate("() => { window.WebSocket = window.back }")
    expect(page.locator("[data-run]")).to_have_count(2, timeout=15_000)
    expect(chat.body(page)).to_have_text("A quick answer with code.")
    assert page.locator("[data-text]").all_text_contents()[:2] == ["first", "second"]


def test_a_page_without_network_says_so_and_sends_later(new_context: Callable[..., BrowserContext]) -> None:
    context = new_context()
    page = context.new_page()
    page.add_init_script(KEPT)
    chat.open_new(page, "quick")
    chat.say(page, "first")
    conversation = chat.wait_for_conversation(page)
    chat.wait_for_end(page)
    context.set_offline(True)
    page.evaluate("window.sockets.at(-1).close()")
    expect(page.locator("[data-connection]")).to_contain_text("You are offline")
    chat.say(page, "second")
    expect(page.locator("[data-sending]").last).to_be_visible()
    context.set_offline(False)
    expect(page.locator("[data-connection]")).to_be_hidden()
    expect(page.locator("[data-run]")).to_have_count(2)
    chat.wait_for_end(page)
    assert [text for text in chat.messages(page, conversation) if not text.startswith("A quick")] == ["first", "second"]


def test_a_server_that_is_away_is_not_said_to_be_back_and_is_not_hammered(page: Page) -> None:
    page.add_init_script(KEPT)
    chat.open_new(page, "quick")
    chat.say(page, "first")
    chat.wait_for_end(page)
    # Away: the port is closed, so that sockets and requests are refused at once.
    page.route("**/api/**", lambda route: route.abort("connectionrefused"))
    page.evaluate("""() => {
        window.back = window.WebSocket;
        window.tries = 0;
        window.WebSocket = class {
            constructor() { window.tries += 1; setTimeout(() => this.onclose({ code: 1006 }), 5) }
            close() {}
        };
        window.said = [];
        const line = document.querySelector("[data-connection]");
        new MutationObserver(() => window.said.push(line.hidden ? "back" : "lost")).observe(line, { attributes: true });
        window.sockets.at(-1).close();
    }""")
    expect(page.locator("[data-connection]")).to_contain_text("Connection lost")
    page.wait_for_timeout(6_000)
    assert "back" not in page.evaluate("window.said")
    # Half a second, doubled each time: at most five within the first eight seconds, and the one at once.
    assert page.evaluate("window.tries") <= 6
    page.unroute("**/api/**")
    page.evaluate("() => { window.WebSocket = window.back }")
    expect(page.locator("[data-connection]")).to_be_hidden(timeout=20_000)
    chat.say(page, "second")
    expect(page.locator("[data-run]")).to_have_count(2)
    chat.wait_for_end(page)


def test_a_new_chat_without_network_keeps_the_draft(new_context: Callable[..., BrowserContext]) -> None:
    context = new_context()
    page = context.new_page()
    chat.open_new(page, "quick")
    context.set_offline(True)
    chat.say(page, "not lost")
    expect(page.locator("[data-refusal]")).to_contain_text("cannot be reached")
    expect(page.locator(chat.BOX)).to_have_value("not lost")
    context.set_offline(False)
    page.reload()
    expect(page.locator(chat.BOX)).to_have_value("not lost")
    page.press(chat.BOX, "Enter")
    chat.wait_for_end(page)


def test_the_live_line_says_what_the_recovery_does(page: Page) -> None:
    chat.open_new(page, "busy")
    chat.say(page, "busy?")
    expect(page.locator("[data-live-text]")).to_contain_text("Too many requests. Trying again in")
    expect(page.locator("[data-announcer]")).to_contain_text("Too many requests")
    chat.wait_for_end(page, "failed", timeout=15_000)
    expect(page.locator("[data-end]")).to_contain_text("The answer failed.")
    expect(page.locator("[data-end]")).to_contain_text("too many requests")


def test_a_failure_is_told_in_our_words(page: Page) -> None:
    chat.open_new(page, "refused")
    chat.say(page, "refused?")
    chat.wait_for_end(page, "failed")
    for _ in ("live", "after a reload"):
        expect(page.locator("[data-end]")).to_contain_text("Ask an administrator")
        expect(page.locator("[data-retry]")).to_be_visible()
        assert "SECRET" not in page.content()
        page.reload()


def test_a_missing_worker_is_told_with_the_command(page: Page) -> None:
    """The server's frames as they are, but for the one that says whether a worker is there."""
    sockets: list[WebSocketRoute] = []

    def relay(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)
        server.on_message(lambda data: None if _type(data) == "status" else socket.send(data))

    page.route_web_socket("**/ws/**", relay)
    chat.open_new(page, "quick")
    chat.say(page, "hello")
    chat.wait_for_end(page)
    page.wait_for_function("document.querySelector('[data-connection]').hidden")
    sockets[-1].send(json.dumps({"type": "status", "worker": False}))
    expect(page.locator("[data-no-worker]")).to_contain_text("No worker is running.")
    expect(page.locator("[data-command]")).to_contain_text("celery")
    sockets[-1].send(json.dumps({"type": "status", "worker": True}))
    expect(page.locator("[data-no-worker]")).to_be_hidden()


def _type(data: Any) -> str:
    return str(json.loads(data)["type"])
