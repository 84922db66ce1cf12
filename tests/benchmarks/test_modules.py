"""Each benchmark can be started: they are run by hand, and what they share moves."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["stream_delay", "pages", "rendering", "browser"])
def test_it_says_what_it_takes(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
