"""The overview as a model: no table, only a place in the admin's index, in its rights and its addresses."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from .runs import Run


class Overview(Run):
    """All runs at a glance. Whoever may view runs may view it."""

    class Meta:
        proxy = True
        verbose_name = _("overview")
        verbose_name_plural = _("overview")
        default_permissions = ()
