"""Tokens and money: unknown is not zero."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmapp.core.usage import Prices, Usage, cost_of, spell

ALL = Prices(input=Decimal(2), cached_input=Decimal("0.5"), cache_write=Decimal(3), output=Decimal(10))


@pytest.mark.parametrize(
    "usage, prices, cost",
    [
        (Usage(input_tokens=1_000_000, output_tokens=100_000), ALL, Decimal(3)),
        # Cached and written tokens are part of the input, each at its own price.
        (Usage(input_tokens=1_000_000, cached_input_tokens=600_000, output_tokens=0), ALL, Decimal("1.1")),
        (Usage(input_tokens=1_000_000, cache_write_tokens=1_000_000, output_tokens=0), ALL, Decimal(3)),
        # Without a price of their own: as plain input, too much rather than too little.
        (
            Usage(input_tokens=1_000_000, cached_input_tokens=600_000, output_tokens=0),
            Prices(input=Decimal(2), output=Decimal(1)),
            Decimal(2),
        ),
        # A provider that counts more cached than input tokens does not get money back.
        (Usage(input_tokens=0, cached_input_tokens=1_000_000, output_tokens=0), ALL, Decimal("0.5")),
        # Unknown counts, unknown prices.
        (Usage(input_tokens=5), ALL, None),
        (Usage(output_tokens=5), ALL, None),
        (Usage(), ALL, None),
        (Usage(input_tokens=5, output_tokens=5), Prices(input=Decimal(1)), None),
        # A price that is not needed may be unknown.
        (Usage(input_tokens=0, output_tokens=0), Prices(), Decimal(0)),
        (Usage(input_tokens=1_000_000, output_tokens=0), Prices(input=Decimal(1)), Decimal(1)),
    ],
)
def test_cost(usage: Usage, prices: Prices, cost: Decimal | None) -> None:
    """The cost is exact, or unknown when anything that matters is."""
    assert cost_of(usage, prices) == cost


def test_sums_keep_unknown_apart_from_zero() -> None:
    """Nothing known stays unknown; a known part stays known."""
    total = Usage(input_tokens=1) + Usage(input_tokens=2, output_tokens=0)
    assert total == Usage(input_tokens=3, output_tokens=0)
    assert total.to_dict()["reasoning_tokens"] is None


@pytest.mark.parametrize(
    "amount, text", [("0E-9", "0"), ("0.000000001", "0.000000001"), ("0.0000399000", "0.0000399"), ("1E+3", "1000")]
)
def test_money_is_spelled_without_an_exponent(amount: str, text: str) -> None:
    """And without zeros that mean nothing: everywhere the same."""
    assert spell(Decimal(amount)) == text
