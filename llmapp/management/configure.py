"""`llmapp configure`: make providers, models and agents what a TOML file says. All of it, or nothing.

What the file does not name is left alone, unless everything is to be replaced. `config_file` judges a file,
`config_apply` makes it rows, and `config_history` keeps what there was.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.utils.translation import gettext as _

from llmapp import snapshot
from llmapp.history import Source

from . import config_history
from .config_apply import Result, apply
from .config_export import export
from .config_file import ConfigError, Document, load
from .config_remove import remove_others
from .config_restore import restore
from .processes import Say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=_("A TOML file."))
    parser.add_argument("--diff", action="store_true", help=_("Only say what would change."))
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--reset", action="store_true", help=_("Remove what FILE does not name."))
    instead.add_argument("--export", action="store_true", help=_("Write what is there, without secrets, to FILE."))
    instead.add_argument("--history", action="store_true", help=_("List the versions of the configuration."))
    instead.add_argument("--restore", type=int, metavar="N", help=_("Go back to version N; secrets stay."))


def handle(
    file: Path | None, diff: bool, reset: bool, export: bool, history: bool, restore: int | None, say: Say
) -> None:
    if file is not None and (history or restore is not None):
        raise CommandError(_("--history and --restore take no FILE."))
    if diff and (export or history):
        raise CommandError(_("--diff is for FILE and for --restore."))
    if export:
        write(file, say)
    elif history:
        list_versions(say)
    elif restore is not None:
        go_back(restore, say, diff)
    elif file is None:
        raise CommandError(_("Name a FILE."))
    else:
        configure(file, say, diff=diff, reset=reset)


def configure(path: Path, say: Say, *, diff: bool = False, reset: bool = False) -> None:
    """Apply a file and say what became of each entry. Raises `CommandError`, and then nothing was written."""
    document = read(path)
    _change(lambda: (_reset if reset else apply)(document), Source.FILE, path.name, say, diff)


def read(path: Path) -> Document:
    """Return what a file says, without a look at the database. Raises `CommandError`."""
    try:
        return load(path, os.environ)
    except (ConfigError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from None


def _reset(document: Document) -> list[Result]:
    """Apply a document that names everything: what it does not say to be disabled is enabled."""
    tables = {table: [_complete(entry) for entry in getattr(document, table)] for table in snapshot.EMPTY}
    document = replace(document, **tables)
    return [*apply(document), *remove_others(document)]


def _complete(entry: snapshot.Entry) -> snapshot.Entry:
    return {**entry, "enabled": True if entry["enabled"] is None else entry["enabled"]}


def go_back(number: int, say: Say, diff: bool = False) -> None:
    """Restore a version. Raises `CommandError`, and then nothing was written."""
    _change(lambda: restore(number), Source.RESTORE, str(number), say, diff)


def _change(make: Callable[[], list[Result]], source: Source, note: str, say: Say, only_look: bool) -> None:
    try:
        made = config_history.change(make, source, note, only_look)
    except (ConfigError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from None
    for line in (config_history.preview if only_look else config_history.report)(made):
        say(line)


def list_versions(say: Say) -> None:
    for line in config_history.listed():
        say(line)


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
