"""Where the demo site keeps its state, and the secrets that it makes for itself.

Two processes may start on a new home at once: whoever links its file first wins, and the other one reads
it. A secret is never half written, and never replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def find(default: Path) -> Path:
    """Return `$LLMAPP_HOME`, else `default`. Tests get a new folder, whatever is set."""
    if "pytest" in sys.modules:
        return _for_tests()
    return Path(os.environ.get("LLMAPP_HOME") or default).absolute()


def _for_tests() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="llmapp-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # So that a process which a test starts never finds the real one.
    os.environ["LLMAPP_HOME"] = str(folder)
    return folder


def make(home: Path) -> None:
    """Make the home where it is not there. Raises `ImproperlyConfigured` when nothing can be written to it."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ImproperlyConfigured(f"LLMAPP_HOME {home} cannot be written to: {error.strerror}.") from None


def secret(home: Path, name: str, new: Callable[[], str]) -> str:
    """Return the secret `name` of this home, and make it with `new` on first use."""
    folder = home / "secrets"
    path = folder / name
    if not path.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        _link_once(path, new())
    return path.read_text().strip()


def _link_once(path: Path, text: str) -> None:
    # `mkstemp` makes the file with mode 0600.
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.unlink(beside)
