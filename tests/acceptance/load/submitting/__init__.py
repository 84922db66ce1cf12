"""An app of a site whose own Celery tasks start runs."""
