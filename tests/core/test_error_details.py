"""What a refusal says about the request: parameters, limits, the history."""

from __future__ import annotations

import pytest

from llmapp.core.classify import classify
from llmapp.core.errors import ErrorFacts, ErrorKind, Failure


def refused(message: str, status: int = 400, **more: object) -> Failure:
    return classify(ErrorFacts(status=status, body={"error": {"message": message, **more}}))


PARAMETERS = [
    # in a field of its own
    ("no", {"param": "top_k", "code": "unsupported_parameter"}, "top_k"),
    ("Unsupported value: 'temperature' does not support 0.2 with this model.", {"param": "temperature"}, "temperature"),
    ("x", {"param": "reasoning.effort", "code": "unsupported_parameter"}, "reasoning"),
    ("x", {"code": "unsupported_parameter", "details": [{"loc": ["body", "stream_options"]}]}, "stream_options"),
    # in the sentence
    ("Unsupported parameter: 'top_k' is not supported with this model.", {}, "top_k"),
    ("Unsupported parameter: prompt_cache_retention", {}, "prompt_cache_retention"),
    ("Unrecognized request argument supplied: foo", {}, "foo"),
    ("Validation: Unsupported parameter(s): thinking", {}, "thinking"),
    ("property 'reasoning' is unsupported", {}, "reasoning"),
    ("context_management: Extra inputs are not permitted", {}, "context_management"),
    ("Extra inputs are not permitted, field: 'store', value: False", {}, "store"),
    ("Argument not supported on this model: presencePenalty", {}, "presence_penalty"),
    ("Model grok-3-mini does not support parameter presencePenalty.", {}, "presence_penalty"),
    (
        "UnsupportedParamsError: openai does not support parameters: ['reasoning_effort']",
        {},
        "reasoning_effort",
    ),
    ("invalid temperature: only 0.6 is allowed for this model", {}, "temperature"),
    ("parameter.enable_thinking must be set to false for non-streaming calls", {}, "enable_thinking"),
    ("thinking.type.enabled is not supported for this model.", {}, "thinking"),
    ("This response_format type is unavailable now", {}, "response_format"),
    ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', {}, "tools"),
    ("No endpoints found that support tool use.", {}, "tools"),
    ("registry.ollama.ai/library/gemma3 does not support tools", {}, "tools"),
    ('"gemma3" does not support thinking', {}, "thinking"),
    ("`parallel_tool_calls` is not supported on this endpoint", {}, "parallel_tool_calls"),
    ("request validation failed: unsupported reasoning_effort", {}, "reasoning_effort"),
    ("`temperature` and `top_p` cannot both be specified for this model.", {}, "temperature"),
    # what cannot be left out, or names nothing
    ("Unsupported parameter: 'messages'. In the Responses API, this parameter has moved to 'input'.", {}, None),
    ("this model does not support image input", {}, None),
    ("'messages.1' : property 'reasoning_content' is unsupported", {}, None),
    ("Invalid value", {"param": "tools[0].function.strict", "code": "unsupported_parameter"}, None),
]


@pytest.mark.parametrize("message, more, parameter", PARAMETERS)
def test_a_refused_parameter_is_named_as_requests_name_it(
    message: str, more: dict[str, object], parameter: str | None
) -> None:
    failure = refused(message, **more)
    assert (failure.kind, failure.parameter) == (ErrorKind.UNSUPPORTED_PARAMETER, parameter)


REPLACEMENTS = [
    ("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_completion_tokens"),
    ("Unsupported parameter: functions. Please use `tools` instead.", "tools"),
    ("Unsupported parameter: max_tokens has been renamed to max_output_tokens", "max_output_tokens"),
    ("不支持参数 max_tokens，请使用 max_completion_tokens", "max_completion_tokens"),
    ("Unsupported parameter: 'temperature'. Use the default instead.", None),
    ("Unsupported parameter: 'top_k'. Try a different model.", None),
    ("Unsupported parameter: thinking. Use thinking.type.adaptive instead", None),
]


@pytest.mark.parametrize("message, replacement", REPLACEMENTS)
def test_the_name_to_use_instead_is_kept(message: str, replacement: str | None) -> None:
    failure = refused(message)
    assert (failure.kind, failure.replacement) == (ErrorKind.UNSUPPORTED_PARAMETER, replacement)


def test_only_refused_parameters_are_named() -> None:
    """A name in another failure says nothing about what to leave out."""
    assert refused("Rate limit reached for 'temperature'", 429).parameter is None


