"""`llmapp configure`: a file in, rows out; or one line that says what is wrong, and nothing written."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from llmapp.models import AgentSettings, AgentVersion, Credential, LanguageModel, Provider

pytestmark = pytest.mark.django_db

#: Every key of the format, with a value that is not its default.
WHOLE = """
[[providers]]
name = "local"
backend = "openai_compatible"
base_url = "http://127.0.0.1:4010/v1"
api_keys = ["env:LOCAL_KEY", "sk-second-key-0002", { api_key = "third", region = "eu" }]
timeouts = { connect = 1, first_token = 2.5, idle = 3, total = 4 }
key_strategy = "round_robin"
headers = { X-Team = "research" }
options = { api_version = "2026-08-01", nested = { deep = [1, 2] } }

[[models]]
name = "small"
provider = "local"
model = "gpt-4o-mini"
context_window = 128000
max_output_tokens = 16384
tokens_per_minute = 200000
input_price = "0.15"
cached_input_price = "0.075"
cache_write_price = "0.2"
output_price = 0.6
streaming = "never"
system_role = "developer"

[[models]]
name = "big"
provider = "local"
model = "gpt-4o"

[[agents]]
slug = "assistant"
name = "Assistant"
description = "Helps."
model = "small"
fallbacks = ["big"]
summary_model = "big"
instructions = "You are a helpful assistant."
access = ["writers", "editors"]
timeout = 60
attempts = 5
max_turns = 3
timeout_limit = 2
violation_limit = 4
settings = { temperature = 0.2 }
"""

SMALL = """
[[providers]]
name = "local"
base_url = "http://127.0.0.1:4010/v1"
{provider}
[[models]]
name = "small"
provider = "local"
model = "m"
{model}
[[agents]]
slug = "assistant"
model = "small"
{agent}
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-first-key-0001")


@pytest.fixture
def configure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(text: str) -> str:
        path = tmp_path / "agents.toml"
        path.write_text(text)
        call_command("llmapp", "configure", str(path))
        return capsys.readouterr().out

    return run


def small(**parts: str) -> str:
    return SMALL.format(**{"provider": "", "model": "", "agent": "", **parts})


def everything() -> dict[str, list[Any]]:
    tables = (Provider, Credential, LanguageModel, AgentSettings, AgentVersion)
    return {table.__name__: list(table.objects.order_by("pk").values()) for table in tables}


def test_every_key_arrives(configure: Any) -> None:
    configure(WHOLE)
    provider = Provider.objects.get()
    assert provider.base_url == "http://127.0.0.1:4010/v1"
    assert provider.timeouts == {"connect": 1, "first_token": 2.5, "idle": 3, "total": 4}
    assert provider.headers == {"X-Team": "research"}
    assert provider.options == {"api_version": "2026-08-01", "nested": {"deep": [1, 2]}}
    assert [key.secrets() for key in provider.credentials.all()] == [
        {"api_key": "sk-first-key-0001"},
        {"api_key": "sk-second-key-0002"},
        {"api_key": "third", "region": "eu"},
    ]
    model = LanguageModel.objects.get(name="small")
    assert (model.model, model.context_window, model.max_output_tokens) == ("gpt-4o-mini", 128000, 16384)
    assert (model.tokens_per_minute, provider.key_strategy) == (200_000, "round_robin")
    assert (model.input_price, model.cached_input_price) == (Decimal("0.15"), Decimal("0.075"))
    assert (model.cache_write_price, model.output_price) == (Decimal("0.2"), Decimal("0.6"))
    assert (model.streaming, model.system_role) == ("never", "developer")
    agent = AgentSettings.objects.get()
    assert (agent.name, agent.description, agent.model, agent.fallbacks) == ("Assistant", "Helps.", model, ["big"])
    assert agent.summary_model == "big"
    assert (agent.timeout, agent.attempts, agent.max_turns) == (60, 5, 3)
    assert (agent.timeout_limit, agent.violation_limit, agent.settings) == (2, 4, {"temperature": 0.2})
    assert agent.access == AgentSettings.Access.GROUPS
    assert set(agent.groups.values_list("name", flat=True)) == {"writers", "editors"}


def test_what_is_left_out_gets_its_default(configure: Any) -> None:
    configure(small())
    model, agent = LanguageModel.objects.get(), AgentSettings.objects.get()
    assert Provider.objects.get().backend == "openai_compatible"
    assert model.input_price is None
    assert model.context_window is None
    assert (model.tokens_per_minute, model.provider.key_strategy) == (None, "fill_first")
    assert (model.streaming, model.system_role) == ("auto", "system")
    assert (agent.access, agent.timeout, agent.attempts, agent.max_turns) == ("staff", 600, 12, 20)
    assert (agent.timeout_limit, agent.violation_limit, agent.fallbacks) == (3, 1, [])


