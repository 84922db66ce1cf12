"""A client that comes back again and again while its answer comes: it always shows the beginning of the answer."""

from __future__ import annotations

import pytest

from tests.support.provider import Provider, answer_for

from .crowd import Crowd, Heard

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

TENTHS = range(1, 10)


async def test_a_program_that_comes_back_at_each_tenth(provider: Provider, crowd: Crowd, tokens: list[str]) -> None:
    """Each time it says what it has: nothing twice, nothing missing."""
    whole = answer_for("tenths")
    provider.default = {"tokens_per_second": 40}
    run = await crowd.start(tokens[0], "tenths")
    heard = Heard(run)
    for tenth in TENTHS:
        # Those that lost their line in mid-entry have what was whole.
        await crowd.read_on(tokens[0], heard, lambda share=tenth: heard.length >= len(whole) * share / 10)
        assert whole.startswith(heard.text)
        afresh = Heard(run)
        await crowd.read_on(tokens[0], afresh, lambda again=afresh: again.last >= heard.last)
        assert afresh.events[: heard.last] == heard.events
    await crowd.read_on(tokens[0], heard)
    assert heard.text == whole
    assert heard.faults == []
