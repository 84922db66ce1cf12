"""What providers say, and what it means. The messages are of the known kinds, the wording is ours where it can be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.classify import classify
from llmapp.core.errors import ErrorFacts, ErrorKind, Failure

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


STRUCTURE = [
    # a decisive word beats the status and the sentence
    (400, error("no", code="context_length_exceeded"), "context_overflow"),
    (500, error("try again", type="overloaded_error"), "overloaded"),
    (403, error("rate limit", code="invalid_api_key"), "auth"),
    (400, error("no", status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]), "auth"),
    # a word that is usual yields to a sentence that is special
    (400, error("Your credit balance is too low", type="invalid_request_error"), "billing"),
    (429, error("The engine is overloaded", type="rate_limit_error"), "overloaded"),
    (422, error("input new_sensitive (1026)", type="unprocessable_entity_error"), "content_policy"),
    # a usual word beats the status
    (400, {"__type": "ThrottlingException", "message": "no"}, "rate_limit"),
    (400, {"__type": "com.amazon#ThrottlingException", "message": "Too many requests"}, "rate_limit"),
    # quotas of Google
    (429, error("no", details=[{"violations": [{"quotaId": "RequestsPerDayPerProject"}]}]), "quota_exhausted"),
    (429, error("no", details=[{"violations": [{"quotaId": "RequestsPerMinutePerProject"}]}]), "rate_limit"),
    # errors in errors
    (400, error('upstream said {"error": {"type": "overloaded_error", "message": "x"}}'), "overloaded"),
    (
        429,
        error("Provider returned error", metadata={"raw": '{"error":{"code":"insufficient_quota"}}'}),
        "quota_exhausted",
    ),
    (400, [error("Function call is missing a thought_signature")], "thinking_signature"),
    (200, 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', "overloaded"),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "billing"),
    # of a refusal, words of a failure are somebody else's
    (400, {"error_type": "ServiceUnavailableError", "message": "never heard of"}, "invalid_request"),
    (400, error("Request contains an invalid argument.", type="upstream_error"), "invalid_request"),
    (500, {"error_type": "ServiceUnavailableError", "message": "never heard of"}, "overloaded"),
    # a status that is only written in the text
    (None, "Request failed with status code 429", "rate_limit"),
    (None, "unexpected status code: 403", "permission"),
    (None, "the port 500 is closed", "server_error"),
    (None, "the endpoint answered with a status code of 402", "billing"),
    # codes in front of a sentence
    (None, "<400> InternalError.Algo.InvalidParameter: never heard of", "invalid_request"),
    (None, "[InvalidApiKey] no", "auth"),
    # a body printed as Python does
    (None, "Error code: 400 - {'error': {'message': 'no', 'code': 'context_length_exceeded'}}", "context_overflow"),
    (None, "Error code: 429 - {'error': {'code': '1113', 'message': 'no'}}", "billing"),
    (
        None,
        "503 UNAVAILABLE. {'error': {'message': 'The model is overloaded.', 'status': 'UNAVAILABLE'}}",
        "overloaded",
    ),
    (None, "429 {'message': 'no', 'quotaId': 'RequestsPerDayPerProject', 'retryDelay': '9s'}", "quota_exhausted"),
    # a text that is one word is a code
    (None, "insufficient_quota", "quota_exhausted"),
    # a status that says why beats a word that does not, and that of a relay
    (500, {"message": "Request failed with status code 429", "status": 429}, "rate_limit"),
    (500, {"message": "Request failed with status code 404", "status": 404}, "server_error"),
    (401, {"error": {"type": "api_error", "message": "no"}}, "auth"),
    (403, {"error": {"type": "server_error", "message": "no"}}, "permission"),
    (429, {"error": {"type": "api_error", "message": "no"}}, "rate_limit"),
    (400, {"error": {"type": "api_error", "message": "no"}}, "invalid_request"),
    # the status alone
    (401, "", "auth"),
    (402, None, "billing"),
    (403, "", "permission"),
    (404, "", "model_not_found"),
    (408, "", "timeout"),
    (413, "<html>Request Entity Too Large</html>", "payload_too_large"),
    (418, "", "invalid_request"),
    (429, "", "rate_limit"),
    (499, "", "cancelled"),
    (500, "", "server_error"),
    (502, "<html>502 Bad Gateway</html>", "server_error"),
    (503, "", "overloaded"),
    (504, "<html>504 Gateway Time-out</html>", "timeout"),
    (529, "", "overloaded"),
    (599, "", "server_error"),
    (200, {"id": "x", "choices": None}, "invalid_response"),
    (200, {"code": 200, "choices": None}, "invalid_response"),
    (200, "", "invalid_response"),
    # an error in the body of a success
    (200, error("never heard of"), "server_error"),
    (200, "event: error\ndata: never heard of\n\n", "server_error"),
    (200, error("Provider returned error", code=429), "rate_limit"),
    (200, error("no", code="429"), "rate_limit"),
    (200, error("no", code=502), "server_error"),
    (200, error("no", code=503), "overloaded"),
    (200, error("no", code=401), "auth"),
    (200, error("Your credit balance is too low", code=429), "billing"),
    # the page of whoever stands in between
    (500, "<html><title>500</title></html>", "server_error"),
    (502, "<!DOCTYPE html><title>Unexpected token</title>", "server_error"),
    (503, "<!doctype html><title>Not valid JSON</title>", "overloaded"),
    (521, "<html>Web server is down</html>", "connection"),
    (200, "<html>Sign in</html>", "invalid_response"),
    (None, None, "server_error"),
]

SENTENCES = [
    ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.", "context_overflow"),
    ("prompt is too long: 210000 tokens > 200000 maximum", "context_overflow"),
    ("输入内容超长，请缩短后重试", "context_overflow"),
    ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens", "invalid_request"),
    ("Unsupported parameter: 'max_tokens' is not supported with this model.", "unsupported_parameter"),
    ("Function call is missing a thought signature in functionCall parts.", "thinking_signature"),
    ("The encrypted content could not be verified.", "thinking_signature"),
    ("llama runner process has terminated: exit status 2", "server_error"),
    ("The model `x` has been deprecated", "model_not_found"),
    ("Unrecognized request argument supplied: foo", "unsupported_parameter"),
    ("You have reached your monthly spending limit.", "billing"),
    ("账户余额不足，请充值", "billing"),
    ("Daily limit reached, come back tomorrow", "quota_exhausted"),
    ("Rate limit exceeded: 200 requests per minute", "rate_limit"),
    ("您的账户已达到速率限制，请您控制请求频率", "rate_limit"),
    ("该模型当前访问量过大，请您稍后再试", "overloaded"),
    ("无效的令牌", "auth"),
    ("当前分组下对于模型无可用渠道", "model_not_found"),
    ("系统检测到输入可能包含敏感内容", "content_policy"),
    ("User location is not supported for the API use.", "permission"),
    ("messages.1.content.0: Invalid `signature` in `thinking` block", "thinking_signature"),
    ("image exceeds 5 MB maximum: 7340032 bytes > 5242880 bytes", "payload_too_large"),
    ("Function id 'x': DEGRADED function cannot be invoked", "server_error"),
    ("you have used up your daily free allocation of 10,000 neurons", "quota_exhausted"),
    ("Invalid schema for function 'set_permissions': no", "invalid_request"),
    ("After the system messages, user and assistant roles should be alternating.", "invalid_request"),
    ("You have reached our limit of 20 messages per hour.", "rate_limit"),
    ("`temperature` may only be set to 1 when thinking is enabled.", "unsupported_parameter"),
    ("Item 'fc' of type 'function_call' was provided without its required 'reasoning' item", "thinking_signature"),
    ("Your refresh token has already been used. Please try signing in again.", "auth"),
    ("Your current account is not eligible for this product.", "permission"),
    ("unknown provider for model x", "model_not_found"),
    ("messages must alternate between user and assistant", "invalid_request"),
]

EXCEPTIONS = [
    ("httpx.ReadTimeout: ", "timeout"),
    ("httpx.ConnectError: [Errno 111] Connection refused", "connection"),
    ("aiohttp.client_exceptions.ClientConnectorDNSError: Name or service not known", "connection"),
    ("aiohttp.client_exceptions.ServerDisconnectedError: Server disconnected", "connection"),
    ("httpx.RemoteProtocolError: peer closed connection (incomplete chunked read)", "stream_interrupted"),
    ("asyncio.CancelledError", "cancelled"),
    ("openai.RateLimitError: no", "rate_limit"),
    ("google.api_core.exceptions.ResourceExhausted: 429", "rate_limit"),
    ("botocore.errorfactory.ThrottlingException: no", "rate_limit"),
    ("urllib3.exceptions.NewConnectionError: no", "connection"),
    # a name that only says where it was noticed yields to the sentence
    ("httpx.RemoteProtocolError: no", "connection"),
    ("ApiError: error deserializing response: EOF while parsing a value", "invalid_response"),
    ("langchain_core.exceptions.OutputParserException: no", "invalid_response"),
    ("langchain_core.exceptions.OutputParserException: Rate limit exceeded", "rate_limit"),
    ("SomeError: the unheard of", "server_error"),
]


@pytest.mark.parametrize("status, body, kind", STRUCTURE)
def test_structure(status: int | None, body: object, kind: str) -> None:
    """Codes, types and statuses are read wherever they stand."""
    assert classify(ErrorFacts(status=status, body=body)).kind.value == kind


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("text, kind", SENTENCES)
def test_sentences(status: int, text: str, kind: str) -> None:
    """A sentence means the same behind a 400 and a 500, in an object and bare."""
    assert classify(ErrorFacts(status=status, body=error(text))).kind.value == kind
    assert classify(ErrorFacts(status=status, body=text)).kind.value == kind


@pytest.mark.parametrize("exception, kind", EXCEPTIONS)
def test_exceptions(exception: str, kind: str) -> None:
    """An exception's type and text are enough where no provider said anything."""
    assert classify(ErrorFacts(exception=exception)).kind.value == kind


