"""The contract of a backend: one method that streams, and flags that say what it can do.

A backend speaks to one provider. It lives on one event loop, keeps its connections warm and keeps
nothing else between calls: no cookies, no key, no history. It retries nothing and times nothing but
the connection: `calls.executor` does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmapp.core.estimate import characters
from llmapp.core.messages import ChatMessage
from llmapp.core.stream import Delta
from llmapp.core.timeouts import Timeouts

#: What providers call the length of an answer.
OUTPUT_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})

#: Settings that an agent cannot have: what a request is made of, where it goes, and with which key.
RESERVED_SETTINGS = frozenset(
    {"model", "messages", "stream", "stream_options", "tools"}
    # Arguments of litellm that would send it elsewhere.
    | {"api_base", "api_key", "base_url", "custom_llm_provider", "extra_headers", "fallbacks", "headers", "model_list"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A provider as a backend sees it. Equal endpoints may share a client.

    `version` changes whenever the provider's settings are saved.
    """

    id: int
    version: int
    name: str
    backend: str
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    #: How many streams may be open at once: the size of the connection pool.
    concurrency: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A credential in the clear. Its repr shows nothing, so that no log or traceback does."""

    id: int | None
    api_key: str = field(default="", repr=False)
    #: Further secrets, for providers that need more than one (AWS, Azure).
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One attempt: what to ask, of which model, with which key."""

    model: str
    messages: tuple[ChatMessage, ...]
    secret: Secret
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_output_tokens: int | None = None
    system_role: str = "system"
    streaming: bool = True
    tools: tuple[Mapping[str, Any], ...] = ()
    #: Parameters that the model refuses: left out. And those that it knows by another name: old -> new.
    dropped: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        """Characters of the messages: what the ratio of characters to tokens of a model is measured by."""
        return sum(map(characters, self.messages))


class Backend(ABC):
    """A way to one provider."""

    #: Can it pass tools to a model?
    supports_tools = False
    #: Does it say how many tokens were used?
    reports_usage = False

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @abstractmethod
    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        """Send the request and yield deltas as they arrive.

        Ends normally only after the provider ended its answer; a `Finish` is yielded only if the
        provider said that the answer is over. Raises `BackendError`, and nothing else.
        Closing the iterator closes the socket.
        """

    async def aclose(self) -> None:  # noqa: B027 - a backend without connections has none to give up
        """Give up connections."""