def test_the_same_file_again_changes_nothing(configure: Any) -> None:
    said = configure(WHOLE)
    before = everything()
    assert [line.split()[0] for line in said.splitlines()] == ["created"] * 4
    said = configure(WHOLE)
    assert [line.split()[0] for line in said.splitlines()] == ["unchanged"] * 4
    assert everything() == before


def test_a_changed_file_changes_its_entries_and_leaves_others_alone(configure: Any) -> None:
    configure(WHOLE)
    configure('[[models]]\nname = "big"\nprovider = "local"\nmodel = "gpt-5"\n')
    assert LanguageModel.objects.get(name="big").model == "gpt-5"
    assert LanguageModel.objects.get(name="small").model == "gpt-4o-mini"
    assert AgentSettings.objects.count() == 1


def test_each_change_of_an_agent_is_a_version(configure: Any) -> None:
    configure(small())
    configure(small(agent='instructions = "Be brief."'))
    configure(small(agent='access = ["writers"]'))
    versions = list(AgentVersion.objects.order_by("number").values_list("number", "values"))
    assert [number for number, _values in versions] == [1, 2, 3]
    assert versions[1][1]["instructions"] == "Be brief."
    assert versions[2][1]["groups"] == ["writers"]


def test_an_agent_is_public_only_where_the_file_says_so(configure: Any) -> None:
    configure(small())
    assert AgentSettings.objects.get().access == "staff"
    configure(small(agent='access = "public"'))
    assert AgentSettings.objects.get().access == "public"
    assert AgentVersion.objects.first().values["access"] == "public"  # type: ignore[union-attr]


def test_agents_are_offered_in_the_order_of_the_file(configure: Any) -> None:
    configure(small() + '[[agents]]\nslug = "a-later-one"\nmodel = "small"\n')
    assert list(AgentSettings.objects.values_list("slug", flat=True)) == ["assistant", "a-later-one"]


def test_agents_of_another_file_come_after_those_that_are_there(configure: Any) -> None:
    configure(small())
    configure('[[agents]]\nslug = "z"\nmodel = "small"\n[[agents]]\nslug = "b"\nmodel = "small"\n')
    AgentSettings.objects.filter(slug="z").update(position=7)
    configure('[[agents]]\nslug = "a"\nmodel = "small"\n[[agents]]\nslug = "z"\nmodel = "small"\n')
    found = list(AgentSettings.objects.values_list("slug", "position"))
    assert found == [("assistant", 0), ("b", 2), ("z", 7), ("a", 8)]


def test_a_file_may_begin_with_a_byte_order_mark(configure: Any) -> None:
    configure("\ufeff" + small())
    assert AgentSettings.objects.count() == 1


KEYS: list[tuple[str, str, list[str], int]] = [
    # before, after, keys then, how many rows are the same
    ('["a", "b"]', '["a", "b"]', ["a", "b"], 2),
    ('["a", "b"]', '["b", "a"]', ["b", "a"], 2),
    ('["a", "b"]', '["b"]', ["b"], 1),
    ('["a"]', '["b", "a"]', ["b", "a"], 1),
    ('["a"]', "[]", [], 0),
]


@pytest.mark.parametrize("before, after, expected, kept", KEYS)
def test_a_key_that_stays_in_the_pool_keeps_its_row(
    configure: Any, before: str, after: str, expected: list[str], kept: int
) -> None:
    configure(small(provider=f"api_keys = {before}"))
    rows = set(Credential.objects.values_list("pk", "secret"))
    configure(small(provider=f"api_keys = {after}"))
    pool = Provider.objects.get().credentials.all()
    assert [key.secrets()["api_key"] for key in pool] == expected
    assert len(rows & set(Credential.objects.values_list("pk", "secret"))) == kept


def test_keys_that_the_file_does_not_name_stay(configure: Any) -> None:
    configure(small(provider='api_keys = ["a"]'))
    configure(small(provider="options = { x = 1 }"))
    assert Credential.objects.get().secrets() == {"api_key": "a"}


@pytest.mark.parametrize(
    "url, stays",
    [
        ("http://127.0.0.1:4010/v2", True),
        ("http://127.0.0.1:4011/v1", False),
        ("https://127.0.0.1:4010/v1", False),
        ("http://localhost:4010/v1", False),
    ],
)
def test_keys_do_not_follow_a_provider_to_another_host(configure: Any, url: str, stays: bool) -> None:
    configure(small(provider='api_keys = ["a"]'))
    configure(small().replace("http://127.0.0.1:4010/v1", url))
    assert Credential.objects.exists() is stays


