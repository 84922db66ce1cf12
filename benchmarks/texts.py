"""What models write, made up: the same each time, as long as is asked for."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from random import Random

VOCABULARY = (
    "the of a to and in is that it for as with on are this by be from or an which at not have can each when more one "
    "answer stream server token model worker browser message block text page event time between rendering whole small"
)
WORDS = VOCABULARY.split()
#: Characters of a paragraph: sixty tokens.
PARAGRAPH = 300
#: Characters of a token.
TOKEN = 5

CODE = '''
@dataclass(frozen=True, slots=True)
class Reading{0}:
    """One reading of sensor {0}.

    Values that are missing are None, which is not zero.
    """

    name: str
    value: float | None = None

    def scaled(self, factor: float = {0}.5) -> "Reading{0}":
        # A reading that is not there stays so.
        if self.value is None:
            return self
        return replace(self, value=self.value * factor, name=f"{{self.name}} ({{factor:.1f}})")

'''


def tokens(text: str) -> list[str]:
    return [text[start : start + TOKEN] for start in range(0, len(text), TOKEN)]


def prose(characters: int, *, paragraph: int = PARAGRAPH, marks: bool = True) -> str:
    """Paragraphs; with `marks`, one word in twenty is bold or code."""
    return _cut(_paragraphs(Random(1), paragraph, marks), characters)


def bullets(characters: int) -> str:
    random = Random(2)
    items = (
        f"- **{word.title()} {number}**: {_sentence(random, 60)} `{word}_{number}`\n"
        for number, word in _numbered(random)
    )
    return _cut(items, characters)


def table(characters: int) -> str:
    random = Random(3)
    rows = (f"| {word} {number} | {number * 7} | {_sentence(random, 30)} |\n" for number, word in _numbered(random))
    return _cut(itertools.chain(["| name | value | note |\n|---|---:|---|\n"], rows), characters)


def code(characters: int) -> str:
    """A fence of Python, with strings over several lines."""
    lines = _cut((CODE.format(number) for number in itertools.count(1)), characters)
    return f"```python\n{lines.strip()}\n```\n"


def answer(characters: int) -> str:
    """An answer of everything: headings, prose, lists, tables and code in turn."""
    sections = (
        f"## Part {number}\n\n{part.strip()}\n\n"
        for number, part in enumerate(
            itertools.cycle([prose(1_200), bullets(900), code(1_600), prose(1_200), table(900), prose(900)]), 1
        )
    )
    return _cut(sections, characters)


def _numbered(random: Random) -> Iterator[tuple[int, str]]:
    return ((number, random.choice(WORDS)) for number in itertools.count(1))


def _paragraphs(random: Random, length: int, marks: bool) -> Iterator[str]:
    while True:
        words = _sentence(random, length).split(" ")
        if marks:
            words = [_marked(word, random.random()) for word in words]
        yield " ".join(words) + "\n\n"


def _marked(word: str, chance: float) -> str:
    return f"**{word}**" if chance < 0.03 else f"`{word}`" if chance < 0.05 else word


def _sentence(random: Random, length: int) -> str:
    words = " ".join(random.choice(WORDS) for _ in range(length // 3))
    return textwrap.shorten(words, length, placeholder=".").capitalize()


def _cut(parts: Iterator[str], characters: int) -> str:
    """Take whole parts until there is enough."""
    taken, size = [], 0
    for part in parts:
        taken.append(part)
        size += len(part)
        if size >= characters:
            break
    return "".join(taken)
