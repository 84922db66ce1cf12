"""What the processes of one site had better have in common, and in what two of them differ.

A process is described by plain dicts, as its row keeps them. What is unknown on one side is not compared: a row of
an earlier release says less.

    versions   {"llmapp": "1.0", "python": "3.12.1", ...}
    setup      {"migrations": {"newest", "known"}, "settings": {part: fingerprint}, "keys": [id of a key, ...]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: In the row of a worker, beside the versions: what it is known again by when it has died.
NOT_A_VERSION = "process"


#: The setting that the fingerprints of all are made with: where it differs, the others cannot be compared.
SECRET_KEY = "SECRET_KEY"


class What(StrEnum):
    """What differs. The first three keep runs from being answered alike, the others are worth a look."""

    RELEASE = "release"
    MIGRATIONS = "migrations"
    KEYS = "keys"
    VERSION = "version"
    SETTINGS = "settings"
    KEY_ORDER = "key_order"


SEVERE = frozenset({What.RELEASE, What.MIGRATIONS, What.KEYS})


@dataclass(frozen=True, slots=True)
class Difference:
    """`name` is of a package, a setting or a migration; `there` and `here` are values that may be shown."""

    what: What
    name: str = ""
    there: str = ""
    here: str = ""

    @property
    def severe(self) -> bool:
        return self.what in SEVERE


Described = tuple[Mapping[str, Any], Mapping[str, Any]]


def differences(there: Described, here: Described) -> list[Difference]:
    """Return in what a process differs from another one, the worst first. Each is (versions, setup)."""
    found = [*_versions(there[0], here[0]), *_setup(there[1], here[1])]
    return sorted(found, key=lambda difference: list(What).index(difference.what))


def _versions(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(there.keys() & here.keys() - {NOT_A_VERSION}):
        if there[name] and there[name] != here[name]:
            what = What.RELEASE if name == "llmapp" else What.VERSION
            yield Difference(what, name, str(there[name]), str(here[name]))


def _setup(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Difference]:
    both = there.keys() & here.keys()
    if "migrations" in both and there["migrations"].get("known") != here["migrations"].get("known"):
        newest = (str(side["migrations"].get("newest", "")) for side in (there, here))
        yield Difference(What.MIGRATIONS, "", *newest)
    if "keys" in both and there["keys"] != here["keys"]:
        what = What.KEY_ORDER if set(there["keys"]) == set(here["keys"]) else What.KEYS
        yield Difference(what, "", " ".join(there["keys"]), " ".join(here["keys"]))
    if "settings" in both and len({side["settings"].get(SECRET_KEY) for side in (there, here)} - {None}) > 1:
        yield Difference(What.SETTINGS, SECRET_KEY)
    elif "settings" in both:
        # A setting that one side does not know, or has not set, differs too.
        for name in sorted(there["settings"].keys() | here["settings"].keys()):
            if there["settings"].get(name) != here["settings"].get(name):
                yield Difference(What.SETTINGS, name)


def pinned(constraints: str) -> dict[str, str]:
    """Return the versions that a `constraints.txt` names, by package."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in constraints.splitlines())
    pairs = (line.partition("==") for line in lines)
    return {name.strip().partition("[")[0].lower(): version.strip() for name, is_pin, version in pairs if is_pin}
