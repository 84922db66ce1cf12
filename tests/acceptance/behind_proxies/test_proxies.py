"""The site behind nginx and Caddy, with TLS, as the files in `deploy/` put it there.

Of the two web processes that these files name, one is away: nobody may notice.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from websockets.exceptions import InvalidStatus

from llmapp.api import sse as streams
from tests.acceptance.conftest import TOML, fault
from tests.browser import chat
from tests.browser.conftest import ARGUMENTS, chromium
from tests.support.loopback import closed_port
from tests.support.provider import Provider, answer_for, tokens_of
from tests.support.proxies import DEPLOY, HOST, Caddy, Nginx, Proxy
from tests.support.site import Site, sse

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

PROXIES = {"nginx": Nginx, "caddy": Caddy}
NAME, PASSWORD = "grace", "correct horse battery"

MAKE_USER = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_user({name!r}, password={password!r}, is_staff=True)
"""

#: What the web process does not read is not sent on to it.
LARGEST_BODY = 4 * 1024 * 1024


class TidySite(Site):
    """A site whose static files were collected, and that knows that TLS is in front of it."""

    def __init__(self, home: Path, toml: str) -> None:
        self.static = home.with_name("static")
        super().__init__(
            home,
            toml,
            environment={
                "DJANGO_SETTINGS_MODULE": "tests.acceptance.behind_proxies.settings",
                "LLMAPP_ALLOWED_HOSTS": HOST,
                "LLMAPP_HTTPS": "1",
                "LLMAPP_STATIC_ROOT": str(self.static),
            },
        )
        self.manage("collectstatic", "--no-input")


@pytest.fixture(scope="module")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TidySite]:
    folder = tmp_path_factory.mktemp("behind")
    toml = TOML.format(url=provider.url) + fault("slow") + fault("stall")
    with TidySite(folder / "home", toml) as made:
        made.manage("shell", "-v", "0", "-c", MAKE_USER.format(name=NAME, password=PASSWORD))
        made.become("ada")
        yield made


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, site: TidySite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(request.param) / "proxy"
    with PROXIES[request.param](folder, [site.port, closed_port()], site.static) as made:
        yield made


@pytest.fixture
def program(proxy: Proxy, site: TidySite) -> httpx.Client:
    """Return a program with a token, in front of the proxy."""
    client = proxy.client()
    client.headers["Authorization"] = site.http.headers["Authorization"]
    return client


@pytest.fixture
def person(proxy: Proxy) -> httpx.Client:
    """Return a browser in which Grace has signed in."""
    client = proxy.client()
    page = client.get("/accounts/login/")
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    answer = client.post(
        "/accounts/login/",
        data={"username": NAME, "password": PASSWORD, "csrfmiddlewaretoken": token},
        headers={"Origin": proxy.origin},
    )
    assert (answer.status_code, answer.headers["location"]) == (302, "/chat/"), answer.text
    return client


def body(text: str, thread: str | None = None) -> dict[str, Any]:
    message = {"id": str(uuid.uuid4()), "role": "user", "content": text}
    return {"threadId": thread or str(uuid.uuid4()), "runId": str(uuid.uuid4()), "messages": [message]}


# --- TLS and the sign-in -----------------------------------------------------------------------


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    url = f"http://127.0.0.1:{proxy.plain_port}/chat/?agent=slow"
    answer = httpx.get(url, headers={"Host": HOST}, trust_env=False)
    assert answer.status_code in (301, 308)
    assert answer.headers["location"].startswith(f"https://{HOST}")
    assert answer.headers["location"].endswith("/chat/?agent=slow")


def test_a_person_signs_in_and_cookies_travel_over_tls_only(proxy: Proxy, person: httpx.Client) -> None:
    assert {cookie.name for cookie in person.cookies.jar} == {"csrftoken", "sessionid"}
    assert all(cookie.secure for cookie in person.cookies.jar)
    page = person.get("/chat/")
    assert page.status_code == 200
    assert f"wss://{HOST}:{proxy.port}" in page.headers["content-security-policy"]
    assert page.headers["strict-transport-security"]


