"""Loaded before Django's settings (`-p` in pyproject.toml): puts the tests on the stack that is asked for."""

from __future__ import annotations

import os

from . import stack

if stack.on_servers():
    os.environ["DATABASE_URL"] = stack.POSTGRES
