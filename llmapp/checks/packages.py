"""Packages that are installed and had better not be. They are not imported for that."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from django.core.checks import CheckMessage, Error, Tags, Warning

from .registry import check

#: Versions that were published by thieves.
STOLEN_LITELLM = ("1.82.7", "1.82.8")
#: The file by which they ran in every process.
STOLEN_PTH = "litellm_init.pth"
#: The first one after them that was looked at.
OLDEST_LITELLM = (1, 83, 7)

#: Two vulnerabilities were mended in it.
OLDEST_DAPHNE = (4, 2, 2)


@check(Tags.security)
def check_litellm() -> Iterator[CheckMessage]:
    version = _version("litellm")
    if version in STOLEN_LITELLM:
        yield Error(
            f"litellm {version} is malicious: it sends the secrets of this machine to thieves.",
            hint="Uninstall it, change every secret that this machine could read, and install another version.",
            id="llmapp.E006",
        )
    elif version is not None and _as_numbers(version) < OLDEST_LITELLM:
        yield Warning(
            f"litellm {version} is older than what llmapp was made for.",
            hint="Install " + ".".join(str(number) for number in OLDEST_LITELLM) + " or later.",
            id="llmapp.W013",
        )
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        if (path := Path(folder) / STOLEN_PTH).exists():
            yield Error(
                f"{path} was left behind by a malicious litellm and runs in every process.",
                hint="Delete it, and change every secret that this machine could read.",
                id="llmapp.E006",
            )


@check(Tags.security)
def check_daphne() -> Iterator[CheckMessage]:
    version = _version("daphne")
    if version is not None and _as_numbers(version) < OLDEST_DAPHNE:
        yield Warning(
            f"Daphne {version} has known vulnerabilities.",
            hint="Install " + ".".join(str(number) for number in OLDEST_DAPHNE) + " or later.",
            id="llmapp.W002",
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
