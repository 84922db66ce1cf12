"""A conversation of several turns on one page: each answer stays, for the reader and for the model."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from . import chat
from .site import LiveSite

#: Makes a conversation with answers that are higher than a window, and prints its id.
TALL = """
from datetime import timedelta
from django.contrib.auth import get_user_model
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Conversation, Message, Run
from llmapp.runs.clock import db_now
user, agent, now = get_user_model().objects.get(username="admin"), AgentSettings.objects.get(slug="endless"), db_now()
made, leaf = Conversation.objects.create(user=user, agent=agent, title="Tall"), None
for number in range(12):
    asked = Message.objects.create(conversation=made, parent=leaf, role="user", text=f"Question {number}")
    when = now - timedelta(minutes=20 - number)
    run = Run.objects.create(
        user=user, conversation=made, agent=agent, agent_slug=agent.slug, message=asked, status=RunStatus.COMPLETED,
        created_at=when, queue_until=when, started_at=when, ended_at=when,
    )
    html = "".join(f"<p>Answer {number}, paragraph {line}.</p>" for line in range(30))
    leaf = Message.objects.create(
        conversation=made, parent=asked, role="assistant", text="Answer.", html=html, run=run
    )
made.leaf = leaf
made.save()
print("conversation", made.pk)
"""


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
    expect(page.locator("[data-body]")).to_have_text(["A quick answer with code."] * 3)


def test_a_long_thread_scrolls_in_its_place_and_never_takes_the_page_with_it(page: Page) -> None:
    """What only screen readers see counts too: focus or a search would scroll to it, and the box be gone."""
    page.set_viewport_size({"width": 800, "height": 320})
    chat.open_new(page, "quick")
    for number in range(3):
        chat.say(page, f"turn {number}")
        expect(page.locator("[data-run]")).to_have_count(number + 1)
        chat.wait_for_end(page)
    assert page.evaluate("document.scrollingElement.scrollHeight - innerHeight") == 0


def test_reading_back_is_not_disturbed_by_what_takes_its_size_when_it_is_seen(page: Page, site: LiveSite) -> None:
    """Up through answers that were never in sight, while another one grows: what is read stays where it is."""
    made = site.manage("shell", "--verbosity", "0", "-c", TALL)
    conversation = made.stdout.split("conversation ")[1].strip()
    page.set_viewport_size({"width": 800, "height": 600})
    page.goto(f"/chat/{conversation}/")
    expect(page.locator("[data-run]")).to_have_count(12)
    expect(page.get_by_text("Answer 11, paragraph 29.")).to_be_in_viewport()
    # Its real size is not known yet: it was never in sight.
    assert (
        page.locator("[data-body]").first.evaluate("body => body.checkVisibility({contentVisibilityAuto: true})")
        is False
    )
    distance = """() => {
        const { scrollHeight, scrollTop, clientHeight } = document.querySelector("[data-scroller]");
        return scrollHeight - scrollTop - clientHeight;
    }"""
    page.mouse.move(400, 250)
    for step in range(1, 11):
        page.mouse.wheel(0, -400)
        page.wait_for_function(f"() => Math.abs(({distance})() - {step * 400}) < 20")
    chat.say(page, "go on")
    chat.wait_for_text(page, 200)
    page.mouse.wheel(0, -2000)
    expect(page.locator("[data-latest]")).to_be_visible()
    page.wait_for_timeout(300)
    read = "document.elementFromPoint(400, 250).textContent"
    before = page.evaluate(read)
    grown = chat.shown(page)
    chat.wait_for_text(page, grown + 400)
    assert page.evaluate(read) == before
    page.locator("[data-latest]").click()
    expect(page.locator("[data-latest]")).to_be_hidden()
    page.wait_for_function(f"() => ({distance})() < 40")
    page.keyboard.press("Escape")
    chat.wait_for_end(page, "cancelled", timeout=5_000)
