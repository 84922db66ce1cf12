"""What an answer costs the browser: main-thread time of each update of the chat page, in real Chromium.

python -m benchmarks.browser                              in a new conversation, and behind 200 messages
python -m benchmarks.browser --messages 200 --slowdown 4 --repeats 3

An answer of 48 KB with lists, tables and code comes at 200 tokens a second. What is measured is Chromium's own trace
of the page's main thread: it has all tasks, so style, layout, paint and garbage are in it, which no script in the
page can see. An update is a frame in which the page drew: its task, and every task since the one before (websocket
messages, JSON, timers, garbage collection). The page makes one only when there is something to show. The time is that
of the thread's own clock: worker, web process and the threads that paint share the machine, and what they take is not
the page's work. The clock on the wall stands beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from unittest import mock

from playwright.sync_api import Browser, CDPSession, Error, Page, sync_playwright

from llmapp.measuring.figures import cell
from llmapp.rendering.markdown import render
from tests.browser.conftest import ARGUMENTS, chromium
from tests.support.site import Site

from . import machine, texts

#: Of the answer, and tokens a second.
CHARACTERS, RATE = 48_000, 200
#: The tasks of each thread and what they do, and what became of each frame of the screen.
CATEGORIES = [
    "devtools.timeline",
    "disabled-by-default-devtools.timeline",
    "disabled-by-default-devtools.timeline.frame",
]
TASK, DRAWS, FRAME = "RunTask", "FireAnimationFrame", "PipelineReporter"
MAIN = "CrRendererMain"

TOML = """
[[providers]]
name = "bench"
backend = "scripted"
options = {{ script = [{{ text = {text} }}], tokens_per_second = {rate}, chars_per_token = {characters} }}

[[models]]
name = "bench"
provider = "bench"
model = "bench"

[[agents]]
slug = "bench"
model = "bench"
"""

#: Makes a conversation of so many messages, as runs leave them, and prints its address.
FILL = """
import uuid
from datetime import timedelta
from django.contrib.auth import get_user_model
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Conversation, Message, Run
from llmapp.rendering.markdown import render
from llmapp.runs.clock import db_now
from benchmarks import texts

