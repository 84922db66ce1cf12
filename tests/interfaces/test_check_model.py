"""`llmapp check-model`: stage by stage, with an exit code, and never a key."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import override_settings

from llmapp.management import check_model
from llmapp.models import Credential, LanguageModel
from llmapp.models import Provider as ProviderRow
from llmapp.runs import features, probe
from llmapp.runs.probe import Stage
from tests.support import stack
from tests.support.certificates import Authority
from tests.support.loopback import closed_port
from tests.support.provider import Provider
from tests.support.site import command, environment_of

CANARY = "sk-canary-9b7e-NEVER-SHOWN"

database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


def model(url: str, *, name: str = "small", key: str = CANARY, **fields: Any) -> LanguageModel:
    made = ProviderRow.objects.create(name="local", base_url=url, **{"timeouts": {"connect": 2}, **fields})
    if key:
        credential = Credential(provider=made)
        credential.set_secrets({"api_key": key})
        credential.save()
    return LanguageModel.objects.create(name=name, provider=made, model="good")


def check(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return the words of each line of a check that goes well: state, title, the rest."""
    call_command("llmapp", "check-model", "small")
    said = capsys.readouterr().out
    assert "NEVER" not in said
    return [line.split(maxsplit=1) for line in said.splitlines()]


def failing(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return the line that failed, and all that was said."""
    with pytest.raises(CommandError) as caught:
        call_command("llmapp", "check-model", "small")
    assert caught.value.returncode == 1
    assert "\n" not in str(caught.value)
    said = capsys.readouterr().out
    assert "NEVER" not in said + str(caught.value)
    (line,) = (line for line in said.splitlines() if line.startswith("FAIL"))
    return line, said


@database
def test_all_is_well(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    provider.models["good"] = {"answer": '{"colour": "red"}'}
    row = model(provider.url)
    lines = check(capsys)
    assert [line[0] for line in lines[:6]] == ["ok", "ok", "skipped", "ok", "ok", "ok"]
    assert [line[1].split("  ")[0] for line in lines[:6]] == [
        "Name resolved",
        "Connected",
        "Encrypted",
        "Signed in",
        "The model answers",
        "The answer ends properly",
    ]
    told = {line[1].split("  ")[0]: line[0] for line in lines[6:-1]}
    assert len(told) == len(features.FEATURES)
    assert (told["Streaming"], told["JSON mode"], told["Tools"]) == ("yes", "yes", "unknown")
    assert "stored" in " ".join(lines[-1])
    row.refresh_from_db()
    assert set(row.capabilities["features"]) == set(features.FEATURES)
    assert row.capabilities["features"]["json_mode"] == "works"
    assert row.capabilities["checked_at"]
    assert provider.requests[0].headers["authorization"] == f"Bearer {CANARY}"


@database
def test_what_is_refused_is_no_with_the_providers_words(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = {"status": 400, "body": {"error": {"message": "tools are \x1b[31mnot\nsupported"}}}
    provider.push({"answer": "yes"}, {"answer": "yes"}, refusal)
    model(provider.url)
    lines = check(capsys)
    at = next(number for number, line in enumerate(lines) if line[0] == "no")
    assert lines[at][1].startswith("Tools ")
    assert "Not supported." in lines[at][1]
    assert " ".join(lines[at + 1]).startswith("tools are [31mnot supported")


#: What the provider does -> words of the line that failed.
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("wrong key", {"echo_key": True}, "does not accept the key that ends with HOWN"),
    ("wrong model", {"status": 404, "body": {"error": {"code": "model_not_found"}}}, "no model called good"),
    ("cut", {"stop_after": 3, "end": "fin"}, "its end never came"),
    ("clean cut", {"stop_after": 3, "finish_reason": None, "done": False}, "its end never came"),
    ("stalled", {"stall_after": 2}, "stood still"),
    ("down", {"status": 503, "body": {}}, "down or overloaded"),
]


@database
@pytest.mark.parametrize("name, behaviour, words", FAULTS, ids=[case[0] for case in FAULTS])
def test_faults(
    provider: Provider, capsys: pytest.CaptureFixture[str], name: str, behaviour: dict[str, Any], words: str
) -> None:
    provider.models["good"] = behaviour
    row = model(provider.url, timeouts={"connect": 2, "first_token": 0.5, "idle": 0.5, "total": 3})
    line, _said = failing(capsys)
    assert words in line
    assert len(provider.requests) == 1
    row.refresh_from_db()
    assert row.capabilities == {}


@database
def test_a_closed_port(capsys: pytest.CaptureFixture[str]) -> None:
    port = closed_port()
    model(f"http://127.0.0.1:{port}/v1")
    line, said = failing(capsys)
    assert f"nothing listens on port {port}" in line
    assert said.splitlines()[-1].startswith("skipped")


@database
def test_a_certificate_that_nobody_trusts(capsys: pytest.CaptureFixture[str]) -> None:
    with Provider(tls=Authority().server("127.0.0.1")) as provider:
        model(provider.url)
        line, _said = failing(capsys)
    assert "Encrypted" in line
    assert "Nobody whom this site trusts" in line
    assert provider.requests == []


@database
def test_a_model_that_takes_too_long(
    provider: Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "LIMIT", 0.5)
    provider.models["good"] = {"delay": 5}
    model(provider.url)
    with pytest.raises(CommandError):
        call_command("llmapp", "check-model", "small")


@database
def test_a_key_that_cannot_be_read() -> None:
    model("http://127.0.0.1:1/v1")
    with (
        override_settings(LLMAPP={"ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}),
        pytest.raises(CommandError, match="type it again"),
    ):
        call_command("llmapp", "check-model", "small")


@database
def test_a_script_needs_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    model("", key="", backend="scripted", options={"script": [{"text": "yes"}]})
    lines = check(capsys)
    assert [line[0] for line in lines[:6]] == ["skipped", "skipped", "skipped", "ok", "ok", "ok"]


@database
def test_an_unknown_name_is_one_line_with_those_that_there_are() -> None:
    with pytest.raises(CommandError, match=r"^There is no model nope, nor any other yet\.$"):
        call_command("llmapp", "check-model", "nope")
    row = model("http://127.0.0.1:1/v1", name="b")
    LanguageModel.objects.create(name="a", provider=row.provider, model="a")
    with pytest.raises(CommandError, match=r"^There is no model nope\. There are: a, b\.$"):
        call_command("llmapp", "check-model", "nope")


async def test_a_line_is_said_when_its_stage_has_ended() -> None:
    said: list[str] = []
    printer = check_model.Printer(said.append)
    stages = [Stage("resolve")]
    await printer.print(stages)
    assert said == []
    stages[0].state = "ok"
    stages.append(Stage("connect"))
    await printer.print(stages)
    assert [line.split() for line in said] == [["ok", "Name", "resolved"]]
    stages[1].state = "failed"
    stages.append(Stage("tls", "skipped"))
    await printer.print(stages)
    assert [line.split()[0] for line in said] == ["ok", "FAIL", "skipped"]


# --- as people call it -------------------------------------------------------------------------------

TOML = """
[[providers]]
name = "local"
backend = "{backend}"
base_url = "{url}"
api_keys = ["{key}"]

[[models]]
name = "small"
provider = "local"
model = "{model}"
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Make a site without any process: the environment of its commands."""
    with stack.services() as services:
        env = environment_of(tmp_path / "home", services)
        manage = [sys.executable, command()[1]]
        subprocess.run([*manage, "migrate", "-v", "0"], env=env, check=True, capture_output=True)
        yield env


def configure(home: dict[str, str], folder: Path, **values: str) -> None:
    file = folder / "agents.toml"
    file.write_text(TOML.format(key=CANARY, **values))
    subprocess.run(command("configure", str(file)), env=home, check=True, capture_output=True)


def test_litellm_is_asked_in_the_commands_own_process(home: dict[str, str], tmp_path: Path, provider: Provider) -> None:
    provider.default = {"answer": '{"colour": "red"}'}
    configure(home, tmp_path, backend="litellm", url=provider.url, model="openai/good")
    done = subprocess.run(command("check-model", "small"), env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "yes      Streaming" in done.stdout
    assert done.stderr == ""
    assert provider.requests[0].headers["authorization"] == f"Bearer {CANARY}"


def test_ctrl_c_ends_it_cleanly(home: dict[str, str], tmp_path: Path, provider: Provider) -> None:
    provider.default = {"silent": True}
    configure(home, tmp_path, backend="openai_compatible", url=provider.url, model="good")
    with subprocess.Popen(
        command("check-model", "small"), env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 30
        while not provider.requests and time.monotonic() < until:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    # Not when the provider's time is over: that would be after a minute.
    assert time.monotonic() - began < 15
    assert (process.returncode, err) == (130, "CommandError: interrupted\n")
    # What had been found out was there before the end, line by line.
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "ok", "skipped"]
    assert provider.wait_closed()
