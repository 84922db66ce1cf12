"""The door of this room: text that grows -> settled, safe HTML blocks.

`render` makes the whole page of a finished text, `MarkdownStream` the same page while the text still comes, and
`assemble` puts the blocks of the stream together, so that both can be compared at the end.
"""

from .blocks import Block, Mode, assemble
from .html import render
from .stream import MarkdownStream

__all__ = ["Block", "MarkdownStream", "Mode", "assemble", "render"]
