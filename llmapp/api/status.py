"""Whether a message that is sent now would be answered."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from llmapp.whereabouts import worker_command

from .auth import Identity
from .http import endpoint
from .workers import any_alive


def show_status(request: HttpRequest, identity: Identity) -> dict[str, Any]:
    """{"worker": bool}, and for staff "command": what starts a worker."""
    answer: dict[str, Any] = {"worker": any_alive()}
    if identity.owner.is_staff:
        answer["command"] = worker_command()
    return answer


status = endpoint(GET=show_status, visitors=True)
