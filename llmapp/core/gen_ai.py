"""What spans are called, and what stands in them: OpenTelemetry's semantic conventions for generative AI.

The conventions still move, so this is the only file that knows their names; those that are ours begin with `llmapp.`.
Values that are not known are left out. Nothing that a person or a model wrote is in here, and no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .errors import ErrorKind

#: Operations.
INVOKE_AGENT, CHAT = "invoke_agent", "chat"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
AGENT = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
ERROR = "error.type"
HTTP_STATUS = "http.response.status_code"
SERVER, PORT = "server.address", "server.port"

#: Our counts -> theirs.
TOKENS = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}

RUN, STATUS, EXECUTIONS, ATTEMPTS = "llmapp.run.id", "llmapp.run.status", "llmapp.run.executions", "llmapp.run.attempts"
QUEUED = "llmapp.run.queued"
TURN, FINISH = "llmapp.turn.number", "llmapp.turn.finish_reason"
ATTEMPT, MODEL, ACTION, WAITED = "llmapp.attempt.number", "llmapp.model", "llmapp.action", "llmapp.waited"
KIND, COST = "llmapp.kind", "llmapp.cost"
#: Events.
CLAIMED, FIRST_TOKEN = "llmapp.claimed", "gen_ai.first_token"

#: The end of a host's name -> the provider's name in the conventions.
HOSTS = {
    "api.openai.com": "openai",
    ".openai.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    ".amazonaws.com": "aws.bedrock",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    ".ml.cloud.ibm.com": "ibm.watsonx.ai",
}
#: What stands before the "/" in litellm's names of models -> the same.
PREFIXES = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "anthropic": "anthropic",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "bedrock": "aws.bedrock",
    "groq": "groq",
    "mistral": "mistral_ai",
    "deepseek": "deepseek",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "perplexity": "perplexity",
    "xai": "x_ai",
    "moonshot": "moonshot_ai",
    "watsonx": "ibm.watsonx.ai",
}


def provider_name(base_url: str, backend: str, model: str, otherwise: str) -> str:
    """Return the conventions' name of a provider; what the site calls it, where they have none."""
    host = str(server(base_url).get(SERVER, ""))
    for end, name in HOSTS.items():
        if host.endswith(end):
            return name
    prefix, slash, _rest = model.partition("/")
    if backend == "litellm" and slash and prefix in PREFIXES:
        return PREFIXES[prefix]
    return otherwise


def server(base_url: str) -> dict[str, Any]:
    """Return where a provider is: the host and the port, never the rest of its URL."""
    try:
        parts = urlsplit(base_url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return {}
    return known({SERVER: parts.hostname, PORT: port}) if parts.hostname and port else {}


def usage(counts: Mapping[str, int | None]) -> dict[str, Any]:
    return known({name: counts.get(ours) for ours, name in TOKENS.items()})


def ending(kind: str) -> dict[str, Any]:
    """Say why something ended that did not succeed. What was cancelled is no error."""
    return known({KIND: kind, ERROR: kind if is_error(kind) else ""})


def is_error(kind: str) -> bool:
    return bool(kind) and kind != ErrorKind.CANCELLED


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [])}
