"""What a provider said, whatever the shape: an error's body flattened to words and a text.

Providers wrap errors in errors: an object in a string in an object, a list, a frame of an event stream,
the `repr` of somebody else's exception. All of it is walked, to a depth and a size that hostile bodies
do not exceed, and nothing in it is trusted to have a type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import ErrorFacts

MAX_DEPTH = 8
MAX_NODES = 300
MAX_TEXT = 6_000

#: Fields whose value is a word of a provider's own vocabulary.
WORD_FIELDS = frozenset(
    {"code", "type", "status", "reason", "__type", "errorcode", "error_code", "error_type", "errortype"}
    | {"stop_reason", "finish_reason", "status_msg", "name"}
)
#: Fields that say in words what is wrong.
TEXT_FIELDS = frozenset(
    {"message", "msg", "error_message", "errormessage", "error_msg", "status_msg", "detail", "details"}
    | {"description", "raw", "title", "body", "error", "failed_generation"}
)


@dataclass(slots=True)
class Said:
    """An error, flattened. All texts are lower case."""

    status: int | None = None
    #: Words of the provider's vocabulary: codes, types, reasons. In the order of their appearance.
    words: list[str] = field(default_factory=list)
    text: str = ""
    #: The sentence that says most, as it was written.
    sentence: str = ""
    parameter: str | None = None
    #: All (name, value) pairs with a scalar value; names in lower case.
    fields: list[tuple[str, object]] = field(default_factory=list)


def flatten(facts: ErrorFacts) -> Said:
    """Return what was said."""
    said = Said(status=facts.status if isinstance(facts.status, int) else None)
    walk = _Walk(said)
    walk.visit(facts.body, "body", 0)
    if header := facts.headers.get("x-amzn-errortype"):
        said.words.append(str(header).partition(":")[0].lower())
    if isinstance(facts.exception, str):
        walk.add_exception(facts.exception)
    said.text = " \n ".join(walk.texts).lower()[:MAX_TEXT]
    return said


class _Walk:
    def __init__(self, said: Said) -> None:
        self.said = said
        self.texts: list[str] = []
        self.nodes = 0

    def visit(self, value: object, name: str, depth: int) -> None:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            return
        if isinstance(value, Mapping):
            for key, item in list(value.items())[:MAX_NODES]:
                self.visit(item, str(key).lower(), depth + 1)
        elif isinstance(value, list | tuple):
            for item in value[:20]:
                self.visit(item, name, depth + 1)
        elif value is not None:
            self.add(value, name, depth)

    def add(self, value: object, name: str, depth: int) -> None:
        self.said.fields.append((name, value))
        if name == "param" and isinstance(value, str) and value:
            self.said.parameter = self.said.parameter or value
        if name in WORD_FIELDS and isinstance(value, str | int) and not isinstance(value, bool):
            self.said.words.append(str(value)[:200].lower())
        if name in TEXT_FIELDS and isinstance(value, str) and value:
            self.add_text(value[:MAX_TEXT], depth)

    def add_text(self, text: str, depth: int) -> None:
        self.texts.append(text)
        if not self.said.sentence or len(self.said.sentence) < len(text) < 1_000:
            self.said.sentence = text
        for inner in embedded(text):
            self.visit(inner, "body", depth + 1)

    def add_exception(self, text: str) -> None:
        name, _, _ = text.partition(":")
        if len(name) < 100 and " " not in name.strip():
            self.said.words.append(name.strip().rpartition(".")[2].lower())
        self.add_text(text[:MAX_TEXT], MAX_DEPTH - 3)


def embedded(text: str) -> Iterator[object]:
    """Give the JSON objects that are written inside a text, outermost only."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(5):
        if at < 0:
            return
        source = text
        if text.startswith('{\\"', at):  # quoted once more than it should be
            source = text.replace('\\"', '"')
            at = source.find("{")
        try:
            value, end = decoder.raw_decode(source, at)
            yield value
        except (ValueError, RecursionError):
            end = at + 1
        text, at = source, source.find("{", end)
