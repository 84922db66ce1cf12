"""While it is being written, Markdown looks as if every mark were closed."""

import re

import pytest

from llmapp.rendering.markdown import MarkdownStream

# What has come, and what is shown of it; "" while it is not known what it will be.
SHOWN = [
    ("**bo", "<p><strong>bo</strong></p>"),
    ("**bold*", "<p><strong>bold</strong></p>"),
    ("**bold** an", "<p><strong>bold</strong> an</p>"),
    ("a *b **c", "<p>a <em>b <strong>c</strong></em></p>"),
    ("**a *b* c", "<p><strong>a <em>b</em> c</strong></p>"),
    ("_a **b_ c", "<p><em>a **b</em> c</p>"),
    ("***a", "<p><strong><em>a</em></strong></p>"),
    ("~~a", "<p><s>a</s></p>"),
    ("a **", "<p>a</p>"),
    ("2 * 3", "<p>2 * 3</p>"),
    ("`co", "<p><code>co</code></p>"),
    ("``a ` b", "<p><code>a ` b</code></p>"),
    ("``a`", "<p><code>a</code></p>"),
    ("**a `b", "<p><strong>a <code>b</code></strong></p>"),
    ("a `", "<p>a</p>"),
    ("[te", "<p>te</p>"),
    ("[te]", "<p>te</p>"),
    ("[te](https://exam", "<p>te</p>"),
    ("[te](https://a/(b", "<p>te</p>"),
    ("[**te](x", "<p><strong>te</strong></p>"),
    ("![alt](https://exam", "<p>alt</p>"),
    ("`a[0` and b", "<p><code>a[0</code> and b</p>"),
    ("<https://exam", "<p>https://exam</p>"),
    ("https://exam_ple", "<p>https://exam_ple</p>"),
    ("a\\", "<p>a</p>"),
    ("a\n-", "<p>a</p>"),
    ("a\n==", "<p>a</p>"),
    ("#", ""),
    ("-", ""),
    ("12.", ""),
    ("**", ""),
    ("```pyth", ""),
    ("- **", ""),
    ("- [ ", ""),
    ("- [x", ""),
    ("> *", ""),
    ("| a | b", ""),
    ("| a | b |\n|--", ""),
    ("a\n| b", "<p>a</p>"),
    ("- **b", "<ul>\n<li><strong>b</strong></li>\n</ul>"),
    ("# **a", "<h3><strong>a</strong></h3>"),
    ("> **a", "<blockquote>\n<p><strong>a</strong></p>\n</blockquote>"),
    ("1. x\n   ``", "<ol>\n<li>x</li>\n</ol>"),
    # What is complete is shown as it is.
    ("- **a\n\n", "<ul>\n<li>**a</li>\n</ul>"),
]


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_open_block(text: str, shown: str) -> None:
    """The open block covers all that has come, and shows what is certain enough."""
    stream = MarkdownStream()
    stream.feed(text)
    block = stream.open()
    assert block is not None
    assert (block.html.strip(), block.end, block.settled) == (shown, len(text), False)


HEAD, TAIL = '<div class="llmapp-code"><pre tabindex="0"><code>', "</code></pre></div>\n"

CODE = [
    ("```\n", "new", HEAD + TAIL),
    ("```\nx", "new", HEAD + "x" + TAIL),
    ("```\nx\n  y", "code", "  y"),
    (" ```\nx\n  y", "code", " y"),
    # It may be the end of the fence.
    ("```\nx\n``", "code", ""),
    ("~~~\nx\n``", "code", "``"),
    # Lines that wait until their colour is certain are open too.
    ("```bash\nx\ny", "new", HEAD.replace('">', '" data-language="bash">', 1) + "x\ny" + TAIL),
]


@pytest.mark.parametrize(("text", "mode", "shown"), CODE)
def test_open_code(text: str, mode: str, shown: str) -> None:
    """Code shows its unfinished line, but not the beginning of its closing fence."""
    stream = MarkdownStream()
    stream.feed(text)
    block = stream.open()
    assert block is not None
    assert (block.mode, block.html) == (mode, shown)


def test_nothing_is_open_after_a_settled_line() -> None:
    """A fence all of whose lines are settled has no open block."""
    stream = MarkdownStream()
    stream.feed("```\nx\n")
    assert stream.open() is None


ANSWER = """# A **bold** title with `code`

Some **bold words and *nested* ones**, `code with ** stars`, ``two ` ticks``, ~~gone~~ and ***both***.
A [link with **bold**](https://example.com/a(b)) and <https://example.com/x> and https://example.com/c here.
![A picture](https://example.com/p.png "title") is shown, _under_ and __double__.

- **First** item with `code`
- [ ] to do **this**
- [x] done
  - nested *item*
  - [link](https://example.com)

  ```py
  x = 1 ** 2
  ```

1. **One**: text
2. **Two**: `x`

> A **quote** with [link](http://example.com/a)

| Name | `Value` |
|:-----|--------:|
| **a** | `b` |
| [l](http://example.com) | *c* |

```python
x = a ** b
```

---

The end **of it**"""


def test_no_mark_stands_about_raw() -> None:
    """At every letter of an answer, no mark of Markdown is on the page outside of code."""
    stream = MarkdownStream()
    for letter in ANSWER:
        stream.feed(letter)
        block = stream.open()
        visible = re.sub(r"<code>.*?</code>|<[^>]*>", "", block.html if block else "", flags=re.DOTALL)
        assert not re.search(r"[*`~\[\]|_#]|--|&lt;|\]\(", visible), (visible, block)


def test_opening_keeps_no_address() -> None:
    """An address that is still being written isn't kept for later links."""
    stream = MarkdownStream()
    stream.feed("[1]: https://exam")
    stream.open()
    stream.feed("ple.com\n\n[text][1]")
    assert 'href="https://example.com"' in stream.finish()[0].html
