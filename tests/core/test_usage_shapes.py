"""Usage in the shapes that providers report it. Each is a real shape, with its own parts left out or cut short."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.usage import Usage
from llmapp.core.usage_shapes import cost_stated, usage_from


def usage(input: int | None, cached: int | None, written: int | None, output: int | None, thought: int | None) -> Usage:
    return Usage(
        input_tokens=input,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
        reasoning_tokens=thought,
    )


SHAPES: dict[str, tuple[dict[str, Any], Usage]] = {
    "OpenAI chat": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 300,
            "total_tokens": 1300,
            "prompt_tokens_details": {"cached_tokens": 512, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 128, "accepted_prediction_tokens": 0},
        },
        usage(1000, 512, None, 300, 128),
    ),
    "OpenAI chat, plain": (
        {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        usage(3, None, None, 2, None),
    ),
    "OpenAI responses": (
        {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 512},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 128},
            "total_tokens": 1300,
        },
        usage(1000, 512, None, 300, 128),
    ),
    "Anthropic": (
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 1000,
            "cache_read_input_tokens": 5000,
            "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 393,
            "service_tier": "standard",
        },
        usage(6021, 5000, 1000, 393, None),
    ),
    "Anthropic, no cache": (
        {"input_tokens": 21, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 3},
        usage(21, 0, 0, 3, None),
    ),
    "Anthropic, the end of a stream": ({"output_tokens": 393}, usage(None, None, None, 393, None)),
    "litellm, for Anthropic: the prompt includes the cache": (
        {
            "prompt_tokens": 6021,
            "completion_tokens": 393,
            "total_tokens": 6414,
            "prompt_tokens_details": {"cached_tokens": 5000, "cache_creation_tokens": 1000},
            "cache_creation_input_tokens": 1000,
            "cache_read_input_tokens": 5000,
        },
        usage(6021, 5000, 1000, 393, None),
    ),
    "a gateway, for Anthropic: the prompt leaves the cache out": (
        {"prompt_tokens": 21, "completion_tokens": 393, "prompt_tokens_details": {"cached_tokens": 5000}},
        usage(5021, 5000, None, 393, None),
    ),
    "Gemini": (
        {
            "promptTokenCount": 1000,
            "cachedContentTokenCount": 512,
            "candidatesTokenCount": 300,
            "thoughtsTokenCount": 128,
            "totalTokenCount": 1428,
        },
        usage(1000, 512, None, 428, 128),
    ),
    "Gemini, with a tool of its own": (
        {"promptTokenCount": 100, "toolUsePromptTokenCount": 50, "candidatesTokenCount": 3, "totalTokenCount": 153},
        usage(150, None, None, 3, None),
    ),
    "Gemini, blocked": ({"promptTokenCount": 100, "totalTokenCount": 100}, usage(100, None, None, None, None)),
    "DeepSeek": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 300,
            "total_tokens": 1300,
            "prompt_cache_hit_tokens": 896,
            "prompt_cache_miss_tokens": 104,
            "completion_tokens_details": {"reasoning_tokens": 128},
        },
        usage(1000, 896, None, 300, 128),
    ),
    "Moonshot": (
        {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300, "cached_tokens": 512},
        usage(1000, 512, None, 300, None),
    ),
    "xAI: reasoning is beside the output, and the total gives it away": (
        {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 9,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        usage(3, None, None, 6, 4),
    ),
    "Bedrock Converse": (
        {
            "inputTokens": 21,
            "outputTokens": 393,
            "totalTokens": 6414,
            "cacheReadInputTokens": 5000,
            "cacheWriteInputTokens": 1000,
        },
        usage(6021, 5000, 1000, 393, None),
    ),
    "Ollama": (
        {"prompt_eval_count": 26, "eval_count": 298, "eval_duration": 4_709_213_000},
        usage(26, None, None, 298, None),
    ),
    "Cohere": (
        {
            "billed_units": {"input_tokens": 5, "output_tokens": 418},
            "tokens": {"input_tokens": 71.0, "output_tokens": 418.0},
        },
        usage(71, None, None, 418, None),
    ),
    "nonsense is unknown": ({"prompt_tokens": -3, "completion_tokens": "2"}, Usage()),
    "no count is a truth value": ({"prompt_tokens": True, "prompt_tokens_details": None}, Usage()),
    "no count is so large": ({"prompt_tokens": 10**30, "completion_tokens": 1.5}, Usage()),
    "nothing": ({}, Usage()),
}


@pytest.mark.parametrize("reported, canonical", SHAPES.values(), ids=SHAPES)
def test_every_shape_becomes_the_canonical_one(reported: dict[str, Any], canonical: Usage) -> None:
    assert usage_from(reported) == canonical


COSTS = [
    ({"cost": 0.00014}, "0.00014"),  # OpenRouter
    ({"cost": "0.00014"}, "0.00014"),
    ({"cost": 0}, "0"),
    ({"cost": 1e-7}, "0.0000001"),
    # OpenRouter, where the key of the provider behind it is the user's own
    ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, "0.21"),
    ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}, "0.01"),
    ({"cost": {"input_tokens_cost": 0.001, "total_cost": 0.006}}, "0.006"),  # Perplexity
    ({"estimated_cost": 0.0000123}, "0.0000123"),  # DeepInfra
    ({"cost_in_usd_ticks": 37_756_000}, "0.0037756"),  # xAI
    ({"prompt_tokens": 3}, None),
    ({"cost": None}, None),
    ({"cost": -0.1}, None),
    ({"cost": float("nan")}, None),
    ({"cost": float("inf")}, None),
    ({"cost": "a lot"}, None),
    ({"cost": True}, None),
    ({"cost": 10**12}, None),
]


@pytest.mark.parametrize("reported, cost", COSTS)
def test_a_stated_cost_is_exact_or_unknown(reported: dict[str, Any], cost: str | None) -> None:
    assert cost_stated(reported) == (None if cost is None else Decimal(cost))


NAMES = [
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "cached_tokens",
    "prompt_tokens_details", "promptTokenCount", "thoughtsTokenCount", "inputTokens", "cacheReadInputTokens",
    "eval_count", "tokens", "cost", "total_tokens", "cost_in_usd_ticks",
]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = scalars | st.dictionaries(st.sampled_from(NAMES), scalars, max_size=3)


@given(st.dictionaries(st.sampled_from(NAMES), values))
def test_whatever_is_reported_comes_out_sane(reported: dict[str, Any]) -> None:
    """No count is negative, no part is larger than the whole, and no cost is less than nothing."""
    read = usage_from(reported)
    assert all(count is None or count >= 0 for count in read.to_dict().values())
    if read.input_tokens is not None:
        assert read.input_tokens >= (read.cached_input_tokens or 0) + (read.cache_write_tokens or 0)
    cost = cost_stated(reported)
    assert cost is None or cost >= 0