#: What is wrong -> words that the one line must have.
FAULTS: list[tuple[str, str, list[str]]] = [
    ("not TOML", "[[providers", ["agents.toml"]),
    ("unknown table", "[[agent]]\nslug = 'a'", ["agent"]),
    ("one table instead of a list", "[providers]\nname = 'x'", ["providers"]),
    ("unknown key of a provider", small(provider="url = 'x'"), ["[[providers]]", '"local"', "url"]),
    ("unknown key of a model", small(model="price = 1"), ["[[models]]", '"small"', "price"]),
    ("unknown key of an agent", small(agent="prompt = ''"), ["[[agents]]", '"assistant"', "prompt"]),
    ("no name", "[[providers]]\nbase_url = 'http://x/'", ["[[providers]]", "name"]),
    ("no model", "[[agents]]\nslug = 'a'", ["[[agents]]", '"a"', "model"]),
    ("no address", "[[providers]]\nname = 'x'", ["[[providers]]", "base_url"]),
    ("name is a number", "[[providers]]\nname = 1", ["[[providers]]", "name"]),
    ("missing variable", small(provider='api_keys = ["env:NOT_THERE"]'), ["[[providers]]", "api_keys", "NOT_THERE"]),
    ("empty variable", small(provider='api_keys = ["env:EMPTY"]'), ["[[providers]]", "api_keys", "EMPTY"]),
    ("unknown backend", small(provider="backend = 'telepathy'"), ["[[providers]]", "backend"]),
    ("keys are no list", small(provider="api_keys = 'a'"), ["[[providers]]", "api_keys"]),
    ("a key is a number", small(provider="api_keys = [1]"), ["[[providers]]", "api_keys", "1"]),
    ("a key twice", small(provider="api_keys = ['a', 'a']"), ["[[providers]]", "api_keys", "2"]),
    ("unknown timeout", small(provider="timeouts = { read = 1 }"), ["[[providers]]", "timeouts", "read"]),
    ("timeout of nothing", small(provider="timeouts = { idle = 0 }"), ["[[providers]]", "timeouts", "idle"]),
    ("endless timeout", small(provider="timeouts = { idle = inf }"), ["[[providers]]", "timeouts", "idle"]),
    ("header of two lines", small(provider='headers = { X = "a\\nb" }'), ["[[providers]]", "headers", "X"]),
    ("header with a bad name", small(provider='headers = { "a b" = "c" }'), ["[[providers]]", "headers"]),
    ("options with a date", small(provider="options = { x = 2026-01-01 }"), ["[[providers]]", "options"]),
    ("window below one", small(model="context_window = 0"), ["[[models]]", "context_window"]),
    ("no tokens a minute", small(model="tokens_per_minute = 0"), ["[[models]]", "tokens_per_minute"]),
    ("window that is text", small(model="context_window = '1'"), ["[[models]]", "context_window"]),
    ("window that is true", small(model="context_window = true"), ["[[models]]", "context_window"]),
    ("negative price", small(model='input_price = "-1"'), ["[[models]]", "input_price"]),
    ("price that is none", small(model='output_price = "free"'), ["[[models]]", "output_price"]),
    ("price too fine", small(model='output_price = "0.00000001"'), ["[[models]]", "output_price"]),
    ("unknown streaming", small(model="streaming = 'often'"), ["[[models]]", "streaming"]),
    ("unknown role", small(model="system_role = 'god'"), ["[[models]]", "system_role"]),
    (
        "unknown provider",
        small().replace('provider = "local"', 'provider = "other"'),
        ["[[models]]", "provider", "other"],
    ),
    ("unknown model", small().replace('model = "small"', 'model = "other"'), ["[[agents]]", "model", "other"]),
    ("unknown summary model", small(agent="summary_model = 'other'"), ["[[agents]]", "summary_model", "other"]),
    ("a summary model is a list", small(agent="summary_model = ['small']"), ["[[agents]]", "summary_model"]),
    ("unknown fallback", small(agent="fallbacks = ['other']"), ["[[agents]]", "fallbacks", "other"]),
    ("fallbacks are text", small(agent="fallbacks = 'small'"), ["[[agents]]", "fallbacks"]),
    ("unknown access", small(agent="access = 'everybody'"), ["[[agents]]", "access"]),
    ("groups by name", small(agent="access = 'groups'"), ["[[agents]]", "access"]),
    ("no group", small(agent="access = []"), ["[[agents]]", "access"]),
    ("negative timeout", small(agent="timeout = -1"), ["[[agents]]", "timeout"]),
    ("timeout below a second", small(agent="timeout = 0.5"), ["[[agents]]", "timeout"]),
    ("no attempts", small(agent="attempts = 0"), ["[[agents]]", "attempts"]),
    ("half a turn", small(agent="max_turns = 1.5"), ["[[agents]]", "max_turns"]),
    ("settings with a model", small(agent='settings = { model = "x" }'), ["[[agents]]", '"assistant"', "settings"]),
    ("settings with a key", small(agent='settings = { api_key = "x" }'), ["[[agents]]", "settings", '"api_key"']),
    ("name of two lines", '[[providers]]\nname = "a\\nb"', ["[[providers]]", '"a\\nb"', "name"]),
    ("key of two lines", small(agent='"a\\nb" = 1'), ["[[agents]]", '"assistant"', '"a\\nb"']),
    ("table of two lines", '[["a\\nb"]]', ['"a\\nb"']),
    ("timeout of two lines", small(provider='timeouts = { "a\\u2028b" = 1 }'), ["timeouts", '"a\\u2028b"']),
    ("variable of two lines", small(provider='api_keys = ["env:a\\nb"]'), ["api_keys", '"a\\nb"']),
    ("slug that is none", small().replace('slug = "assistant"', 'slug = "an assistant"'), ["[[agents]]", "slug"]),
    ("a provider twice", small() + "[[providers]]\nname = 'local'\nbase_url = 'http://x/'", ["[[providers]]", "local"]),
    ("a model twice", small() + "[[models]]\nname='small'\nprovider='local'\nmodel='x'", ["[[models]]", "small"]),
    ("an agent twice", small() + "[[agents]]\nslug='assistant'\nmodel='small'", ["[[agents]]", "assistant"]),
]

