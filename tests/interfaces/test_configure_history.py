"""`configure --diff`, `--history`, `--restore` and `--reset`: look before, look back, go back, begin anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.utils import timezone

from llmapp import history, snapshot
from llmapp.models import (
    AgentSettings,
    ConfigurationVersion,
    Conversation,
    Credential,
    LanguageModel,
    Message,
    Provider,
    Run,
)

from .test_configure import WHOLE, everything, small

pytestmark = pytest.mark.django_db

SECOND = small(agent='instructions = "Be brief."').replace('model = "m"', 'model = "other"')

#: Another file, which names nothing of the first but the provider.
OTHER = """
[[providers]]
name = "local"
base_url = "http://127.0.0.1:4010/v1"
[[models]]
name = "new"
provider = "local"
model = "n"
[[agents]]
slug = "new"
model = "new"
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-first-key-0001")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `configure`; a text in the place of FILE becomes one."""

    def configure(*arguments: str) -> str:
        path = tmp_path / "agents.toml"
        words = []
        for argument in arguments:
            if "[[" in argument:
                path.write_text(argument)
            words.append(str(path) if "[[" in argument else argument)
        call_command("llmapp", "configure", *words)
        return capsys.readouterr().out

    return configure


def refused(run: Any, *arguments: str) -> str:
    before = everything()
    versions = list(ConfigurationVersion.objects.values())
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert caught.value.returncode == 1
    assert everything() == before
    assert list(ConfigurationVersion.objects.values()) == versions
    assert "\n" not in str(caught.value)
    return str(caught.value)


def numbers() -> list[int]:
    return list(ConfigurationVersion.objects.order_by("pk").values_list("pk", flat=True))


def used(slug: str) -> Run:
    """Let somebody have asked an agent."""
    ada = get_user_model().objects.create_user("ada")
    agent = AgentSettings.objects.get(slug=slug)
    conversation = Conversation.objects.create(user=ada, agent=agent)
    message = Message.objects.create(conversation=conversation, role="user", text="Hello")
    return Run.objects.create(
        user=ada,
        conversation=conversation,
        agent=agent,
        agent_slug=slug,
        message=message,
        created_at=timezone.now(),
        queue_until=timezone.now(),
    )


# -- before


def test_a_diff_writes_nothing(run: Any) -> None:
    run(small())
    before, versions = everything(), numbers()
    said = run(SECOND, "--diff")
    assert said.splitlines() == [
        "~ model small",
        '    model: "m" -> "other"',
        "~ agent assistant",
        '    instructions: "" -> "Be brief."',
    ]
    assert (everything(), numbers()) == (before, versions)


def test_a_diff_against_nothing_shows_what_would_be_there(run: Any) -> None:
    said = run(WHOLE, "--diff")
    assert [line for line in said.splitlines() if line[0] != " "] == [
        "+ provider local",
        "+ model big",
        "+ model small",
        "+ agent assistant",
    ]
    assert '    api_keys: ["…0001", "…0002", "…"]' in said
    assert "sk-" not in said
    assert not any(everything().values())
    assert not Group.objects.exists()


DIFFS = [
    # the provider before, after, words that are said, words that are not
    ('api_keys = ["sk-a-long-key-0001"]', 'api_keys = ["sk-a-long-key-0002"]', ["…0001", "…0002"], ["long"]),
    ('api_keys = ["canary-a"]', 'api_keys = ["canary-b"]', ["a secret that is not shown"], ["canary"]),
    ('headers = { X-Key = "canary-a" }', 'headers = { X-Key = "canary-b" }', ["not shown"], ["canary"]),
    ('headers = { X-Team = "a" }', 'headers = { X-Team = "b" }', ['{"X-Team": "a"} -> {"X-Team": "b"}'], []),
    ('api_keys = ["a"]', 'api_keys = ["a"]', ["Nothing would change."], ["~"]),
]


@pytest.mark.parametrize("before, after, there, not_there", DIFFS)
def test_a_diff_masks_secrets(run: Any, before: str, after: str, there: list[str], not_there: list[str]) -> None:
    run(small(provider=before))
    said = run(small(provider=after), "--diff")
    assert [word for word in there if word not in said] == []
    assert [word for word in not_there if word in said] == []


def test_a_diff_of_a_long_text_shows_its_lines(run: Any) -> None:
    run(small(agent='instructions = "one\\ntwo\\nthree"'))
    said = run(small(agent='instructions = "one\\n2\\nthree"'), "--diff")
    assert said.splitlines() == ["~ agent assistant", "    instructions:", "      -two", "      +2"]


