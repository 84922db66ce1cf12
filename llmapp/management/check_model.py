"""`llmapp check-model`: ask a model what it can do, say so stage by stage, and store it.

What the admin's "Check this model" does, in this process: it needs no worker. It exits with 1 when the model cannot be
reached or does not answer; a feature that is missing is no failure.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from django.core.management import CommandError
from django.utils.translation import gettext as _

from llmapp.encryption import Undecipherable
from llmapp.models import LanguageModel, Probe
from llmapp.runs import features, keys, probe, probing
from llmapp.runs.probe import FAILED, OK, RUNNING, SKIPPED, UNCLEAR, Stage
from llmapp.runs.probe_report import Report
from llmapp.runs.probe_sentences import sentence, title
from llmapp.runs.probe_subject import Subject, subject_of

from .processes import Say

#: Columns of the word in front and of the title.
WORD, TITLE = 8, 38


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=_("The name of the model, as agents and the configure file have it."))


def handle(name: str, say: Say) -> None:
    """Raises `CommandError` when the model does not answer."""
    model = find(name)
    try:
        subject = subject_of(Probe(kind=Probe.Kind.MODEL, provider=model.provider, model=model))
    except Undecipherable:
        raise CommandError(sentence("undecipherable", {})) from None
    passed, found, good_keys = asyncio.run(examine(subject, say))
    keys.use_again(good_keys)
    if not passed:
        raise CommandError(_("{name} does not answer as it should; the line that failed says why.").format(name=name))
    features.store(model.pk, found or {})
    say(_("All is well. What {name} can do is stored.").format(name=name))


def find(name: str) -> LanguageModel:
    """Return the model. Raises `CommandError` with the names that there are."""
    rows = LanguageModel.objects.select_related("provider")
    if (model := rows.filter(name=name).first()) is not None:
        return model
    names = ", ".join(rows.order_by("name").values_list("name", flat=True))
    raise CommandError(
        _("There is no model {name}. There are: {names}.").format(name=name, names=names)
        if names
        else _("There is no model {name}, nor any other yet.").format(name=name)
    )


async def examine(subject: Subject, say: Say) -> tuple[bool, features.Found | None, list[int]]:
    """Return whether all is well, what the model can do, and which keys were taken."""
    report = Report(Printer(say).print)
    try:
        async with asyncio.timeout(probe.LIMIT):
            return *await probing.examine(subject, report), report.good_keys
    except TimeoutError:
        raise CommandError(sentence("took_too_long", {})) from None


class Printer:
    """Says a line for each stage as soon as it has ended."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said = 0

    async def print(self, stages: list[Stage]) -> None:
        for stage in stages[self._said :]:
            if stage.state == RUNNING:
                return
            self._said += 1
            for line in lines(stage):
                self._say(line)


def lines(stage: Stage) -> Sequence[str]:
    """Return a stage in words; below it what the provider said itself, where it refused something."""
    said = sentence(stage.code, stage.values) if stage.code else ""
    took = _("({seconds:.2f} s)").format(seconds=stage.seconds) if stage.seconds is not None else ""
    text = f"{word(stage):<{WORD}} {title(stage.name):<{TITLE}} {' '.join(filter(None, [said, took]))}".rstrip()
    return [text, *([f"{'':<{WORD}} {plain(stage.detail)}"] if stage.detail else [])]


def word(stage: Stage) -> str:
    if stage.name in features.FEATURES:
        # A feature is there, or not; what was taken and not made use of is no answer to the question.
        return {OK: _("yes"), SKIPPED: _("no")}.get(stage.state, _("unknown"))
    return {OK: _("ok"), FAILED: _("FAIL"), SKIPPED: _("skipped"), UNCLEAR: _("unclear")}[stage.state]


def plain(text: str) -> str:
    """Return a provider's words as one line that does nothing to a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
