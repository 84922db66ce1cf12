"""Which Celery app a site's runs are sent by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = """
import threading
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "llmapp"],
    CELERY_BROKER_URL="memory://here", LLMAPP={{"ENCRYPTION_KEYS": ["x"]}},
)
{own}
import django
django.setup()
from celery import current_app

def say():
    print(current_app.main, current_app.conf.broker_url)

say()
thread = threading.Thread(target=say)
thread.start()
thread.join()
"""
OWN = 'from celery import Celery\napp = Celery("theirs", broker="memory://there")\napp.set_default()'


@pytest.mark.parametrize("own, says", [("", "llmapp memory://here"), (OWN, "theirs memory://there")])
def test_a_site_without_a_celery_app_uses_ours(own: str, says: str) -> None:
    """In each thread; and a site that has one keeps it."""
    done = subprocess.run(
        [sys.executable, "-c", SITE.format(own=own)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [says, says]


@pytest.mark.parametrize(
    "settings, environment, transport",
    [
        ("", {}, "llmapp.broker:Transport"),
        ('CELERY_BROKER_URL="memory://here",', {}, None),
        ("", {"CELERY_BROKER_URL": "redis://there"}, None),
    ],
)
def test_a_site_that_names_no_broker_gets_a_queue_of_files(
    settings: str, environment: dict[str, str], transport: str | None, tmp_path: Path
) -> None:
    """It lies beside `manage.py`, wherever a process was started from."""
    code = f"""
from django.conf import settings
settings.configure({settings} BASE_DIR={str(tmp_path)!r}, INSTALLED_APPS=[])
from llmapp.celery import app
print(app.conf.broker_transport, (app.conf.broker_transport_options or {{}}).get("folder"))
"""
    clean = {name: value for name, value in os.environ.items() if name not in ("LLMAPP_HOME", "CELERY_BROKER_URL")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**clean, **environment}
    )
    assert done.stdout.split() == [str(transport), str(tmp_path / "var" / "queue") if transport else "None"]
