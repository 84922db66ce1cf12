"""The names of the conventions: who a provider is, and where."""

from __future__ import annotations

from typing import Any

import pytest

from llmapp.core import gen_ai

#: (base URL, backend, model, name).
PROVIDERS = [
    ("https://api.openai.com/v1", "openai_compatible", "gpt-4o", "openai"),
    ("https://eu.example.openai.azure.com/openai", "openai_compatible", "gpt-4o", "azure.ai.openai"),
    ("https://api.groq.com/openai/v1", "openai_compatible", "llama", "groq"),
    ("https://bedrock-runtime.eu-west-1.amazonaws.com", "litellm", "x", "aws.bedrock"),
    ("", "litellm", "anthropic/claude", "anthropic"),
    ("", "litellm", "xai/grok", "x_ai"),
    ("", "litellm", "somebody/else", "ours"),
    ("", "litellm", "gpt-4o", "ours"),
    # A slash means something else there.
    ("http://127.0.0.1:4010/v1", "openai_compatible", "openai/gpt-oss", "ours"),
    ("https://api.openai.com.example.org/v1", "openai_compatible", "m", "ours"),
    ("http://[broken", "openai_compatible", "m", "ours"),
]


@pytest.mark.parametrize("url, backend, model, name", PROVIDERS)
def test_a_provider_has_the_name_of_the_conventions(url: str, backend: str, model: str, name: str) -> None:
    assert gen_ai.provider_name(url, backend, model, "ours") == name


@pytest.mark.parametrize(
    "url, where",
    [
        ("https://api.openai.com/v1", {"server.address": "api.openai.com", "server.port": 443}),
        ("http://127.0.0.1:4010/v1", {"server.address": "127.0.0.1", "server.port": 4010}),
        # What stands before the host may be a secret.
        ("https://me:secret@proxy.example/v1?key=secret", {"server.address": "proxy.example", "server.port": 443}),
        ("https://host:many/v1", {}),
        ("http://[broken", {}),
        ("", {}),
    ],
)
def test_a_server_is_a_host_and_a_port(url: str, where: dict[str, Any]) -> None:
    assert gen_ai.server(url) == where


def test_unknown_is_left_out_and_zero_is_not() -> None:
    assert gen_ai.usage({"input_tokens": 0, "output_tokens": None}) == {"gen_ai.usage.input_tokens": 0}


@pytest.mark.parametrize(
    "kind, says",
    [
        ("", {}),
        ("cancelled", {"llmapp.kind": "cancelled"}),
        ("timeout", {"llmapp.kind": "timeout", "error.type": "timeout"}),
    ],
)
def test_what_was_cancelled_is_no_error(kind: str, says: dict[str, str]) -> None:
    assert gen_ai.ending(kind) == says
