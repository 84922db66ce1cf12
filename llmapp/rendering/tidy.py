"""What is done to the tokens between reading and writing: tight items, heading levels, classes, safe links."""

import re
from collections.abc import Iterable

from markdown_it.rules_core import StateCore
from markdown_it.token import Token

HEADING_SHIFT = 2  # the page owns h1 and h2
INLINE_LIMIT = 30_000  # characters; a longer paragraph is shown as plain text
BRACKET_LIMIT = 2_000_000  # brackets times characters, likewise: the library looks for the end of each one
_LINK = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]", re.IGNORECASE)


def before_inline(state: StateCore) -> None:
    """Settle what the block structure alone decides."""
    items(state.tokens)
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + HEADING_SHIFT)}"
        elif token.type in ("th_open", "td_open"):
            _align(token)
        elif token.type == "inline" and _is_too_much(token.content):
            token.type = "plain"


def _is_too_much(text: str) -> bool:
    return len(text) > INLINE_LIMIT or text.count("[") * len(text) > BRACKET_LIMIT


def items(tokens: list[Token]) -> None:
    """Show the paragraph of an item bare when it is the item's only one.

    CommonMark asks the whole list (one blank line makes every item loose), so a later item would change
    earlier ones that have already been sent. Asking each item alone keeps finished items final.
    """
    open_items: list[tuple[int, list[Token]]] = []
    for token in tokens:
        if token.type == "list_item_open":
            open_items.append((token.level + 1, []))
            token.attrs.pop("class", None)
        elif token.type == "list_item_close":
            _, paragraphs = open_items.pop()
            for paragraph in paragraphs:
                paragraph.hidden = len(paragraphs) == 2
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            token.attrs.pop("class", None)
        elif token.tag == "p" and open_items and token.level == open_items[-1][0]:
            open_items[-1][1].append(token)


def _align(token: Token) -> None:
    style = str(token.attrs.pop("style", ""))
    if style:
        token.attrs["class"] = "llmapp-" + style.removeprefix("text-align:")


def links(state: StateCore) -> None:
    """Let only http, https and mailto be links; every other one is shown as its text."""
    for token in state.tokens:
        if token.children:
            _tame(token.children)


def _tame(children: Iterable[Token]) -> None:
    tags: list[str] = []
    for child in children:
        if child.type == "link_open":
            tags.append("a" if is_link(str(child.attrs.get("href", ""))) else "span")
            child.tag = tags[-1]
            if child.tag == "span":
                child.attrs = {}
        elif child.type == "link_close":
            child.tag = tags.pop()
        elif child.type == "image":
            child.meta["linked"] = "a" in tags


def is_link(url: str) -> bool:
    """Tell whether a URL may be opened from the page."""
    return _LINK.match(url) is not None