def test_a_diff_says_that_keys_would_be_dropped(run: Any) -> None:
    run(small(provider='api_keys = ["sk-a-long-key-0001"]'))
    said = run(small().replace(":4010", ":4011"), "--diff")
    assert "! provider local: its address has changed, so its keys are dropped" in said
    assert Credential.objects.exists()


def test_a_faulty_file_has_no_diff(run: Any) -> None:
    run(small())
    assert "unknown" in refused(run, small(agent="prompt = 'x'"), "--diff")


# -- after


def test_the_history_tells_who_when_and_what(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    run(small())
    run(SECOND)
    LanguageModel.objects.update(context_window=5)
    history.record(get_user_model().objects.create_user("ada"))
    second, _first = numbers()[1], numbers()[0]
    lines = run("--history").splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in reversed(numbers())]
    assert lines[0].endswith("ada  admin: changed model small (context_window)")
    assert lines[1].startswith(f"{second:>4}  20")
    assert lines[1].endswith("  grace  file agents.toml: changed model small (model), agent assistant (instructions)")
    assert lines[2].endswith("file agents.toml: created provider local, model small, agent assistant")


def test_what_changes_nothing_is_no_version(run: Any) -> None:
    run(small())
    run(small())
    assert len(numbers()) == 1


def test_an_empty_history_says_so(run: Any) -> None:
    assert run("--history") == "There is no version yet.\n"


def test_what_others_changed_is_kept_before_it_is_changed_again(run: Any) -> None:
    run(small())
    AgentSettings.objects.update(instructions="By hand.")
    run(SECOND)
    sources = ConfigurationVersion.objects.order_by("pk").values_list("source", flat=True)
    assert list(sources) == ["file", "other", "file"]
    run("--restore", str(numbers()[1]))
    assert AgentSettings.objects.get().instructions == "By hand."


def test_no_version_holds_a_secret(run: Any) -> None:
    run(small(provider='api_keys = ["sk-canary-0001"]\nheaders = { Authorization = "Bearer canary" }'))
    assert "canary" not in str(list(ConfigurationVersion.objects.values()))


# -- back


def test_a_restore_undoes_the_last_change(run: Any) -> None:
    run(WHOLE)
    before = snapshot.take()
    run(WHOLE.replace("Helps.", "Hinders.").replace("gpt-4o-mini", "x").replace("X-Team", "X-Other"))
    assert snapshot.take() != before
    said = run("--restore", str(numbers()[0]))
    assert "updated    agent assistant" in said
    assert snapshot.take() == before
    assert f"restored {numbers()[0]}: changed" in run("--history").splitlines()[0]


def test_what_came_later_goes_and_what_went_comes_back(run: Any) -> None:
    run(small())
    before = snapshot.take()["agents"][0]
    run(OTHER, "--reset")
    assert [agent.slug for agent in AgentSettings.objects.all()] == ["new"]
    run("--restore", str(numbers()[0]))
    (after,) = snapshot.take()["agents"]
    assert {**after, "id": before["id"]} == before
    assert [model.name for model in LanguageModel.objects.all()] == ["small"]


def test_keys_stay(run: Any) -> None:
    run(small(provider='api_keys = ["a"]\nheaders = { Authorization = "old", X-Team = "a" }'))
    run(small(provider='api_keys = ["b", "c"]\nheaders = { Authorization = "new", X-Team = "b" }'))
    run("--restore", str(numbers()[0]))
    assert [row.secrets()["api_key"] for row in Credential.objects.all()] == ["b", "c"]
    assert Provider.objects.get().headers == {"Authorization": "new", "X-Team": "a"}


def test_keys_do_not_follow_to_another_host(run: Any) -> None:
    run(small(provider='api_keys = ["a"]'))
    run(small(provider='api_keys = ["b"]').replace(":4010", ":4011"))
    said = run("--restore", str(numbers()[0]))
    assert "its keys are dropped" in said
    assert not Credential.objects.exists()


def test_new_names_are_taken_back_and_keys_and_runs_with_them(run: Any) -> None:
    run(WHOLE)
    done = used("assistant")
    Provider.objects.update(name="elsewhere")
    small_one, big = LanguageModel.objects.get(name="small"), LanguageModel.objects.get(name="big")
    for model, name in ((small_one, "~"), (big, "small"), (small_one, "big")):
        LanguageModel.objects.filter(pk=model.pk).update(name=name)
    AgentSettings.objects.update(slug="helper", fallbacks=["small"])
    history.record()
    run("--restore", str(numbers()[0]))
    assert LanguageModel.objects.get(name="small") == small_one
    assert Provider.objects.get().credentials.count() == 3
    done.refresh_from_db()
    assert done.agent is not None
    assert (done.agent.slug, done.agent.fallbacks) == ("assistant", ["big"])


