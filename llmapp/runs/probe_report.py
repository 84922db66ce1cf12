"""The stages of a probe as they are reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from llmapp.backends.base import Secret

from .probe import FAILED, SKIPPED, Stage

Save = Callable[[list[Stage]], Awaitable[None]]


class Failed(Exception):
    """A stage failed: those after it make no sense."""


class Report:
    """The stages as they are reached. Each change is saved, for whoever is watching."""

    def __init__(self, save: Save) -> None:
        self.stages: list[Stage] = []
        #: Ids of keys that were taken.
        self.good_keys: list[int] = []
        self._save = save
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    async def begin(self, name: str) -> None:
        self.stages.append(Stage(name))
        self._began = self._clock()
        await self._save(self.stages)

    async def end(self, state: str, code: str = "", detail: str = "", **values: Any) -> None:
        stage = self.stages[-1]
        stage.state, stage.code, stage.values, stage.detail = state, code, values, detail
        stage.seconds = round(self._clock() - self._began, 3)
        await self._save(self.stages)

    async def fail(self, code: str, detail: str = "", **values: Any) -> None:
        await self.end(FAILED, code, detail, **values)
        raise Failed

    def took(self, secret: Secret) -> None:
        if secret.id is not None:
            self.good_keys.append(secret.id)

    async def skip(self, *names: str, code: str = "") -> None:
        self.stages += [Stage(name, SKIPPED, code) for name in names]
        await self._save(self.stages)
