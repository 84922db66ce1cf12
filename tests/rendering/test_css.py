"""The colours of code can be read, and the file in the package is the one that we write."""

from pathlib import Path

import pytest

import llmapp
from llmapp.rendering.code import CLASSES
from llmapp.rendering.css import PALETTE, pygments_css, stylesheet


def luminance(colour: str) -> float:
    """Measure a colour as WCAG 2 does."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [1, 2])
@pytest.mark.parametrize("name", [name for name in PALETTE if name != "bg"])
def test_contrast(name: str, theme: int) -> None:
    """Every colour stands out from its background by 4.5 or more."""
    one, two = sorted((luminance(PALETTE[name][theme]), luminance(PALETTE["bg"][theme])))
    assert (two + 0.05) / (one + 0.05) >= 4.5


def test_every_class_has_a_colour() -> None:
    """What the highlighter writes is in the palette, and nothing else is."""
    assert set(CLASSES.values()) == PALETTE.keys() - {"bg", "fg"}


def test_themes_differ() -> None:
    """Light and dark set the same properties to other values."""
    light, dark = pygments_css("light"), pygments_css("dark")
    assert [line.split(":")[0] for line in light.splitlines()] == [line.split(":")[0] for line in dark.splitlines()]
    assert not set(light.splitlines()) & set(dark.splitlines())


def test_the_file_is_up_to_date() -> None:
    """`python -m llmapp.rendering.css` has been run since the palette changed."""
    path = Path(llmapp.__file__).parent / "static/llmapp/css/code.css"
    assert path.read_text() == stylesheet()
