"""Documents for the tests: answers as models write them, and soups of lines that hit the corners."""

from random import Random

BLOCKS = (
    "# Title *with* emphasis",
    "## a | b",
    "Plain words, **bold**, `code`, ~~gone~~ and $x_1$.",
    "Two lines\nof one paragraph with https://example.com/a_b?c=d.",
    "Setext\n---",
    "Setext | bar\n===",
    "- one\n- two **b**\n- three",
    "- loose\n\n- list\n\n- of items",
    "* a\n* b\n+ another list\n+ more",
    "1. first\n2. second\n\n   with a second paragraph\n3. third",
    "3) three\n4) four\n1. one\n2. two",
    "- [ ] to do\n- [x] done\n    - [ ] nested\n- end",
    "- a\n  - b\n    - c\n\n      deep\n- d\n\n  ```py\n  x = 1\n\n  y\n  ```\n- e",
    "-   wide\n  - not nested\n   - nor this",
    "- a | b\n--|--\n- c",
    "- x\n- y | z\n--|--\n1 | 2",
    "> quote\n> more\nlazy",
    "> - list in quote\n> - two\n\n> second quote",
    "```python\ndef f(x):\n    '''Doc\n\n    string.'''\n    return x  # why\n```",
    "```js\n/* a\n * comment\n */\nconst a = `t ${b}\n`;\n```",
    "```\nno language\n\n# not a heading\n```",
    "~~~~ruby\nputs 'x'\n~~~\n```\n~~~~",
    "  ```c\n  int a;\n int b;\n\t int c;\n      int d;\n  ```",
    "``` a | b\n---|---\n```",
    "    indented code\n\n    more of it",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n| `x\\|y` | |",
    "a | b\n-|-\nrow",
    "| a | b | c |\n|:--|--:|---|\n| 1 |\n|\n| 2 | 3 | 4 | 5 |\n# end",
    "$$\na = b\n- c\n\n$$",
    "$$\n# not a heading\n- b\n$$",
    "\\[\nx\n= y\n\\]",
    "$$x|y$$\n-|-",
    "***",
    "- - -",
    "<div onclick='x()'>\n\nhtml</div>",
    "![a picture](https://example.com/p.png) [link](https://example.com 'title') [bad](javascript:x)",
    "Hard  \nbreak\\\nhere &amp; &copy; \\* <https://example.com>",
    "日本語の**太字**です。\n- 項目",
)
LINES = (
    *("", "", " ", "text", "more *text*", "  indented", "    four", "\ttab", "# h", "# a | b", "---", "--|--", "|-|-|"),
    *("- a", "- b | c", " - c", "  - d", "   - e", "-", "- ", "-     code", "* x", "+ y", "1. one", "2. two", "7) s"),
    *("   10. ten", "> q", ">", "> - q", "> ```", ">> n", "```", "```py", "  ```", "````", "~~~", "    ```", "`````"),
    *(
        "$$",
        "$$ x",
        "x $$",
        "$$a$$",
        "- $$",
        "\\[",
        "\\]",
        "| a | b |",
        "a|b",
        "***",
        "- - -",
        "===",
        "**a",
        "b**",
        "`",
    ),
    *("\x00nul", "a\x0bb\x0c", "\u2028", "- [ ] t", "- [x] t", "<b>", "[a](http://x", "&lt;", "'''", "def f():", "/*"),
)
ENDS = ("\n", "\n", "\n", "\n", "\n", "\n\n", "\r\n", "\r", " \n")


def realistic(random: Random) -> str:
    """Put an answer together from whole blocks, mostly with a blank line between them."""
    parts = []
    for _ in range(random.randint(1, 12)):
        parts += [random.choice(BLOCKS), random.choice(("\n\n", "\n\n", "\n\n", "\n", "\n\n\n", "\r\n\r\n"))]
    return "".join(parts[: random.choice((-1, len(parts)))])


def soup(random: Random) -> str:
    """Put lines together that have nothing to do with each other."""
    count = random.randint(1, 30)
    text = "".join(random.choice(LINES) + random.choice(ENDS) for _ in range(count))
    return text[: random.choice((-1, len(text)))]


def pieces(text: str, random: Random) -> list[str]:
    """Cut a text at random places: letters, words, or large parts."""
    size = random.choice((1, 5, 40, 1000))
    cuts, position = [], 0
    while position < len(text):
        end = position + random.randint(1, size)
        cuts.append(text[position:end])
        position = end
    return cuts
