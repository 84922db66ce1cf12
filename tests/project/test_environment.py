"""What the environment says, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from project import environment


@pytest.mark.parametrize("said, means", [("1", True), ("true", True), ("On", True), ("0", False), ("", False)])
def test_a_switch(monkeypatch: pytest.MonkeyPatch, said: str, means: bool) -> None:
    monkeypatch.setenv("LLMAPP_SOMETHING", said)
    assert environment.switched_on("LLMAPP_SOMETHING") is means


def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMAPP_SOMETHING", "https")
    with pytest.raises(ImproperlyConfigured, match="LLMAPP_SOMETHING"):
        environment.switched_on("LLMAPP_SOMETHING")


def test_a_list_has_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMAPP_SOMETHING", " a.example, b.example,")
    assert environment.listed("LLMAPP_SOMETHING") == ["a.example", "b.example"]
    assert environment.listed("LLMAPP_NOTHING") == []


def test_a_secret_is_in_the_variable_or_in_the_file_that_another_one_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert environment.secret("LLMAPP_SOMETHING") == ""
    monkeypatch.setenv("LLMAPP_SOMETHING", "in the variable")
    assert environment.secret("LLMAPP_SOMETHING") == "in the variable"
    (tmp_path / "secret").write_text("in the file\n")
    monkeypatch.setenv("LLMAPP_SOMETHING_FILE", str(tmp_path / "secret"))
    assert environment.secret("LLMAPP_SOMETHING") == "in the file"


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_without_the_secret_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """Or a site would make keys of its own, and nobody could read what the other processes wrote."""
    if content is not None:
        (tmp_path / "secret").write_text(content)
    monkeypatch.setenv("LLMAPP_SOMETHING_FILE", str(tmp_path / "secret"))
    with pytest.raises(ImproperlyConfigured, match="LLMAPP_SOMETHING_FILE"):
        environment.secret("LLMAPP_SOMETHING")
