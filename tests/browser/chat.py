"""What a person does on the chat page, and what they see."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

BOX = "#llmapp-text"


def open_new(page: Page, agent: str) -> None:
    page.goto(f"/chat/?agent={agent}")


def say(page: Page, text: str) -> None:
    page.fill(BOX, text)
    page.press(BOX, "Enter")


def answer(page: Page) -> Locator:
    """Return the last answer."""
    return page.locator("[data-run]").last


def body(page: Page) -> Locator:
    return answer(page).locator("[data-body]")


def wait_for_end(page: Page, status: str = "completed", timeout: float = 30_000) -> None:
    expect(answer(page)).to_have_attribute("data-status", status, timeout=timeout)


def wait_for_conversation(page: Page) -> str:
    """Return the id of the conversation, which a new chat has from its first message on."""
    page.wait_for_url("**/chat/*-*/")
    return page.url.rstrip("/").rpartition("/")[2]


def shown(page: Page) -> int:
    """Return how much of the answer can be seen, in characters."""
    return len(body(page).inner_text()) if page.locator("[data-run]").count() else 0


def wait_for_text(page: Page, characters: int) -> None:
    page.wait_for_function(
        "n => ([...document.querySelectorAll('[data-body]')].at(-1)?.innerText.length ?? 0) >= n", arg=characters
    )


def catch_copies(page: Page) -> None:
    """Keep what is copied where `copied` finds it: byte for byte, without the system's clipboard."""
    page.add_init_script("""
        const value = { writeText: async (text) => { window.copied = text } };
        Object.defineProperty(navigator, "clipboard", { value });
    """)


def copied(page: Page) -> str:
    return str(page.evaluate("window.copied"))


def messages(page: Page, conversation: str) -> list[str]:
    """Return the texts of the conversation as the messages API gives them."""
    answer = page.request.get(f"/api/conversations/{conversation}/messages")
    return [message["content"] for message in answer.json()["messages"]]
