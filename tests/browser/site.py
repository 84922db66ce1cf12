"""The whole site in real processes, with agents that play scripts."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.site import Site

#: What the provider sends: all that a page could spoil, long enough to be reloaded three times.
LONG = (
    "# Grüße 👩‍👩‍👧 😀\n\nA paragraph with *emphasis*, **weight**, `code` and a [link](https://example.org/?a=1&b=2).\r\n\r\n"
    + "".join(f"{n}. Item {n} — naïve café, 漢字, \U0001f680\n" for n in range(1, 13))
    + "\n```python\ndef f(x: str) -> str:\n    return f'<b>{x}</b> & \"quoted\"'\n\n\n# a comment\n```\n\n"
    + "| a | b |\n|---|--:|\n| <script>alert(1)</script> | 1 |\n| two | 2 |\n\n"
    + "> A quote\twith a tab,  two spaces, and a line\n> that goes on.\n\n"
    + "- [ ] open\n- [x] done\n\n<img src=x onerror=alert(1)> ends without a line feed  "
)

#: How much of it the provider has sent when it rests, so that a reload at that moment is a reload in mid-answer.
RESTS = (0.2, 0.6, 0.95)


def with_rests(text: str, seconds: float) -> list[dict[str, Any]]:
    """Return a script that sends a text and rests at each share of `RESTS`."""
    cuts = [0, *(int(len(text) * share) for share in RESTS), len(text)]
    steps: list[dict[str, Any]] = []
    for start, end in itertools.pairwise(cuts):
        steps += [{"text": text[start:end]}, {"pause": seconds}]
    return steps[:-1]


AGENTS: dict[str, dict[str, Any]] = {
    "long": {"script": [{"text": LONG}], "tokens_per_second": 45},
    "resting": {"script": with_rests(LONG, 2.5), "tokens_per_second": 150},
    "quick": {"script": [{"text": "A quick answer with `code`."}], "tokens_per_second": 0},
    "endless": {"script": [{"text": ("word " * 16 + "\n\n") * 2000}], "tokens_per_second": 80},
    "code": {"script": [{"text": "Look:\n\n```python\nprint('a')\n\nprint(1 < 2)\n```\n\nDone."}]},
    "thinking": {"script": [{"reasoning": "First I think.\n\nThen I write."}, {"text": "Thought."}]},
    "cut": {"script": [{"text": "Half of an ans"}, {"cut": True}]},
    "refused": {"script": [{"fail": {"status": 400, "body": {"error": {"message": "SECRET of the provider"}}}}]},
    "open": {"script": [{"text": "A quick answer for anybody."}], "tokens_per_second": 0},
    "open-resting": {"script": with_rests(LONG, 2.5), "tokens_per_second": 150},
    "open-endless": {"script": [{"text": ("word " * 16 + "\n\n") * 2000}], "tokens_per_second": 80},
    "patient": {"script": [{"fail": {"status": 429, "headers": {"retry-after": "11"}, "body": {}}}]},
    "busy": {"script": [{"fail": {"status": 429, "headers": {"retry-after": "2"}, "body": {}}}]},
}

#: The agents that visitors without an account may use.
PUBLIC = {"open", "open-resting", "open-endless"}


def config() -> str:
    """Write the file for `serve --config`: a provider, a model and an agent for each script."""
    parts = []
    for name, options in AGENTS.items():
        given = "{ " + ", ".join(f"{key} = {_toml(value)}" for key, value in options.items()) + " }"
        parts.append(
            f'[[providers]]\nname = "{name}"\nbackend = "scripted"\noptions = {given}\n'
            f'[[models]]\nname = "{name}"\nprovider = "{name}"\nmodel = "{name}"\n'
            'input_price = "1"\noutput_price = "2"\n'
            f'[[agents]]\nslug = "{name}"\nmodel = "{name}"\nattempts = 3\n'
            + ('access = "public"\n' if name in PUBLIC else "")
        )
    return "\n".join(parts)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # TOML's strings are written like JSON's, but for characters beyond 16 bits, which JSON would write in halves.
    return json.dumps(value, ensure_ascii=False)


class LiveSite(Site):
    """`serve --demo` with these agents. `link()` signs in once."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, config(), demo=True, environment={"DJANGO_SETTINGS_MODULE": "tests.browser.settings"})

    def link(self) -> str:
        return self.sign_in_link

    @contextlib.contextmanager
    def without_worker(self) -> Iterator[None]:
        """Stop the workers as an administrator would, and keep `serve` from starting others meanwhile."""
        workers = self.workers()
        assert workers
        self.process.send_signal(signal.SIGSTOP)
        try:
            for worker in workers:
                os.kill(worker, signal.SIGTERM)
            self.wait_for(lambda: not self.workers(), 20)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)
            self.wait_for(lambda: self.http.get("/health/ready").status_code == 200, 40)

    def shell(self, code: str) -> None:
        """Run Python inside the site, for what has no door to the outside."""
        self.manage("shell", "--verbosity", "0", "-c", code)
