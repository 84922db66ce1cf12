"""`migrate llmapp zero` leaves nothing behind.

Django drops our tables and keeps what it wrote about them into tables of its own: content types, permissions (and who
had them), lines of the admin's log. A site that never had us has none of these.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.apps.registry import Apps
from django.db import router
from django.db.models.signals import post_migrate


def watch(config: AppConfig) -> None:
    post_migrate.connect(_forget_when_gone, sender=config, dispatch_uid="llmapp.removal")


def _forget_when_gone(sender: AppConfig, using: str, apps: Apps = apps, **kwargs: Any) -> None:
    """Tidy up when the database is one in which we have no tables. `apps` is what it looks like now."""
    if not any(model._meta.app_label == sender.label for model in apps.get_models(include_auto_created=True)):
        _forget(sender.label, using)


def _forget(label: str, using: str) -> None:
    """Delete what names our models. With a content type go its permissions, from users and groups too."""
    if not apps.is_installed("django.contrib.contenttypes"):
        return
    content_type = apps.get_model("contenttypes", "ContentType")
    if not router.allow_migrate_model(using, content_type):
        return
    ours = content_type._default_manager.using(using).filter(app_label=label)
    if not ours.exists():
        return
    if apps.is_installed("django.contrib.admin"):
        # They would lose their content type only, and stay, without a meaning.
        apps.get_model("admin", "LogEntry")._default_manager.using(using).filter(content_type__in=ours).delete()
    ours.delete()
    content_type.objects.clear_cache()
