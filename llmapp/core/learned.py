"""What was learned about a model from what its provider said: kept with the model, used before the next call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: Tokens. What a provider states below or above this is nonsense, and not believed.
SMALLEST, LARGEST = 256, 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Limits in tokens; names of parameters as they stand in a request."""

    window: int | None = None
    output_limit: int | None = None
    #: What the provider's headers say that it allows.
    tokens_per_minute: int | None = None
    #: Parameters that this model refuses: left out.
    refused: frozenset[str] = frozenset()
    #: Parameters that it knows by another name: old -> new.
    renamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Learned:
        """Read what was stored. What cannot be read is left out: it is learned again."""
        renamed = values.get("renamed")
        refused = values.get("refused")
        return cls(
            window=_sane(values.get("window")),
            output_limit=_sane(values.get("output_limit")),
            tokens_per_minute=_sane(values.get("tokens_per_minute")),
            refused=frozenset(name for name in refused if isinstance(name, str))
            if isinstance(refused, list | tuple)
            else frozenset(),
            renamed={str(old): str(new) for old, new in renamed.items()} if isinstance(renamed, Mapping) else {},
        )

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"window": self.window, "output_limit": self.output_limit}
        values |= {
            "tokens_per_minute": self.tokens_per_minute,
            "refused": sorted(self.refused),
            "renamed": dict(self.renamed),
        }
        return {name: value for name, value in values.items() if value}

    def and_also(self, other: Learned) -> Learned:
        """Return both. What `other` says is newer, and wins."""
        return replace(
            self,
            window=other.window or self.window,
            output_limit=other.output_limit or self.output_limit,
            tokens_per_minute=other.tokens_per_minute or self.tokens_per_minute,
            refused=self.refused | other.refused,
            renamed={**self.renamed, **other.renamed},
        )


def _sane(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and SMALLEST <= value <= LARGEST else None
