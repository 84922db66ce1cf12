"""`manage.py llmapp COMMAND`: a name for each command; what they do is in the modules beside."""

from __future__ import annotations

import contextlib
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser
from django.db import DatabaseError
from django.utils.translation import gettext as _

from llmapp.management import check_model, configure, doctor, rotate_keys, serve, stress, token
from llmapp.management.database import unapplied
from llmapp.runs.away import database_name, first_line, is_away

#: Name -> module with `add_arguments(parser)` and `handle(**options)`.
COMMANDS = {
    "serve": serve,
    "configure": configure,
    "rotate-keys": rotate_keys,
    "token": token,
    "doctor": doctor,
    "check-model": check_model,
    "stress": stress,
}

#: What Django adds to the options of every command.
DJANGO_OPTIONS = {
    "verbosity",
    "settings",
    "pythonpath",
    "traceback",
    "no_color",
    "force_color",
    "skip_checks",
    "stdout",
    "stderr",
}


class Command(BaseCommand):
    help = _("Serve the site, set up agents, make API tokens, look for faults.")

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", metavar="command", required=True)
        for name, module in COMMANDS.items():
            text = first_sentence(module.__doc__)
            module.add_arguments(commands.add_parser(name, help=text, description=text))

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        wanted = {name: value for name, value in options.items() if name not in DJANGO_OPTIONS}
        try:
            COMMANDS[command].handle(say=self.say, **wanted)
        except KeyboardInterrupt:
            raise CommandError(_("interrupted"), returncode=130) from None
        except DatabaseError as error:
            if is_away(error):
                raise CommandError(f"{database_name()}: {first_line(error)}") from None
            if unapplied():
                raise CommandError(_("The database is not prepared; run `manage.py migrate` first.")) from None
            raise

    def say(self, text: str) -> None:
        """Print a line at once, also where nobody reads line by line."""
        # Whoever read us may be gone, the terminal too; what is being done goes on.
        with contextlib.suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()


def first_sentence(text: str | None) -> str:
    return " ".join((text or "").split(":", 1)[-1].split("\n\n")[0].split())