def test_a_page_of_another_origin_can_neither_post_nor_open_a_socket(
    proxy: Proxy, person: httpx.Client, provider: Provider
) -> None:
    theirs = {"Origin": "https://evil.example", "X-CSRFToken": person.cookies["csrftoken"]}
    answer = person.post("/api/agents/slow/runs", json=body("Hi"), headers=theirs)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")
    conversation = begin(proxy, person)
    with pytest.raises(InvalidStatus) as refusal:
        proxy.socket(f"/ws/conversations/{conversation}/", Cookie=cookies(person), Origin="https://evil.example")
    assert refusal.value.response.status_code == 403


def test_health_is_asked_through_the_proxy(proxy: Proxy) -> None:
    assert proxy.http.get("/health/live").status_code == 200
    assert proxy.http.get("/health/ready").status_code == 200


# --- streams -------------------------------------------------------------------------------------


def test_tokens_arrive_one_by_one_over_a_websocket(proxy: Proxy, person: httpx.Client, provider: Provider) -> None:
    conversation = begin(proxy, person)
    with proxy.socket(f"/ws/conversations/{conversation}/", Cookie=cookies(person), Origin=proxy.origin) as socket:
        socket.send(json.dumps({"type": "send", "id": str(uuid.uuid4()), "text": "By socket"}))
        arrived = deltas((now, frame["event"]) for now, frame in frames(socket) if frame["type"] == "event")
    assert_prompt(arrived, "By socket", provider)


def test_tokens_arrive_one_by_one_as_server_sent_events(program: httpx.Client, provider: Provider) -> None:
    with program.stream("POST", "/api/agents/slow/runs", json=body("By stream")) as answer:
        arrived = deltas((time.time(), event) for _seq, event in sse(answer))
    assert_prompt(arrived, "By stream", provider)


def test_a_stream_that_broke_goes_on_where_it_broke(program: httpx.Client, site: Site, provider: Provider) -> None:
    question = body("Broken")
    with program.stream("POST", "/api/agents/slow/runs", json=question) as answer:
        seen = [next_of for next_of, _ in zip(sse(answer), range(12), strict=False)]
    path = f"/api/runs/{question['runId']}/events"
    with program.stream("GET", path, headers={"Last-Event-ID": str(seen[-1][0])}) as answer:
        seen += sse(answer)
    assert seen == site.events(question["runId"])


def test_a_stream_that_is_quiet_is_not_cut(site: TidySite, tmp_path: Path, provider: Provider) -> None:
    """In the quick: comments every second, and a proxy that waits for 4 s, on a stream that is quiet for 7 s."""
    quick = Nginx(
        tmp_path / "proxy", [site.port, closed_port()], site.static, **{"read_timeout 90s": "read_timeout 4s"}
    )
    with quick:
        client = quick.client()
        headers = {"Authorization": site.http.headers["Authorization"]}
        question = body("Quiet")
        with client.stream("POST", "/api/agents/stall/runs", json=question, headers=headers) as answer:
            until, lines = time.monotonic() + 7, []
            for line in answer.iter_lines():
                lines.append(line)
                if time.monotonic() > until:
                    break
        assert time.monotonic() > until, "the stream was cut"
        assert lines.count(": still here") >= 3
        client.post(f"/api/runs/{question['runId']}/stop", headers=headers).raise_for_status()


def test_nginx_waits_for_several_comments() -> None:
    """And for several pings of a websocket: Daphne and uvicorn send one every 20 s."""
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", (DEPLOY / "nginx.conf").read_text())
    assert int(seconds) >= 4 * max(20, streams.COMMENT_EVERY)


# --- bodies ---------------------------------------------------------------------------------------


def test_the_longest_message_goes_through(program: httpx.Client, provider: Provider) -> None:
    text = "漢" * 100_000
    with program.stream("POST", "/api/agents/openai_compatible/runs", json=body(text)) as answer:
        events = [event for _seq, event in sse(answer)]
    assert events[-1]["type"] == "RUN_FINISHED"
    assert provider.requests[-1].body["messages"][-1]["content"] == text


