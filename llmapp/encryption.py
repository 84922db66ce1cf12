"""Encryption of provider keys: a ring of Fernet keys, the first encrypts, any decrypts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.core.exceptions import ImproperlyConfigured

from .conf import app_settings


class Undecipherable(Exception):
    """No key of LLMAPP["ENCRYPTION_KEYS"] fits this secret."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def _keys() -> Sequence[str]:
    keys: Sequence[str] = app_settings.ENCRYPTION_KEYS
    if not keys:
        raise ImproperlyConfigured('LLMAPP["ENCRYPTION_KEYS"] is empty: provider keys cannot be stored.')
    return keys


def _ring() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in _keys()])


def encrypt(secrets: dict[str, str]) -> bytes:
    """Encrypt a set of secrets with the first key of the ring."""
    return _ring().encrypt(json.dumps(secrets).encode())


def decrypt(token: bytes) -> dict[str, str]:
    """Decrypt with any key of the ring. Raises `Undecipherable`."""
    try:
        text = _ring().decrypt(token)
    except InvalidToken:
        # The cause would add nothing, and tracebacks show local variables in some loggers.
        raise Undecipherable from None
    secrets: dict[str, str] = json.loads(text)
    return secrets


def is_current(token: bytes) -> bool:
    """Say whether the first key of the ring made this."""
    try:
        Fernet(_keys()[0]).decrypt(token)
    except InvalidToken:
        return False
    return True


def rotated(token: bytes) -> bytes:
    """Encrypt with the first key of the ring what any of them made. Raises `Undecipherable`."""
    try:
        return _ring().rotate(token)
    except InvalidToken:
        raise Undecipherable from None
