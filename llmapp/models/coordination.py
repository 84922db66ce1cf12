"""What processes agree on through the database."""

from __future__ import annotations

from django.db import models


class Duty(models.Model):
    """A side task that one process at a time does for all, until `until` on the database's clock."""

    name = models.CharField(max_length=50, primary_key=True)
    until = models.DateTimeField()

    class Meta:
        verbose_name = "duty"

    def __str__(self) -> str:
        return self.name