@pytest.mark.parametrize(
    "size, code",
    [(100_001, "message_too_long"), (LARGEST_BODY + 1, "body_too_large"), (2 * LARGEST_BODY, "body_too_large")],
)
def test_what_is_too_large_is_refused_in_json(program: httpx.Client, size: int, code: str) -> None:
    """By the site, and by the proxy before that."""
    answer = program.post("/api/agents/slow/runs", json=body("x" * size))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, code)
    assert answer.headers["content-type"].startswith("application/json")


# --- static files ----------------------------------------------------------------------------------


def test_static_files_with_a_hash_are_kept_for_ever(proxy: Proxy, person: httpx.Client, site: TidySite) -> None:
    names = re.findall(r'"(/static/llmapp/[^"]+)"', person.get("/chat/").text)
    assert any(name.endswith(".js") for name in names)
    for name in names:
        answer = proxy.http.get(name)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", name
    assert proxy.http.get("/static/llmapp/icon.svg").headers["cache-control"] == "public, max-age=300"
    assert proxy.http.get("/static/nothing.js").status_code == 404


# --- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    here = f"--host-resolver-rules=MAP {HOST} 127.0.0.1"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, here])
        yield made
        made.close()


@pytest.mark.browser
def test_a_person_chats(browser: Browser, proxy: Proxy, provider: Provider) -> None:
    problems: list[str] = []
    with browser.new_context(base_url=proxy.origin, ignore_https_errors=True) as context:
        context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page = context.new_page()
        page.goto("/chat/?agent=slow")
        page.fill("[name=username]", NAME)
        page.fill("[name=password]", PASSWORD)
        with page.expect_event("load"):
            page.press("[name=password]", "Enter")
        with page.expect_websocket() as opened:
            chat.say(page, "Hello")
        assert opened.value.url.startswith(f"wss://{HOST}:{proxy.port}/ws/conversations/")
        chat.wait_for_end(page)
        expect(chat.body(page)).to_contain_text("You said: Hello")
    assert not problems, problems


# --- details ---------------------------------------------------------------------------------------


def cookies(client: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)


def begin(proxy: Proxy, client: httpx.Client) -> str:
    """Begin a conversation and return its id."""
    headers = {"Origin": proxy.origin, "X-CSRFToken": client.cookies["csrftoken"]}
    answer = client.post("/api/conversations/", json={"agent": "slow"}, headers=headers)
    answer.raise_for_status()
    return str(answer.json()["id"])


def frames(socket: Any) -> Iterator[tuple[float, dict[str, Any]]]:
    """Give frames with the time of their arrival, to the run's end."""
    while True:
        frame = json.loads(socket.recv(timeout=20))
        yield time.time(), frame
        if frame["type"] == "event" and frame["event"]["type"] in ("RUN_FINISHED", "RUN_ERROR"):
            return


def deltas(events: Iterator[tuple[float, dict[str, Any]]]) -> list[tuple[float, str]]:
    return [(now, event["delta"]) for now, event in events if event["type"] == "TEXT_MESSAGE_CONTENT"]


def assert_prompt(arrived: list[tuple[float, str]], question: str, provider: Provider) -> None:
    """Hold the arrival of each piece against the time at which the provider sent its last token."""
    tokens = tokens_of(answer_for(question))
    (request,) = (r for r in provider.requests if r.body["messages"][-1]["content"] == question)
    provider.requests.remove(request)
    sent, late, position = 0, [], 0
    text = ""
    for now, piece in arrived:
        text += piece
        while position < len(tokens) and len("".join(tokens[: position + 1])) <= len(text):
            position += 1
        sent = position - 1
        late.append(now - (request.started_at + sent / 10))
    assert text == answer_for(question)
    assert len(arrived) > len(tokens) / 2, f"{len(arrived)} pieces of {len(tokens)} tokens"
    # A proxy that buffers would hold back the first ones for as long as the whole answer takes.
    assert sorted(late)[len(late) // 2] < 0.5, late
    assert max(late) < 2, late
