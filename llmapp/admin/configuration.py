"""The history of the configuration: every change of providers, models and agents, and the way back.

The same versions as `configure --history` lists, and the same functions restore them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp import snapshot
from llmapp.differences import Difference, differences
from llmapp.management import config_history
from llmapp.management.config_apply import UNCHANGED
from llmapp.management.config_file import ConfigError
from llmapp.management.config_restore import ROWS, restore
from llmapp.models import ConfigurationVersion

from . import look
from .base import LookOnly
from .changed import Change, changes

#: What a version holds: whoever looks at it has to be allowed to look at each of them, and so with a change.
SUBJECTS = ("provider", "languagemodel", "agentsettings")

#: Characters about a change that fit into the list.
WORDS = 160

#: What became of an entry -> the colour in which it is said.
COLOURS = {"created": "good", "changed": "busy", "removed": "bad"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a provider, a model or an agent."""

    title: str
    state: str
    word: str
    changes: list[Change]


@admin.register(ConfigurationVersion)
class ConfigurationVersionAdmin(LookOnly[ConfigurationVersion]):
    list_display = ["number", "what", "changed_at", "who", "where"]
    list_filter = ["source"]
    list_select_related = ["changed_by"]
    # Each row holds the whole configuration.
    list_per_page = 25

    # To look, and to go back

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return all(self.may(request, f"view_{name}") or self.may(request, f"change_{name}") for name in SUBJECTS)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {"add": False, "change": False, "delete": False, "view": self.has_view_permission(request)}

    def may_restore(self, request: HttpRequest) -> bool:
        """To restore is to add, to change and to delete whatever differs."""
        return all(self.may(request, f"{verb}_{name}") for verb in ("add", "change", "delete") for name in SUBJECTS)

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigurationVersion]:
        earlier = ConfigurationVersion.objects.filter(pk__lt=OuterRef("pk")).order_by("-pk")
        return super().get_queryset(request).annotate(before=Subquery(earlier.values("values")[:1]))

    @admin.display(description=gettext_lazy("version"), ordering="pk")
    def number(self, version: ConfigurationVersion) -> str:
        return str(version.pk)

    @admin.display(description=gettext_lazy("changed by"), ordering="changed_by")
    def who(self, version: ConfigurationVersion) -> str:
        return version.who or look.DASH

    @admin.display(description=gettext_lazy("source"), ordering="source")
    def where(self, version: ConfigurationVersion) -> str:
        return version.where

    @admin.display(description=gettext_lazy("what has changed"))
    def what(self, version: Any) -> str:
        return Truncator(config_history.in_words(found_in(version)) or look.DASH).chars(WORDS)

    # One version

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        version = self._version(request, object_id)
        context = {
            "entries": list(entries(found_in(version))),
            "is_current": version.values == snapshot.take(),
            "may_restore": self.may_restore(request),
        }
        return self._page(request, "version", version, context)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say what would become of everything, and ask; do it when the answer comes."""
        version = self._version(request, object_id)
        if not self.may_restore(request):
            raise PermissionDenied
        seen = fingerprint()
        if request.method == "POST" and request.POST.get("seen") == seen:
            return self._restore(request, version)
        if request.method == "POST":
            messages.warning(request, _("The configuration has changed since you looked. Look again."))
        return self._page(
            request,
            "restore",
            version,
            {
                "title": _("Restore version %(number)s?") % {"number": version.pk},
                "seen": seen,
                **self._preview(version),
            },
        )

    def _preview(self, version: ConfigurationVersion) -> dict[str, Any]:
        try:
            made = self._change(version, None, only_look=True)
        except (ConfigError, ImproperlyConfigured) as error:
            return {"refused": str(error)}
        return {"entries": list(entries(made.differences)), "notes": list(notes(made))}

    def _restore(self, request: HttpRequest, version: ConfigurationVersion) -> HttpResponse:
        try:
            made = self._change(version, request.user)
        except (ConfigError, ImproperlyConfigured) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:llmapp_configurationversion_change", args=[version.pk]))
        self._say(request, version, made)
        return HttpResponseRedirect(reverse("admin:llmapp_configurationversion_changelist"))

    def _change(self, version: ConfigurationVersion, by: Any, only_look: bool = False) -> config_history.Change:
        return config_history.change(
            lambda: restore(version.pk), ConfigurationVersion.Source.RESTORE, str(version.pk), only_look, by
        )

    def _say(self, request: HttpRequest, version: ConfigurationVersion, made: config_history.Change) -> None:
        if made.version is None:
            messages.info(request, _("It is what version %(number)d says already.") % {"number": version.pk})
            return
        text = _("Version %(number)d is restored, as version %(new)d.") % {"number": version.pk, "new": made.version.pk}
        self.log_change(request, made.version, text)
        messages.success(request, text)
        for note in notes(made):
            messages.warning(request, note)

    def _version(self, request: HttpRequest, id: str) -> ConfigurationVersion:
        version = self.get_object(request, id)
        if version is None:
            raise Http404
        if not self.has_view_permission(request, version):
            raise PermissionDenied
        return version

    def _page(self, request: HttpRequest, name: str, version: ConfigurationVersion, context: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": titled(version),
            "opts": self.opts,
            "version": version,
            "version_title": titled(version),
            "media": self.media,
            **context,
        }
        return TemplateResponse(request, f"admin/llmapp/configurationversion/{name}.html", context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.restore_view)
        return [
            path("<path:object_id>/restore/", view, name="llmapp_configurationversion_restore"),
            *super().get_urls(),
        ]


def titled(version: ConfigurationVersion) -> str:
    return _("Version %(number)s") % {"number": version.pk}


def fingerprint() -> str:
    """Return a few characters that are others when anything in the configuration is."""
    return hashlib.sha256(json.dumps(snapshot.take(), sort_keys=True).encode()).hexdigest()[:16]


def found_in(version: Any) -> list[Difference]:
    """Return what a version of the list changed."""
    return differences(version.before or snapshot.EMPTY, version.values)


def entries(found: list[Difference]) -> Iterator[Entry]:
    words = {"created": _("created"), "changed": _("changed"), "removed": _("removed")}
    for one in found:
        state = "created" if one.before is None else "removed" if one.after is None else "changed"
        title = f"{config_history.kind_of(one.table)} {one.name}"
        yield Entry(title, COLOURS[state], words[state], list(fields_of(one)))


def fields_of(found: Difference) -> Iterator[Change]:
    if found.after is None:
        return iter(())
    model: type[models.Model] = ROWS[found.table][0]
    before = {key: found.before.get(key) for key in found.keys} if found.before is not None else {}
    return changes(model, before, {key: found.after.get(key) for key in found.keys})


def notes(made: config_history.Change) -> Iterator[str]:
    """Give what people have to know besides: keys that are dropped, what stays and why."""
    for result in made.results:
        if result.note and result.outcome != UNCHANGED:
            yield f"{config_history.kind_of(result.table)} {result.name}: {result.note}"
