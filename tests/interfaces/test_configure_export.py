"""`configure --export`: a file that makes the same agents elsewhere, and holds no secret."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmapp import snapshot
from llmapp.management import config_apply, config_file, toml
from llmapp.management.config_export import export
from llmapp.masks import MASK, masked
from llmapp.models import AgentSettings, Credential, LanguageModel, Provider

from .test_configure import WHOLE

pytestmark = pytest.mark.django_db

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SCALARS = TEXT | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXT, part, max_size=3))
TABLES = st.dictionaries(TEXT, VALUES, max_size=3)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=10)
PRICES = st.none() | st.decimals(0, 1000, places=6)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-first-key-0001")


def load(text: str, environ: dict[str, str] | None = None) -> None:
    config_apply.apply(config_file.parse(tomllib.loads(text), {} if environ is None else environ))


def shown() -> dict[str, Any]:
    """Return what an export has to keep: all but keys, the ids of rows and the distance between agents."""
    hidden = {"id", "api_keys", "position"}
    return {
        table: [{key: value for key, value in entry.items() if key not in hidden} for entry in entries]
        for table, entries in snapshot.take().items()
    }


def empty() -> None:
    for table in (AgentSettings, LanguageModel, Provider):
        table.objects.all().delete()


def test_an_export_makes_the_same_agents_in_an_empty_site(tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(WHOLE)
    call_command("llmapp", "configure", str(path))
    before = shown()
    call_command("llmapp", "configure", "--export", str(path))
    empty()
    call_command("llmapp", "configure", str(path))
    assert shown() == before


def test_where_it_came_from_it_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(WHOLE, {"LOCAL_KEY": "sk-first-key-0001"})
    path = tmp_path / "out.toml"
    call_command("llmapp", "configure", "--export", str(path))
    call_command("llmapp", "configure", str(path))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["unchanged"] * 4
    assert Credential.objects.count() == 3


@example(
    timeouts={}, options={"a name:\x19": {"Key": "0"}}, prices=(None, None), window=None, names=["0", "00"], words="",
    table={}, enabled=False, access="staff", timeout=1.0,
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    timeouts=st.dictionaries(st.sampled_from(["connect", "idle"]), st.floats(0.5, 86_400), max_size=2),
    options=TABLES,
    prices=st.tuples(PRICES, PRICES),
    window=st.none() | st.integers(1, 2**31 - 1),
    names=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    words=TEXT,
    table=TABLES,
    enabled=st.booleans(),
    access=st.sampled_from(["staff", "authenticated", "public", ["writers"], ["editors", "writers"]]),
    timeout=st.floats(1, 86_400),
)
def test_whatever_is_set_comes_back(
    timeouts: Any, options: Any, prices: Any, window: Any, names: Any, words: str, table: Any, enabled: bool,
    access: Any, timeout: float,
) -> None:  # fmt: skip
    empty()
    provider = Provider.objects.create(
        name=names[0], base_url="http://127.0.0.1/v1", timeouts=timeouts, options=masked(options)
    )
    models = [
        LanguageModel.objects.create(
            name=name,
            provider=provider,
            model="m",
            input_price=prices[0],
            output_price=prices[1],
            context_window=window,
            enabled=enabled,
        )
        for name in names
    ]
    agent = AgentSettings.objects.create(
        slug="a", model=models[0], fallbacks=names[1:], summary_model=names[-1] if enabled else "",
        instructions=words, settings=table, enabled=enabled,
        timeout=timeout, access=access if isinstance(access, str) else "groups",
    )  # fmt: skip
    if isinstance(access, list):
        agent.groups.set([Group.objects.get_or_create(name=name)[0] for name in access])
    before, text = shown(), export(snapshot.take())
    empty()
    load(text, Anything())
    assert shown() == before


class Anything(dict[str, str]):
    """An environment that has every variable."""

    def get(self, key: str, default: Any = None) -> Any:
        return MASK


@settings(max_examples=200, deadline=None)
@given(VALUES, TEXT)
def test_what_is_written_is_read(value: Any, key: str) -> None:
    read = tomllib.loads(toml.line(key, value))
    assert read == {key: value}


def test_null_is_left_out() -> None:
    assert toml.line("settings", {"seed": None, "stop": ["a", None]}) == 'settings = { stop = ["a"] }'


def test_it_tells_how_many_keys_there_are_and_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    load(WHOLE, {"LOCAL_KEY": "sk-first-key-0001"})
    call_command("llmapp", "configure", "--export")
    said = capsys.readouterr().out
    assert "# It has 3 keys" in said
    third = '{ api_key = "env:LOCAL_KEY_3_API_KEY", region = "env:LOCAL_KEY_3_REGION" }'
    assert f'# api_keys = ["env:LOCAL_KEY_1", "env:LOCAL_KEY_2", {third}]' in said
    assert not [secret for secret in ("sk-first", "0001", "sk-second", "0002", "third", '"eu"') if secret in said]


def test_the_placeholders_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    load(WHOLE, {"LOCAL_KEY": "sk-first-key-0001"})
    text = export(snapshot.take()).replace("# api_keys", "api_keys")
    with pytest.raises(config_file.ConfigError, match="LOCAL_KEY_1"):
        load(text)
    given_keys = {f"LOCAL_KEY_{n}": f"new-{n}" for n in ("1", "2", "3_API_KEY", "3_REGION")}
    load(text, given_keys)
    assert [row.secrets() for row in Credential.objects.all()][2] == {
        "api_key": "new-3_API_KEY",
        "region": "new-3_REGION",
    }


SECRETS = [
    # table, key, value, how it is exported
    ("headers", {"Authorization": "Bearer canary"}, "env:X_HEADERS_AUTHORIZATION"),
    ("headers", {"X-Api-Key": "canary"}, "env:X_HEADERS_X_API_KEY"),
    ("options", {"aws": {"secret_access_key": "canary"}}, "env:X_OPTIONS_AWS_SECRET_ACCESS_KEY"),
    ("options", {"tokens": [{"token": "canary"}]}, "env:X_OPTIONS_TOKENS_1_TOKEN"),
    ("options", {"proxy": "http://me:canary@host/"}, "env:X_OPTIONS_PROXY"),
]


@pytest.mark.parametrize("key, value, exported", SECRETS)
def test_a_secret_that_is_no_key_becomes_a_variable(key: str, value: Any, exported: str) -> None:
    Provider.objects.create(name="x", base_url="http://127.0.0.1/v1", **{key: value})
    text = export(snapshot.take())
    assert exported in text
    assert "canary" not in text


HARMLESS = [{"key_header": "api-key"}, {"chars_per_token": 4}, {"output_limit_parameter": "max_completion_tokens"}]


@pytest.mark.parametrize("options", HARMLESS)
def test_what_is_no_secret_is_exported(options: Any) -> None:
    Provider.objects.create(name="x", base_url="http://127.0.0.1/v1", options=options)
    (entry,) = tomllib.loads(export(snapshot.take()))["providers"]
    assert entry["options"] == options


def test_an_agent_whose_groups_are_gone_is_for_nobody_elsewhere() -> None:
    load(WHOLE, {"LOCAL_KEY": "k"})
    Group.objects.all().delete()
    (entry,) = tomllib.loads(export(snapshot.take()))["agents"]
    assert (entry["access"], entry["enabled"]) == ("staff", False)


def test_prices_are_exact() -> None:
    load(WHOLE, {"LOCAL_KEY": "k"})
    LanguageModel.objects.filter(name="small").update(input_price=Decimal("0.000001"), output_price=Decimal("100"))
    entry = tomllib.loads(export(snapshot.take()))["models"][1]
    assert (entry["input_price"], entry["output_price"]) == ("0.000001", "100")


def test_what_somebody_switched_off_stays_off_unless_the_file_says_otherwise() -> None:
    load(WHOLE, {"LOCAL_KEY": "k"})
    AgentSettings.objects.update(enabled=False)
    load(WHOLE, {"LOCAL_KEY": "k"})
    assert not AgentSettings.objects.get().enabled
    load(WHOLE + "enabled = true\n", {"LOCAL_KEY": "k"})
    assert AgentSettings.objects.get().enabled


@pytest.mark.parametrize("value", ["1", '"yes"'])
def test_enabled_is_true_or_false(value: str) -> None:
    with pytest.raises(config_file.ConfigError, match="enabled"):
        load(WHOLE + f"enabled = {value}\n", {"LOCAL_KEY": "k"})


def test_an_empty_site_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "out.toml"
    call_command("llmapp", "configure", "--export", str(path))
    assert path.read_text() == ""


@pytest.mark.parametrize("path", ["/nowhere/out.toml", "/"])
def test_a_place_that_cannot_be_written_is_one_line(path: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("llmapp", "configure", "--export", path)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_file_it_asks_for_one() -> None:
    with pytest.raises(CommandError, match="FILE"):
        call_command("llmapp", "configure")


@pytest.mark.parametrize("table", list(snapshot.KEYS))
def test_a_snapshot_has_every_key_of_the_file(table: str) -> None:
    assert set(config_file.TABLES[table]) <= set(snapshot.KEYS[table])
    load(WHOLE, {"LOCAL_KEY": "k"})
    assert all({*snapshot.KEYS[table], "id"} == set(entry) for entry in snapshot.take()[table])
