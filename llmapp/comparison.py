"""In what the processes of the site differ, in words: for `doctor`, and for the admin."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from llmapp.core.agreement import NOT_A_VERSION, Difference, What, differences, pinned
from llmapp.models import WebProcess, Worker
from llmapp.models.processes import Process
from llmapp.runs import fitness, installed, lease, presence


@dataclass(frozen=True, slots=True)
class Compared:
    """A process, and in what it differs from this one."""

    process: Process
    differences: list[Difference]

    @property
    def unfit(self) -> list[str]:
        """Why it takes no runs, a sentence each."""
        return [fitness.sentence(reason) for reason in getattr(self.process, "unfit", [])]

    @property
    def well(self) -> bool:
        return not self.unfit and not any(difference.severe for difference in self.differences)

    @property
    def severe(self) -> list[str]:
        """What keeps it from work, or from working as the others do."""
        return [*self.unfit, *said(one for one in self.differences if one.severe)]

    @property
    def sentences(self) -> list[str]:
        return [*self.unfit, *said(self.differences)]


def workers() -> list[Compared]:
    """Return the workers that hold a lease, each compared with this process."""
    return _compared(lease.registered_workers())


def webs() -> list[Compared]:
    """Return the web processes that were heard of just now, each compared with this process."""
    return _compared(presence.present_webs())


def _compared(rows: Iterable[Worker] | Iterable[WebProcess]) -> list[Compared]:
    return [with_here(row) for row in rows]


def with_here(row: Process) -> Compared:
    here = installed.versions(), installed.setup()
    return Compared(row, differences((row.versions, row.setup), here))


def versions_of(process: Process) -> dict[str, str]:
    """Return the versions that people read."""
    return {name: text for name, text in sorted(process.versions.items()) if name != NOT_A_VERSION and text}


def said(found: Iterable[Difference]) -> list[str]:
    """Return a sentence for each difference; settings, and versions, share one."""
    found = list(found)
    lines = [_sentence(one) for one in found if one.what not in (What.VERSION, What.SETTINGS)]
    if other := [f"{one.name} {one.there} ({_here(one.here)})" for one in found if one.what is What.VERSION]:
        lines.append(_("other versions: {names}").format(names=", ".join(other)))
    if names := [one.name for one in found if one.what is What.SETTINGS]:
        lines.append(_("other settings: {names}").format(names=", ".join(names)))
    return lines


def _here(version: str) -> str:
    return _("here {version}").format(version=version)


def _sentence(one: Difference) -> str:
    values = {"there": one.there or _("none"), "here": one.here or _("none")}
    match one.what:
        case What.RELEASE:
            text = _("start it again: it runs llmapp {there}, and this is {here}")
        case What.MIGRATIONS:
            text = _("its code knows other migrations: up to {there}, here up to {here}")
        case What.KEYS:
            text = _("it has other encryption keys: {there}, here {here}")
        case _other:
            text = _("its encryption keys are in another order: {there}, here {here}")
    return text.format(**values)


def constraints_file() -> Path | None:
    """Return the `constraints.txt` beside the project, where there is one."""
    folder = getattr(settings, "BASE_DIR", None)
    path = Path(folder, "constraints.txt") if folder else None
    return path if path is not None and path.is_file() else None


def unlike_constraints(path: Path) -> list[str]:
    """Return the packages here that have another version than the file says."""
    return [
        f"{name} {here} ({_('constraints: {version}').format(version=wanted)})"
        for name, wanted in sorted(pinned(path.read_text()).items())
        if (here := _installed(name)) not in (None, wanted)
    ]


def _installed(name: str) -> str | None:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return None  # constraints name what may be installed, not what must
