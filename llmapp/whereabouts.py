"""Where a site keeps what we need of it: the folder of its state, and its Celery app."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings


def home() -> Path:
    """Return the folder of this site's state: as it was told, else `var` beside `manage.py`."""
    told = getattr(settings, "LLMAPP_HOME", None) or os.environ.get("LLMAPP_HOME")
    # Not of the folder that a process was started in: the web and the worker must find the same one.
    return Path(told or Path(getattr(settings, "BASE_DIR", ""), "var")).absolute()


def celery_package() -> str:
    """Return the package of the site's Celery app: `celery.py` beside its settings, else ours."""
    candidates = [settings.SETTINGS_MODULE or "", asgi_application()]
    for package in (name.split(".")[0] for name in candidates):
        if package and find_spec(f"{package}.celery"):
            return package
    return "llmapp"


def asgi_application() -> str:
    """Return what the settings name, or an empty text: Django itself has no such setting, and no default of it."""
    return getattr(settings, "ASGI_APPLICATION", None) or ""
