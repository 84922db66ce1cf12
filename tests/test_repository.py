"""The repository keeps its own promises: documents match the code, and pins are pins."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from llmapp.conf import AppSettings
from llmapp.management.config_file import TABLES

ROOT = Path(__file__).resolve().parent.parent
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("line", PINS)
def test_a_constraint_is_one_exact_version_and_names_no_host(line: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)


def test_the_constraints_cover_what_the_project_asks_for() -> None:
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in PINS}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        name = re.match(r"[A-Za-z0-9_.-]+", requirement)
        assert name is not None
        assert re.sub(r"[-_.]+", "-", name[0]).lower() in pinned


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    start = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e "
    assert f"\n{start}. && .venv/bin/python manage.py llmapp serve --demo\n" in text
    assert f"\n{start}'.[test]' && .venv/bin/python -m pytest\n" in text


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    for name in AppSettings.known():
        default = vars(AppSettings)[name]
        assert re.search(rf"\| `{name}` \| `?{re.escape(str(default))}`? \|", text), name


def test_every_key_of_a_configure_file_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for table, keys in TABLES.items():
        part = text.split(f"[[{table}]]")[1].split("[[")[0]
        assert [key for key in keys if f"\n{key} = " not in part] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_between_documents_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_scripts_can_be_run() -> None:
    assert os.access(ROOT / "manage.py", os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
