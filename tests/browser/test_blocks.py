"""Where text is shown that no rendered piece covers yet."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

CODE = '<div class="llmapp-code"><pre tabindex="0"><code>{}</code></pre></div>\n'
TABLE = '<div class="llmapp-table" tabindex="0"><table>\n<tbody>\n<tr>\n<td>{}</td>\n</tr>\n</tbody>\n</table></div>\n'

SHOW = """
async ([blocks, rest, before]) => {
  const script = document.querySelector('script[type="module"]').src;
  const { Blocks } = await import(script.replace("chat.js", "view/blocks.js"));
  const body = document.createElement("div");
  new Blocks(body).show({ text: before + rest, blocks, html: null, covered: { units: before.length } });
  return body.innerHTML;
}
"""


def tail(text: str, tag: str = "span") -> str:
    return f'<{tag} class="llmapp-tail">{text}</{tag}>'


def block(html: str, mode: str = "new", settled: bool = False) -> dict[str, object]:
    return {"mode": mode, "html": html, "settled": settled}


# What has been rendered, what has come since, and what the page shows.
SHOWN = [
    ([], "so it", tail("so it", "p")),
    ([block("<p>so</p>")], " it", "<p>so" + tail(" it") + "</p>"),
    ([block("<p>so</p>")], "\n\nnext", "<p>so</p>" + tail("next", "p")),
    ([block("<p>so</p>", settled=True)], "next", "<p>so</p>" + tail("next", "p")),
    # Code: its blank lines are code, what follows its fence is not.
    ([block(CODE.format("a"))], "b\n\n\nc", CODE.format("a" + tail("b\n\n\nc"))),
    (
        [block(CODE.format("a"))],
        "b\n```\n\nnext",
        CODE.format("a" + tail("b\n")) + tail("next", "p"),
    ),
    (
        [block(CODE.format("a\n"), settled=True), block("", "code")],
        "b",
        CODE.format("a\n" + tail("b")),
    ),
    # Marks that mean nothing yet.
    ([block("<p>so</p>", settled=True), block("")], "it", "<p>so</p>" + tail("it", "p")),
    # Rows of a table that is there, and a cell of it.
    (
        [block(TABLE.format("a"), settled=True), block(TABLE.format("b"), "rows")],
        "c | d",
        TABLE.format("a</td>\n</tr>\n\n<tr>\n<td>b" + tail("c ")) + "\n",
    ),
    (
        [block(TABLE.format("a"), settled=True), block('<div class="llmapp-table"></div><p>so</p>', "rows")],
        "",
        TABLE.format("a") + "<p>so</p>",
    ),
]


@pytest.mark.parametrize(("blocks", "rest", "shown"), SHOWN)
def test_text_that_is_not_rendered_yet(page: Page, blocks: list[dict[str, object]], rest: str, shown: str) -> None:
    """It goes where it will be, as far as that can be told."""
    page.goto("/chat/?agent=quick")
    assert page.evaluate(SHOW, [blocks, rest, ""]) == shown


@pytest.mark.parametrize(
    ("before", "rest", "shown"),
    [("so ", "it", " it"), ("so ", " it", " it"), ("so\n", "it", " it"), ("so", "me", "me")],
)
def test_words_stay_apart(page: Page, before: str, rest: str, shown: str) -> None:
    """The white space at the end of what was rendered is not in it."""
    page.goto("/chat/?agent=quick")
    assert page.evaluate(SHOW, [[block("<p>so</p>")], rest, before]) == "<p>so" + tail(shown) + "</p>"
