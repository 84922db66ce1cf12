"""What a check of a model found out, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy

from llmapp.runs.probe_sentences import title

WORDS = {
    "works": ("ok", gettext_lazy("works")),
    "refused": ("skipped", gettext_lazy("not supported")),
    "unused": ("incomplete", gettext_lazy("not made use of")),
    "unknown": ("incomplete", gettext_lazy("not found out")),
}


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    state: str
    word: str


def described(capabilities: Mapping[str, Any]) -> list[Feature]:
    """Return each feature that was looked at, in the order of the check."""
    features = []
    for name, found in capabilities.get("features", {}).items():
        state, word = WORDS.get(found, WORDS["unknown"])
        features.append(Feature(title(name), state, str(word)))
    return features
