"""How a model does: its breaker, what has helped after which failure, what its provider said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from llmapp.core.health import Breaker, ModelHealth, Rate, pays
from llmapp.core.learned import Learned
from llmapp.models import LanguageModel
from llmapp.runs.health import standing
from llmapp.runs.notebook import forget

from . import look

#: How the breaker stands -> the colour and the words.
STANDING = {
    Breaker.CLOSED: ("ok", gettext_lazy("asked as usual")),
    Breaker.HALF_OPEN: ("incomplete", gettext_lazy("the next call is a trial")),
    Breaker.OPEN: ("failed", gettext_lazy("not asked for %(seconds)s")),
}


def health_of(model: LanguageModel) -> SafeString:
    """Return how it does, as a list."""
    health = standing(model)
    return _list([_breaker(health), *_figures(health), *_rates(health)])


def _breaker(health: ModelHealth) -> SafeString:
    state, words = STANDING[health.breaker]
    return look.badge(state, str(words) % {"seconds": look.seconds(health.probe_in)})


def _figures(health: ModelHealth) -> Iterator[str]:
    if health.first_token_p95 is not None:
        yield _("First token within %(time)s for 95 %% of answers") % {"time": look.seconds(health.first_token_p95)}
    if health.chars_per_token is not None:
        yield _("%(number)s characters a token") % {"number": f"{health.chars_per_token:.1f}"}


def _rates(health: ModelHealth) -> Iterator[SafeString]:
    for (kind, action), rate in sorted(health.rates.items()):
        seen = rate.successes + rate.failures
        badge = look.badge(_colour(health, kind, action, rate), look.percent(rate.successes, seen))
        said = _("%(kind)s, then %(action)s: %(good)d of %(all)d helped")
        text = said % {"kind": kind, "action": action, "good": rate.successes, "all": seen}
        yield format_html("{} {}", badge, text)


def _colour(health: ModelHealth, kind: str, action: str, rate: Rate) -> str:
    """Red: it is not done first any more. Green: it mostly helps. Else too little is known."""
    if not pays(health, kind, action):
        return "failed"
    return "ok" if rate.successes >= rate.failures else "unknown"


def lessons_of(model: LanguageModel) -> SafeString | str:
    """Return what its provider said of it, as a list."""
    lines = list(_lessons(model.lessons))
    return _list(lines) if lines else look.DASH


def _lessons(learned: Learned) -> Iterator[str]:
    if learned.window is not None:
        yield _("Its window has %(number)s tokens") % {"number": look.count(learned.window)}
    if learned.output_limit is not None:
        yield _("An answer has at most %(number)s tokens") % {"number": look.count(learned.output_limit)}
    for name in sorted(learned.refused):
        yield _("It refuses %(name)s") % {"name": name}
    for old, new in sorted(learned.renamed.items()):
        yield _("It calls %(old)s %(new)s") % {"old": old, "new": new}


def _list(lines: list[Any]) -> SafeString:
    return format_html('<ul class="llmapp-lines">{}</ul>', format_html_join("", "<li>{}</li>", ((x,) for x in lines)))


class HealthPages:
    """Forget what was learned. It takes the right to change the model."""

    def __init__(self, model_admin: admin.ModelAdmin[LanguageModel]) -> None:
        self._admin = model_admin

    @method_decorator(require_POST)
    def forget(self, request: HttpRequest, id: str) -> HttpResponse:
        model = self._admin.get_object(request, id)
        if model is None:
            raise Http404
        if not self._admin.has_change_permission(request, model):
            raise PermissionDenied
        if forget(model.pk):
            text = _("What was learned is forgotten.")
            self._admin.log_change(request, model, text)
            messages.success(request, text)
        return HttpResponseRedirect(reverse("admin:llmapp_languagemodel_change", args=[model.pk]))


def urls(model_admin: admin.ModelAdmin[LanguageModel]) -> list[URLPattern]:
    view = model_admin.admin_site.admin_view(HealthPages(model_admin).forget)
    return [path("<path:id>/forget/", view, name="llmapp_languagemodel_forget")]


def tools(model: LanguageModel) -> list[dict[str, str]]:
    """Return the button, while there is something to forget."""
    if not model.learned:
        return []
    url = reverse("admin:llmapp_languagemodel_forget", args=[model.pk])
    return [{"url": url, "label": _("Forget what was learned")}]