WAITS = [
    # headers
    ({"retry-after": "7"}, None, 7),
    ({"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT"}, None, 30),
    ({"retry-after-ms": "1500", "retry-after": "9"}, None, 1.5),
    ({"retry-after": "1m30s"}, None, 90),
    # the body
    ({}, error("no", details=[{"retryDelay": "13.5s"}]), 13.5),
    ({}, error("no", retry_after=4), 4),
    ({}, error("no", resets_at="2026-11-20T12:01:00Z"), 60),
    ({}, error("no", resets_at=NOW.timestamp() + 20), 20),
    ({}, error("no", metadata={"headers": {"X-RateLimit-Reset": str(int(NOW.timestamp() + 8) * 1000)}}), 8),
    # the bucket that is empty, not the other one
    (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6m0s",
            "x-ratelimit-remaining-tokens": "9",
            "x-ratelimit-reset-tokens": "8ms",
        },
        None,
        360,
    ),
    ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "8ms"}, None, None),
    ({"x-rate-limit-reset-tokens": "55"}, None, 55),
    (
        {
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "2026-11-20T12:00:12Z",
            "anthropic-ratelimit-requests-remaining": "5",
            "anthropic-ratelimit-requests-reset": "2026-11-20T12:30:00Z",
        },
        None,
        12,
    ),
    # the plain reset of several windows, of which one is days away
    (
        {
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": str(int(NOW.timestamp()) + 900),
            "anthropic-ratelimit-unified-7d-reset": str(int(NOW.timestamp()) + 400_000),
        },
        None,
        900,
    ),
    ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0"}, None, 360),
    ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 12), "x-ratelimit-remaining": "0"}, None, 12),
    ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 12) * 1000), "x-ratelimit-remaining": "0"}, None, 12),
    # prose
    ({}, error("Please try again in 20s."), 20),
    ({}, error("Please try again in 7.66s"), 7.66),
    ({}, error("Please retry in 45.578569677s."), 45.578569677),
    ({}, error("retry after 20 seconds"), 20),
    ({}, error("Please wait 30 seconds and try again"), 30),
    ({}, error("Your quota will reset after 1h16m36s."), 4596),
    ({}, error("请在20秒后重试"), 20),
    ({}, error("请求过于频繁，请 5 分钟后再试"), 300),
    ({}, error("已达到 5 小时的使用上限。您的限额将在 2026-11-20 21:00:00 重置。"), 3600),
    ({}, error("Your limit will reset at 2026-11-20T13:00:00+00:00"), 3600),
    ({}, error("Resource exhausted", details=[{"metadata": {"quotaResetDelay": "1h16m36.5s"}}]), 4596.5),
    ({}, {"error": "Model x is currently loading", "estimated_time": 20.0}, 20),
    ({}, {"error_name": "connection_timeout", "retry_after": 120}, 120),
    ({}, error("Please try again in 1m47.5s. Visit"), 107.5),
    ({}, error("try again in 5 minutes"), 300),
    ({}, error("Please retry after 55 seconds."), 55),
    ({}, error("Resets in 6hr 29min."), 23_340),
    ({}, error("请在 30 秒后重试"), 30),
    ({}, error("You will regain access on 2026-11-20 at 12:10 UTC."), 600),
    ({}, error("Rate limited, retry after 30"), 30),
    ({}, error("retry_delay {\n  seconds: 33\n}"), 33),
    ({}, error(f"Claude AI usage limit reached|{int(NOW.timestamp()) + 600}"), 600),
    ({}, error("You've hit your limit · resets 1:30pm (Europe/London)"), 5400),
    ({}, error("You've hit your limit · resets 11am (Europe/London)"), 82_800),
    # the order
    ({"retry-after": "7"}, error("try again in 20s", retry_after=4), 7),
    ({"retry-after": "0"}, error("try again in 20s"), 20),
    # no hint at all
    ({"retry-after": "-1"}, None, None),
    ({"retry-after-ms": "-5"}, None, None),
    ({"retry-after-ms": "504641000"}, None, None),
    ({"x-ratelimit-reset-tokens": "-6s", "x-ratelimit-remaining-tokens": "0"}, None, None),
    ({}, error("no", retry_after="NaN"), None),
    ({}, error("no", retry_after=-4), None),
    ({}, error("no", retry_after=0), None),
    ({}, error("no", resets_at="2025-01-01T00:00:00Z"), None),
    ({}, error("try again in 0s"), None),
    ({"retry-after": "86401"}, None, None),
    ({"retry-after": "31536000"}, None, None),
    ({"retry-after": "nan"}, None, None),
    ({"retry-after": "soon"}, error("limit 20 requests"), None),
    ({}, error("You've hit your limit · resets 1:30pm"), None),
    ({}, error("You've hit your limit · resets 1:30pm (Nowhere/Nothing)"), None),
    ({}, error("not enough memory available (2.3 GiB)"), None),
    ({}, error("try again with another model (gpt-5)"), None),
    ({}, error("limits reset every 5h"), None),
    ({}, error("Try again with a maximum tokens value lower than 4096."), None),
    ({}, error("Limit 30000, Requested 61337"), None),
]


