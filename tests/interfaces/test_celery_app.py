"""Which Celery app a site's runs are sent by."""

from __future__ import annotations

import subprocess
import sys

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
