"""The demo site: what a site that uses llmapp looks like."""

from .celery import app as celery_app

__all__ = ["celery_app"]
