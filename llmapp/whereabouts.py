"""Where a site keeps what we need of it: the folder of its state, and its Celery app."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings

#: Starts a worker.
WORKER_COMMAND = "celery -A {app} worker -Q llmapp -P threads"


def home() -> Path:
    """Return the folder of this site's state: as it was told, else `var` beside `manage.py`."""
    told = getattr(settings, "LLMAPP_HOME", None) or os.environ.get("LLMAPP_HOME")
    # Not of the folder that a process was started in: the web and the worker must find the same one.
    return Path(told or Path(getattr(settings, "BASE_DIR", ""), "var")).absolute()


def celery_package() -> str:
    """Return the package of the site's Celery app: `celery.py` beside its settings, else ours."""
    candidates = [settings.SETTINGS_MODULE or "", asgi_application()]
    for package in (name.split(".")[0] for name in candidates):
        if package and _has_celery(package):
            return package
    return "llmapp"


def _has_celery(package: str) -> bool:
    try:
        return find_spec(f"{package}.celery") is not None
    except ModuleNotFoundError:
        # Settings may be a single file, with nothing beside it that belongs to it.
        return False


def worker_command() -> str:
    """Return the shell command that starts a worker for this site."""
    return WORKER_COMMAND.format(app=celery_package())


def asgi_application() -> str:
    """Return what the settings name, or an empty text: Django itself has no such setting, and no default of it."""
    return getattr(settings, "ASGI_APPLICATION", None) or ""
