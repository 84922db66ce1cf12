"""What the demo agent answers. It says plainly that no model was asked.

Words in the message choose what it shows; the first of this list that occurs wins:

    error  cut  slow  think  long  code  table
"""

from __future__ import annotations

import re
from typing import Any

SPEED = 50

Step = dict[str, Any]

DISCLAIMER = (
    "> **This is a demo.** The text is played from a script: no model was asked, and nothing left this machine.\n\n"
)

CODE = '''```python
from django.shortcuts import redirect

from llmapp import submit


def ask_about(request, order_id):
    """Start an answer from any view, and show it on the chat page."""
    question = f"What is the state of order {order_id}?"
    run = submit(request.user, question, agent="support").run
    return redirect("llmapp:conversation", run.conversation_id)
```

'''

TABLE = """| What happens | What the run does | How it ends |
|:--|:--|--:|
| The provider is overloaded | waits, or asks the next model | completed |
| The connection breaks | goes on where it broke off | completed |
| It breaks again and again | keeps the text and says so | incomplete |
| The worker is killed | another one takes over | completed |
| You press *Stop* | closes the connection at once | cancelled |

"""

SHOWCASE = """## What you can see here

Every word of this answer took the whole way: a task of a worker, the log in the database, a websocket,
your browser. Reload the page in the middle of it, and nothing is lost.

1. **Text settles block by block.** What can no longer change is rendered once, safely:
   - *emphasis*, **strong words** and `code`,
   - [links](https://docs.djangoproject.com/) that open in a new tab,
   - lists inside lists.
2. **Runs end honestly.** An answer that breaks off is never shown as a whole one.

### Code

"""

TRY = """Write a message with one of these words to see more: `long`, `code`, `table`, `think`, `slow`, `cut`, `error`.

To talk to a real model, describe its provider in a file and run `manage.py llmapp configure FILE.toml`.
"""

PARAGRAPHS = (
    "A run is one execution of an agent for one message. It is a task of its own, with a timeout of its own, and "
    "everything that it does is an event with a number in a log. Whoever watches reads that log, from wherever they "
    "left off, and so a page that is reloaded looks exactly like one that never was.",
    "Providers fail in many ways: they are overloaded, they lose the connection in the middle of a sentence, they "
    "refuse a parameter that worked yesterday. Each failure gets a name first, and only then a decision is made: to "
    "wait, to take another key, to ask another model, or to stop and say why.",
    "A worker can die at any moment. Its runs carry a lease, and when the lease is no longer renewed another worker "
    "takes them over. The dead one may wake up again and go on writing, as if nothing had happened; its lease has "
    "been revoked by then, and what it writes is refused.",
    "Markdown that is still growing is a puzzle: two asterisks may become a strong word or stay two asterisks. The "
    "renderer therefore sends a block only when nothing that follows can change it, and shows the open one as well "
    "as it can in the meantime.",
)


def demo_script(message: str) -> list[Step]:
    """Return the steps that answer `message`."""
    words = set(re.findall(r"\w+", message.lower()))
    play = next((play for word, play in PLAYS.items() if word in words), _showcase)
    return [{"options": {"tokens_per_second": SPEED}}, *play(message)]


def rest_of(script: list[Step], shown: str) -> list[Step]:
    """Return what of a script comes after the text that was shown. It does not break again."""
    rest: list[Step] = []
    left = len(shown)
    for step in script:
        text = step.get("text", "")
        if text and left < len(text):
            rest.append({"text": text[left:]})
        elif not text and "cut" not in step:
            rest.append(step)
        left = max(left - len(text), 0)
    return rest


def _echo(message: str) -> str:
    """Return what the person wrote as a quotation, shortened, so that it can break no block."""
    line = " ".join(message.split())[:200]
    return "You wrote: " + re.sub(r"([\\`*_\[\]<>#|~$!&])", r"\\\1", line) + "\n\n" if line else ""


def _text(*parts: str) -> Step:
    return {"text": "".join((DISCLAIMER, *parts))}


def _showcase(message: str) -> list[Step]:
    return [_text(_echo(message), SHOWCASE, CODE, "### A table\n\n", TABLE, TRY)]


def _long(message: str) -> list[Step]:
    parts = [f"## Part {number}\n\n{PARAGRAPHS[number % len(PARAGRAPHS)]}\n\n" for number in range(1, 21)]
    return [_text(_echo(message), *parts, "That was all of it: twenty parts.\n")]


def _code(message: str) -> list[Step]:
    return [
        _text(
            _echo(message),
            "A view of a site that asks an agent:\n\n",
            CODE,
            "The run goes on by itself, whoever watches.\n",
        )
    ]


def _table(message: str) -> list[Step]:
    return [_text(_echo(message), "## What can happen to a run\n\n", TABLE)]


def _think(message: str) -> list[Step]:
    thought = "The person wants to see reasoning. There is no model here that could think, so this is a script, too. "
    return [{"reasoning": thought * 3}, *_showcase(message)]


def _slow(message: str) -> list[Step]:
    return [{"pause": 3}, {"options": {"tokens_per_second": 5}}, _text(_echo(message), "This one takes its time.\n")]


def _cut(message: str) -> list[Step]:
    return [
        _text(_echo(message), "## A broken connection\n\nIn the middle of this sentence the conn"),
        {"cut": True},
        {"text": "ection broke. The next attempt went on from there: nothing is missing, and nothing is said twice.\n"},
    ]


def _error(message: str) -> list[Step]:
    # Of a kind that is not tried again: who asks for an error wants to see it at once.
    body = {"error": {"type": "invalid_request_error", "message": "This is the demo's own failure. Nothing is wrong."}}
    return [{"pause": 0.5}, {"fail": {"status": 400, "body": body}}]


PLAYS = {
    "error": _error,
    "cut": _cut,
    "slow": _slow,
    "think": _think,
    "long": _long,
    "code": _code,
    "table": _table,
}
