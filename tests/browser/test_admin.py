"""An administrator who has never seen it sets up provider, key, model and agent, tests the connection, and chats.

Each mistake on the way is made once, and mended by what the page says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.loopback import closed_port
from tests.support.provider import Provider

from .chat import answer, body, open_new, say, wait_for_end
from .site import LiveSite
from .test_page import AXE

pytestmark = pytest.mark.wide

KEY = "sk-admin-canary-77-OKAY"


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that wants the right key, path and model."""
    with Provider() as made:
        made.default = {"answer": "Hello from the provider."}
        made.models["gpt-typo"] = {"status": 404, "body": {"error": {"code": "model_not_found", "message": "no"}}}
        yield made


def save(page: Page) -> None:
    page.click("[name=_continue]")


def message(page: Page) -> str:
    return page.locator(".messagelist").inner_text()


def go_to(page: Page, name: str) -> None:
    """Go where a person would click: through the index."""
    page.goto("/admin/")
    page.click(f"#content-main th[scope=row] a:text-is('{name}')")


def add(page: Page, name: str) -> None:
    go_to(page, name)
    page.click(".object-tools >> text=/Add/i")


def probed(page: Page) -> str:
    """Press the button, wait for the end, and return what is said on top."""
    page.click("text=/Test connection|Check this model/i >> visible=true")
    verdict = page.locator("#llmapp-probe")
    expect(verdict).to_have_attribute("data-state", re.compile("passed|failed"), timeout=30_000)
    return page.locator("[data-verdict]").inner_text()


def back(page: Page) -> None:
    page.click(".breadcrumbs >> a >> nth=-1")


def type_key(page: Page, key: str) -> None:
    page.fill("[name=credentials-0-key]", key)
    save(page)


def move(page: Page, url: str) -> None:
    page.fill("[name=base_url]", url)
    save(page)


def next_step(page: Page, words: str) -> str:
    """Return where the page leads to after something was added."""
    link = page.locator(".messagelist a", has_text=f"Next: {words}")
    return str(link.get_attribute("href"))


def add_model(page: Page, way: str, provider: str, name: str, model: str) -> None:
    page.goto(way)
    expect(page.locator("[name=provider] option:checked")).to_have_text(provider)
    page.fill("[name=name]", name)
    page.fill("[name=model]", model)
    save(page)


def test_from_nothing_to_a_chat(page: Page, provider: Provider) -> None:
    # A provider, with an address that nobody knows and then one where nobody listens.
    add(page, "Providers")
    page.fill("[name=name]", "walk")
    move(page, "not a url")
    expect(page.locator(".errorlist").first).to_contain_text("Must be an http:// or https:// URL.")
    page.fill("[name=base_url]", "http://no-such-host.invalid/v1")
    type_key(page, "sk-wrong-0000-0001")
    way_to_models = next_step(page, "add a model of this provider")
    assert "Nobody knows a host called no-such-host.invalid" in probed(page)
    back(page)
    port = closed_port()
    move(page, f"http://127.0.0.1:{port}/v1")
    assert "The address has changed, so the key was dropped" in message(page)
    assert f"nothing listens on port {port}" in probed(page)

    # The right address, and a model with a typing mistake; then a wrong key.
    back(page)
    move(page, provider.url)
    assert "Whether it takes the key is not tested: add a model first." in probed(page)
    add_model(page, way_to_models, "walk", "walk-model", "gpt-typo")
    way_to_agents = next_step(page, "add an agent that uses this model")
    assert "no model called gpt-typo" in probed(page)
    back(page)
    page.fill("[name=model]", "gpt-good")
    save(page)
    provider.push({"status": 401, "body": {"error": {"code": "invalid_api_key", "message": "no"}}})
    go_to(page, "Providers")
    page.click("text=walk")
    type_key(page, "sk-wrong-0000-0002")
    assert "does not accept the key that ends with 0002" in probed(page)
    back(page)
    type_key(page, KEY)
    assert probed(page) == "All is well."
    expect(page.locator(".llmapp-stage")).to_have_count(6)
    assert provider.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    back(page)
    assert KEY not in page.content()
    expect(page.locator("#credentials-group")).to_contain_text("…OKAY")

    # What the model can do, an agent, and a chat.
    go_to(page, "Models")
    page.click("text=walk-model")
    assert probed(page) == "All is well."
    back(page)
    expect(page.locator(".llmapp-features")).to_contain_text("works Streaming")
    page.goto(way_to_agents)
    page.locator("[name=name]").press_sequentially("Walker")
    expect(page.locator("[name=slug]")).to_have_value("walker")
    expect(page.locator("[name=model] option:checked")).to_have_text("walk-model")
    page.select_option("[name=fallbacks_0]", label="quick")
    save(page)
    page.goto(next_step(page, "chat with it"))
    say(page, "Hi")
    wait_for_end(page)
    assert body(page).inner_text() == "Hello from the provider."


