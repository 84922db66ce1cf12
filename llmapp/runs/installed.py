"""What this process runs on: written into a worker's row, and compared by `doctor`, which needs no worker for it."""

from __future__ import annotations

import platform
from importlib.metadata import version

import django

import llmapp


def versions() -> dict[str, str]:
    """Return the versions of what a run depends on."""
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "llmapp": llmapp.__version__,
        **{name: version(name) for name in ("litellm", "httpx")},
    }
