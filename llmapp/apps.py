"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LlmappConfig(AppConfig):
    name = "llmapp"
    verbose_name = _("Agents")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, removal  # noqa: F401 - registers the system checks
        from .api import cutting, slow_readers

        removal.watch(self)
        cutting.mend_daphne()
        slow_readers.mend_daphne()
        _lend_a_celery_app()
        _follow_sign_ins()
        _be_seen()


def _lend_a_celery_app() -> None:
    """Send the runs of a site that has no Celery app by ours, not by the nameless one that Celery makes up.

    A site's own app is there already: it is made when the site's package is imported. One that is made
    later takes our app's place.
    """
    from celery import _state

    if _state.default_app is None:
        from .celery import app

        app.set_default()


def _follow_sign_ins() -> None:
    from django.contrib.auth.signals import user_logged_in

    from .api.visitors import take_along

    user_logged_in.connect(take_along, dispatch_uid="llmapp.visitors")


def _be_seen() -> None:
    from django.core.signals import request_started

    from .runs import presence

    request_started.connect(presence.begin, dispatch_uid="llmapp.presence")
