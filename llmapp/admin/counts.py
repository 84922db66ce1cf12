"""How many rows hang on each row of a list: by sub-queries, because joins multiply and are slow on long tables."""

from __future__ import annotations

from django.db.models import Count, Model, OuterRef, Subquery
from django.db.models.functions import Coalesce


def number_of(model: type[Model], link: str) -> Coalesce:
    """Return the expression for how many rows of `model` point here by their field `link`."""
    rows = model._default_manager.filter(**{link: OuterRef("pk")}).order_by().values(link)
    return Coalesce(Subquery(rows.annotate(number=Count("pk")).values("number")), 0)
