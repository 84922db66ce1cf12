"""Token counts and costs in the shapes that providers report them, read into the canonical form of `core.usage`.

    OpenAI, and who speaks like it   prompt_tokens, completion_tokens; input includes the cached, output the reasoning
    OpenAI's responses               input_tokens, output_tokens, with `..._details`; likewise
    DeepSeek, Moonshot               prompt_cache_hit_tokens, cached_tokens beside prompt_tokens; likewise
    Anthropic                        input_tokens WITHOUT what was read from and written to the cache
    Bedrock Converse                 inputTokens, likewise without
    Gemini                           promptTokenCount includes the cached; thoughts stand BESIDE the candidates
    Ollama                           prompt_eval_count, eval_count
    Cohere                           the counts are in `tokens`

Who reports in OpenAI's shape what another one counted may have left the cached ones out of the input: input can't be
less than a part of it, so then they are added. A count that is no count is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from .usage import Usage

#: USD. What claims to cost more for one attempt is nonsense.
MOST_EXPENSIVE = Decimal(100_000)

#: xAI states costs in ten-billionths of a dollar.
TICKS = Decimal(10) ** 10

Source = Mapping[str, Any]


def usage_from(source: Source) -> Usage:
    """Return the canonical form: input includes cached and written tokens, output includes reasoning."""
    if "promptTokenCount" in source or "candidatesTokenCount" in source:
        return _gemini(source)
    if "inputTokens" in source or "outputTokens" in source:
        return _bedrock(source)
    if "prompt_eval_count" in source or "eval_count" in source:
        return Usage(input_tokens=_count(source, "prompt_eval_count"), output_tokens=_count(source, "eval_count"))
    if isinstance(inner := source.get("tokens"), Mapping):
        return Usage(input_tokens=_count(inner, "input_tokens"), output_tokens=_count(inner, "output_tokens"))
    if _is_anthropic(source):
        return _anthropic(source)
    return _openai(source)


def cost_stated(source: Source) -> Decimal | None:
    """Return the cost in USD that the provider itself states, or None. `source` is what it reports as usage."""
    for name in ("cost", "total_cost", "estimated_cost", "cost_usd"):
        value = source.get(name)
        cost = _money(value.get("total_cost") if isinstance(value, Mapping) else value)
        if cost is not None:
            return cost + _upstream(source)
    ticks = _money(source.get("cost_in_usd_ticks"), most=MOST_EXPENSIVE * TICKS)
    return None if ticks is None else ticks / TICKS


def _upstream(source: Source) -> Decimal:
    """Return what a gateway did not charge itself, because the key behind it is our own (OpenRouter)."""
    details = source.get("cost_details")
    if source.get("is_byok") is not True or not isinstance(details, Mapping):
        return Decimal(0)
    return _money(details.get("upstream_inference_cost")) or Decimal(0)


def _money(value: object, most: Decimal = MOST_EXPENSIVE) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        cost = Decimal(str(value)[:60])
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 <= cost <= most else None


# -- the shapes -----------------------------------------------------------------------------------


def _gemini(source: Source) -> Usage:
    thoughts = _count(source, "thoughtsTokenCount")
    return Usage(
        input_tokens=_sum(_count(source, "promptTokenCount"), _count(source, "toolUsePromptTokenCount")),
        cached_input_tokens=_count(source, "cachedContentTokenCount"),
        output_tokens=_sum(_count(source, "candidatesTokenCount"), thoughts),
        reasoning_tokens=thoughts,
    )


def _bedrock(source: Source) -> Usage:
    cached = _count(source, "cacheReadInputTokens", "cacheReadInputTokenCount")
    written = _count(source, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    return Usage(
        input_tokens=_sum(_count(source, "inputTokens"), cached, written),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=_count(source, "outputTokens"),
    )


def _is_anthropic(source: Source) -> bool:
    of_cache = "cache_read_input_tokens" in source or "cache_creation_input_tokens" in source
    return of_cache and "prompt_tokens" not in source and "input_tokens_details" not in source


def _anthropic(source: Source) -> Usage:
    cached = _count(source, "cache_read_input_tokens")
    written = _count(source, "cache_creation_input_tokens")
    return Usage(
        # At the end of a stream the output may stand alone: then the input is unknown, and not what was cached.
        input_tokens=_sum(_count(source, "input_tokens"), cached, written),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=_count(source, "output_tokens"),
    )


def _openai(source: Source) -> Usage:
    of_input = _mapping(source, "prompt_tokens_details", "input_tokens_details")
    of_output = _mapping(source, "completion_tokens_details", "output_tokens_details")
    cached = _first(
        _count(of_input, "cached_tokens"),
        _count(source, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"),
    )
    written = _first(
        _count(of_input, "cache_write_tokens", "cache_creation_tokens"),
        _count(source, "cache_creation_input_tokens"),
    )
    reasoning = _first(_count(of_output, "reasoning_tokens"), _count(source, "reasoning_tokens"))
    prompt = _count(source, "prompt_tokens", "input_tokens")
    if prompt is not None and prompt < (cached or 0) + (written or 0):
        prompt += (cached or 0) + (written or 0)
    return Usage(
        input_tokens=prompt,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=_with_reasoning(source, reasoning),
        reasoning_tokens=reasoning,
    )


def _with_reasoning(source: Source, reasoning: int | None) -> int | None:
    prompt = _count(source, "prompt_tokens", "input_tokens")
    output = _count(source, "completion_tokens", "output_tokens")
    total = _count(source, "total_tokens")
    if prompt is not None and output is not None and reasoning and total == prompt + output + reasoning:
        return output + reasoning  # this provider counts it beside the output, not within
    return output


# -- counts ---------------------------------------------------------------------------------------


def _mapping(source: Source, *names: str) -> Source:
    return next((source[name] for name in names if isinstance(source.get(name), Mapping)), {})


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _sum(first: int | None, *others: int | None) -> int | None:
    """Add to a known count what is known beside it."""
    return None if first is None else first + sum(other or 0 for other in others)


def _count(source: Source, *names: str) -> int | None:
    for name in names:
        value = source.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
            return value
    return None
