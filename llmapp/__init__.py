"""Web-hosted LLM agents for any Django site.

What is named here is loaded when it is asked for: `INSTALLED_APPS` loads the package before models are ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runs.access import NotThere
    from .runs.actions import asubmit, submit
    from .runs.refused import Refused
    from .runs.waiting import CannotWait, WaitTimeout, await_run, wait

__all__ = ["CannotWait", "NotThere", "Refused", "WaitTimeout", "asubmit", "await_run", "submit", "wait"]
__version__ = "0.1.0.dev0"

#: Name -> the module that has it.
_HOMES = {
    "CannotWait": "runs.waiting",
    "NotThere": "runs.access",
    "Refused": "runs.refused",
    "WaitTimeout": "runs.waiting",
    "asubmit": "runs.actions",
    "await_run": "runs.waiting",
    "submit": "runs.actions",
    "wait": "runs.waiting",
}


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
