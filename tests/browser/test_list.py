"""The list of conversations is drawn anew while somebody is in it: the focus, the menu and the dialogs stay theirs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from . import chat

pytestmark = pytest.mark.wide

#: What has the focus, or is open, when the list is drawn anew -> the keys that lead there from the row's button.
PLACES: dict[str, tuple[str, ...]] = {
    "[data-row-options]": (),
    "a": ("Shift+Tab",),
    "[data-row-menu] [data-rename]": ("Enter",),
    "[data-row-menu] [data-delete]": ("Enter", "Tab"),
    "[data-rename-dialog] input": ("Enter", "Enter"),
    "[data-delete-dialog] [data-dialog-cancel]": ("Enter", "Tab", "Enter"),
}


def send(page: Page, conversation: str) -> None:
    """Say something in a conversation as another device would."""
    [token] = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "csrftoken"]
    message = {"id": str(uuid.uuid4()), "role": "user", "content": "from elsewhere"}
    data: dict[str, Any] = {"threadId": conversation, "runId": str(uuid.uuid4()), "messages": [message]}
    answer = page.request.post("/api/agents/quick/runs", data=data, headers={"X-CSRFToken": token})
    assert answer.ok
    assert "RUN_FINISHED" in answer.text()


def two_conversations(page: Page) -> tuple[str, str]:
    """Return the ids of an older one, and of one that is open."""
    made = []
    for text in ("older", "open"):
        chat.open_new(page, "quick")
        chat.say(page, text)
        chat.wait_for_end(page)
        made.append(chat.wait_for_conversation(page))
    expect(row_of(page, made[1])).to_have_count(1)
    return made[0], made[1]


def row_of(page: Page, conversation: str) -> Locator:
    return page.locator(f'[data-row="{conversation}"]')


def draw_anew(page: Page, older: str, opened: str) -> None:
    """Use both conversations elsewhere: the older one moves, and the page looks at its list again."""
    place = "id => [...document.querySelectorAll('[data-row]')].findIndex((row) => row.dataset.row === id)"
    assert page.evaluate(place, older) > page.evaluate(place, opened)
    send(page, opened)
    send(page, older)
    send(page, opened)
    page.wait_for_function(
        "([older, opened]) => { const ids = [...document.querySelectorAll('[data-row]')].map((row) => row.dataset.row);"
        " return document.querySelectorAll('[data-run]').length === 3 && ids.indexOf(older) === 1 }",
        arg=[older, opened],
    )


@pytest.mark.parametrize("place, keys", PLACES.items())
def test_a_list_that_is_drawn_anew_leaves_people_where_they_are(page: Page, place: str, keys: tuple[str, ...]) -> None:
    older, opened = two_conversations(page)
    # A third lies between them, so that the older one has to move.
    third, _ = two_conversations(page)
    page.goto(f"/chat/{opened}/")
    row = row_of(page, older)
    row.locator("[data-row-options]").focus()
    for key in keys:
        page.keyboard.press(key)
    target = row.locator(place) if place in ("a", "[data-row-options]") else page.locator(place)
    expect(target).to_be_focused()
    draw_anew(page, older, opened)
    expect(target).to_be_focused()
    assert row_of(page, third).count() == 1
    if "menu" in place:
        button, menu = row.locator("[data-row-options]").bounding_box(), page.locator("[data-row-menu]").bounding_box()
        assert button
        assert menu
        assert abs(menu["y"] - button["y"] - button["height"] - 4) <= 1
    if len(keys):
        page.keyboard.press("Escape")
    if place != "a":
        expect(row.locator("[data-row-options]")).to_be_focused()


def test_a_dialog_that_has_closed_takes_nothing_from_the_next_key(page: Page) -> None:
    """Its end is told a moment after the browser gave the focus back: by then the menu may be open again."""
    older, _ = two_conversations(page)
    row_of(page, older).locator("[data-row-options]").focus()
    for key in ("Enter", "Tab", "Enter"):
        page.keyboard.press(key)
    page.evaluate("""() => new Promise((done) => {
        const dialog = document.querySelector("[data-delete-dialog]");
        dialog.addEventListener("close", () => setTimeout(done));
        dialog.close();
        document.activeElement.click();
    })""")
    expect(page.locator("[data-rename]")).to_be_focused()


def test_after_a_row_is_deleted_the_focus_is_on_its_neighbour(page: Page) -> None:
    older, opened = two_conversations(page)
    ids = page.locator("[data-row]").evaluate_all("rows => rows.map((row) => row.dataset.row)")
    below = ids[ids.index(older) + 1] if ids.index(older) + 1 < len(ids) else opened
    row_of(page, older).locator("[data-row-options]").focus()
    for key in ("Enter", "Tab", "Enter", "Tab", "Enter"):
        page.keyboard.press(key)
    expect(row_of(page, older)).to_have_count(0)
    expect(row_of(page, below).locator("[data-row-options]")).to_be_focused()
