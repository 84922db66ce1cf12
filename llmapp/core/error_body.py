"""What a provider said, whatever the shape: an error's body flattened to words and a text.

Providers wrap errors in errors: an object in a string in an object, a list, a frame of an event stream,
the `repr` of somebody else's exception. All of it is walked, to a depth and a size that hostile bodies
do not exceed, and nothing in it is trusted to have a type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import ErrorFacts

MAX_DEPTH = 8
MAX_NODES = 300
MAX_TEXT = 6_000

#: Fields whose value is a word of a provider's own vocabulary.
WORD_FIELDS = frozenset(
    {"code", "type", "status", "reason", "__type", "errorcode", "error_code", "error_type", "errortype"}
    | {
        "stop_reason",
        "finish_reason",
        "finishreason",
        "blockreason",
        "block_reason",
        "stopreason",
        "done_reason",
        "status_msg",
        "name",
    }
)
#: Fields that say in words what is wrong.
TEXT_FIELDS = frozenset(
    {"message", "msg", "error_message", "errormessage", "error_msg", "status_msg", "detail", "details"}
    | {"description", "raw", "title", "body", "error", "failed_generation"}
)

#: Words that stand in a text, because somebody wrote an object or an exception into it. What is broken off counts too.
QUOTED_WORD = re.compile(
    r"""['"](?:code|type|status|reason|__type)\\?['"]: ?\\?['"]([\w.\-]{2,80})\\?['"]"""
    r"|error occurred \((\w{4,60})\)|\bcode: ([A-Z]\w{3,60})|\[([A-Z][a-z]+[A-Z]\w{3,60})\]"
    r"|\b((?:[A-Z]\w{2,40}\.){1,3}[A-Z]\w{3,60}):"
    r"|\b((?:ContextWindowExceeded|ContentPolicyViolation|BudgetExceeded|UnsupportedParams|RateLimit)Error)\b"
)
#: A status that a text calls one, or starts with: "... status code: 429", "HTTP 503: ...", "429 ...".
CALLED_STATUS = re.compile(
    r"(?:status(?:[ _]code)?(?: of)?|http(?: error)?|error code)[ :=]{1,3}([45]\d\d)\b(?!\.)|<([45]\d\d)>", re.I
)
LEADING_STATUS = re.compile(
    r"^(?:[\w. ]{0,60}: ){0,3}"
    r"(?:(?:api )?error(?: code)?:? |http(?: error)? |status(?:[ _]code)?:? |\()?([45]\d\d)\b(?!\.)",
    re.I,
)
#: A text that is no sentence, but a word of somebody's vocabulary.
IDENTIFIER = re.compile(r"[A-Za-z]{2,30}(?:_[A-Za-z]{2,30}){1,5}")
DOTTED = re.compile(r"[\w\-]{2,60}(?:\.[\w\-]{2,60}){1,3}")
#: Of a web page only what it shows on top: the rest is advice to whoever runs the site.
HEADING = re.compile(r"<(title|h1)[^>]{0,200}>(.{0,300}?)</\1>", re.I | re.S)
PAGE = re.compile(r"\s{0,50}(?:<!--.{0,300}?-->\s{0,20})?<(?:!doctype html|html|head)", re.I | re.S)


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
    is_page: bool = False
    #: Something in the body calls itself an error.
    is_error: bool = False
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
            self.said.is_error = self.said.is_error or bool(value.get("error"))
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
            self.add_word(str(value)[:200])
        if name in TEXT_FIELDS and isinstance(value, str) and value:
            self.add_text(value[:MAX_TEXT], depth)

    def add_word(self, word: str) -> None:
        word = word.strip().lower()
        self.said.words.append(word)
        if " " in word or "-" in word:
            self.said.words.append(word.replace(" ", "_").replace("-", "_"))
        if DOTTED.fullmatch(word):
            # "Throttling.RateQuota": the whole says most, then its end, then its beginning.
            self.said.words += [word.rpartition(".")[2], word.partition(".")[0]]

    def add_text(self, text: str, depth: int) -> None:
        self.said.is_error = self.said.is_error or text.startswith("event: error")
        if PAGE.match(text):
            self.said.is_page = True
            text = " ".join(["<html", *(found[2].strip() for found in HEADING.finditer(text[:20_000]))])
        if IDENTIFIER.fullmatch(text):
            self.add_word(text)
            text = text.replace("_", " ")
        if not any(text in known for known in self.texts):
            self.texts.append(text)
        if not self.said.sentence or len(self.said.sentence) < len(text) < 1_000:
            self.said.sentence = text
        for inner in embedded(text):
            self.visit(inner, "body", depth + 1)
        for found in QUOTED_WORD.finditer(text):
            self.add_word(next(word for word in found.groups() if word))
        if status := LEADING_STATUS.match(text) or CALLED_STATUS.search(text):
            self.said.words.append(next(digits for digits in status.groups() if digits))

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
