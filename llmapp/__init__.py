"""Web-hosted LLM agents for any Django site.

`submit` is lazy, so that `INSTALLED_APPS` can load the package before models are ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runs.actions import submit

__all__ = ["submit"]
__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    if name == "submit":
        from .runs.actions import submit

        return submit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
