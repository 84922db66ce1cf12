"""`llmapp configure`: make providers, models and agents what a TOML file says. All of it, or nothing.

What the file does not name is left alone. `config_file` judges a file, `config_apply` makes it rows.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.utils.translation import gettext as _

from llmapp import snapshot

from .config_apply import CREATED, UNCHANGED, UPDATED, Result, apply
from .config_export import export
from .config_file import ConfigError, Document, load
from .processes import Say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=_("A TOML file."))
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--export", action="store_true", help=_("Write what is there, without secrets, to FILE."))


def handle(file: Path | None, export: bool, say: Say) -> None:
    if export:
        write(file, say)
    elif file is None:
        raise CommandError(_("Name a FILE."))
    else:
        configure(file, say)


def configure(path: Path, say: Say) -> None:
    """Apply a file and say what became of each entry. Raises `CommandError`, and then nothing was written."""
    document = read(path)
    try:
        results = apply(document)
    except (ConfigError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from None
    for result in results:
        say(_line(result))


def read(path: Path) -> Document:
    """Return what a file says, without a look at the database. Raises `CommandError`."""
    try:
        return load(path, os.environ)
    except (ConfigError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from None


def _line(result: Result) -> str:
    kind = {"providers": _("provider"), "models": _("model"), "agents": _("agent")}[result.table]
    said = {CREATED: _("created"), UPDATED: _("updated"), UNCHANGED: _("unchanged")}[result.outcome]
    notes = f" ({'; '.join(result.notes)})" if result.notes else ""
    return f"{said:<10} {kind} {result.name}{notes}"


def write(path: Path | None, say: Say) -> None:
    """Write what is there to a file, or print it."""
    text = export(snapshot.take())
    if path is None:
        say(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