def test_a_restore_can_be_looked_at_first(run: Any) -> None:
    run(small())
    run(SECOND)
    before = everything()
    assert '    model: "other" -> "m"' in run("--restore", str(numbers()[0]), "--diff")
    assert everything() == before


def test_a_version_that_names_a_group_that_is_gone_is_refused(run: Any) -> None:
    run(small(agent='access = ["writers"]'))
    run(small())
    Group.objects.all().delete()
    assert "group writers" in refused(run, "--restore", str(numbers()[0]))


def test_a_version_that_names_a_backend_that_is_gone_is_refused(run: Any) -> None:
    run(small())
    Provider.objects.update(backend="telepathy")
    run(small())
    assert "backend telepathy" in refused(run, "--restore", str(numbers()[1]))


def test_a_version_that_names_a_secret_that_is_gone_is_refused(run: Any) -> None:
    run(small(provider='headers = { Authorization = "x" }'))
    run(small())
    assert "the secret Authorization of provider local" in refused(run, "--restore", str(numbers()[0]))


def test_a_name_that_another_entry_has_taken_is_refused(run: Any) -> None:
    run(small())
    AgentSettings.objects.update(slug="first")
    AgentSettings.objects.create(slug="assistant", model=LanguageModel.objects.get())
    history.record()
    assert "assistant" in refused(run, "--restore", str(numbers()[0]))


def test_a_version_that_never_was_is_refused(run: Any) -> None:
    assert "12345" in refused(run, "--restore", "12345")


# -- anew


def test_a_reset_leaves_what_the_file_names(run: Any) -> None:
    run(WHOLE)
    said = run(small(), "--reset")
    assert "removed    model big" in said
    assert [model.name for model in LanguageModel.objects.all()] == ["small"]
    assert Credential.objects.count() == 3


def test_a_reset_removes_providers_with_their_keys(run: Any) -> None:
    run(WHOLE)
    run(OTHER.replace('"local"', '"elsewhere"'), "--reset")
    assert [provider.name for provider in Provider.objects.all()] == ["elsewhere"]
    assert not Credential.objects.exists()


def test_an_agent_that_has_been_asked_is_disabled_with_what_it_needs(run: Any) -> None:
    run(WHOLE)
    done = used("assistant")
    said = run(OTHER.replace('"local"', '"elsewhere"'), "--reset").splitlines()
    assert said[-4:] == [
        "disabled   agent assistant (it has conversations)",
        "disabled   model big (agent assistant needs it)",
        "disabled   model small (agent assistant needs it)",
        "disabled   provider local (model big needs it)",
    ]
    done.refresh_from_db()
    assert done.agent is not None
    assert not done.agent.enabled
    assert [agent.slug for agent in AgentSettings.objects.filter(enabled=True)] == ["new"]


def test_a_second_reset_changes_nothing(run: Any) -> None:
    run(small())
    used("assistant")
    run(OTHER, "--reset")
    before = everything()
    said = run(OTHER, "--reset")
    assert {line.split()[0] for line in said.splitlines()} == {"unchanged"}
    assert everything() == before


def test_a_reset_enables_what_it_names(run: Any) -> None:
    run(small())
    AgentSettings.objects.update(enabled=False)
    run(small(), "--reset")
    assert AgentSettings.objects.get().enabled


def test_a_reset_can_be_looked_at_first(run: Any) -> None:
    run(small())
    before = everything()
    assert {"- model small", "- agent assistant", "+ agent new"} <= set(run(OTHER, "--reset", "--diff").splitlines())
    assert everything() == before


def test_a_faulty_file_resets_nothing(run: Any) -> None:
    run(small())
    assert "other" in refused(run, OTHER.replace('model = "new"', 'model = "other"'), "--reset")


MISTAKES = [
    ([], "FILE"),
    (["--reset"], "FILE"),
    (["--diff"], "FILE"),
    (["agents.toml", "--history"], "FILE"),
    (["agents.toml", "--restore", "1"], "FILE"),
    (["--history", "--diff"], "--diff"),
    (["--export", "--diff"], "--diff"),
    (["--history", "--export"], "--history"),
    (["--restore", "x"], "--restore"),
]


@pytest.mark.parametrize("arguments, word", MISTAKES)
def test_a_mistake_on_the_command_line_is_a_sentence(arguments: list[str], word: str) -> None:
    with pytest.raises(CommandError, match=word):
        call_command("llmapp", "configure", *arguments)