WINDOWS = [
    ("This model's maximum context length is 8,192 tokens. However, you requested 9000 tokens.", 8192),
    ("You requested 9000 tokens, but the maximum context length is 8192.", 8192),
    ("prompt is too long: 210000 tokens > 200000 maximum", 200_000),
    ("input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, decrease input length", 200_000),
    ("The input (516368 tokens) is longer than the model's context length (262144 tokens).", 262_144),
    ("Input length 131393 exceeds the maximum allowed input length of 131040 tokens.", 131_040),
    ("The input token count (81881) exceeds the maximum number of tokens allowed (65536).", 65_536),
    ("The input token count exceeds the maximum number of tokens allowed 1048576.", 1_048_576),
    ("Your request exceeded model token limit: 262144 (requested: 269030)", 262_144),
    ("length of prompt_tokens (68957) must be less than max_seq_len (65536).", 65_536),
    ("Prompt contains 40961 tokens and 0 draft tokens, too large for model with 32768 maximum context length", 32_768),
    ("This model's maximum prompt length is 131072 but the request contains 131080 tokens.", 131_072),
    ("prompt token count of 130000 exceeds the limit of 128000", 128_000),
    ("`inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs` tokens", 1512),
    ("Range of input length should be [1, 3072]", 3072),
    ("Request body too large for gpt-5-mini model. Max size: 4000 tokens.", 4000),
    ("However, the model is loaded with context length of only 7866 tokens, which is not enough.", 7866),
    ("the request exceeds the available context size (slot context: 4096 tokens, prompt 5212 tokens)", 4096),
    ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 4096),
    ("your prompt is longer than the context window of 128k tokens", 128_000),
    ("the prompt exceeds the 1M context window: maximum context is 1M tokens", 1_000_000),
    ("输入超长，最大上下文长度为 32768", 32_768),
    # nothing was stated, or nothing sane, or something else
    ("prompt is too long", None),
    ("invalid params, context window exceeds limit (2013)", None),
    ("This model's maximum context length is -1 tokens", None),
    ("This model's maximum context length is 100 tokens", None),
    ("This model's maximum context length is 999999999999 tokens", None),
    ("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 61337.", None),
]


@pytest.mark.parametrize("message, limit", WINDOWS)
def test_a_stated_window_is_remembered_and_never_guessed(message: str, limit: int | None) -> None:
    failure = refused(message)
    assert (failure.kind, failure.limit) == (ErrorKind.CONTEXT_OVERFLOW, limit)


def test_a_window_in_a_field_of_its_own() -> None:
    failure = refused("too big", code="context_length_exceeded", n_prompt_tokens=9000, n_ctx=4096)
    assert failure.limit == 4096
    assert refused("too big", code="context_length_exceeded", n_ctx=-5).limit is None


OUTPUTS = [
    ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-x", 8192),
    ("max_tokens is too large: 32000. This model supports at most 4096 completion tokens.", 4096),
    ("max_tokens must be less than or equal to `16384`, the maximum value for `max_tokens`", 16_384),
    ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
    ("Range of max_tokens should be [1, 65536]", 65_536),
    ("The maximum tokens you requested exceeds the model limit of 4096. Try again with a lower value.", 4096),
    ("max_tokens 不能超过 4096", 4096),
    ("max_tokens: 100000 > 12, which is the maximum allowed number of output tokens", None),
    ("invalid max_tokens", None),
]


@pytest.mark.parametrize("message, limit", OUTPUTS)
def test_a_stated_limit_of_the_answer_is_no_window(message: str, limit: int | None) -> None:
    failure = refused(message)
    assert (failure.kind, failure.output_limit, failure.limit) == (ErrorKind.INVALID_REQUEST, limit, None)


HISTORY = [
    ('messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a row', True),
    ("messages.3: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_x.", True),
    ("messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_x.", True),
    (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.",
        True,
    ),
    ("Messages with role 'tool' must be a response to a preceding message with 'tool_calls'", True),
    ("No tool output found for function call call_x.", True),
    ("Invalid request: tool_call_id  is not found", True),
    ("all messages must have non-empty content except for the optional final assistant message", True),
    ("Invalid request: message at position 4 with role 'assistant' must not be empty", True),
    ('messages: first message must use the "user" role', True),
    ("The last message of deepseek-reasoner must be a user message", True),
    ("This model does not support assistant message prefill. The conversation must end with a user message.", True),
    ("Unexpected role 'user' after role 'tool'", True),
    ("Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant", True),
    ("Please ensure that function call turn comes immediately after a user turn", True),
    ("Please ensure that the number of function response parts is equal to the number of function call parts", True),
    ("A conversation must start with a user message.", True),
    ("No user query found in messages", True),
    ("messages 参数非法。请检查文档。", True),
    ("Could not process image", False),
    ("tools: Tool names must be unique.", False),
    ("Invalid schema for function 'get_me': In context=(), object schema missing properties.", False),
    ("max_tokens is too large: 32000. This model supports at most 4096 completion tokens.", False),
    ("Request contains an invalid argument.", False),
]


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("message, about_history", HISTORY)
def test_a_refused_history_is_told_from_a_refused_setting(message: str, about_history: bool, status: int) -> None:
    failure = refused(message, status)
    assert failure.about_history is about_history
    assert failure.kind is ErrorKind.INVALID_REQUEST or (status == 500 and not about_history)


def test_only_a_request_has_a_history() -> None:
    """Whatever words stand in it, another failure is not mended by mending messages."""
    failure = refused("roles must alternate", code="context_length_exceeded")
    assert (failure.kind, failure.about_history) == (ErrorKind.CONTEXT_OVERFLOW, False)
