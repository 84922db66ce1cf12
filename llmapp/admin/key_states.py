"""How the keys of a provider stand: usable, resting, refused. And the button that has them all used again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import formats, timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from llmapp.models import Credential, Provider
from llmapp.runs.keys import use_again

from . import look


def described(key: Credential, now: datetime) -> SafeString:
    """Return how a key stands, and what a person can do about it."""
    if key.dead_since is not None:
        text = _("refused since %(time)s: replace it, or test it again")
        return look.badge("failed", text % {"time": moment(key.dead_since)})
    if key.benched_until is not None and key.benched_until > now:
        text = _("rests until %(time)s (%(kind)s)")
        return look.badge("incomplete", text % {"time": moment(key.benched_until), "kind": key.bench_kind})
    if key.failures_in_a_row and key.failed_at is not None:
        # The last one is asked again, because it may have been the provider's mistake.
        text = _("usable, but failed at %(time)s (%(kind)s)")
        return look.badge("incomplete", text % {"time": moment(key.failed_at), "kind": key.bench_kind})
    return look.badge("ok", _("usable"))


def moment(time: datetime) -> str:
    return formats.date_format(timezone.localtime(time), "SHORT_DATETIME_FORMAT")


def with_refused(rows: QuerySet[Provider]) -> QuerySet[Provider]:
    """Let each provider know how many of its keys are refused."""
    refused = Q(credentials__enabled=True, credentials__dead_since__isnull=False)
    return rows.annotate(refused_count=Count("credentials", filter=refused, distinct=True))


def refused(number: int) -> str:
    return _("%(number)d refused") % {"number": number}


def warnings() -> list[SafeString]:
    """Return a sentence for each provider in use that has refused keys, with the way to it."""
    rows: list[Any] = list(with_refused(Provider.objects.filter(enabled=True)))
    return [format_html("{} {}", _sentence(row), look.link(row)) for row in rows if row.refused_count]


def _sentence(row: Any) -> str:
    text = ngettext(
        "A provider refuses %(number)d key. It is not used any more; replace it:",
        "A provider refuses %(number)d keys. They are not used any more; replace them:",
        row.refused_count,
    )
    return text % {"number": row.refused_count}


class KeyPages:
    """Have the keys used again. It takes the right to change the provider."""

    def __init__(self, model_admin: admin.ModelAdmin[Provider]) -> None:
        self._admin = model_admin

    @method_decorator(require_POST)
    def use_again(self, request: HttpRequest, id: str) -> HttpResponse:
        provider = self._admin.get_object(request, id)
        if provider is None:
            raise Http404
        if not self._admin.has_change_permission(request, provider):
            raise PermissionDenied
        number = use_again(list(provider.credentials.values_list("pk", flat=True)))
        text = ngettext("%(number)d key is used again.", "%(number)d keys are used again.", number) % {"number": number}
        if number:
            self._admin.log_change(request, provider, text)
        messages.success(request, text)
        return HttpResponseRedirect(reverse("admin:llmapp_provider_change", args=[provider.pk]))


def urls(model_admin: admin.ModelAdmin[Provider]) -> list[URLPattern]:
    view = model_admin.admin_site.admin_view(KeyPages(model_admin).use_again)
    return [path("<path:id>/use-keys-again/", view, name="llmapp_provider_use_keys_again")]


def tools(provider: Provider) -> list[dict[str, str]]:
    """Return the button, while there is a key that it would help."""
    stopped = Q(dead_since__isnull=False) | Q(benched_until__gt=timezone.now())
    if not provider.credentials.filter(stopped, enabled=True).exists():
        return []
    return [{"url": reverse("admin:llmapp_provider_use_keys_again", args=[provider.pk]), "label": _("Use keys again")}]