user, agent, now = get_user_model().objects.get(username="admin"), AgentSettings.objects.get(slug="bench"), db_now()
made = Conversation.objects.create(user=user, agent=agent, title="Long")
text = texts.answer(1_500)
html, leaf = render(text), None
for number in range({messages} // 2):
    when = now - timedelta(minutes={messages} - number)
    question = Message.objects.create(
        id=uuid.uuid4(), conversation=made, parent_id=leaf, role="user", text=f"Question {{number}}?"
    )
    run = Run.objects.create(
        user=user, conversation=made, agent=agent, agent_slug="bench", message=question, status=RunStatus.COMPLETED,
        created_at=when, queue_until=when, started_at=when, ended_at=when,
    )
    leaf = uuid.uuid4()
    Message.objects.create(
        id=leaf, conversation=made, parent=question, role="assistant", text=text, html=html, run=run
    )
made.leaf_id = leaf
made.save()
print("conversation", made.pk)
"""

KEEP_COPIES = """
const value = { writeText: async (text) => { window.copied = text } };
Object.defineProperty(navigator, "clipboard", { value });
"""

#: Waits for the end of the next answer. Playwright's own waiting asks the page again and again, which is its work too.
END = """
() => new Promise((resolve) => {
  const over = ({ dataset: { status } }) => status && !["queued", "in_progress"].includes(status);
  new MutationObserver((changes) => {
    for (const { target } of changes) if (over(target)) resolve(target.dataset.status);
  }).observe(document.body, { subtree: true, attributeFilter: ["data-status"] });
})
"""

#: What the last answer shows, without the headings that the page puts over code.
SHOWN = """
() => {
  const body = [...document.querySelectorAll("[data-body]")].at(-1).cloneNode(true);
  for (const head of body.querySelectorAll(".llmapp-code-head")) head.remove();
  return body.textContent;
}
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer, watched by one page."""

    #: Milliseconds of each update that its thread had the processor, and by the clock.
    updates: list[float]
    clock: list[float]
    #: Frames in which Chromium wanted to show something new, and could not.
    dropped: int
    #: MiB of JavaScript, and DOM nodes, after a garbage collection.
    heap: float
    nodes: int
    #: Characters that the provider sent and the page does not have, as text or as it is shown.
    lost: int


# --- the page ---------------------------------------------------------------------------------


class Chromium:
    """A browser in which the demo's user is signed in."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser, self._url = browser, site.url
        context = browser.new_context()
        context.new_page().goto(site.sign_in_link)
        self._cookies = context.storage_state()
        context.close()

    def watch(self, address: str, answer: str, slowdown: float, picture: Path | None) -> Measured:
        """Ask, look on until the answer is there, and say what that took."""
        context = self._browser.new_context(
            base_url=self._url, storage_state=self._cookies, viewport={"width": 1280, "height": 800}
        )
        with contextlib.closing(context), tempfile.TemporaryDirectory() as folder:
            page, file = context.new_page(), Path(folder) / "trace.json"
            page.add_init_script(KEEP_COPIES)
            page.goto(address)
            devtools = context.new_cdp_session(page)
            devtools.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
            self._browser.start_tracing(page=page, path=file, categories=CATEGORIES)
            _ask(page)
            self._browser.stop_tracing()
            devtools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
            if picture:
                page.screenshot(path=picture)
            trace = json.loads(file.read_bytes())["traceEvents"]
            return Measured(**_times(trace), **_memory(devtools), lost=_lost(page, answer))


def _ask(page: Page) -> None:
    page.fill("#llmapp-text", "Go on.")
    page.press("#llmapp-text", "Enter")
    status = page.evaluate(END)
    assert status == "completed", status


def _memory(devtools: CDPSession) -> dict[str, float]:
    devtools.send("Performance.enable")
    devtools.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
    return {"heap": metrics["JSHeapUsedSize"] / 2**20, "nodes": metrics["Nodes"]}


def _lost(page: Page, answer: str) -> int:
    """Compare the page with the answer: what its button copies, and what it shows but for white space."""
    page.locator("[data-run]").last.locator("[data-copy]").click()
    copied, shown = page.evaluate("window.copied"), page.evaluate(SHOWN)
    expected = unescape(re.sub(r"<[^>]*>", "", render(answer)))
    return _missing(copied, answer) + _missing("".join(shown.split()), "".join(expected.split()))


def _missing(found: str, expected: str) -> int:
    """Count the characters from the first place on that differs, which is more than were lost."""
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(found, expected, strict=False)))
    return max(len(found), len(expected)) - same


# --- the trace --------------------------------------------------------------------------------


def _times(trace: list[dict[str, Any]]) -> dict[str, Any]:
    pid, tid = _main_thread(trace)
    own = [event for event in trace if event["pid"] == pid]
    main = sorted((event for event in own if event["tid"] == tid and "ts" in event), key=lambda event: event["ts"])
    updates: list[list[dict[str, Any]]] = [[]]
    drew = False
    for event in main:
        if event["name"] == TASK and event["ph"] == "X":
            if drew:
                updates.append([])
            updates[-1].append(event)
            drew = False
        drew = drew or event["name"] == DRAWS
    # The first is the way to the first draw, the last what came after the last one.
    updates = updates[1:-1]
    return {
        "updates": [sum(task.get("tdur", task["dur"]) for task in tasks) / 1000 for tasks in updates],
        "clock": [sum(task["dur"] for task in tasks) / 1000 for tasks in updates],
        "dropped": _dropped(own),
    }


def _main_thread(trace: list[dict[str, Any]]) -> tuple[int, int]:
    """Find the page: there are other renderers, which draw nothing."""
    mains = {(e["pid"], e["tid"]) for e in trace if e["name"] == "thread_name" and e["args"]["name"] == MAIN}
    drawn = [(event["pid"], event["tid"]) for event in trace if event["name"] == DRAWS]
    return max(mains, key=drawn.count)


