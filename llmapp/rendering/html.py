"""Markdown to safe HTML. The rule of the room: the sanitiser comes last, over everything that makes HTML.

What comes out needs no inline style, no script and no remote picture; docs/architecture.md lists its classes.
"""

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

import nh3
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from . import code, grammar, plain, tidy, unfinished
from .blocks import Mode, Stem

Env = dict[str, Any]

_STEM_ENDS: dict[Mode, str] = {"items": "list_item_close", "rows": "thead_close"}

_CLASSES = {
    "div": {"llmapp-code", "llmapp-table", "llmapp-math"},
    "li": {"llmapp-task"},
    "th": {"llmapp-left", "llmapp-center", "llmapp-right"},
    "td": {"llmapp-left", "llmapp-center", "llmapp-right"},
    "a": {"llmapp-image"},
    "span": {"llmapp-check", "llmapp-math", *code.CLASSES.values()},
}
_TAGS = {"p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "div", "span", "a", "hr", "br"}
_TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "strong", "em", "s"}
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags=set(),
    attributes={"a": {"href", "title"}, "ol": {"start"}, "div": {"data-language"}},
    tag_attribute_values={"div": {"tabindex": {"0"}}, "pre": {"tabindex": {"0"}}},
    set_tag_attribute_values={"a": {"target": "_blank"}},
    allowed_classes=_CLASSES,
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
)


def render(text: str) -> str:
    """Render a whole Markdown document to safe HTML.

    Headings are shifted: `#` becomes h3, `####` and deeper h6. A picture becomes a link. An item shows its
    paragraph bare unless it has several (see `tidy.items`). Never raises, whatever the text.
    """
    return to_html(parse(text, {}))


def parse(text: str, env: Env) -> list[Token]:
    """Read Markdown into tokens; `env` keeps the reference links that are found, for later texts."""
    # Without a last line feed the library leaves out a last line of blanks inside a fence.
    return _md().parse(text if text.endswith("\n") else text + "\n", env)


def blocks(text: str, env: Env) -> list[Token]:
    """Read only the block structure, which is what settling asks about. Lines must end in a line feed."""
    return _md().block.parse(text, _md(), env, []) or []


def piece(text: str, stem: Stem, env: Env) -> str:
    """Render a piece of a document; with a `stem` it begins with further items of a list or rows of a table."""
    if not stem.text and (paragraph := plain.paragraph(text)):
        return paragraph
    tokens = parse(stem.text + text, env)
    if stem.text:
        last = _STEM_ENDS[stem.mode]
        stand_in = next(number for number, token in enumerate(tokens) if token.type == last)
        del tokens[1 : stand_in + 1]
    return to_html(tokens)


def open_piece(text: str, stem: Stem, env: Env) -> str:
    """Render a piece that is still being written, with every open mark closed. Keeps no reference links."""
    text = unfinished.without_marks(text)
    links = dict(env.get("references", {}))
    return piece(text, stem, {"open": True, "references": links}) if text.strip() else ""


def to_html(tokens: Sequence[Token]) -> str:
    """Write tokens as safe HTML."""
    return clean(_md().renderer.render(tokens, _md().options, {}))


def clean(html: str) -> str:
    """Let only the tags, classes and links through that this room writes."""
    return _CLEANER.clean(html)


class _Renderer(RendererHTML):
    """Writes each kind of token; a method is named after its token."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return code.code_block(tokens[idx].content, code.language_of(tokens[idx].info))

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return code.code_block(tokens[idx].content)

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return '<div class="llmapp-table" tabindex="0"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>\n"

    def list_item_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        if "checked" not in token.meta:
            return self.renderToken(tokens, idx, options, env)
        # A letter, not a control: it is seen without CSS and read aloud without a label to translate.
        box = "☑" if token.meta["checked"] else "☐"
        return f'<li class="llmapp-task"><span class="llmapp-check">{box}</span> '

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        url = str(token.attrs["src"])
        text = escape(self.renderInlineAsText(token.children, options, env).strip() or url[:100])
        if token.meta.get("linked") or not tidy.is_link(url):
            return text
        return f'<a class="llmapp-image" href="{escape(url)}">{text}</a>'

    def math_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<div class="llmapp-math">{escape(tokens[idx].content)}</div>\n'

    def math_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<span class="llmapp-math">{escape(tokens[idx].content)}</span>'

    def plain(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return escape(tokens[idx].content)


@cache
def _md() -> grammar.Parser:
    md = grammar.parser(_Renderer)
    md.core.ruler.after("block", "llmapp_before_inline", _before_inline)
    md.core.ruler.push("llmapp_links", tidy.links)
    md.inline.ruler2.before("fragments_join", "llmapp_unfinished", unfinished.close_emphasis)
    return md


def _before_inline(state: StateCore) -> None:
    if state.env.get("open"):
        unfinished.close_tails(state)
    tidy.before_inline(state)
