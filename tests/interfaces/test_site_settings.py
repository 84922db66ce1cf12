"""What `serve` reads from the settings of a site, without its processes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from llmapp.management.site import Site
from llmapp.whereabouts import celery_package, worker_command


def test_a_site_without_an_asgi_application_is_told_so(settings: Any, tmp_path: Path) -> None:
    del settings.ASGI_APPLICATION
    assert celery_package()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(CommandError, match=r"settings\.ASGI_APPLICATION is not set\."),
    ):
        Site("127.0.0.1", listener, 1, 1, 1, False, tmp_path, print)


@pytest.mark.parametrize(
    "files, module, package",
    [
        (["theirs/settings.py", "theirs/celery.py"], "theirs.settings", "theirs"),
        (["theirs/settings.py"], "theirs.settings", "llmapp"),
        # A single file is no package, and has nothing beside it.
        (["flat_settings.py", "celery_of_others.py"], "flat_settings", "llmapp"),
        (["theirs/settings/production.py", "theirs/celery.py"], "theirs.settings.production", "theirs"),
    ],
)
def test_the_celery_app_is_beside_the_settings(
    files: list[str], module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("django.conf.settings.SETTINGS_MODULE", module)
    monkeypatch.setattr("django.conf.settings.ASGI_APPLICATION", "")
    assert celery_package() == package
    assert f"celery -A {package} worker" in worker_command()
