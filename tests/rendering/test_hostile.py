"""Whatever a model writes, the page stays harmless and is made in time."""

import re
from html.parser import HTMLParser
from time import thread_time

import pytest

from llmapp.rendering.markdown import MarkdownStream, render

ATTRIBUTES = {
    "a": {"class", "href", "title", "target", "rel"},
    "div": {"class", "data-language", "tabindex"},
    "pre": {"tabindex"},
    "span": {"class"},
    "li": {"class"},
    "ol": {"start"},
    "td": {"class"},
    "th": {"class"},
}
TAGS = {*ATTRIBUTES, "p", "h3", "h4", "h5", "h6", "ul", "blockquote", "code", "hr", "br", "strong", "em", "s"}
TAGS |= {"table", "thead", "tbody", "tr"}

TEXTS = [
    "<script>alert(1)</script>",
    "<ScRiPt\nsrc=//x>",
    "<img src=x onerror=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>'>",
    "<math><mtext><table><mglyph><style><!--</style><img src=x onerror=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#115;cript:alert(1))",
    "[x](java&Tab;script:alert(1))",
    "[x](\\javascript:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    "[x](/logout)",
    "[x](?next=/admin)",
    "[x](#top)",
    "[x](blob:https://x)",
    "[x](https:javascript:alert(1))",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "[x][1]\n\n[1]: javascript:alert(1)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml,<svg onload=alert(1)>)",
    '![" onerror="alert(1)](https://x.y/" onerror="alert(1))',
    '[x](https://x.y "\\" onmouseover=\\"alert(1)")',
    '[x](<https://x.y" onclick="alert(1)>)',
    'https://x.y/"onmouseover="alert(1)',
    "https://x.y/<script>",
    "[![x](https://a.b)](javascript:alert(1))",
    '```"><script>alert(1)</script>\nx\n```',
    "```python\n</code></pre><script>alert(1)</script>\n```",
    "```html\n<script>alert(1)</script>\n<img onerror=x>\n```",
    "~~~x' onload='y\n</code>\n~~~",
    "`<script>`",
    "$<script>alert(1)</script>$",
    "$$\n</div><script>alert(1)</script>\n$$",
    "\\(\\text{<img src=x onerror=y>}\\)",
    "a | <script>\n-|-\n<img onerror=x> | [x](javascript:y)",
    "- [x] <input autofocus onfocus=alert(1)>",
    "# <h1 onclick=x>",
    "x\0y <scr\0ipt>",
    '<a href="https://x" style="position:fixed">',
    "</div></body></html><script>",
    "\u202e[x](https://x.y)\u2066",
    "[" * 50 + "x" + "](javascript:y)" * 50,
    "> " * 100 + "<script>",
]


class Reader(HTMLParser):
    """Notes what a page holds that none of ours may hold, and whether its tags are in order."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.wrong.append(tag)
        if tag not in ("br", "hr"):
            self.open.append(tag)
        for name, value in attrs:
            if name not in ATTRIBUTES.get(tag, set()):
                self.wrong.append(f"{tag} {name}")
            if name == "href" and not re.match(r"https?://|mailto:", value or ""):
                self.wrong.append(f"href {value}")
        if tag == "a" and dict(attrs) | {"target": "_blank", "rel": "noopener noreferrer nofollow"} != dict(attrs):
            self.wrong.append("a without target or rel")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")


def wrong_in(page: str) -> list[str]:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader.wrong + reader.open


@pytest.mark.parametrize("text", TEXTS)
def test_harmless(text: str) -> None:
    """A page has only our tags, our attributes, and links to the web."""
    for whole in (text, f"- {text}", f"**{text}", f"x\n\n{text}\n\ny"):
        assert wrong_in(render(whole)) == []


@pytest.mark.parametrize("text", TEXTS)
def test_harmless_while_it_comes(text: str) -> None:
    """No piece on the way is less harmless than the page."""
    stream = MarkdownStream()
    for letter in text[:300]:
        shown = [*stream.feed(letter), stream.open()]
        assert all(wrong_in(block.html) == [] for block in shown if block)
    assert all(wrong_in(block.html) == [] for block in stream.finish())


N = 20_000

SLOW = {
    "brackets": "[" * N,
    "pictures": "![" * (N // 2),
    "half links": "[a](" * (N // 4),
    "half references": "[a\n" * (N // 3),
    "nested brackets": "[[" * 2000 + "a" + "]]" * 2000,
    "stars": "*a **b " * (N // 7),
    "ticks": "".join("`" * count + " " for count in range(1, 200)),
    "quotes": ">" * N,
    "items": "- " * (N // 2),
    "short rows": "|a" * 100 + "\n" + "|-" * 100 + "\n" + "|\n" * (N // 2),
    "tables": "a|b|c\n--|--\n" * (N // 12),
    "colons": "a:" * (N // 2),
    "addresses": "http://" * (N // 7),
    "formulas": "\\(" * (N // 2),
    "formula lines": "\\[ a\n" * (N // 5),
    "dollars": "$a " * (N // 3),
    "angles": "<a " * (N // 3),
    "backslashes": "\\" * N,
    "blanks": " " * N + "a",
    "one long item": "- a\n" + "  - b\n" * (N // 6),
    "definitions": "".join(f"[a{number}]: /u\n" for number in range(N // 10)),
    "open comment": "```js\n" + "/* x\n" * (N // 5),
    "one line of code": "```js\n" + 'a("x");' * (N // 7),
    "never clean": "```php\n<?php\n" + '$a = "x";\n' * (N // 10),
}


@pytest.mark.parametrize("name", SLOW)
def test_in_time(name: str) -> None:
    """Nothing that can be written takes time that grows with the square of its length."""
    text = SLOW[name]
    begin = thread_time()
    render(text)
    stream = MarkdownStream()
    for position in range(0, len(text), 100):
        stream.feed(text[position : position + 100])
    stream.open()
    stream.finish()
    # About 0.1 to 0.5 s; the square of the length would be 10 s and more in most of these.
    assert thread_time() - begin < 4


def test_a_page_is_not_much_longer_than_its_text() -> None:
    """A table with a wide head and empty rows doesn't become a page of a thousand times its length."""
    assert len(render(SLOW["short rows"])) < 60 * N