@pytest.mark.parametrize("headers, body, seconds", WAITS)
def test_how_long_to_wait(headers: dict[str, str], body: object, seconds: float | None) -> None:
    """Exactly as long as told, wherever it is told; nonsense is no hint."""
    facts = ErrorFacts(status=429, headers=headers, body=body)
    for now in (NOW, NOW.timestamp()):
        assert classify(facts, now).retry_after == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("status, kind", [(500, "server_error"), (503, "overloaded"), (504, "timeout")])
def test_a_page_that_could_not_be_read_is_the_fault_of_its_status(status: int, kind: str) -> None:
    exception = "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
    assert classify(ErrorFacts(status=status, body="<html>", exception=exception)).kind.value == kind


def test_facts_may_be_given_in_order() -> None:
    """Provider, status, headers, body, exception: programs outside write them so."""
    facts = ErrorFacts("openai", 429, {"retry-after": "7"}, {}, None)
    assert facts == ErrorFacts(provider="openai", status=429, headers={"retry-after": "7"}, body={}, exception=None)
    assert classify(facts) == Failure(kind=ErrorKind.RATE_LIMIT, retry_after=7.0)


def test_a_point_in_time_needs_a_clock() -> None:
    """Without `now` the answer's own Date header is the clock; without that there is no hint."""
    headers = {"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}
    assert classify(ErrorFacts(status=429, headers=headers)).retry_after is None
    headers["date"] = "Fri, 20 Nov 2026 12:00:00 GMT"
    assert classify(ErrorFacts(status=429, headers=headers)).retry_after == 30


@pytest.mark.parametrize(
    "body, limit",
    [
        (error("This model's maximum context length is 8,192 tokens, you sent 9000"), 8192),
        (error("prompt is too long: 210000 tokens > 200000 maximum"), 200_000),
        (error("the request exceeds the available context size", n_ctx=4096, n_prompt_tokens=9000), 4096),
        (error("prompt is too long"), None),
    ],
)
def test_a_stated_limit_is_remembered(body: object, limit: int | None) -> None:
    """The window is what the provider says, and never a guess."""
    failure = classify(ErrorFacts(status=400, body=body))
    assert (failure.kind, failure.limit) == (ErrorKind.CONTEXT_OVERFLOW, limit)


@pytest.mark.parametrize(
    "body",
    [
        error("Unsupported parameter: 'top_k' is not supported with this model."),
        error("no", param="top_k", code="unsupported_parameter"),
        {"detail": "Unsupported parameter: top_k"},
    ],
)
def test_a_refused_parameter_is_named(body: object) -> None:
    """The name is found in its field or in the sentence."""
    assert classify(ErrorFacts(status=400, body=body)).parameter == "top_k"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text() | st.sampled_from(["error", "message", "code", "retry_after", "resets_at", "param", "quotaId"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.none() | st.integers(),
    json_like,
    st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset", "date", "x"]), st.text(), max_size=3),
    st.none() | st.text(),
    st.none() | st.floats() | st.datetimes(),
)
def test_it_never_raises(status: int, body: object, headers: dict[str, str], exception: str, now: float) -> None:
    """Whatever a provider sends, the answer is a failure with a sane wait."""
    facts = ErrorFacts(status=status, body=body, headers=headers, exception=exception)
    failure = classify(facts, now)
    assert isinstance(failure, Failure)
    assert not failure.detail.startswith("unreadable facts")
    assert failure.retry_after is None or 0 < failure.retry_after <= 86_400


@pytest.mark.parametrize(
    "body", [{"error": {"message": "{" * 20_000}}, "a " * 50_000, {"x": [[[[[[[[[[["deep"]]]]]]]]]]]}, "[" * 5_000]
)
def test_hostile_bodies_take_no_time(body: object) -> None:
    """Size and depth are bounded."""
    assert classify(ErrorFacts(status=400, body=body)).kind is ErrorKind.INVALID_REQUEST


def documented() -> list[tuple[int | None, str, list[str]]]:
    lines = (FIXTURES / "provider_sentences.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["status"], row["text"], row["kinds"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("status, text, kinds", documented())
def test_sentences_that_providers_are_known_for(status: int | None, text: str, kinds: list[str]) -> None:
    """Their meaning does not depend on the shape that they come in; without a status they are exceptions."""
    if status is None:
        assert classify(ErrorFacts(exception=text)).kind.value in kinds
        return
    for body in (error(text), text, *wrapped(status, text)):
        assert classify(ErrorFacts(status=status, body=body)).kind.value in kinds
    sdk = f"openai.APIStatusError: Error code: {status} - {error(text)!r}"
    assert classify(ErrorFacts(exception=sdk)).kind.value in kinds


def wrapped(status: int, text: str) -> list[object]:
    """What gateways make of an error."""
    inner = json.dumps(error(text), ensure_ascii=False)
    return [
        error("Provider returned error", code=status, metadata={"raw": inner, "provider_name": "x"}),
        error(f"litellm.APIError: XException - {inner}", type=None, code=str(status)),
        [error(text)],
    ]
