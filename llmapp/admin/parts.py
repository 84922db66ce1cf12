"""What the overview is made of: figures in tiles, and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tile:
    title: str
    figure: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table: its name, where that leads, its cells, and the length of its bar."""

    name: str
    url: str
    cells: list[str]
    bar: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: list[Any]
    lines: list[Line]
