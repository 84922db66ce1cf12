"""The colours of code, our own, for light and dark pages: `python -m llmapp.rendering.css > .../css/code.css`.

The rule of the room: a colour is named by what it means, and every one can be read on its background
(a contrast of 4.5 or more; a test holds that).
"""

from typing import Literal

from .code import CLASSES

Theme = Literal["light", "dark"]

# class: (meaning, light, dark)
PALETTE = {
    "bg": ("background", "#f4f5f7", "#12161d"),
    "fg": ("plain text", "#1f2933", "#dde3ea"),
    "hl-c": ("comment, prompt", "#586473", "#98a5b5"),
    "hl-k": ("keyword, tag", "#8a2463", "#ef8fc3"),
    "hl-s": ("string", "#1b6438", "#8fd6a0"),
    "hl-e": ("escape in a string", "#7a4d00", "#e2c26b"),
    "hl-n": ("number, constant", "#8f4300", "#f0a868"),
    "hl-f": ("function", "#1f4fa8", "#8db8ff"),
    "hl-t": ("type, class", "#5f37a3", "#c4a7f5"),
    "hl-b": ("builtin", "#0a5f6b", "#6fd0dc"),
    "hl-d": ("decorator, preprocessor", "#6b5200", "#d9c07a"),
    "hl-a": ("attribute, key", "#7a431b", "#e5b08a"),
    "hl-v": ("variable", "#962a2a", "#f19a9a"),
    "hl-h": ("heading of a diff", "#1f4fa8", "#8db8ff"),
    "hl-del": ("removed line", "#a01d2b", "#ff9aa2"),
    "hl-ins": ("added line", "#1b6438", "#8fd6a0"),
}

STRUCTURE = """
.llmapp-code { background: var(--llmapp-bg); color: var(--llmapp-fg); }
.llmapp-code pre { margin: 0; overflow-x: auto; }
.llmapp-code .hl-h { font-weight: 600; }
.llmapp-table { overflow-x: auto; }
.llmapp-left { text-align: left; }
.llmapp-center { text-align: center; }
.llmapp-right { text-align: right; }
.llmapp-math { font-family: ui-monospace, monospace; white-space: pre-wrap; }
.llmapp-task { list-style: none; }
"""


def pygments_css(theme: Theme) -> str:
    """Write the colours of one theme as custom properties: `--llmapp-hl-k: #8a2463;`, one in a line."""
    column = 1 if theme == "light" else 2
    return "".join(f"  --llmapp-{name}: {row[column]}; /* {row[0]} */\n" for name, row in PALETTE.items())


def stylesheet() -> str:
    """Write the whole file: colours, what they belong to, and the layout of the other classes we render.

    `data-theme="light"` or `"dark"` on the root element wins over what the system prefers, as in Django's admin.
    """
    names = sorted(set(CLASSES.values()))
    dark = pygments_css("dark")
    return (
        "/* Written by `python -m llmapp.rendering.css`; change the palette there. */\n\n"
        f".llmapp-code {{\n{pygments_css('light')}}}\n\n"
        f"@media (prefers-color-scheme: dark) {{\n"
        f':root:not([data-theme="light"]) .llmapp-code {{\n{dark}}}\n}}\n\n'
        f':root[data-theme="dark"] .llmapp-code {{\n{dark}}}\n'
        f"{STRUCTURE}" + "".join(f".llmapp-code .{name} {{ color: var(--llmapp-{name}); }}\n" for name in names)
    )


if __name__ == "__main__":
    print(stylesheet(), end="")