URLS = [
    "ftp://host/v1",
    "file:///etc/passwd",
    "host/v1",
    "http://",
    "http:///v1",
    "http://user:password@host/v1",
    "http://user@host/v1",
    "http://host:99999/v1",
    "http://host:port/v1",
    "http://[::1/v1",
    "http://ho st/v1",
    "http://host/v1?key=1",
    "http://host/v1#x",
    "javascript:alert(1)",
    "",
]


@pytest.mark.parametrize("text, words", [pytest.param(text, words, id=name) for name, text, words in FAULTS])
def test_a_fault_is_one_line_that_names_table_and_key(
    configure: Any, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(CommandError) as caught:
        configure(text)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert all(word in said for word in words), said
    assert caught.value.returncode == 1
    assert not any(everything().values())
    assert not Group.objects.exists()


@pytest.mark.parametrize("url", URLS)
def test_an_address_that_is_none_is_refused_and_no_password_is_repeated(configure: Any, url: str) -> None:
    with pytest.raises(CommandError) as caught:
        configure(small().replace("http://127.0.0.1:4010/v1", url))
    assert "base_url" in str(caught.value)
    assert "password@" not in str(caught.value)
    assert not any(everything().values())


def test_a_fault_leaves_what_was_there_as_it_was(configure: Any) -> None:
    configure(WHOLE)
    before = everything()
    broken = (
        WHOLE.replace("gpt-4o-mini", "changed").replace('"sk-second-key-0002"', '"new"').replace('["big"]', '["no"]')
    )
    with pytest.raises(CommandError):
        configure(broken)
    assert everything() == before


def test_no_fault_repeats_a_key(configure: Any) -> None:
    for keys in ('["sk-canary", "sk-canary"]', '["sk-canary", 5]', '[{ api_key = "sk-canary", n = 1 }]'):
        with pytest.raises(CommandError) as caught:
            configure(small(provider=f"api_keys = {keys}"))
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/agents.toml", "/"])
def test_a_file_that_cannot_be_read_is_one_line(path: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("llmapp", "configure", path)
    assert "\n" not in str(caught.value)
    assert path in str(caught.value)


def test_a_file_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="agents"):
        call_command("llmapp", "configure", str(path))


def test_variables_are_understood_in_the_whole_of_a_provider(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_URL", "https://models.example/v1")
    monkeypatch.setenv("TEAM", "research")
    configure('[[providers]]\nname = "x"\nbase_url = "env:HOST_URL"\nheaders = { X-Team = "env:TEAM" }\n')
    provider = Provider.objects.get()
    assert (provider.base_url, provider.headers) == ("https://models.example/v1", {"X-Team": "research"})


def test_a_client_learns_of_a_changed_provider_and_of_no_other(configure: Any) -> None:
    configure(small())
    version = Provider.objects.get().version
    configure(small())
    assert Provider.objects.get().version == version
    configure(small(provider="options = { x = 1 }"))
    assert Provider.objects.get().version > version
