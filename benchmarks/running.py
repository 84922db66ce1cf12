"""A stack that is up: what is asked of it, and which processes it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmapp.measuring import clients

Request = dict[str, Any]


class Missing(Exception):
    """A stack that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that is up."""

    version: str
    #: Asks for a short answer: the first run of a process imports and connects, which is another question.
    warm_up: Request
    #: One request for each of so many streams.
    requests: list[Request]
    #: What the events with tokens have in them.
    marker: str
    #: Processes by what they are: worker, web, proxy.
    processes: dict[str, list[int]]
    #: The module whose clients speak with it.
    clients: str = clients.__name__


def ask(url: str, body: Any, **headers: str) -> Request:
    return {"method": "POST", "url": url, "headers": headers, "json": body}


def chat(url: str, words: str = "Go on.", **headers: str) -> Request:
    """Return a request in OpenAI's chat format."""
    messages = [{"role": "user", "content": words}]
    return ask(f"{url}/chat/completions", {"model": "bench", "stream": True, "messages": messages}, **headers)
