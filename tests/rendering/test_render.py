"""A finished text becomes a page."""

import pytest

from llmapp.rendering.markdown import render

A = 'target="_blank" rel="noopener noreferrer nofollow"'

PAGES = [
    ("plain & <b>", "<p>plain &amp; &lt;b&gt;</p>\n"),
    # The page owns h1 and h2.
    ("# one", "<h3>one</h3>\n"),
    ("## two", "<h4>two</h4>\n"),
    ("###### six", "<h6>six</h6>\n"),
    ("one\n===", "<h3>one</h3>\n"),
    ("**b** *i* ~~s~~ `c`", "<p><strong>b</strong> <em>i</em> <s>s</s> <code>c</code></p>\n"),
    # An item asks only itself whether its paragraph is bare; a blank line between items changes nothing.
    ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
    ("- a\n\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
    ("- a\n\n  b\n- c", "<ul>\n<li>\n<p>a</p>\n<p>b</p>\n</li>\n<li>c</li>\n</ul>\n"),
    ("- > q", "<ul>\n<li>\n<blockquote>\n<p>q</p>\n</blockquote>\n</li>\n</ul>\n"),
    ("7. a", '<ol start="7">\n<li>a</li>\n</ol>\n'),
    (
        "- [ ] a\n- [x] b",
        '<ul>\n<li class="llmapp-task"><span class="llmapp-check">☐</span> a</li>\n'
        '<li class="llmapp-task"><span class="llmapp-check">☑</span> b</li>\n</ul>\n',
    ),
    (
        "a | b\n:-: | --\n1 | 2",
        '<div class="llmapp-table" tabindex="0"><table>\n<thead>\n<tr>\n<th class="llmapp-center">a</th>\n<th>b</th>\n'
        '</tr>\n</thead>\n<tbody>\n<tr>\n<td class="llmapp-center">1</td>\n<td>2</td>\n</tr>\n</tbody>\n'
        "</table></div>\n",
    ),
    (
        "```PYTHON title\nif x:\n```",
        '<div class="llmapp-code" data-language="python"><pre tabindex="0"><code><span class="hl-k">if</span> x:\n'
        "</code></pre></div>\n",
    ),
    ("```\n<x>\n```", '<div class="llmapp-code"><pre tabindex="0"><code>&lt;x&gt;\n</code></pre></div>\n'),
    (
        "```klingon\nx\n```",
        '<div class="llmapp-code" data-language="klingon"><pre tabindex="0"><code>x\n</code></pre></div>\n',
    ),
    ("    x", '<div class="llmapp-code"><pre tabindex="0"><code>x\n</code></pre></div>\n'),
    ("[t](https://a.b 'c')", f'<p><a href="https://a.b" title="c" {A}>t</a></p>\n'),
    ("<mailto:a@b.c>", f'<p><a href="mailto:a@b.c" {A}>mailto:a@b.c</a></p>\n'),
    ("(https://a.b/c_d_(e)).", f'<p>(<a href="https://a.b/c_d_(e)" {A}>https://a.b/c_d_(e)</a>).</p>\n'),
    ("xhttps://a.b", "<p>xhttps://a.b</p>\n"),
    ("[https://a.b](https://c.d)", f'<p><a href="https://c.d" {A}>https://a.b</a></p>\n'),
    # Only the web is linked to: not this site, not a script.
    ("[*t*](/logout) [u](javascript:x) [v](//a.b)", "<p><span><em>t</em></span> <span>u</span> <span>v</span></p>\n"),
    ("![alt](data:image/png;base64,x)", "<p>alt</p>\n"),
    ("![alt *x*](https://a.b/p.png)", f'<p><a class="llmapp-image" href="https://a.b/p.png" {A}>alt x</a></p>\n'),
    ("![](https://a.b/p.png)", f'<p><a class="llmapp-image" href="https://a.b/p.png" {A}>https://a.b/p.png</a></p>\n'),
    ("[![pic](https://a.b/p)](https://c.d)", f'<p><a href="https://c.d" {A}>pic</a></p>\n'),
    ("[t][1]\n\n[1]: https://a.b", f'<p><a href="https://a.b" {A}>t</a></p>\n'),
    ("a $x_1 + y_1$ b", '<p>a <span class="llmapp-math">$x_1 + y_1$</span> b</p>\n'),
    ("\\(a_1 b_1\\)", '<p><span class="llmapp-math">\\(a_1 b_1\\)</span></p>\n'),
    ("$5 and $6 are *money*", "<p>$5 and $6 are <em>money</em></p>\n"),
    ("text\n$$\na\n- b\n=\n$$", '<p>text</p>\n<div class="llmapp-math">$$\na\n- b\n=\n$$</div>\n'),
    ("$$\n\n- b", "<p>$$</p>\n<ul>\n<li>b</li>\n</ul>\n"),
    ("$" + "a" * 2_000 + "$", "<p>$" + "a" * 2_000 + "$</p>\n"),
    ("***", "<hr>\n"),
    ("", ""),
    (" \n\n", ""),
]


@pytest.mark.parametrize(("text", "page"), PAGES)
def test_page(text: str, page: str) -> None:
    """What is written is what is shown."""
    assert render(text) == page


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_mean_the_same(end: str) -> None:
    """A line may end in any of three ways."""
    text = "# a\n\n- b\n- c\n\n```\nd\n\n```\n"
    assert render(text.replace("\n", end)) == render(text)


def test_deep_lists_lose_nothing() -> None:
    """What is nested too deep is shown as text, and so is all that follows it."""
    text = "".join("  " * depth + f"- word{depth}\n" for depth in range(60)) + "- top\n\nlast\n"
    page = render(text)
    assert all(f"word{depth}" in page for depth in range(60))
    assert page.endswith("<li>top</li>\n</ul>\n<p>last</p>\n")


def test_deep_quotes_lose_nothing() -> None:
    """A quote in a quote in a quote is cut off somewhere, its words are not."""
    page = render(">" * 500 + " word\n\nlast")
    assert "word" in page
    assert page.endswith("<p>last</p>\n")
    assert page.count("<blockquote>") < 50


@pytest.mark.parametrize("text", ["*a* " * 10_000, "*a* [" * 1_000])
def test_what_is_too_much_is_shown_as_text(text: str) -> None:
    """A paragraph that no one could have meant, and that would take long to read, isn't read."""
    assert render(text) == f"<p>\n{text.strip()}</p>\n"