def _dropped(events: Sequence[dict[str, Any]]) -> int:
    states: dict[int, set[str]] = {}
    for event in events:
        if event["name"] == FRAME and event["ph"] == "b":
            report = event["args"].get("frame_reporter") or event["args"]["chrome_frame_reporter"]
            states.setdefault(report["frame_sequence"], set()).add(report["state"])
    return sum("STATE_DROPPED" in each and "STATE_PRESENTED_ALL" not in each for each in states.values())


# --- the table --------------------------------------------------------------------------------


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


COLUMNS: list[tuple[str, int, Callable[[Measured], float]]] = [
    ("updates", 18, lambda row: len(row.updates)),
    ("p50 ms", 20, lambda row: statistics.median(row.updates)),
    ("p95 ms", 20, lambda row: p95(row.updates)),
    ("longest ms", 20, lambda row: max(row.updates)),
    ("clock p95 ms", 20, lambda row: p95(row.clock)),
    ("dropped", 16, lambda row: row.dropped),
    ("heap MiB", 16, lambda row: row.heap),
    ("nodes", 22, lambda row: row.nodes),
    ("lost", 6, lambda row: row.lost),
]


def row(messages: int, slowdown: float, repeats: Sequence[Measured], why: str) -> str:
    cells = "".join(f"{cell([read(one) for one in repeats]):>{width}}" for _, width, read in COLUMNS)
    return f"{messages:>8}  {f'{slowdown:g} times':<10}{cells}{why}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, nargs="+", default=[0, 200], help="that the conversation has before")
    parser.add_argument("--slowdown", type=float, nargs="+", default=[1], help="of the browser's processor; a phone: 4")
    parser.add_argument("--characters", type=int, default=CHARACTERS)
    parser.add_argument("--rate", type=float, default=RATE, help="tokens a second")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--picture", type=Path, help="where a picture of the last page goes")
    options = parser.parse_args()
    about = f"{options.characters} characters at {options.rate:g} tokens a second; an update may take 16.7 ms"
    heads = f"{'messages':>8}  {'slower':<10}" + "".join(f"{name:>{width}}" for name, width, _ in COLUMNS)
    answer = texts.answer(options.characters)
    with contextlib.ExitStack() as stack:
        browser, version = stack.enter_context(_chromium())
        for line in [*machine.head(), version, *machine.warnings(1), about, "", heads]:
            print(line, flush=True)
        loads = [(messages, slowdown) for messages in options.messages for slowdown in options.slowdown]
        if browser is None:
            for load in loads:
                print(row(*load, [], f"  {version}"))
            return
        site = stack.enter_context(_site(answer, options.rate))
        watcher = Chromium(browser, site)
        for messages, slowdown in loads:
            found = [
                watcher.watch(_address(site, messages), answer, slowdown, options.picture)
                for _ in range(options.repeats)
            ]
            print(row(messages, slowdown, found, ""), flush=True)


@contextlib.contextmanager
def _chromium() -> Iterator[tuple[Browser | None, str]]:
    """Start Chromium, or say why there is none."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        except Error as error:
            yield None, f"no Chromium: {error.message.splitlines()[0]}"
            return
        with contextlib.closing(browser):
            yield browser, f"Chromium {browser.version}"


@contextlib.contextmanager
def _site(answer: str, rate: float) -> Iterator[Site]:
    toml = TOML.format(text=json.dumps(answer), rate=rate, characters=texts.TOKEN)
    environment = {"DJANGO_SETTINGS_MODULE": "tests.browser.settings"}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"LLMAPP_TEST_STACK": "embedded"}),
        Site(Path(folder) / "home", toml, demo=True, environment=environment) as site,
    ):
        yield site


def _address(site: Site, messages: int) -> str:
    """Make a conversation with so many messages, and return where it is."""
    if not messages:
        return "/chat/?agent=bench"
    made = site.manage("shell", "-v", "0", "-c", FILL.format(messages=messages))
    (line,) = (line for line in made.stdout.splitlines() if line.startswith("conversation "))
    return f"/chat/{line.split()[1]}/"


if __name__ == "__main__":
    main()
