"""What the environment says, for settings that differ from machine to machine. What is not set is empty."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

ON, OFF = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


def text(name: str) -> str:
    return os.environ.get(name, "").strip()


def secret(name: str) -> str:
    """Return `$NAME`, or what is in the file that `$NAME_FILE` names: a mounted secret, for one."""
    if not (path := text(f"{name}_FILE")):
        return text(name)
    try:
        content = Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE: {path} cannot be read: {error.strerror}.") from None
    if not content:
        raise ImproperlyConfigured(f"{name}_FILE: {path} is empty.")
    return content


def listed(name: str) -> list[str]:
    """Return what is between the commas."""
    return [item.strip() for item in text(name).split(",") if item.strip()]


def switched_on(name: str) -> bool:
    """Return a switch. What is neither on nor off is refused: it must not silently mean off."""
    value = text(name).lower()
    if value not in ON | OFF:
        raise ImproperlyConfigured(f"{name}: {value!r} is neither 1 nor 0.")
    return value in ON
