"""How long an attempt may take, in four parts. All values are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The four timeouts of one attempt. Comments and pings do not count as tokens."""

    connect: float = 5.0
    first_token: float = 60.0
    #: Between two tokens.
    idle: float = 30.0
    total: float = 300.0

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Timeouts:
        """Build from explicit values, which always win, over the defaults. Unknown names raise `ValueError`."""
        names = {f.name for f in fields(cls)}
        if unknown := set(values) - names:
            raise ValueError(f"unknown timeout: {', '.join(sorted(unknown))}")
        return cls(**{name: float(value) for name, value in values.items()})
