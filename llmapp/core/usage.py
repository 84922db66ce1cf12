"""Tokens and money. Unknown is not zero: `None` means that nobody told us.

The canonical form: `input_tokens` includes the cached and the cache-written ones, `output_tokens`
includes the reasoning ones, whatever shape the provider reports.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal

MILLION = Decimal(1_000_000)


def _add(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else a + b


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one attempt, or the sum over several. Each is None when unknown."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Sum what is known. A sum with an unknown part is the sum of the known parts."""
        return Usage(**{f.name: _add(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})

    def to_dict(self) -> dict[str, int | None]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD for a million tokens. None: the price is unknown, and so is any cost that needs it."""

    input: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None


def cost_of(usage: Usage, prices: Prices) -> Decimal | None:
    """Return the cost in USD, or None when a count or a price that matters is unknown.

    Cached input without a price of its own is charged as plain input, and so are cache writes: too
    much rather than too little.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = usage.cached_input_tokens or 0
    written = usage.cache_write_tokens or 0
    plain = max(usage.input_tokens - cached - written, 0)
    parts = (
        (plain, prices.input),
        (cached, prices.cached_input if prices.cached_input is not None else prices.input),
        (written, prices.cache_write if prices.cache_write is not None else prices.input),
        (usage.output_tokens, prices.output),
    )
    total = Decimal(0)
    for tokens, price in parts:
        if not tokens:
            continue
        if price is None:
            return None
        total += tokens * price / MILLION
    return total


def spell(cost: Decimal) -> str:
    """Spell an amount without an exponent and without zeros that mean nothing."""
    return format(cost.normalize(), "f")
