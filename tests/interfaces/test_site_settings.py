"""What `serve` reads from the settings of a site, without its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from llmapp.management.site import Site
from llmapp.whereabouts import celery_package


def test_a_site_without_an_asgi_application_is_told_so(settings: Any, tmp_path: Path) -> None:
    del settings.ASGI_APPLICATION
    assert celery_package()
    with pytest.raises(CommandError, match=r"settings\.ASGI_APPLICATION is not set\."):
        Site("127.0.0.1", 8000, 1, False, tmp_path, print)
