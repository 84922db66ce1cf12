"""Whether a message that is sent now would be answered."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from llmapp.whereabouts import celery_package

from .auth import Identity
from .http import endpoint
from .workers import any_alive

#: Starts a worker.
WORKER_COMMAND = "celery -A {app} worker -Q llmapp -P threads"


def show_status(request: HttpRequest, identity: Identity) -> dict[str, Any]:
    """{"worker": bool}, and for staff "command": what starts a worker."""
    answer: dict[str, Any] = {"worker": any_alive()}
    if identity.user.is_staff:
        answer["command"] = worker_command()
    return answer


def worker_command() -> str:
    """Return the shell command that starts a worker for this site."""
    return WORKER_COMMAND.format(app=celery_package())


status = endpoint(GET=show_status)
