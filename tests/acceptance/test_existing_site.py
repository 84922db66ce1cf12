"""A site that somebody has had for years gets the package from its wheel, by the lines of the README."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import chat
from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.browser.site import config
from tests.support import installed
from tests.support.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.browser]

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        assert not os.environ.get("CI"), "setuptools 77 is needed"
        pytest.skip("setuptools is too old; install '.[test]' again: the wheel is NOT tested")
    return installed.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("existing")
    python = installed.install(wheel, folder)
    made = InstalledSite(python, folder / "site")
    made.manage("makemigrations", "accounts")
    made.manage("collectstatic", "--no-input")
    made.manage("migrate")
    made.manage("createsuperuser", "--no-input", "--email", EMAIL)
    with made:
        yield made


#: The agent that the README's own template speaks of.
SUPPORT = """
[[agents]]
slug = "support"
model = "quick"
access = "authenticated"
"""


class InstalledSite(Site):
    def __init__(self, python: Path, folder: Path) -> None:
        installed.start_project(python, folder)
        installed.add_llmapp(folder)
        super().__init__(folder / "var", config() + SUPPORT)
        self.folder = folder
        self.manage_py = [str(python), "manage.py"]
        self.env = {**installed.environment_of_installed(self.home), "DJANGO_SUPERUSER_PASSWORD": PASSWORD}


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:  # noqa: F811
    """Open a browser in which Ada has signed in. Whatever its console complains of fails the test."""
    problems: list[str] = []
    context = browser.new_context(base_url=site.url)
    context.set_default_timeout(10_000)
    context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    yield sign_in(context)
    context.close()
    assert not problems, "\n".join(problems)


def sign_in(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/assistant/chat/?agent=quick")
    page.fill("[name=username]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    with page.expect_event("load"):
        page.click("button")
    return page


def test_the_readme_asks_for_ten_lines_at_most() -> None:
    pasted = "\n".join(installed.lines_to_paste().values())
    lines = [line for line in pasted.splitlines() if line.strip() and not line.startswith("#")]
    assert list(installed.lines_to_paste()) == ["settings.py", "urls.py", "asgi.py"]
    assert 6 <= len(lines) <= 10


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "templates/llmapp/chat.html",
        "templates/llmapp/partials/icons.html",
        "static/llmapp/icon.svg",
        "static/llmapp/css/tokens.css",
        "static/llmapp/js/chat.js",
        "static/llmapp/js/widget.js",
        "static/llmapp/js/view/dom.js",
        "locale/zh_Hans/LC_MESSAGES/django.mo",
        "migrations/0001_initial.py",
        "management/commands/llmapp.py",
        "templatetags/llmapp.py",
    ],
)
def test_the_wheel_brings(wheel: Path, name: str) -> None:
    assert f"llmapp/{name}" in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_brings_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    package = installed.ROOT / "llmapp"
    files = {str(path.relative_to(package.parent)) for path in package.rglob("*") if path.is_file()}
    here = {name for name in files if not name.endswith((".pyc", ".po", ".pot"))}
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert here - there == set()
    assert {name for name in there if not name.startswith("llmapp/")} == set()


def test_nothing_of_the_checkout_is_used(site: Site) -> None:
    said = site.manage("shell", "-v", "0", "-c", "import llmapp, sys; print(llmapp.__file__, *sys.path)").stdout.split()
    assert said[0].startswith(str(Path(site.manage_py[0]).parent.parent))
    assert str(installed.ROOT) not in said


def test_the_sites_own_checks_are_content(site: Site) -> None:
    done = subprocess.run(
        [*site.manage_py, "check", "--fail-level", "WARNING"],
        cwd=site.folder,
        env=site.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_who_signs_in_by_email_chats_under_the_prefix(page: Page) -> None:
    assert "/assistant/chat/" in page.url
    chat.say(page, "Hello")
    chat.wait_for_end(page)
    expect(chat.body(page)).to_have_text("A quick answer with code.")
    chat.wait_for_conversation(page)
    assert "/assistant/chat/" in page.url
    page.reload()
    chat.say(page, "And again, by the socket")
    expect(page.locator("[data-run]")).to_have_count(2)
    chat.wait_for_end(page)
    expect(page.locator("[data-row-title]").first).to_have_text("Hello")
    assert all(".js" not in name or len(name.split(".")) > 2 for name in loaded(page)), loaded(page)


def loaded(page: Page) -> list[str]:
    """Return the names of the files that the page has loaded."""
    script = "performance.getEntriesByType('resource').map(e => new URL(e.name).pathname.split('/').at(-1))"
    names: list[str] = page.evaluate(script)
    return names


def test_the_websocket_is_open(page: Page) -> None:
    with page.expect_websocket() as opened:
        chat.say(page, "Hello")
    assert opened.value.url.startswith("ws://")
    chat.wait_for_end(page)


@pytest.mark.parametrize("frame", [".llmapp-chat", ".llmapp-widget-panel iframe"])
def test_a_template_of_the_site_has_a_chat_in_it(page: Page, frame: str) -> None:
    page.goto("/help/")
    if "widget" in frame:
        page.click(".llmapp-widget-button")
    inside = page.frame_locator(frame)
    expect(inside.locator("body[data-frame]")).to_be_attached()
    inside.locator(chat.BOX).fill("Hello from the help page")
    inside.locator(chat.BOX).press("Enter")
    expect(inside.locator("[data-body]")).to_have_text("A quick answer with code.")
    expect(page.locator("h1")).to_have_text("Bicycles")


def test_the_admin_answers(page: Page) -> None:
    page.goto("/admin/")
    expect(page.locator("#site-name")).to_be_visible()
    expect(page.locator("#user-tools")).to_contain_text(EMAIL)
