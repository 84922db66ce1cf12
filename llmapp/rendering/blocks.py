"""What a rendered message is made of, and the one rule that puts its pieces together."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .code import TAIL as CODE_TAIL

Mode = Literal["new", "items", "rows", "code"]

LIST_TAIL = len("</ul>\n")
ROWS = "<tbody>\n"
ROWS_TAIL = "</tbody>\n"
TABLE_TAIL = "</table></div>\n"


@dataclass(frozen=True, slots=True)
class Stem:
    """Lines that stand for the beginning of a list or a table, which is on the page already, while its rest is read."""

    mode: Mode = "new"
    text: str = ""


NO_STEM = Stem()


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a rendered message.

    What a browser does with `html`, by `mode`:

    - "new": append its elements to the message body.
    - "items": append the children of its first element, a list, to the list that is the last element of the
      message body; append its other elements, if any, to the message body.
    - "rows": the same with the rows of the table in its first element, and the body of the last table.
    - "code": append its nodes to the `<code>` inside the last element of the message body.

    `html` may be "" (the end of a fence, marks that mean nothing yet): then nothing is added.
    An open block (`settled` is false) is added in the same way. All that it added is removed again when the next
    block arrives, open or settled, which has the same index.
    """

    index: int  # position in the message, from 0
    mode: Mode
    html: str  # safe HTML; for "code" a fragment of text and spans
    end: int  # characters of the text that are shown up to here
    settled: bool


def assemble(blocks: Iterable[Block]) -> str:
    """Put settled blocks together as the browser does; open ones are left out. Each piece is looked at once."""
    parts: list[str] = []
    for block in blocks:
        if not block.settled:
            continue
        if block.mode == "items":
            parts[-1] = parts[-1][:-LIST_TAIL]
            parts.append(block.html[block.html.index("\n") + 1 :])
        elif block.mode == "rows":
            table, _, after = block.html.partition(TABLE_TAIL)
            parts[-1] = parts[-1].removesuffix(ROWS_TAIL + TABLE_TAIL)
            parts.append((table.partition(ROWS)[2] or ROWS_TAIL) + TABLE_TAIL + after)
        elif block.mode == "code":
            parts[-1] = parts[-1].removesuffix(CODE_TAIL)
            parts.append(block.html + CODE_TAIL)
        else:
            parts.append(block.html)
    return "".join(parts)
