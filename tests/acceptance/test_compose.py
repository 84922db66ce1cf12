"""`compose.yaml` and the Dockerfile, without a container engine.

What they name is held against what is there, and their commands run in folders that contain what the image would,
each with a home of its own, as containers have.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from tests.acceptance.conftest import TOML
from tests.support import stack
from tests.support.loopback import closed_port
from tests.support.programs import BIN, Programs
from tests.support.provider import Provider, answer_for
from tests.support.proxies import DEPLOY
from tests.support.site import ROOT, text_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service.get("image") == "llmapp"}
#: Signs Grace in, and prints the key of her session.
SIGN_IN = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_user("grace"))
print("key", client.cookies["sessionid"].value)
"""

VARIABLE = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")


def copied() -> list[list[str]]:
    """Return the words of each COPY of the Dockerfile: sources, then the target."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith("COPY ")]


# --- names ----------------------------------------------------------------------------------------


def test_there_are_two_of_each_behind_a_proxy() -> None:
    assert SERVICES["web1"] == SERVICES["web2"]
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["proxy"]["environment"]["LLMAPP_WEBS"] == "web1:8000 web2:8000"
    assert {"db", "redis", "prepare", "web1", "web2", "worker"} <= set(SERVICES)


def test_whatever_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        wanted = service.get("depends_on", {})
        for name, how in (wanted if isinstance(wanted, dict) else {}).items():
            condition = how["condition"]
            assert "healthcheck" in SERVICES[name] or condition == "service_completed_successfully"
    assert SERVICES["prepare"]["restart"] == "no"


def test_volumes_are_declared() -> None:
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith("./")} == set(COMPOSE["volumes"])
    assert all((ROOT / name).is_file() for name in mounted if name.startswith("./"))


def test_the_settings_know_every_variable_and_so_do_the_docs() -> None:
    sources = "".join((ROOT / "project" / name).read_text() for name in ("settings.py", "home.py"))
    documented = (ROOT / "docs" / "settings.md").read_text()
    for name in {name for service in OURS for name in SERVICES[service]["environment"]}:
        assert f'"{name}"' in sources, name
        assert f"`{name}`" in documented, name
    for name in SERVICES["proxy"]["environment"]:
        assert f"{{${name}:" in (DEPLOY / "Caddyfile").read_text(), name


def test_the_example_of_an_env_file_has_what_is_asked_for() -> None:
    lines = (DEPLOY / "compose.env").read_text().splitlines()
    given = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert given == set(VARIABLE.findall((ROOT / "compose.yaml").read_text()))


def test_the_image_is_made_of_files_that_are_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for *words, _target in copied() for source in words}
    assert sources == sent
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\w+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert users == ["llmapp"]


# --- commands -------------------------------------------------------------------------------------


class Composed(Programs):
    """The services' own commands and variables. Only what containers would have of their own is put in their place."""

    def __init__(self, folder: Path, toml: str) -> None:
        self._root = folder
        self._values = {
            "LLMAPP_HOST": "chat.example.org",
            "POSTGRES_PASSWORD": "x",
            "LLMAPP_SECRET_KEY": "not-a-secret-" * 5,
            "LLMAPP_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        }
        names = ["web1", "web2", "worker-1", "worker-2"]
        super().__init__(folder / "home", toml, {name: self._command(name) for name in names})
        self.folder = unpacked(folder / "image")
        self.manage_py = [str(BIN / "python"), "manage.py"]
        self.env |= self.of_service("prepare")

    def _command(self, name: str) -> list[str]:
        words = shlex.split(SERVICES[name.partition("-")[0]]["command"])
        places = {"0.0.0.0": "127.0.0.1", "8000": str(closed_port()), "llmapp@%h": f"{name}@%h"}
        return [str(BIN / words[0]), *(places.get(word, word) for word in words[1:])]

    def of_service(self, name: str) -> dict[str, str]:
        """Return a service's environment, but for the addresses of the servers."""
        given = {key: VARIABLE.sub(lambda found: self._values[found[1]], text)
                 for key, text in SERVICES[name.partition("-")[0]]["environment"].items()}  # fmt: skip
        # On servers they have nothing in common but these; files are shared, or there would be no common database.
        home = self._root / name if stack.on_servers() else self._root / "home"
        places = {
            "LLMAPP_HOME": str(home),
            "LLMAPP_STATIC_ROOT": str(self._root / "static"),
            "PYTHONPATH": str(self._root / "image"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        return {key: text for key, text in given.items() if not key.endswith("_URL")} | places

    def environment_for(self, name: str) -> dict[str, str]:
        return self.env | self.of_service(name)

    def prepare(self) -> None:
        command = shlex.split(SERVICES["prepare"]["command"])
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def unpacked(folder: Path) -> Path:
    """Put into a folder what the image would have."""
    folder.mkdir()
    for *sources, target in copied():
        for source in sources:
            path, to = ROOT / source, folder / (source if target == "./" else target)
            if path.is_dir():
                shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, to)
    return folder


@pytest.fixture(scope="module")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with Composed(tmp_path_factory.mktemp("composed"), TOML.format(url=provider.url)) as made:
        yield made


def test_a_run_is_served_by_what_is_in_the_image(site: Composed) -> None:
    """With the provider's key, which every process can read with the keys from the environment."""
    where = site.manage("shell", "-v", "0", "-c", "import llmapp, project; print(llmapp.__file__, project.__file__)")
    assert where.stdout.count(str(site.folder)) == 2
    site.become(f"user-{uuid.uuid4().hex[:8]}")
    for url in site.urls():
        site.http.base_url = url  # type: ignore[assignment]
        assert text_of(site.send("openai_compatible", "Hi")) == answer_for("Hi")


def test_a_session_of_one_web_process_is_one_of_the_other(site: Composed) -> None:
    said = site.manage("shell", "-v", "0", "-c", SIGN_IN).stdout
    cookie = {"Cookie": f"sessionid={said.split()[-1]}"}
    for url in site.urls():
        site.http.base_url = url  # type: ignore[assignment]
        assert site.http.get("/chat/", headers=cookie).status_code == 200
