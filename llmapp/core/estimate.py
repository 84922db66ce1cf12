"""How many tokens a request will take, told before it is sent, without a tokenizer.

* A model whose past usage is known has a ratio of its own: characters for each token.
* Without one, four ASCII characters are a token, and three bytes of anything else: a Chinese character is one.
* A ratio that was learned from English must not hide a page of Chinese: whatever it says, what is not ASCII counts
  for at least half of that.
* A ratio that no tokenizer has is not believed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .messages import ChatMessage

#: Of English, with any tokenizer of these years; a little careful for code.
CHARS_PER_TOKEN = 4.0

#: A ratio outside of this is a mistake of somebody who counted.
LEAST_RATIO, LARGEST_RATIO = 0.3, 12.0

#: What stands around each message: its role, and the marks between messages.
PER_MESSAGE = 16

#: UTF-8 bytes of text that is not ASCII for each token.
BYTES_PER_TOKEN = 3.0


def characters(message: ChatMessage) -> int:
    """Return how many characters a message has, with what stands around it. The measure of a model's ratio."""
    return PER_MESSAGE + sum(map(len, _texts(message)))


def estimate(messages: Sequence[ChatMessage], chars_per_token: float | None = None) -> int:
    """Return how many tokens the messages take, rounded up. `chars_per_token` is the model's own ratio."""
    total = sum(map(characters, messages))
    ascii_characters, other_bytes = total, 0
    for text in (text for message in messages for text in _texts(message) if not text.isascii()):
        plain = len(text.encode("ascii", "ignore"))
        ascii_characters -= len(text) - plain
        other_bytes += len(text.encode("utf-8", "surrogatepass")) - plain
    others = other_bytes / BYTES_PER_TOKEN
    if chars_per_token is None or not LEAST_RATIO <= chars_per_token <= LARGEST_RATIO:
        return math.ceil(ascii_characters / CHARS_PER_TOKEN + others)
    return math.ceil(max(total / chars_per_token, others / 2))


def _texts(message: ChatMessage) -> list[str]:
    texts = [message.content]
    for call in message.tool_calls:
        texts += (call.id, call.name, call.arguments)
    for block in message.thinking:
        texts += (value for value in block.values() if isinstance(value, str))
    return texts