def test_no_worker(page: Page, site: LiveSite) -> None:
    """Neither the test of a connection nor the chat waits without a word; both go on when a worker is back."""
    tested, chatting = page, page.context.new_page()
    with site.without_worker():
        go_to(tested, "Providers")
        tested.click("text=/^quick$/")
        tested.click("text=/Test connection/i")
        open_new(chatting, "quick")
        say(chatting, "Is anybody there?")
        verdict = tested.locator("[data-verdict]")
        expect(verdict).to_have_text("Waiting for a worker …")
        expect(verdict).to_contain_text("No worker is running, so nothing can be tested. Start one:", timeout=9000)
        expect(chatting.locator("[data-no-worker]")).to_contain_text("No worker is running.", timeout=9000)
        expect(answer(chatting)).to_have_attribute("data-status", "queued")
    expect(verdict).to_have_text("All is well.", timeout=20_000)
    wait_for_end(chatting)
    assert body(chatting).inner_text() == "A quick answer with code."
    expect(chatting.locator("[data-no-worker]")).to_be_hidden()


def test_a_worker_that_takes_no_test(page: Page, site: LiveSite) -> None:
    """The page waits, says what to do after five seconds, and goes on by itself when a worker comes."""
    site.shell(
        "from llmapp.models import Provider, Probe; from llmapp.runs.clock import db_now;"
        "from datetime import timedelta; p = Provider.objects.get(name='quick');"
        "Probe.objects.create(kind='connection', provider=p, created_at=db_now() - timedelta(seconds=4))"
    )
    # A probe that nobody was told of: as if the worker did not listen to the queue.
    go_to(page, "Providers")
    page.click("text=/^quick$/")
    page.click("text=/Test connection/i")
    expect(page.locator("[data-verdict]")).to_contain_text(
        "A worker is alive, but has not taken the test", timeout=9000
    )
    assert page.locator("#llmapp-probe").get_attribute("data-state") == "going_on"
    site.shell(
        "from llmapp.models import Probe; from llmapp.runs import probing;"
        "probing.carry_out(Probe.objects.get(ended_at=None).pk)"
    )
    expect(page.locator("[data-verdict]")).to_have_text("All is well.", timeout=9000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("path", ["overview/?days=1", "overview/", "run/", "provider/", "agentsettings/", "worker/"])
def test_no_page_is_wider_than_the_screen(new_context: Any, path: str, width: int, scheme: str) -> None:
    page = new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    page.goto(f"/admin/llmapp/{path}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_overview_can_be_read_by_everybody(page: Page) -> None:
    """Axe finds nothing in our part of the page; the rest is Django's."""
    if not AXE.exists():
        assert not os.environ.get("CI"), "axe-core is needed: run `npm ci` in tests/node"
        pytest.skip("axe-core is not installed: accessibility is NOT tested; run `npm ci` in tests/node")
    page.goto("/admin/llmapp/overview/?days=1")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run('#content-main')")
    problems = [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found["violations"]]
    assert problems == []


def test_going_back_to_a_version_of_the_configuration(page: Page) -> None:
    """A mistake in an agent, found in the history by its words, and taken back."""
    go_to(page, "Agents")
    page.click("#result_list >> text=thinking")
    page.fill("[name=instructions]", "Answer in rhymes.")
    page.fill("[name=description]", "A mistake")
    save(page)
    go_to(page, "Configuration versions")
    rows = page.locator("#result_list tbody tr")
    expect(rows.first).to_contain_text("changed agent thinking (description, instructions)")
    rows.nth(1).locator("th a").click()
    page.click("text=Restore")
    expect(page.locator(".llmapp-removed")).to_contain_text(["A mistake", "Answer in rhymes."])
    page.click("text=Restore this version")
    assert re.search(r"Version \d+ is restored, as version \d+\.", message(page))
    expect(rows.first).to_contain_text("changed agent thinking (description, instructions)")
    go_to(page, "Agents")
    page.click("#result_list >> text=thinking")
    expect(page.locator("[name=instructions]")).to_have_value("")
